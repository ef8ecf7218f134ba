//! Who waits, by tier, tenant and class.
//!
//! Within a tenant it is first come first served, class by class: a class whose limit is used up does not hold up
//! another. What is asked for leaves its queue; what is refused goes back to the front of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bursar_quota::{ClassName, TenantName, Tier};

use super::waiter::{Told, Waiter};
use crate::{
    slab::{Key, Slab},
    spec::Kind,
};

/// The most waiters one commit asks for.
pub(super) const MAX_ASK: usize = 1024;

/// The fewest waiters of a class that are asked for at once, however little was granted before.
pub(super) const MIN_ASK: usize = 4;

/// How far a tier may fall behind its share while it could use none of it, in turns of weight one.
const MAX_LAG: u64 = 16 * STRIDE;

/// What a turn costs a tier of weight one.
const STRIDE: u64 = 1 << 20;

/// What cannot be had for now: asking again before `until` is pointless unless something changes.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) epoch: u64,
    pub(super) until: Duration,
    /// The limit that binds, and what was refused there. A cheaper call might fit, but must not overtake: the ledger
    /// sees to that where both are asked for.
    pub(super) binds: Option<(usize, u64)>,
}

/// The waiters of one class.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: ClassName,
    /// How many there are, those in flight included.
    pub(super) live: usize,
    /// How many are in queues.
    pub(super) queued: usize,
    /// How many to ask for in the next commit: more than the last one got, so that little is asked for in vain.
    pub(super) ask: usize,
    /// Counts arrivals, so that a refusal is not taken for one who came after it was asked.
    pub(super) arrivals: u64,
    pub(super) block: Option<Block>,
    pub(super) told: Option<Arc<Told>>,
    /// Those whose patience is watched, by its end.
    pub(super) timers: BTreeSet<(Duration, Key)>,
    /// Those who wait for their first decision, with stale keys among them.
    pub(super) fresh: Vec<Key>,
    /// When to look for those among them who have waited too long.
    pub(super) fresh_due: Duration,
    /// Of the plan that is being made: how many more may be asked for.
    pub(super) left: usize,
}

/// The waiters of one tenant in one tier.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) name: TenantName,
    live: usize,
    /// Its place in the ring.
    stamp: u64,
    pub(super) queues: Vec<Queue>,
}

/// The waiters of one tenant, tier and class, in order of arrival, with stale keys among them.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) class: u32,
    pub(super) keys: VecDeque<Key>,
    pub(super) block: Option<Block>,
}

/// One tier: its tenants in the order of their turns, the one served longest ago first.
#[derive(Debug, Default)]
pub(super) struct TierQueue {
    pub(super) pass: u64,
    live: usize,
    by_name: HashMap<TenantName, u32>,
    pub(super) ring: BTreeMap<u64, u32>,
    pub(super) parties: Vec<Option<Party>>,
    free: Vec<u32>,
}

/// All waiters of a lane.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    pub(super) waiters: Slab<Waiter>,
    pub(super) classes: Vec<Option<Class>>,
    class_by_name: HashMap<ClassName, u32>,
    free_classes: Vec<u32>,
    pub(super) tiers: [TierQueue; 3],
    /// Where the tiers' shares stand: what one that comes back starts from.
    now_pass: u64,
    last_stamp: u64,
    pub(super) last_seq: u64,
    /// Counts what may have freed capacity; blocks of an older epoch hold no more.
    pub(super) epoch: u64,
    /// How many were refused and wait on.
    pub(super) waiting: usize,
    /// How many went away since those were last dropped.
    pub(super) gone: usize,
    /// About how many stale keys are in queues.
    pub(super) stale: usize,
    /// When a tenant's own block ends next, at the earliest.
    pub(super) parties_due: Option<Duration>,
    /// Whose requests by id were not looked up yet, with stale keys among them.
    pub(super) to_look: VecDeque<Key>,
}

fn place<T>(places: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(at) = free.pop() {
        if let Some(slot) = places.get_mut(at as usize) {
            *slot = Some(value);
        }
        return at;
    }
    places.push(Some(value));
    // Bounded by the number of waiters, which a slab of 2^32 places holds.
    u32::try_from(places.len() - 1).unwrap_or(u32::MAX)
}

impl Block {
    pub(super) fn holds(&self, epoch: u64, now: Duration) -> bool {
        self.epoch == epoch && now < self.until
    }

