//! Settlements: queued, folded by lease, answered one by one.
//!
//! Those of one lease that say the same become one group, so that a commit costs the ledger by lease and not by permit.
//! Two of the same permit never share a group: the second must find the first's effect.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use bursar_quota::{
    CommitReply, LeaseId, LimitReading, Observation, RenewGroup, Renewal, SettleGroup, SettleKind, Settled,
    Span, UnitName,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::plan::MAX_GROUPS;
use crate::{
    CoordinatorError, SettleReport,
    millis::millis,
    spec::{Resolved, SpecView},
};

/// Settlements whose ages differ by no more than this are of one age, the least.
const SAME_AGE_MS: u64 = 10;

/// The most permits settled in one commit.
const MAX_SETTLES: usize = 8192;

/// How often it is tried to settle what nobody waits for.
pub(crate) const MAX_TRIES: u8 = 4;

/// A settlement that waits for its commit.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) lease: LeaseId,
    pub(crate) index: u16,
    /// What became of it before the response was looked at.
    pub(crate) kind: SettleKind,
    pub(crate) seen: Option<Box<Observation>>,
    pub(crate) costs: Vec<(UnitName, u64)>,
    pub(crate) resolved: Resolved,
    pub(crate) arrived: Duration,
    pub(crate) age: Duration,
    /// `None`: the lane's own.
    pub(crate) answer: Option<oneshot::Sender<Result<SettleReport, CoordinatorError>>>,
    /// Its place in the bound of the queue.
    pub(crate) slot: Option<OwnedSemaphorePermit>,
    /// How many commits of it have failed.
    tries: u8,
    /// Its group in the commit, and its place there.
    group: usize,
    at: usize,
}

/// A permit that was granted to a caller who had gone away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unclaimed {
    pub(crate) lease: LeaseId,
    pub(crate) index: u16,
    /// Whether its lease is that of a request id: then a retry of the request may have taken it.
    pub(crate) requested: bool,
}

impl Unclaimed {
    /// Of a random lease nobody else knows, however often the lane asked for it.
    pub(crate) fn kind(self) -> SettleKind {
        if self.requested { SettleKind::Unclaimed } else { SettleKind::NotSent }
    }
}

/// A renewal that waits for its commit.
#[derive(Debug)]
pub(crate) struct PendingRenew {
    pub(crate) lease: LeaseId,
    pub(crate) index: u16,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) answer: oneshot::Sender<Result<Renewal, CoordinatorError>>,
    pub(crate) slot: Option<OwnedSemaphorePermit>,
}

/// What a settlement says, before it is bound to a lane.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) lease: LeaseId,
    pub(crate) index: u16,
    pub(crate) kind: SettleKind,
    pub(crate) seen: Option<Box<Observation>>,
    pub(crate) costs: Vec<(UnitName, u64)>,
    pub(crate) age: Duration,
}

impl Pending {
    pub(crate) fn new(statement: Statement, view: &SpecView, now: Duration) -> Self {
        let Statement { lease, index, kind, seen, costs, age } = statement;
        let resolved = view.resolve(lease, seen.as_deref(), kind, &costs);
        Self {
            lease,
            index,
            kind,
            seen,
            costs,
            resolved,
            arrived: now,
            age,
            answer: None,
            slot: None,
            tries: 0,
            group: 0,
            at: 0,
        }
    }

    /// The lane's own: a permit that nobody took.
    pub(crate) fn unclaimed(permit: Unclaimed, view: &SpecView, now: Duration) -> Self {
        let (Unclaimed { lease, index, .. }, kind) = (permit, permit.kind());
        let statement = Statement { lease, index, kind, seen: None, costs: Vec::new(), age: Duration::ZERO };
        Self::new(statement, view, now)
    }

    pub(crate) fn reply(self, result: Result<SettleReport, CoordinatorError>) {
        if let Some(answer) = self.answer {
            // A caller who went away needs no answer; the settlement has its effect all the same.
            let _ = answer.send(result);
        }
    }

    /// Its commit failed. Who waits for it is told, and settles again; where nobody does, it is to be tried again, a few
    /// times.
    pub(crate) fn failed(mut self, error: &CoordinatorError) -> Option<Self> {
        if self.answer.as_ref().is_some_and(|answer| !answer.is_closed()) {
            self.reply(Err(error.clone()));
            return None;
        }
        self.tries += 1;
        (self.tries < MAX_TRIES).then_some(self)
    }

    /// The answer where the budget is unknown: so is the permit.
    pub(crate) fn unknown(self) {
        let malformed = self.malformed();
        self.reply(Ok(SettleReport { result: Settled::Unknown, paused_for: Duration::ZERO, malformed }));
    }

    fn malformed(&self) -> u32 {
        self.seen.as_ref().map_or(0, |seen| seen.malformed)
    }
}

/// What a commit has of one lease so far.
#[derive(Default)]
struct OfLease {
    seen: [u64; 16],
    groups: Vec<usize>,
}

impl OfLease {
    /// Notes a permit; whether it is there for the first time.
    fn note(&mut self, index: u16) -> bool {
        let (word, bit) = (usize::from(index / 64) % 16, 1_u64 << (index % 64));
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }
}

