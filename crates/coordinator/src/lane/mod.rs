//! Lanes: the handle that callers have, and what is behind it.
//!
//! | file | what |
//! | --- | --- |
//! | `waiter` | one caller and what it was told |
//! | `queue`, `plan` | who waits; whom to ask for next, and how that is folded |
//! | `decide`, `places`, `patience` | what a decision means for the queues; where requests by id have their permits; what time does to them |
//! | `line` | when those behind others have their turn at the earliest |
//! | `contenders` | who waits, as a commit tells the other replicas |
//! | `settle`, `lease` | settlements folded by lease; ids of leases, tags of requests by id |
//! | `run`, `flight`, `orphan` | the task: takes in what arrives, sends commits, takes in their replies; leases that nobody waits for |
//! | `rationing`, `ration`, `allowance` | what is granted while the ledger gives no answer, if the budget declares it |
//!
//! Architecture Invariant: nothing but `run` and `flight` awaits anything or knows the ledger.

mod allowance;
mod answers;
mod contenders;
mod counts;
mod decide;
mod flight;
mod lease;
mod line;
mod looks;
mod orphan;
mod patience;
mod places;
mod plan;
mod queue;
mod ration;
mod rationing;
mod run;
mod settle;
mod waiter;

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bursar_quota::BudgetName;
use tokio::sync::{Notify, Semaphore};

pub(crate) use lease::Leases;
pub(crate) use settle::{Pending, PendingRenew, Statement, Unclaimed};
pub(crate) use waiter::{Answer, Waiter};

use crate::{core::Core, spec_cell::SpecCell};

/// What a lane is told besides its work.
#[derive(Debug, Default)]
struct Hints {
    /// Capacity may have come free.
    wake: bool,
    /// The specification may be another one.
    respec: bool,
    /// Refuse whoever waits: the replica goes away.
    drain: bool,
}

/// What has arrived and is not taken in yet.
#[derive(Debug, Default)]
struct Inbox {
    acquires: Vec<Waiter>,
    settles: Vec<Pending>,
    renews: Vec<PendingRenew>,
    /// Permits whose callers went away before they took them.
    unsent: Vec<Unclaimed>,
    hints: Hints,
    /// Whether the lane's task runs.
    running: bool,
    /// Whether it has work, here or taken in.
    busy: bool,
    /// Whether it must be kept though it has no work: its ration is remembered here alone.
    kept: bool,
    /// Whether the lane takes in nothing more: its budget needs another.
    closed: bool,
}

impl Inbox {
    fn is_empty(&self) -> bool {
        let Hints { wake, respec, drain } = self.hints;
        self.acquires.is_empty()
            && self.settles.is_empty()
            && self.renews.is_empty()
            && self.unsent.is_empty()
            && !(wake || respec || drain)
    }
}

/// One budget's queue in this replica. Its task runs while it has work, and some time beyond.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: BudgetName,
    pub(crate) spec: SpecCell,
    /// Acquires under way, and those of them that went away since the task last looked.
    pub(crate) live: AtomicUsize,
    cancelled: AtomicUsize,
    /// Room for settlements and renewals.
    pub(crate) room: Arc<Semaphore>,
    inbox: Mutex<Inbox>,
    arrived: Notify,
    /// Tells this lane from an earlier one of its budget.
    turn: u64,
    /// When it last had work, milliseconds of the clock.
    used_ms: AtomicU64,
    /// Since when the ledger gives it no answer, milliseconds of the clock; [`ANSWERED`]: it gives some.
    lost_ms: AtomicU64,
}

/// No moment.
const ANSWERED: u64 = u64::MAX;

