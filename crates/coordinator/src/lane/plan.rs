//! Whom to ask for next, in which order.
//!
//! Tiers take turns by weight (stride scheduling), tenants in a ring, and a tenant's calls come in order. The order is
//! built one waiter at a time, and neighbours that are equal are folded into one group. Building it moves no tier and
//! no tenant: only what is then granted does.

use std::{
    collections::HashSet,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use bursar_quota::{LeaseId, MAX_LEASE_PERMITS, RequestTag, Requests, TenantName, Tier};

use super::{
    lease::Leases,
    queue::{MAX_ASK, Queues},
};
use crate::{
    slab::Key,
    spec::{Kind, SpecView},
};

/// The most groups of one sort in a commit.
pub(crate) const MAX_GROUPS: usize = 512;

/// Equal acquires next to each other.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) lease: LeaseId,
    /// The waiters' requests by id.
    pub(super) requests: Requests,
    pub(super) kind: Arc<Kind>,
    pub(super) tenant: TenantName,
    pub(super) tier: Tier,
    pub(super) ttl_ms: u64,
    pub(super) class: u32,
    pub(super) party: u32,
    /// How many of the batch's waiters, after those of the groups before.
    pub(super) count: u16,
}

impl Group {
    /// Whether one more may join whose request is this.
    fn takes(&self, request: Option<RequestTag>) -> bool {
        match &self.requests {
            Requests::None => request.is_none(),
            Requests::Asked(_) => request.is_some(),
            Requests::Held(_) | Requests::Claim(..) => false,
        }
    }

    /// Whether its permits are for requests by id.
    pub(super) fn requested(&self) -> bool {
        self.requests != Requests::None
    }
}

/// What one commit asks for.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) groups: Vec<Group>,
    pub(super) waiters: Vec<Key>,
    pub(super) epoch: u64,
    /// The last that had arrived.
    pub(super) seq: u64,
    /// How many of each class had arrived.
    pub(super) arrivals: Vec<(u32, u64)>,
    /// Whether those in flight are watched, because the commit takes long.
    pub(super) watched: bool,
    /// Whether an earlier commit of it may have run.
    pub(super) doubtful: bool,
}

/// Where the plan stands in one tier.
struct Turns {
    tier: Tier,
    pass: u64,
    stride: u64,
    /// The stamp of the ring's tenant that was looked at last, in the first round.
    stamp: Option<u64>,
    first: bool,
    /// Tenants that had a turn in this round and may have another in the next.
    next: Vec<u32>,
    round: Vec<u32>,
    at: usize,
}

impl Turns {
    fn new(tier: Tier, pass: u64, weight: u32) -> Self {
        let stride = Queues::stride(weight);
        let (next, round) = (Vec::new(), Vec::new());
        Self { tier, pass, stride, stamp: None, first: true, next, round, at: 0 }
    }
}

/// The plan as far as it is made.
struct Draft<'a> {
    batch: Batch,
    /// Passed over in this plan, to be put back.
    aside: Vec<Key>,
    /// Requests by id in the batch: one may be in a commit once.
    requests: HashSet<RequestTag>,
    /// Whether each of them is to have a lease of its own, by which it is found without the ledger.
    apart: bool,
    /// Classes that may be asked for.
    open: usize,
    now: Duration,
    view: &'a SpecView,
    ids: &'a mut Leases,
}

impl Queues {
    /// Takes those out that the next commit asks for. `None`: nobody is worth asking for now.
    pub(crate) fn plan(&mut self, now: Duration, view: &SpecView, ids: &mut Leases) -> Option<Batch> {
        self.plan_as(false, now, view, ids)
    }

    /// As [`Queues::plan`]; each request by id with a lease of its own, the same whoever asks.
    pub(crate) fn plan_apart(&mut self, now: Duration, view: &SpecView, ids: &mut Leases) -> Option<Batch> {
        self.plan_as(true, now, view, ids)
    }