/// Takes settlements from the queue, as many as one commit has room for, and folds them.
pub(crate) fn fold(
    queue: &mut VecDeque<Pending>,
    view: &SpecView,
    now: Duration,
) -> (Vec<SettleGroup>, Vec<Pending>) {
    let mut groups: Vec<SettleGroup> = Vec::new();
    let mut taken = Vec::new();
    let mut leases: HashMap<LeaseId, OfLease> = HashMap::new();
    while taken.len() < MAX_SETTLES {
        let Some(mut pending) = queue.pop_front() else { break };
        if pending.resolved.version != view.version {
            pending.resolved =
                view.resolve(pending.lease, pending.seen.as_deref(), pending.kind, &pending.costs);
        }
        let age_ms = millis(pending.age.saturating_add(now.saturating_sub(pending.arrived)));
        let of_lease = leases.entry(pending.lease).or_default();
        let first = of_lease.note(pending.index);
        let found = first.then(|| {
            of_lease.groups.iter().copied().find(|at| {
                groups
                    .get_mut(*at)
                    .is_some_and(|group| merge(group, &pending.resolved, pending.index, age_ms))
            })
        });
        pending.group = match found.flatten() {
            Some(at) => at,
            None if groups.len() < MAX_GROUPS => {
                groups.push(SettleGroup {
                    lease: pending.lease,
                    indexes: vec![pending.index],
                    kind: pending.resolved.kind,
                    costs: pending.resolved.costs.clone(),
                    units: pending.resolved.units.clone(),
                    readings: pending.resolved.readings.clone(),
                    pause: pending.resolved.pause.clone(),
                    age_ms,
                });
                // A repeated one stands alone: what is merged with it would come before others in its place.
                if first {
                    of_lease.groups.push(groups.len() - 1);
                }
                groups.len() - 1
            }
            None => {
                queue.push_front(pending);
                break;
            }
        };
        pending.at = groups.get(pending.group).map_or(0, |group| group.indexes.len() - 1);
        taken.push(pending);
    }
    (groups, taken)
}

/// Adds a permit to a group if it says the same; whether it did.
fn merge(group: &mut SettleGroup, resolved: &Resolved, index: u16, age_ms: u64) -> bool {
    let same = group.kind == resolved.kind
        && group.pause.is_none()
        && resolved.pause.is_none()
        && group.costs == resolved.costs
        && group.units == resolved.units
        && group.readings.len() == resolved.readings.len()
        && group.age_ms.abs_diff(age_ms) <= SAME_AGE_MS
        && group.indexes.len() < usize::from(bursar_quota::MAX_LEASE_PERMITS);
    if !same {
        return false;
    }
    // Of two ages the less is certain for both. Spans are counted from the response, so that they move with it.
    let least = group.age_ms.min(age_ms);
    let (old, new) = (group.age_ms - least, age_ms - least);
    let merged: Option<Vec<LimitReading>> = (group.readings.iter())
        .zip(&resolved.readings)
        .map(|(known, said)| merge_reading(known, old, said, new))
        .collect();
    let Some(readings) = merged else { return false };
    group.readings = readings;
    group.age_ms = least;
    group.indexes.push(index);
    true
}

/// Two readings of one limit as one: the least and the last remaining, and where both say the window ends. `None`: they
/// speak of different windows or capacities, and must not be mixed. Each is moved back by its milliseconds first.
fn merge_reading(known: &LimitReading, old: u64, said: &LimitReading, new: u64) -> Option<LimitReading> {
    if (known.limit, known.capacity) != (said.limit, said.capacity)
        || known.remaining_least.is_some() != said.remaining_least.is_some()
    {
        return None;
    }
    let reset = match (shift(known.reset, old), shift(said.reset, new)) {
        (None, None) => None,
        (Some(a), Some(b)) => {
            let both = Span {
                earliest_ms: a.earliest_ms.max(b.earliest_ms),
                latest_ms: a.latest_ms.min(b.latest_ms),
            };
            (both.earliest_ms <= both.latest_ms).then_some(Some(both))?
        }
        _ => return None,
    };
    Some(LimitReading {
        limit: known.limit,
        remaining_least: known.remaining_least.min(said.remaining_least),
        remaining_last: said.remaining_last,
        capacity: known.capacity,
        reset,
    })
}

fn shift(span: Option<Span>, back_ms: u64) -> Option<Span> {
    let back = i64::try_from(back_ms).unwrap_or(i64::MAX);
    span.map(|span| Span {
        earliest_ms: span.earliest_ms.saturating_sub(back),
        latest_ms: span.latest_ms.saturating_sub(back),
    })
}

/// Takes renewals from the queue, as many as one commit has room for.
pub(crate) fn renewals(
    queue: &mut VecDeque<PendingRenew>,
    view: &SpecView,
) -> (Vec<RenewGroup>, Vec<PendingRenew>) {
    let taken: Vec<PendingRenew> = queue.drain(..queue.len().min(MAX_GROUPS)).collect();
    let group = |renew: &PendingRenew| RenewGroup {
        lease: renew.lease,
        index: renew.index,
        ttl_ms: view.ttl_in_force(renew.ttl_ms),
    };
    (taken.iter().map(group).collect(), taken)
}

/// Answers settlements with what their commit did. Calls `count` with each one's kind and result.
pub(crate) fn answer(
    taken: Vec<Pending>,
    reply: &CommitReply,
    mut count: impl FnMut(SettleKind, Option<Settled>, u32),
) {
    for pending in taken {
        let result = reply.settled.get(pending.group).and_then(|group| group.get(pending.at)).copied();
        let paused_ms = reply.paused_ms.get(pending.group).copied().unwrap_or(0);
        let malformed = pending.malformed();
        count(pending.resolved.kind, result, malformed);
        let corrupt = || {
            let text = "a commit's reply misses settlements".to_owned();
            CoordinatorError::Ledger(bursar_quota::LedgerError::Corrupt(text))
        };
        let report = result.map(|result| SettleReport {
            result,
            paused_for: Duration::from_millis(paused_ms),
            malformed,
        });
        pending.reply(report.ok_or_else(corrupt));
    }
}