    /// Whether a call of these costs might overtake those that are refused.
    fn is_undercut(&self, costs: &[u64]) -> bool {
        let cost = self.binds.map(|(limit, least)| (costs.get(limit).copied().unwrap_or(0), least));
        cost.is_some_and(|(cost, least)| cost > 0 && cost < least)
    }
}

impl TierQueue {
    pub(super) fn party(&self, at: u32) -> Option<&Party> {
        self.parties.get(at as usize)?.as_ref()
    }

    pub(super) fn all_parties(&mut self) -> impl Iterator<Item = &mut Party> {
        self.parties.iter_mut().flatten()
    }

    pub(super) fn party_mut(&mut self, at: u32) -> Option<&mut Party> {
        self.parties.get_mut(at as usize)?.as_mut()
    }
}

impl Queues {
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// How many were refused and wait on.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn class(&self, at: u32) -> Option<&Class> {
        self.classes.get(at as usize)?.as_ref()
    }

    pub(super) fn class_mut(&mut self, at: u32) -> Option<&mut Class> {
        self.classes.get_mut(at as usize)?.as_mut()
    }

    pub(super) fn live_classes(&mut self) -> impl Iterator<Item = &mut Class> {
        self.classes.iter_mut().flatten()
    }

    /// Leaves classes alone until then.
    pub(super) fn hold(&mut self, classes: &[u32], until: Duration) {
        let epoch = self.epoch;
        for at in classes {
            if let Some(class) = self.class_mut(*at) {
                class.block = Some(Block { epoch, until, binds: None });
            }
        }
    }

    /// Something may have come free: whoever was refused is worth asking for again.
    pub(crate) fn bump(&mut self) {
        self.epoch += 1;
    }

    /// Takes in a new waiter; hands it back if there is no room at all.
    pub(crate) fn enqueue(&mut self, mut waiter: Waiter) -> Result<Key, Box<Waiter>> {
        self.last_seq += 1;
        waiter.place.seq = self.last_seq;
        let (tier, undecided) = (waiter.tier, waiter.undecided);
        let class = self.enter_class(&waiter.kind);
        for other in self.classes.iter_mut().flatten() {
            other.block.take_if(|block| block.is_undercut(&waiter.kind.costs));
        }
        let party = self.enter_party(tier, &waiter.tenant);
        (waiter.place.class, waiter.place.party) = (class, party);
        let has_id = waiter.request.is_some();
        let key = self.waiters.insert(waiter).map_err(Box::new)?;
        if has_id {
            self.look_up(key);
        }
        if let Some(class) = self.class_mut(class) {
            class.live += 1;
            class.queued += 1;
            class.arrivals += 1;
            class.block = None;
            class.fresh_due = class.fresh_due.min(undecided);
            class.fresh.push(key);
        }
        let tier = &mut self.tiers[tier.index()];
        tier.live += 1;
        if let Some(party) = tier.party_mut(party) {
            party.live += 1;
            let queue = party.queue_mut(class);
            queue.block = None;
            queue.keys.push_back(key);
        }
        Ok(key)
    }

    fn enter_class(&mut self, kind: &Kind) -> u32 {
        if let Some(at) = self.class_by_name.get(&kind.class) {
            return *at;
        }
        let class = Class {
            name: kind.class.clone(),
            live: 0,
            queued: 0,
            ask: MAX_ASK,
            arrivals: 0,
            block: None,
            told: None,
            timers: BTreeSet::new(),
            fresh: Vec::new(),
            fresh_due: Duration::MAX,
            left: 0,
        };
        let at = place(&mut self.classes, &mut self.free_classes, class);
        self.class_by_name.insert(kind.class.clone(), at);
        at
    }

    fn enter_party(&mut self, tier: Tier, tenant: &TenantName) -> u32 {
        let pass = self.now_pass;
        let tier = &mut self.tiers[tier.index()];
        if tier.live == 0 {
            // ## Idle => Active: time without callers earns no share.
            tier.pass = tier.pass.max(pass);
        }
        if let Some(at) = tier.by_name.get(tenant) {
            return *at;
        }
        self.last_stamp += 1;
        let party = Party { name: tenant.clone(), live: 0, stamp: self.last_stamp, queues: Vec::new() };
        let at = place(&mut tier.parties, &mut tier.free, party);
        tier.by_name.insert(tenant.clone(), at);
        tier.ring.insert(self.last_stamp, at);
        at
    }

    /// Takes a waiter out, wherever it is. A key that is left in a queue finds nothing from now on.
    pub(super) fn take(&mut self, key: Key) -> Option<Waiter> {
        let waiter = self.waiters.remove(key)?;
        let at = &waiter.place;
        self.waiting -= usize::from(at.decided);
        self.stale += usize::from(!at.in_flight);
        let mut class_gone = None;
        if let Some(class) = self.class_mut(at.class) {
            class.live -= 1;
            if !at.in_flight {
                class.queued -= 1;
            }
            if let Some(end) = at.timer {
                class.timers.remove(&(end, key));
            }
            class_gone = (class.live == 0).then(|| class.name.clone());
        }
        if let Some(name) = class_gone {
            self.class_by_name.remove(&name);
            if let Some(slot) = self.classes.get_mut(at.class as usize) {
                *slot = None;
            }
            self.free_classes.push(at.class);
        }
        let tier = &mut self.tiers[waiter.tier.index()];
        tier.live -= 1;
        let gone = tier.party_mut(at.party).is_some_and(|party| {
            party.live -= 1;
            party.live == 0
        });
        if gone && let Some(party) = tier.parties.get_mut(at.party as usize).and_then(Option::take) {
            tier.by_name.remove(&party.name);
            tier.ring.remove(&party.stamp);
            tier.free.push(at.party);
        }
        Some(waiter)
    }

    /// Puts waiters that were asked for back to the front of their queues, in the order in which they were taken.
    pub(super) fn put_back(&mut self, keys: &[Key]) {
        for key in keys.iter().rev() {
            let Some(waiter) = self.waiters.get_mut(*key) else { continue };
            if !std::mem::take(&mut waiter.place.in_flight) {
                continue;
            }
            let (class_at, party_at, tier) = (waiter.place.class, waiter.place.party, waiter.tier);
            let undecided = (!waiter.place.decided).then_some(waiter.undecided);
            if let Some(class) = self.classes.get_mut(class_at as usize).and_then(Option::as_mut) {
                class.queued += 1;
                if let Some(due) = undecided {
                    class.fresh.push(*key);
                    class.fresh_due = class.fresh_due.min(due);
                }
            }
            if let Some(party) = self.tiers[tier.index()].party_mut(party_at) {
                party.queue_mut(class_at).keys.push_front(*key);
            }
        }
    }

    /// A tenant of a tier was granted `count`: its next turn comes after everybody else's.
    pub(super) fn served(
        &mut self,
        tier: Tier,
        tenant: &TenantName,
        party: u32,
        count: u64,
        weights: [u32; 3],
    ) {
        self.move_to_back(tier, tenant, party);
        let weight = u64::from(weights[tier.index()].max(1));
        self.now_pass = self.now_pass.max(self.tiers[tier.index()].pass);
        self.tiers[tier.index()].pass += count * (STRIDE / weight);
        let floor = self.now_pass.saturating_sub(MAX_LAG);
        for tier in &mut self.tiers {
            tier.pass = tier.pass.max(floor);
        }
    }

    /// Moves a tenant to the end of its tier's ring.
    pub(super) fn move_to_back(&mut self, tier: Tier, tenant: &TenantName, party: u32) {
        let tier = &mut self.tiers[tier.index()];
        let Some(at) = tier.parties.get_mut(party as usize).and_then(Option::as_mut) else { return };
        if at.name == *tenant {
            self.last_stamp += 1;
            tier.ring.remove(&at.stamp);
            at.stamp = self.last_stamp;
            tier.ring.insert(at.stamp, party);
        }
    }

    pub(super) fn stride(weight: u32) -> u64 {
        STRIDE / u64::from(weight.max(1))
    }

    /// Whether anybody of the tier is here.
    pub(super) fn is_active(&self, tier: Tier) -> bool {
        self.tiers[tier.index()].live > 0
    }
}

impl Party {
    pub(super) fn is(&self, tenant: &TenantName) -> bool {
        self.name == *tenant
    }

    pub(super) fn queue_mut(&mut self, class: u32) -> &mut Queue {
        let at = self.queues.iter().position(|queue| queue.class == class).unwrap_or_else(|| {
            self.queues.push(Queue { class, keys: VecDeque::new(), block: None });
            self.queues.len() - 1
        });
        &mut self.queues[at]
    }
}
