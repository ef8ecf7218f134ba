//! One budget's accounting in the fake ledger.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bursar_quota::{
    AcquireGroup, BudgetSnapshot, BudgetSpec, Commit, Decision, LeaseId, LimitKind, LimitSpec, Place, Reason,
    Refusal, ReplicaName, RequestTag, Requests, Scope, SettleKind, TenantName,
};

/// What was granted and is refused of each limit, for those behind in the same commit: nobody overtakes.
pub(crate) type Ahead = HashMap<usize, u64>;

#[derive(Debug, Clone)]
pub(crate) struct Permit {
    costs: Vec<u64>,
    tenant: TenantName,
    granted: Duration,
    pub(crate) deadline: Duration,
    pub(crate) settled: Option<(SettleKind, Duration)>,
}

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) spec: BudgetSpec,
    pub(crate) version: u64,
    pub(crate) leases: HashMap<LeaseId, Vec<Permit>>,
    /// Permits that their requests claimed once more.
    pub(crate) again: HashSet<(LeaseId, u16)>,
    /// Which permit each request by id was granted.
    pub(crate) requests: HashMap<RequestTag, (LeaseId, u16)>,
    pub(crate) paused: Option<Option<Duration>>,
    pub(crate) upstream: Vec<(Scope, Duration)>,
    pub(crate) waiting: HashMap<ReplicaName, u64>,
}

pub(crate) fn check_bounds(commit: &Commit) {
    assert!(commit.settles.len() <= 512 && commit.renews.len() <= 512 && commit.acquires.len() <= 512);
    for settle in &commit.settles {
        let mut indexes = settle.indexes.clone();
        indexes.sort_unstable();
        indexes.dedup();
        assert!(indexes.len() == settle.indexes.len() && (1..=1024).contains(&indexes.len()));
    }
    let claims = |group: &&AcquireGroup| matches!(group.requests, Requests::Claim(..));
    let grants: Vec<_> = commit.acquires.iter().filter(|group| !claims(group)).collect();
    let mut leases: Vec<_> = grants.iter().map(|group| group.lease).collect();
    leases.sort_unstable();
    leases.dedup();
    assert_eq!(leases.len(), grants.len(), "a lease is asked for once a commit");
    assert!(commit.acquires.iter().all(|group| (1..=1024).contains(&group.count)));
}

/// How many of the requests have their permit in the group's lease.
fn here(places: &[Place]) -> u16 {
    u16::try_from(places.iter().filter(|place| matches!(place, Place::Here(_))).count()).unwrap()
}

impl Permit {
    fn cost(&self, at: usize) -> u64 {
        self.costs.get(at).copied().unwrap_or(0)
    }

    /// Until when it weighs on a limit, as far as is known now.
    fn until(&self, kind: &LimitKind) -> Duration {
        match (kind, &self.settled) {
            (
                _,
                Some((
                    SettleKind::NotSent | SettleKind::Unclaimed | SettleKind::Refused { counted: false },
                    at,
                )),
            ) => *at,
            (LimitKind::Concurrency { linger, .. }, Some((_, at))) => (*at + *linger).min(self.deadline),
            (LimitKind::Concurrency { .. }, None) => self.deadline,
            (LimitKind::Window { window, .. }, _) => self.granted + *window,
            _ => Duration::ZERO,
        }
    }
}

impl Book {
    /// Whether a lease has permits that were not all given back.
    pub(crate) fn is_used(&self, lease: LeaseId) -> bool {
        let unused = |permit: &Permit| {
            matches!(permit.settled, Some((SettleKind::NotSent | SettleKind::Unclaimed, _)))
        };
        self.leases.get(&lease).is_some_and(|known| !known.iter().all(unused))
    }