    fn plan_as(&mut self, apart: bool, now: Duration, view: &SpecView, ids: &mut Leases) -> Option<Batch> {
        let open = self.open_classes(now);
        if open == 0 {
            return None;
        }
        let batch = Batch { epoch: self.epoch, seq: self.last_seq, ..Batch::default() };
        let mut draft =
            Draft { batch, aside: Vec::new(), requests: HashSet::new(), apart, open, now, view, ids };
        let mut tiers: Vec<Turns> = (Tier::ALL.into_iter())
            .filter(|tier| self.is_active(*tier))
            .map(|tier| Turns::new(tier, self.tiers[tier.index()].pass, view.spec.weights[tier.index()]))
            .collect();
        while draft.open > 0 && draft.batch.waiters.len() < MAX_ASK {
            let Some(at) = (0..tiers.len()).min_by_key(|at| tiers[*at].pass) else { break };
            let Some((party, key)) = self.next_of_tier(&mut tiers[at], &mut draft) else {
                tiers.swap_remove(at);
                continue;
            };
            tiers[at].pass += tiers[at].stride;
            if !self.join(key, party, &mut draft) {
                // No room for another group: what was taken last goes back.
                draft.aside.push(key);
                break;
            }
        }
        let Draft { mut batch, aside, .. } = draft;
        self.put_back(&aside);
        self.after_plan(&mut batch);
        (!batch.waiters.is_empty()).then_some(batch)
    }

    /// Opens the classes that have somebody to ask for and are not known to be refused; how many.
    fn open_classes(&mut self, now: Duration) -> usize {
        let epoch = self.epoch;
        let mut open = 0;
        for class in self.live_classes() {
            let blocked = class.block.as_ref().is_some_and(|block| block.holds(epoch, now));
            class.left = if class.queued == 0 || blocked { 0 } else { class.ask };
            open += usize::from(class.left > 0);
        }
        open
    }

    fn next_of_tier(&mut self, turns: &mut Turns, draft: &mut Draft<'_>) -> Option<(u32, Key)> {
        loop {
            let party = if turns.first {
                let after = turns.stamp.map_or(Unbounded, Excluded);
                match self.tiers[turns.tier.index()].ring.range((after, Unbounded)).next() {
                    Some((stamp, party)) => {
                        turns.stamp = Some(*stamp);
                        *party
                    }
                    None => {
                        turns.first = false;
                        continue;
                    }
                }
            } else if let Some(party) = turns.round.get(turns.at) {
                turns.at += 1;
                *party
            } else if turns.next.is_empty() {
                return None;
            } else {
                std::mem::swap(&mut turns.round, &mut turns.next);
                turns.next.clear();
                turns.at = 0;
                continue;
            };
            if draft.open == 0 {
                return None;
            }
            if let Some(key) = self.next_of_party(turns.tier, party, draft) {
                turns.next.push(party);
                return Some((party, key));
            }
        }
    }

    /// Takes the tenant's call that came first, among those of classes that may be asked for.
    fn next_of_party(&mut self, tier: Tier, party: u32, draft: &mut Draft<'_>) -> Option<Key> {
        let (mut best, mut at): (Option<(u64, Key, usize)>, usize) = (None, 0);
        while let Some(queue) = self.tiers[tier.index()].party(party)?.queues.get(at) {
            let class_at = queue.class;
            let blocked = queue.block.as_ref().is_some_and(|block| block.holds(self.epoch, draft.now));
            if blocked || self.class(class_at).is_none_or(|class| class.left == 0) {
                at += 1;
                continue;
            }
            match self.head(tier, party, at, draft) {
                Some((seq, key)) => {
                    if best.is_none_or(|(first, ..)| seq < first) {
                        best = Some((seq, key, at));
                    }
                    at += 1;
                }
                None => {
                    // Nothing but stale keys were left in it, or what was set aside, which will make it anew.
                    self.tiers[tier.index()].party_mut(party)?.queues.swap_remove(at);
                }
            }
        }
        let (_, key, at) = best?;
        let queue = self.tiers[tier.index()].party_mut(party)?.queues.get_mut(at)?;
        queue.keys.pop_front();
        let waiter = self.waiters.get_mut(key)?;
        waiter.place.in_flight = true;
        let class = self.classes.get_mut(waiter.place.class as usize)?.as_mut()?;
        class.queued -= 1;
        class.left -= 1;
        if class.left == 0 || class.queued == 0 {
            class.left = 0;
            draft.open -= 1;
        }
        Some(key)
    }

