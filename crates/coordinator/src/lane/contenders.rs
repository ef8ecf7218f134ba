//! Who waits here, as a commit tells the other replicas: so that each leaves them their share.

use std::{collections::BTreeMap, time::Duration};

use bursar_quota::{Contender, MAX_CONTENDERS, Tier};

use super::{plan::Batch, queue::Queues};

/// Those who are named by themselves where not all are: each tier keeps an entry for the rest.
const NAMED: usize = MAX_CONTENDERS - Tier::ALL.len();

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
                    let key = (tier.index(), at, waiting.class);
                    let first = waiting.keys.iter().find_map(|key| self.waiters.get(*key));
                    let Some(first) = first else { continue };
                    // Those whom the batch asks for come before those in the queue.
                    let costs = first.kind.costs.clone();
                    let in_flight = asked.remove(&key).map_or((0, costs), |ahead| (ahead.calls, ahead.costs));
                    all.push(Contender {
                        tier: *tier,
                        tenant: Some(party.name.clone()),
                        tenants: 1,
                        class: first.kind.class.clone(),
                        calls: in_flight.0 + waiting.keys.len() as u64,
                        costs: in_flight.1,
                    });
                }
            }
        }
        all.extend(asked.into_values());
        all.sort_by_key(|contender| contender.tier.index());
        lump(all)
    }

    /// Those whom a batch asks for and who wait on if they are refused, by tier, party and class.
    fn asked_for(&self, batch: Option<&Batch>, now: Duration) -> BTreeMap<(usize, u32, u32), Contender> {
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
                asked
                    .entry(key)
                    .or_insert_with(|| Contender {
                        tier: group.tier,
                        tenant: Some(group.tenant.clone()),
                        tenants: 1,
                        class: group.kind.class.clone(),
                        calls: 0,
                        costs: group.kind.costs.clone(),
                    })
                    .calls += calls;
            }
        }
        asked
    }
}

/// Folds those beyond the first ones into one of each tier.
fn lump(mut all: Vec<Contender>) -> Vec<Contender> {
    if all.len() <= MAX_CONTENDERS {
        return all;
    }
    for rest in all.split_off(NAMED) {
        match all.iter_mut().skip(NAMED).find(|lump| lump.tier == rest.tier) {
            Some(lump) => {
                lump.tenants = lump.tenants.saturating_add(1);
                lump.calls += rest.calls;
            }
            None => all.push(Contender { tenant: None, ..rest }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use bursar_quota::{ClassName, TenantName};

    use super::*;

    fn contenders(count: usize) -> Vec<Contender> {
        let tier = |at| Tier::ALL[at * Tier::ALL.len() / count];
        let named = |at| Contender {
            tier: tier(at),
            tenant: Some(TenantName::new(&format!("t{at}")).unwrap()),
            tenants: 1,
            class: ClassName::new("default").unwrap(),
            calls: 2,
            costs: vec![1],
        };
        (0..count).map(named).collect()
    }

    #[test]
    fn as_many_as_there_is_room_for_are_named_and_the_rest_is_counted() {
        assert_eq!(lump(contenders(32)), contenders(32));
        let lumped = lump(contenders(300));
        assert!(lumped.len() <= MAX_CONTENDERS);
        let of = |what: fn(&Contender) -> u64| lumped.iter().map(what).sum::<u64>();
        assert_eq!((of(|one| one.calls), of(|one| one.tenants.into())), (600, 300));
        let unnamed: Vec<_> = lumped.iter().filter(|one| one.tenant.is_none()).map(|one| one.tier).collect();
        assert_eq!(unnamed, Tier::ALL);
    }
}