    pub(crate) fn decide(&mut self, group: &AcquireGroup, now: Duration, ahead: &mut Ahead) -> Decision {
        assert_eq!(group.costs.len(), self.spec.limits.len());
        let ttl = Duration::from_millis(group.ttl_ms);
        let send_within = self.spec.send_within.min(ttl);
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap();
        let mut decision = Decision {
            granted: 0,
            places: Vec::new(),
            send_within_ms: ms(send_within),
            deadline_ms: group.ttl_ms,
            refusal: None,
        };
        if !self.is_used(group.lease) {
            // As good as none: it is given out anew.
            self.leases.remove(&group.lease);
            self.again.retain(|(lease, _)| *lease != group.lease);
        }
        let nowhere = self.look_up(group, &mut decision.places);
        let group = &AcquireGroup { count: u16::try_from(nowhere.len()).unwrap(), ..group.clone() };
        if group.count == 0 && !self.leases.contains_key(&group.lease) {
            return decision;
        }
        if let Some(known) = self.leases.get(&group.lease) {
            // The same commit again: the same grant.
            decision.granted = u16::try_from(known.len()).unwrap();
            let first = &known[0];
            decision.send_within_ms = ms((first.granted + send_within).saturating_sub(now));
            decision.deadline_ms = ms(first.deadline.saturating_sub(now));
            if decision.granted < group.count + here(&decision.places) {
                decision.refusal = Some(self.fits(group, now, ahead).err().unwrap_or(Refusal {
                    reason: Reason::QuotaExhausted,
                    limit: None,
                    retry_after: Some(Duration::from_millis(1)),
                }));
            }
            return decision;
        }
        for _ in 0..group.count {
            match self.fits(group, now, ahead) {
                Ok(()) => {
                    let permit = Permit {
                        costs: group.costs.clone(),
                        tenant: group.tenant.clone(),
                        granted: now,
                        deadline: now + ttl,
                        settled: None,
                    };
                    self.leases.entry(group.lease).or_default().push(permit);
                    if let (Requests::Asked(tags) | Requests::Held(tags), at) =
                        (&group.requests, nowhere[usize::from(decision.granted)])
                    {
                        self.requests.insert(tags[at], (group.lease, decision.granted));
                        decision.places[at] = Place::Here(decision.granted);
                    }
                    decision.granted += 1;
                }
                Err(refusal) => {
                    let shared =
                        matches!(refusal.reason, Reason::QuotaExhausted | Reason::ConcurrencyExhausted);
                    let at =
                        self.spec.limits.iter().position(|limit| Some(&limit.name) == refusal.limit.as_ref());
                    if let Some(at) = at.filter(|_| shared) {
                        let left = u64::from(group.count - decision.granted);
                        *ahead.entry(at).or_default() += left * group.costs[at];
                    }
                    decision.refusal = Some(refusal);
                    break;
                }
            }
        }
        decision
    }

    /// Where the permits of a group's requests are; the places of those who have none.
    fn look_up(&self, group: &AcquireGroup, places: &mut Vec<Place>) -> Vec<usize> {
        let (Requests::Asked(tags) | Requests::Held(tags)) = &group.requests else {
            return (0..usize::from(group.count)).collect();
        };
        assert_eq!(tags.len(), usize::from(group.count), "a request is of one permit");
        *places = (tags.iter())
            .map(|tag| match self.requests.get(tag) {
                Some((lease, index)) if *lease == group.lease && self.is_used(*lease) => Place::Here(*index),
                Some((lease, index))
                    if *lease != group.lease && matches!(group.requests, Requests::Asked(_)) =>
                {
                    Place::Elsewhere(*lease, *index)
                }
                _ => Place::Nowhere,
            })
            .collect();
        (0..places.len()).filter(|at| places[*at] == Place::Nowhere).collect()
    }

    /// A request asks once more for the permit that it was granted.
    pub(crate) fn claim(
        &mut self,
        lease: LeaseId,
        (tag, index): (RequestTag, u16),
        now: Duration,
    ) -> Decision {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap();
        let permit = self.leases.get(&lease).and_then(|known| known.get(usize::from(index)));
        let gone = |permit: &&Permit| {
            matches!(permit.settled, Some((SettleKind::NotSent | SettleKind::Unclaimed, _)))
        };
        let Some(permit) = permit.filter(|permit| !gone(permit)) else {
            self.requests.remove(&tag);
            let places = vec![Place::Nowhere];
            return Decision { granted: 0, places, send_within_ms: 0, deadline_ms: 0, refusal: None };
        };
        self.again.insert((lease, index));
        Decision {
            granted: 0,
            places: vec![Place::Here(index)],
            send_within_ms: ms((permit.granted + self.spec.send_within).saturating_sub(now)),
            deadline_ms: ms(permit.deadline.saturating_sub(now)),
            refusal: None,
        }
    }