    /// The first in a queue who may be asked for. Who went away is dropped, who would be there twice is set aside.
    fn head(&mut self, tier: Tier, party: u32, at: usize, draft: &mut Draft<'_>) -> Option<(u64, Key)> {
        loop {
            let queue = self.tiers[tier.index()].party(party)?.queues.get(at)?;
            let class_at = queue.class;
            let key = *queue.keys.front()?;
            let Some(waiter) = self.waiters.get(key) else {
                self.stale = self.stale.saturating_sub(1);
                self.tiers[tier.index()].party_mut(party)?.queues.get_mut(at)?.keys.pop_front();
                continue;
            };
            let twice = waiter.request.is_some_and(|tag| draft.requests.contains(&tag));
            if !waiter.answer.is_closed() && !twice {
                return Some((waiter.place.seq, key));
            }
            let closed = waiter.answer.is_closed();
            self.tiers[tier.index()].party_mut(party)?.queues.get_mut(at)?.keys.pop_front();
            if closed {
                let was_open = self.class(class_at).is_some_and(|class| class.left > 0);
                self.take(key);
                self.stale = self.stale.saturating_sub(1);
                let still_open = self.class(class_at).is_some_and(|class| class.left > 0 && class.queued > 0);
                if was_open && !still_open {
                    self.close(class_at, draft);
                    return None;
                }
                continue;
            }
            self.waiters.get_mut(key)?.place.in_flight = true;
            draft.aside.push(key);
            let class = self.class_mut(class_at)?;
            class.queued -= 1;
            if class.queued == 0 {
                self.close(class_at, draft);
                return None;
            }
        }
    }

    fn close(&mut self, class: u32, draft: &mut Draft<'_>) {
        draft.open -= 1;
        if let Some(class) = self.class_mut(class) {
            class.left = 0;
        }
    }

    /// Folds a waiter into the last group, or begins one; whether there was room.
    fn join(&self, key: Key, party: u32, draft: &mut Draft<'_>) -> bool {
        let Some(waiter) = self.waiters.get(key) else { return true };
        let ttl_ms = draft.view.ttl_in_force(waiter.ttl_ms);
        let claim = if draft.apart { None } else { waiter.claim.as_deref().copied() };
        let alone = claim.is_some() || (draft.apart && waiter.request.is_some());
        let batch = &mut draft.batch;
        if let Some(last) = batch.groups.last_mut()
            && !alone
            && last.takes(waiter.request)
            && last.count < MAX_LEASE_PERMITS
            && (last.party, last.tier, last.ttl_ms) == (party, waiter.tier, ttl_ms)
            && (Arc::ptr_eq(&last.kind, &waiter.kind) || last.kind == waiter.kind)
        {
            last.count += 1;
            if let (Requests::Asked(tags), Some(tag)) = (&mut last.requests, waiter.request) {
                tags.push(tag);
            }
        } else if batch.groups.len() < MAX_GROUPS {
            let class = &waiter.kind.class;
            let (lease, requests) = match (waiter.request, claim) {
                (Some(tag), Some((lease, index))) => (lease, Requests::Claim(tag, index)),
                (Some(tag), None) if draft.apart => {
                    (Leases::of_request(class, tag), Requests::Held(vec![tag]))
                }
                (Some(tag), None) => (draft.ids.next(class), Requests::Asked(vec![tag])),
                (None, _) => (draft.ids.next(class), Requests::None),
            };
            batch.groups.push(Group {
                lease,
                requests,
                kind: Arc::clone(&waiter.kind),
                tenant: waiter.tenant.clone(),
                tier: waiter.tier,
                ttl_ms,
                class: waiter.place.class,
                party,
                count: 1,
            });
        } else {
            return false;
        }
        draft.requests.extend(waiter.request);
        batch.waiters.push(key);
        true
    }

    /// Notes who had arrived, and forgets what the queues no longer need.
    fn after_plan(&mut self, batch: &mut Batch) {
        for (at, class) in (0_u32..).zip(&mut self.classes) {
            let Some(class) = class else { continue };
            if class.live > class.queued {
                batch.arrivals.push((at, class.arrivals));
            }
            if class.queued == 0 {
                class.fresh.clear();
                class.fresh_due = Duration::MAX;
            } else if class.fresh.len() > 2 * class.live + 64 {
                let waiters = &self.waiters;
                class.fresh.sort_unstable();
                class.fresh.dedup();
                class
                    .fresh
                    .retain(|key| waiters.get(*key).is_some_and(|w| !w.place.decided && !w.place.in_flight));
            }
        }
        self.sweep_stale();
    }

    /// Drops stale keys once they are the most.
    pub(super) fn sweep_stale(&mut self) {
        if self.stale <= self.waiters.len() + 64 {
            return;
        }
        self.stale = 0;
        let waiters = &self.waiters;
        for party in self.tiers.iter_mut().flat_map(|tier| tier.all_parties()) {
            for queue in &mut party.queues {
                queue.keys.retain(|key| waiters.get(*key).is_some());
            }
            party.queues.retain(|queue| !queue.keys.is_empty());
        }
    }
}
