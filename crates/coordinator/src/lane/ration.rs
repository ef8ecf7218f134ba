//! Permits that a lane granted by the ration, until the store has been told of them.
//!
//! A lease of the ration looks like any other: the lane chose its id, and any request of its permits finds it here
//! first. Once the store answers it is asked for the same leases; what it grants of them is charged there from then on,
//! and what was settled meanwhile is settled there. What it does not grant stays here until its deadline.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use bursar_quota::{
    AcquireGroup, Decision, LeaseId, Renewal, Requests, SettleKind, Settled, TenantName, Tier,
};

use super::{
    allowance::Allowance,
    plan::Group,
    settle::{Pending, Statement},
};
use crate::{
    millis::millis,
    spec::{Kind, SpecView},
};

/// The most permits that a lane holds by the ration, those included that the store was not told of yet: beyond,
/// nothing more is rationed.
pub(super) const MAX_RATIONED: usize = 16_384;

/// The most leases that one commit tells the store of.
pub(super) const MAX_TOLD: usize = 256;

/// One permit of the ration.
#[derive(Debug)]
enum Held {
    /// Its holder may use it until then.
    Open(Duration),
    /// Settled; the store is to be told.
    Owed(Box<Pending>),
    /// Settled, and the store cannot be told.
    Done,
    /// The store knows it: what becomes of it is settled there.
    Told,
}

/// One lease of the ration.
#[derive(Debug)]
struct Rationed {
    kind: Arc<Kind>,
    tenant: TenantName,
    tier: Tier,
    ttl_ms: u64,
    sent_by: Duration,
    /// The request by id that has it.
    requests: Requests,
    permits: Vec<Held>,
    /// Whether the store has been asked for it, so that what is left is only ours.
    told: bool,
}

/// What the store took of what was rationed.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Settlements that are to follow.
    pub(super) owed: Vec<Pending>,
    /// Permits that it did not take.
    pub(super) untold: u64,
}

/// All that a lane granted by the ration.
#[derive(Debug, Default)]
pub(super) struct Rations {
    /// When the store was lost; `None`: it answers.
    pub(super) since: Option<Duration>,
    /// When the store answered a commit last.
    pub(super) answered: Option<Duration>,
    /// Whether it was told that the ration is in force.
    pub(super) announced: bool,
    /// Whether somebody who could not wait was queued, since there might be some left for him.
    pub(super) hoped: bool,
    /// Permits granted since the store was lost.
    pub(super) granted: u64,
    pub(super) allowance: Allowance,
    leases: HashMap<LeaseId, Rationed>,
    /// Those that the store is to be told of, the oldest first.
    untold: VecDeque<LeaseId>,
    permits: usize,
}

impl Rations {
    /// Whether the store is still to be told of something.
    pub(super) fn owes(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Whether the lane must be kept for what the ration remembers.
    pub(super) fn is_used(&mut self, now: Duration) -> bool {
        self.expire(now);
        self.owes() || !self.leases.is_empty() || self.allowance.is_used(now)
    }

    pub(super) fn has(&self, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease)
    }

    /// How many permits more there is room for.
    pub(super) fn room(&self) -> u64 {
        u64::try_from(MAX_RATIONED.saturating_sub(self.permits)).unwrap_or(u64::MAX)
    }

    /// How many hold a slot of each limit.
    pub(super) fn out(&self, limits: usize, now: Duration) -> Vec<u64> {
        let mut out = vec![0; limits];
        for lease in self.leases.values() {
            let open = lease.permits.iter().filter(|held| matches!(held, Held::Open(end) if *end > now));
            let open = u64::try_from(open.count()).unwrap_or(u64::MAX);
            for (of, cost) in out.iter_mut().zip(&lease.kind.costs) {
                *of += if *cost > 0 { open } else { 0 };
            }
        }
        out
    }

    /// A lease that was asked for again by its request id: the same permit, with what is left of its time.
    pub(super) fn again(&self, lease: LeaseId, now: Duration) -> Option<Decision> {
        let known = self.leases.get(&lease)?;
        let end = match known.permits.first()? {
            Held::Open(end) => *end,
            Held::Owed(_) | Held::Done | Held::Told => now,
        };
        Some(Decision {
            granted: 1,
            send_within_ms: millis(known.sent_by.saturating_sub(now)),
            deadline_ms: millis(end.saturating_sub(now)),
            places: Vec::new(),
            refusal: None,
        })
    }

    /// Grants `count` permits of a group. The caller has seen that they fit.
    pub(super) fn grant(&mut self, group: &Group, count: u16, view: &SpecView, now: Duration) -> Decision {
        let deadline = now + Duration::from_millis(group.ttl_ms);
        let sent_by = (now + view.spec.send_within).min(deadline);
        self.allowance.grant(&group.kind.costs, count.into(), now);
        self.granted += u64::from(count);
        self.permits += usize::from(count);
        let rationed = Rationed {
            kind: Arc::clone(&group.kind),
            tenant: group.tenant.clone(),
            tier: group.tier,
            ttl_ms: group.ttl_ms,
            sent_by,
            requests: group.requests.clone(),
            permits: (0..count).map(|_| Held::Open(deadline)).collect(),
            told: false,
        };
        if self.leases.insert(group.lease, rationed).is_none() {
            self.untold.push_back(group.lease);
        }
        Decision {
            granted: count,
            send_within_ms: millis(sent_by.saturating_sub(now)),
            deadline_ms: group.ttl_ms,
            places: Vec::new(),
            refusal: None,
        }
    }