impl Lane {
    pub(crate) fn new(name: BudgetName, max_settling: usize, turn: u64, now_ms: u64) -> Self {
        Self {
            name,
            spec: SpecCell::default(),
            live: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(max_settling.clamp(1, Semaphore::MAX_PERMITS))),
            inbox: Mutex::default(),
            arrived: Notify::new(),
            turn,
            used_ms: AtomicU64::new(now_ms),
            lost_ms: AtomicU64::new(ANSWERED),
        }
    }

    pub(crate) fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// Whether it would grant by the ration at `now`, if the ledger gave no answer; `lost` at the earliest.
    pub(crate) fn would_ration(&self, lost: Duration, now: Duration) -> bool {
        let lost = match self.lost_ms.load(Ordering::Relaxed) {
            ANSWERED => lost,
            since => Duration::from_millis(since),
        };
        let view = self.spec.peek();
        view.as_ref().and_then(|view| view.spec.rations()).is_some_and(|ration| now < lost + ration.span)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in, unless the lane is closed; starts its task if it does not run.
    fn put<T>(
        self: &Arc<Self>,
        core: &Arc<Core>,
        item: T,
        put: impl FnOnce(&mut Inbox, T),
    ) -> Result<(), Box<T>> {
        let mut inbox = self.inbox();
        if inbox.closed {
            return Err(Box::new(item));
        }
        let first = inbox.is_empty();
        put(&mut inbox, item);
        inbox.busy = true;
        let start = !mem::replace(&mut inbox.running, true);
        drop(inbox);
        if start {
            core.handle.spawn(run::run(Arc::clone(core), Arc::clone(self)));
        } else if first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Hands a waiter in; back if the lane is closed.
    pub(crate) fn acquire(self: &Arc<Self>, core: &Arc<Core>, waiter: Waiter) -> Result<(), Box<Waiter>> {
        self.put(core, waiter, |inbox, waiter| inbox.acquires.push(waiter))
    }

    /// Hands a settlement in; back if the lane is closed.
    pub(crate) fn settle(self: &Arc<Self>, core: &Arc<Core>, pending: Pending) -> Result<(), Box<Pending>> {
        self.put(core, pending, |inbox, pending| inbox.settles.push(pending))
    }

    /// Hands a renewal in; back if the lane is closed.
    pub(crate) fn renew(
        self: &Arc<Self>,
        core: &Arc<Core>,
        renew: PendingRenew,
    ) -> Result<(), Box<PendingRenew>> {
        self.put(core, renew, |inbox, renew| inbox.renews.push(renew))
    }

    /// A permit was granted to a caller who is gone; whether the lane takes it back.
    pub(crate) fn give_back(self: &Arc<Self>, core: &Arc<Core>, permit: Unclaimed) -> bool {
        self.put(core, permit, |inbox, permit| inbox.unsent.push(permit)).is_ok()
    }

    /// A caller went away before it had an answer.
    pub(crate) fn cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
        self.arrived.notify_one();
    }

    /// Capacity may have come free.
    pub(crate) fn wake(&self) {
        self.hint(|hints| hints.wake = true);
    }

    /// The specification may be another one.
    pub(crate) fn respec(&self) {
        self.hint(|hints| hints.respec = true);
    }

    /// Refuses whoever waits.
    pub(crate) fn drain(&self) {
        self.hint(|hints| hints.drain = true);
    }

    /// A lane without work needs no hint: it asks afresh when it has some.
    fn hint(&self, set: impl FnOnce(&mut Hints)) {
        let mut inbox = self.inbox();
        if inbox.busy {
            set(&mut inbox.hints);
            drop(inbox);
            self.arrived.notify_one();
        }
    }

    /// Whether it has had no work yet.
    pub(crate) fn never_ran(&self) -> bool {
        !self.inbox().running
    }

    /// Closes the lane if it has no work; whether it did.
    pub(crate) fn try_close(&self) -> bool {
        let mut inbox = self.inbox();
        let idle = !inbox.busy && !inbox.kept && inbox.is_empty();
        if idle {
            inbox.closed = true;
            drop(inbox);
            self.arrived.notify_one();
        }
        idle
    }
}
