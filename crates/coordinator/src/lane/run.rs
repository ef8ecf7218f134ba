//! The lane's task: takes in what arrives, decides when to commit, and rests when there is nothing to do.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bursar_quota::{BoxFuture, CommitReply, LedgerError, Reason};
use futures_util::{FutureExt, StreamExt, future::OptionFuture, stream::FuturesUnordered};
use tokio::time::{Sleep, sleep};

use super::{
    Inbox, Lane, Leases, Pending, PendingRenew, Unclaimed, answers::Answers, flight::Flight, orphan::Orphan,
    patience::GRACE, plan::Batch, queue::Queues, ration::Rations,
};
use crate::{core::Core, millis::millis, spec::SpecView, spec_cell::Missing};

/// The ledger gave no answer; until when it is left alone.
#[derive(Debug)]
pub(super) struct Down {
    pub(super) until: Duration,
    pub(super) error: LedgerError,
}

/// A lane's state, its task's own.
pub(super) struct Run {
    pub(super) core: Arc<Core>,
    pub(super) lane: Arc<Lane>,
    pub(super) view: Option<Arc<SpecView>>,
    pub(super) queues: Queues,
    pub(super) settles: VecDeque<Pending>,
    pub(super) renews: VecDeque<PendingRenew>,
    /// Permits to settle as not sent, because nobody took them.
    pub(super) unsent: VecDeque<Unclaimed>,
    /// Leases of commits that were given up and may have run all the same.
    pub(super) orphans: VecDeque<Orphan>,
    /// Batches whose commit may have run: asked for again as they are, so that the same leases are found.
    pub(super) doubt: VecDeque<Batch>,
    pub(super) flights: Vec<(u64, Flight)>,
    pub(super) flying: FuturesUnordered<BoxFuture<'static, (u64, Result<CommitReply, LedgerError>)>>,
    pub(super) last_flight: u64,
    pub(super) reading: Option<BoxFuture<'static, Result<Arc<SpecView>, Missing>>>,
    pub(super) down: Option<Down>,
    /// Since when the ledger gives no answer.
    pub(super) down_since: Option<Duration>,
    /// Whether others are to be told that somebody waits here: what they free wakes this replica from then on.
    pub(super) register: bool,
    /// Whether somebody is queued whose call another version of the specification allows, and the known one does not.
    pub(super) mixed: bool,
    /// How often in a row the specification could not be read.
    pub(super) unread: u32,
    /// Commits in a row that were made from a stale specification.
    pub(super) stale: u32,
    pub(super) leases: Leases,
    pub(super) rations: Rations,
    /// When commits were last made: what was not due by then is waited for, though it may be by now.
    pub(super) launched_at: Duration,
    /// What the gauge of queued acquires was told.
    counted: i64,
    /// The timer that is set, and for when.
    timer: Option<(Duration, Pin<Box<Sleep>>)>,
}

/// Runs a lane until it has had no work for a while.
pub(super) async fn run(core: Arc<Core>, lane: Arc<Lane>) {
    let mut closing = Closing { core: Arc::clone(&core), lane: Arc::clone(&lane), ended: false };
    let mut run = Run::new(core, lane);
    loop {
        run.take_in();
        run.launch();
        run.expire();
        run.count();
        if run.is_idle() {
            if run.rest().await {
                break;
            }
        } else {
            run.next_event().await;
        }
    }
    closing.ended = true;
}

/// Closes the lane however its task ends, so that nobody waits for one that is no more.
struct Closing {
    core: Arc<Core>,
    lane: Arc<Lane>,
    ended: bool,
}

impl Drop for Closing {
    fn drop(&mut self) {
        if !self.ended {
            // Only a panic or the runtime's end leads here. What was queued is dropped, which answers its callers.
            let mut inbox = self.lane.inbox();
            inbox.closed = true;
            let left = mem::take(&mut *inbox);
            inbox.closed = true;
            drop(inbox);
            drop(left);
        }
        self.core.forget_lane(&self.lane);
    }
}