    fn fits(&self, group: &AcquireGroup, now: Duration, ahead: &Ahead) -> Result<(), Refusal> {
        let refuse = |reason, limit, retry_after| Err(Refusal { reason, limit, retry_after });
        match self.paused {
            Some(None) => return refuse(Reason::PausedByOperator, None, None),
            Some(Some(until)) if now < until => {
                return refuse(Reason::PausedByOperator, None, Some(until - now));
            }
            _ => {}
        }
        let stops = |scope: &Scope| match scope {
            Scope::Budget => true,
            Scope::Class(class) => *class == group.class,
            Scope::Limit(at) => group.costs[usize::from(*at)] > 0,
        };
        let upstream = self.upstream.iter().filter(|(scope, _)| stops(scope)).map(|(_, until)| *until).max();
        if let Some(until) = upstream.filter(|until| now < *until) {
            return refuse(Reason::PausedByUpstream, None, Some(until - now));
        }
        let permits = || self.leases.values().flatten();
        for (at, limit) in self.spec.limits.iter().enumerate() {
            let cost = group.costs[at];
            if cost == 0 {
                continue;
            }
            let mut weigh: Vec<(Duration, u64)> = permits()
                .filter(|permit| permit.cost(at) > 0)
                .map(|permit| (permit.until(&limit.kind), permit.cost(at)))
                .filter(|(until, _)| *until > now)
                .collect();
            let used: u64 = weigh.iter().map(|(_, cost)| cost).sum();
            let capacity = limit.kind.capacity();
            if cost > capacity {
                return refuse(Reason::CostAboveCapacity, Some(limit.name.clone()), None);
            }
            let before = ahead.get(&at).copied().unwrap_or(0);
            let cost = (before + cost).min(capacity);
            if before > 0 || used + cost > capacity {
                weigh.sort_unstable();
                let mut left = used;
                let free = weigh.iter().find(|(_, weight)| {
                    left -= weight;
                    left + cost <= capacity
                });
                let reason = match limit.kind {
                    LimitKind::Concurrency { .. } => Reason::ConcurrencyExhausted,
                    _ => Reason::QuotaExhausted,
                };
                return refuse(reason, Some(limit.name.clone()), free.map(|(until, _)| *until - now));
            }
            if let Some(cap) = limit.caps.iter().find(|cap| cap.tenant.as_ref() == Some(&group.tenant)) {
                let mut own: Vec<(Duration, u64)> = permits()
                    .filter(|permit| permit.tenant == group.tenant && permit.cost(at) > 0)
                    .map(|permit| (permit.until(&limit.kind), permit.cost(at)))
                    .filter(|(until, _)| *until > now)
                    .collect();
                if own.iter().map(|(_, cost)| cost).sum::<u64>() + cost > cap.amount {
                    own.sort_unstable();
                    let first = own.first().map(|(until, _)| *until - now);
                    return refuse(Reason::TenantCapped, Some(limit.name.clone()), first);
                }
            }
        }
        Ok(())
    }

    /// By limit: what could be granted, what is out, what is paid.
    pub(crate) fn stand(&self, now: Duration) -> Vec<(i64, u64, u64)> {
        let stand = |(at, limit): (usize, &LimitSpec)| {
            let weighs = |permit: &&Permit| permit.until(&limit.kind) > now;
            let (out, paid): (Vec<_>, Vec<_>) = (self.leases.values().flatten().filter(weighs))
                .partition(|permit| permit.settled.is_none() && now < permit.deadline);
            let sum = |permits: Vec<&Permit>| permits.iter().map(|permit| permit.cost(at)).sum::<u64>();
            let (out, paid) = (sum(out), sum(paid));
            (i64::try_from(limit.kind.capacity()).unwrap() - i64::try_from(out + paid).unwrap(), out, paid)
        };
        self.spec.limits.iter().enumerate().map(stand).collect()
    }

    pub(crate) fn snapshot(&self) -> BudgetSnapshot {
        BudgetSnapshot {
            limits: Vec::new(),
            pauses: Vec::new(),
            usage: Vec::new(),
            granted: 0,
            settled: 0,
            refused_upstream: 0,
            waiting: Vec::new(),
        }
    }
}