    /// Settles a permit of the ration. `None`: it is none, and the settlement is the store's.
    pub(super) fn settle(&mut self, pending: &Pending, view: &SpecView, now: Duration) -> Option<Settled> {
        let lease = self.leases.get_mut(&pending.lease)?;
        let Some(held) = lease.permits.get_mut(usize::from(pending.index)) else {
            return Some(Settled::Unknown);
        };
        match held {
            Held::Open(_) => {}
            Held::Owed(_) | Held::Done => return Some(Settled::Already),
            Held::Told => return None,
        }
        if pending.kind == SettleKind::Unclaimed {
            // A retry may hold it: its deadline says.
            return Some(Settled::Applied);
        }
        *held = if lease.told { Held::Done } else { Held::Owed(Box::new(pending.retold(view))) };
        self.allowance.settle(&lease.kind.costs, &pending.resolved.costs, now);
        Some(Settled::Applied)
    }

    /// Moves a permit's deadline on. `None`: it is none of the ration.
    pub(super) fn renew(
        &mut self,
        lease: LeaseId,
        index: u16,
        ttl: Duration,
        now: Duration,
    ) -> Option<Renewal> {
        let held = self.leases.get_mut(&lease)?.permits.get_mut(usize::from(index));
        Some(match held {
            Some(Held::Open(end)) if *end > now => {
                *end = (*end).max(now + ttl);
                Renewal::Renewed { deadline_ms: millis(end.saturating_sub(now)) }
            }
            Some(Held::Told) => return None,
            Some(Held::Owed(_) | Held::Done) => Renewal::Settled,
            Some(Held::Open(_)) | None => Renewal::Unknown,
        })
    }

    /// Forgets leases that the store was told of and of which nothing is left here.
    pub(super) fn expire(&mut self, now: Duration) {
        let permits = &mut self.permits;
        self.leases.retain(|_, lease| {
            let kept =
                !lease.told || lease.permits.iter().any(|held| matches!(held, Held::Open(end) if *end > now));
            if !kept {
                *permits = permits.saturating_sub(lease.permits.len());
            }
            kept
        });
    }

    /// What to ask the store for, so that it knows: leases that were granted here, the oldest first.
    pub(super) fn tell(&mut self, view: &SpecView) -> Vec<(LeaseId, AcquireGroup)> {
        let mut groups = Vec::new();
        for _ in 0..self.untold.len() {
            if groups.len() >= MAX_TOLD {
                break;
            }
            let Some(id) = self.untold.pop_front() else { break };
            let Some(lease) = self.leases.get(&id) else { continue };
            let unused = |held: &Held| matches!(held, Held::Owed(p) if p.kind == SettleKind::NotSent);
            if lease.permits.iter().all(unused) {
                self.drop_lease(id);
                continue;
            }
            // A class or a unit that is no more cannot be told of.
            let Ok(kind) = view.kind(&lease.kind.class, &lease.kind.named) else {
                self.drop_lease(id);
                continue;
            };
            let count = u16::try_from(lease.permits.len()).unwrap_or(u16::MAX);
            groups.push((
                id,
                AcquireGroup {
                    lease: id,
                    requests: lease.requests.clone(),
                    class: kind.class.clone(),
                    tenant: lease.tenant.clone(),
                    tier: lease.tier,
                    costs: kind.costs.clone(),
                    units: kind.units.clone(),
                    count,
                    ttl_ms: lease.ttl_ms,
                },
            ));
        }
        groups
    }

    /// The store gave no answer: it is to be asked again.
    pub(super) fn tell_again(&mut self, leases: &[LeaseId]) {
        for lease in leases.iter().rev().filter(|lease| self.leases.contains_key(lease)) {
            self.untold.push_front(*lease);
        }
    }

    /// The store took so many permits of a lease; the rest stays ours.
    pub(super) fn told(&mut self, id: LeaseId, taken: u16, view: &SpecView, now: Duration) -> Taken {
        let mut result = Taken::default();
        let Some(lease) = self.leases.get_mut(&id) else { return result };
        lease.told = true;
        for (index, held) in (0_u16..).zip(&mut lease.permits) {
            if index >= taken {
                result.untold += 1;
                if !matches!(held, Held::Open(_)) {
                    *held = Held::Done;
                }
                continue;
            }
            match mem::replace(held, Held::Told) {
                Held::Owed(pending) => result.owed.push(pending.now(now)),
                // Nobody said what became of it: it may have been sent.
                Held::Open(end) if end <= now => {
                    let kind = SettleKind::Lost;
                    let (seen, costs, age) = (None, Vec::new(), Duration::ZERO);
                    let statement = Statement { lease: id, index, kind, seen, costs, age };
                    result.owed.push(Pending::new(statement, view, now));
                }
                Held::Open(_) | Held::Done | Held::Told => {}
            }
        }
        self.expire(now);
        result
    }

    /// The budget is no more.
    pub(super) fn clear(&mut self) {
        self.leases.clear();
        self.untold.clear();
        self.permits = 0;
    }

    fn drop_lease(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            self.permits = self.permits.saturating_sub(lease.permits.len());
        }
    }
}

impl Pending {
    /// The settlement as the store is told of it later. It was made before the store granted the lease, so that no
    /// reading of it may count as one made since: it is charged blind, and as late as when it is told. A pause keeps its
    /// age, since it counts from the response.
    fn retold(&self, view: &SpecView) -> Self {
        let seen = self.seen.clone().map(|mut seen| {
            seen.readings.clear();
            seen
        });
        let age = if self.resolved.pause.is_some() { self.age } else { Duration::ZERO };
        let (lease, index, kind) = (self.lease, self.index, self.kind);
        let statement = Statement { lease, index, kind, seen, costs: self.costs.clone(), age };
        Self::new(statement, view, self.arrived)
    }

    /// It is told now.
    fn now(mut self, now: Duration) -> Self {
        if self.resolved.pause.is_none() {
            self.arrived = now;
        }
        self
    }
}