impl Run {
    fn new(core: Arc<Core>, lane: Arc<Lane>) -> Self {
        let leases = Leases::new(core.config.seed, &core.config.replica, &lane.name, lane.turn);
        Self {
            core,
            lane,
            view: None,
            queues: Queues::default(),
            settles: VecDeque::new(),
            renews: VecDeque::new(),
            unsent: VecDeque::new(),
            orphans: VecDeque::new(),
            doubt: VecDeque::new(),
            flights: Vec::new(),
            flying: FuturesUnordered::new(),
            last_flight: 0,
            reading: None,
            down: None,
            down_since: None,
            register: false,
            mixed: false,
            unread: 0,
            stale: 0,
            leases,
            rations: Rations::default(),
            launched_at: Duration::ZERO,
            counted: 0,
            timer: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.core.clock.monotonic()
    }

    /// Takes in what has arrived.
    fn take_in(&mut self) {
        let Inbox { acquires, settles, renews, unsent, hints, .. } = {
            let mut inbox = self.lane.inbox();
            let Inbox { running, busy, closed, kept, .. } = *inbox;
            let taken = mem::take(&mut *inbox);
            (inbox.running, inbox.busy, inbox.closed, inbox.kept) = (running, busy, closed, kept);
            taken
        };
        self.queues.went_away(self.lane.cancelled.swap(0, Ordering::Relaxed));
        self.take_settles(settles);
        self.take_renews(renews);
        self.take_unsent(unsent);
        if hints.wake {
            self.queues.bump();
        }
        if hints.respec {
            self.reread();
        }
        self.align();
        if hints.drain {
            self.give_up_doubt();
        }
        let now = self.now();
        let ration = self.ration(now);
        let is_given_up = self.is_given_up(now);
        let mut answers = Answers::new(&self.lane.name, &self.core.metrics, now);
        if hints.drain {
            self.queues.refuse_all(Reason::Draining, false, &mut answers);
        }
        for mut waiter in acquires {
            if let Some(view) = self.view.as_ref().filter(|view| view.version != waiter.kind.version) {
                // Costed by another version than the one in force; perhaps by a newer one.
                match view.kind(&waiter.kind.class, &waiter.kind.named) {
                    Ok(kind) => waiter.kind = kind,
                    Err(_) => self.mixed = true,
                }
            }
            match &self.down {
                Some(down)
                    if now < down.until
                        && (waiter.patience < down.until || is_given_up)
                        && !self.rations.may_have(&waiter, ration.as_deref(), &self.lane, now) =>
                {
                    answers.fail(waiter, crate::CoordinatorError::Ledger(down.error.clone()));
                }
                down => {
                    self.rations.hoped |= down.is_some();
                    if let Err(waiter) = self.queues.enqueue(waiter) {
                        let full = bursar_quota::Refusal {
                            reason: Reason::QueueFull,
                            limit: None,
                            retry_after: Some(Duration::from_secs(1)),
                        };
                        answers.refuse(*waiter, full);
                    }
                }
            }
        }
        drop(answers);
        if self.mixed {
            self.reread();
        }
    }

    /// Begins to read the specification, unless it is being read.
    pub(super) fn reread(&mut self) {
        if self.reading.is_none() {
            let (core, lane) = (Arc::clone(&self.core), Arc::clone(&self.lane));
            self.reading = Some(async move { lane.spec.get(&core, &lane.name).await }.boxed());
        }
    }

    fn expire(&mut self) {
        let now = self.now();
        for (_, flight) in &mut self.flights {
            if let Some(batch) = &mut flight.batch
                && now >= flight.started + GRACE
            {
                self.queues.watch(batch, now);
            }
        }
        let mut answers = Answers::new(&self.lane.name, &self.core.metrics, now);
        self.queues.expire(self.down.as_ref().map(|down| &down.error), &mut answers);
    }

    fn count(&mut self) {
        let queued = i64::try_from(self.queues.len()).unwrap_or(i64::MAX);
        if queued != self.counted && (queued == 0 || self.counted == 0 || self.flights.is_empty()) {
            self.core.metrics.queued(&self.lane.name, queued - self.counted);
            self.counted = queued;
        }
    }

    fn is_idle(&self) -> bool {
        self.queues.len() == 0
            && self.settles.is_empty()
            && self.renews.is_empty()
            && self.unsent.is_empty()
            && self.orphans.is_empty()
            && self.doubt.is_empty()
            && self.flights.is_empty()
            && self.reading.is_none()
            && !self.rations.announced
            && !self.rations.owes()
    }

    /// Waits for work; whether the lane is at its end.
    async fn rest(&mut self) -> bool {
        self.timer = None;
        let now = self.now();
        self.lane.used_ms.store(millis(now), Ordering::Relaxed);
        // While it could ration, its use and what the store said last are worth more than the room they take.
        let may_ration = self.view.as_ref().is_some_and(|view| view.spec.rations().is_some());
        let used = self.rations.is_used(now);
        {
            let mut inbox = self.lane.inbox();
            inbox.kept = used;
            if !inbox.is_empty() {
                return false;
            }
            // ## Busy => Idle
            inbox.busy = false;
            inbox.closed |= self.view.is_none() || self.core.stop.is_cancelled();
            if inbox.closed {
                return true;
            }
        }
        tokio::select! {
            biased;
            () = self.lane.arrived.notified() => self.lane.inbox().closed,
            () = self.core.stop.cancelled() => false,
            () = sleep(self.core.config.lane_idle) => !may_ration && self.lane.try_close(),
        }
    }

    /// Waits until a reply or the specification comes, something arrives that can be dealt with, or something is due.
    async fn next_event(&mut self) {
        let now = self.now();
        let full = self.flights.len() >= self.core.config.max_in_flight.max(1);
        // What arrives while no commit can be made is left where it is, and taken in with all the rest at once; unless
        // the commit takes long, since patience has to be watched.
        let slow = self.flights.iter().any(|(_, flight)| now >= flight.started + GRACE);
        let rationing = self.ration(now).is_some();
        let due = self.next_due(self.launched_at);
        self.set_timer(now, due);
        let timer = OptionFuture::from(self.timer.as_mut().map(|(_, sleep)| sleep.as_mut()));
        let reading = OptionFuture::from(self.reading.as_mut());
        tokio::select! {
            biased;
            Some((id, result)) = self.flying.next(), if !self.flights.is_empty() => self.land(id, result),
            Some(read) = reading => {
                self.reading = None;
                self.read(read);
            }
            () = self.lane.arrived.notified(), if !full || slow || rationing => {}
            Some(()) = timer => self.timer = None,
        }
    }

    /// What was not due at `now` and will be.
    fn next_due(&self, now: Duration) -> Option<Duration> {
        let flights = self.flights.iter().map(|(_, flight)| flight.started + GRACE).filter(|due| *due > now);
        let down = self.down.as_ref().map(|down| down.until).filter(|until| *until > now);
        let ration = self.ration_ends().filter(|ends| *ends > now);
        flights.chain(self.queues.next_due(now)).chain(down).chain(ration).min()
    }

    /// A timer that fires too early does no harm: it is kept where another would only fire later.
    fn set_timer(&mut self, now: Duration, due: Option<Duration>) {
        let Some(due) = due else { return };
        if self.timer.as_ref().is_some_and(|(at, _)| *at <= due) {
            return;
        }
        let span = due.saturating_sub(now).max(Duration::from_millis(1));
        self.timer = Some((due, Box::pin(sleep(span))));
    }
}
