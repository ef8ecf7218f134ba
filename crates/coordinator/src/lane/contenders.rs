//! Who waits here, as a commit tells the other replicas: so that each leaves them their share.

use std::{collections::BTreeMap, time::Duration};

use bursar_quota::{ClassName, Contender, MAX_CONTENDERS, TenantName, Tier};

use super::{plan::Batch, queue::Queues};

/// Those who are named by themselves where not all are: each tier keeps an entry for the rest.
const NAMED: usize = MAX_CONTENDERS - Tier::ALL.len();

/// Calls of one tenant, tier and class; borrowed, since of many who wait only few are named.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    tier: Tier,
    tenant: &'a TenantName,
    class: &'a ClassName,
    costs: &'a [u64],
    calls: u64,
}

impl Entry<'_> {
    fn named(&self) -> Contender {
        Contender { tenant: Some(self.tenant.clone()), ..self.unnamed() }
    }

    fn unnamed(&self) -> Contender {
        Contender {
            tier: self.tier,
            tenant: None,
            tenants: 1,
            class: self.class.clone(),
            calls: self.calls,
            costs: self.costs.to_vec(),
        }
    }
}

impl Queues {
    /// Who waits beyond `now`, those whom `batch` asks for included; none while nobody was refused yet. Named in an order that
    /// stays while they wait.
    pub(crate) fn contenders(&self, batch: Option<&Batch>, now: Duration) -> Vec<Contender> {
        if self.waiting == 0 {
            return Vec::new();
        }
        let mut asked = self.asked_for(batch, now);
        let mut all = Vec::new();
        for (tier, queue) in Tier::ALL.iter().zip(&self.tiers) {
            for (at, party) in (0_u32..).zip(&queue.parties) {
                let Some(party) = party else { continue };
                for waiting in &party.queues {
                    let first = waiting.keys.iter().find_map(|key| self.waiters.get(*key));
                    let Some(first) = first else { continue };
                    let calls = waiting.keys.len() as u64;
                    // Those whom the batch asks for come before those in the queue.
                    all.push(match asked.remove(&(tier.index(), at, waiting.class)) {
                        Some(ahead) => Entry { calls: ahead.calls + calls, ..ahead },
                        None => Entry {
                            tier: *tier,
                            tenant: &party.name,
                            class: &first.kind.class,
                            costs: &first.kind.costs,
                            calls,
                        },
                    });
                }
                // All of whom it asks for; at the tenant's place, so that who is named stays.
                let (first, last) = ((tier.index(), at, 0), (tier.index(), at, u32::MAX));
                let only_asked: Vec<_> = asked.range(first..=last).map(|(key, _)| *key).collect();
                all.extend(only_asked.iter().filter_map(|key| asked.remove(key)));
            }
        }
        lump(&all)
    }

    /// Those whom a batch asks for and who wait on if they are refused, by tier, party and class.
    fn asked_for<'a>(
        &self,
        batch: Option<&'a Batch>,
        now: Duration,
    ) -> BTreeMap<(usize, u32, u32), Entry<'a>> {
        let mut asked = BTreeMap::new();
        let Some(batch) = batch else { return asked };
        let mut rest = &batch.waiters[..];
        for group in &batch.groups {
            let (keys, others) = rest.split_at(usize::from(group.count).min(rest.len()));
            rest = others;
            let waits = |key: &&_| self.waiters.get(**key).is_some_and(|waiter| waiter.patience > now);
            let calls = keys.iter().filter(waits).count() as u64;
            if calls > 0 {
                let key = (group.tier.index(), group.party, group.class);
                let (tenant, kind) = (&group.tenant, &group.kind);
                let entry =
                    || Entry { tier: group.tier, tenant, class: &kind.class, costs: &kind.costs, calls: 0 };
                asked.entry(key).or_insert_with(entry).calls += calls;
            }
        }
        asked
    }
}

/// Names them, or the first ones, and folds the others into one of each tier.
fn lump(all: &[Entry<'_>]) -> Vec<Contender> {
    let named = if all.len() <= MAX_CONTENDERS { all.len() } else { NAMED };
    let (first, rest) = all.split_at(named);
    let mut told: Vec<Contender> = first.iter().map(Entry::named).collect();
    let mut last = None;
    for entry in rest {
        // A tenant's entries stand beside each other.
        let is_another = last.replace((entry.tier, entry.tenant)) != Some((entry.tier, entry.tenant));
        match told.iter_mut().skip(named).find(|lump| lump.tier == entry.tier) {
            Some(lump) => {
                lump.tenants = lump.tenants.saturating_add(is_another.into());
                lump.calls += entry.calls;
            }
            None => told.push(entry.unnamed()),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contenders(count: usize) -> Vec<Contender> {
        let class = ClassName::new("default").unwrap();
        let names: Vec<_> = (0..count).map(|at| TenantName::new(&format!("t{at}")).unwrap()).collect();
        let entry = |at: usize| {
            let tier = Tier::ALL[at * Tier::ALL.len() / count];
            Entry { tier, tenant: &names[at], class: &class, costs: &[1], calls: 2 }
        };
        lump(&(0..count).map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn as_many_as_there_is_room_for_are_named_and_the_rest_is_counted() {
        let all = contenders(32);
        assert!(all.len() == 32 && all.iter().all(|one| one.tenant.is_some() && one.calls == 2));
        let lumped = contenders(300);
        assert!(lumped.len() <= MAX_CONTENDERS);
        let of = |what: fn(&Contender) -> u64| lumped.iter().map(what).sum::<u64>();
        assert_eq!((of(|one| one.calls), of(|one| one.tenants.into())), (600, 300));
        let unnamed: Vec<_> = lumped.iter().filter(|one| one.tenant.is_none()).map(|one| one.tier).collect();
        assert_eq!(unnamed, Tier::ALL);
    }
}
