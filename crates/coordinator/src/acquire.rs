//! The way of an acquire from its caller into a lane and back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bursar_quota::{Reason, Refusal, SpecError};
use tokio::sync::oneshot;

use crate::{
    Acquire, AcquireError, CoordinatorError, Granted,
    core::Core,
    lane::{Answer, Lane, Leases, Unclaimed, Waiter},
    spec::{Kind, SpecView},
    spec_cell::Missing,
};

/// The longest request id, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// Callers that may be on their way to a first decision besides those that wait.
const UNDECIDED: usize = 1024;

/// How long a caller who does not wait is given for its one decision.
const DECISION: Duration = Duration::from_secs(1);

/// How old a specification must be for a request that it does not allow to be held against a newer one.
const RECENT: Duration = Duration::from_millis(100);

/// What a caller is told to wait where a queue is full.
const FULL_FOR: Duration = Duration::from_secs(1);

fn refusal(reason: Reason, retry_after: Option<Duration>) -> AcquireError {
    AcquireError::Refused(Refusal { reason, limit: None, retry_after })
}

/// Acquires; see [`crate::Coordinator::acquire`].
pub(crate) fn acquire(
    core: &Arc<Core>,
    request: Acquire,
) -> impl Future<Output = Result<Granted, AcquireError>> + Send + use<'_> {
    // Ten thousand may wait: what it takes to get in line is not kept by those who stand in it.
    let line = Box::pin(get_in_line(core, request));
    async { line.await?.answer().await }
}

async fn get_in_line(core: &Arc<Core>, request: Acquire) -> Result<Caller, AcquireError> {
    if core.draining.load(Ordering::Acquire) {
        core.metrics.refused_at_door(request.tier, Reason::Draining);
        return Err(refusal(Reason::Draining, None));
    }
    check_request_id(&request)?;
    let arrived = core.clock.monotonic();
    loop {
        let Some(lane) = core.lane(&request.budget) else {
            core.metrics.refused_at_door(request.tier, Reason::QueueFull);
            return Err(refusal(Reason::QueueFull, Some(FULL_FOR)));
        };
        let (view, kind, ttl_ms) = match specify(core, &lane, &request).await {
            Ok(found) => found,
            Err(error) => {
                lane.unused(core);
                if let AcquireError::Refused(refusal) = &error {
                    core.metrics.refused_at_door(request.tier, refusal.reason);
                }
                return Err(error);
            }
        };
        let ticket = Ticket::take(core, &lane, &view, &request, &kind).inspect_err(|_| lane.unused(core))?;
        let (answer, waiting) = oneshot::channel();
        let (patience, undecided) = patience(core, &request, arrived);
        let class = &kind.class;
        let tag = |id: &String| Leases::tag(&request.budget, &request.tenant, class, id);
        let tag = request.request_id.as_ref().map(tag);
        let waiter = Waiter {
            answer,
            kind,
            tenant: request.tenant.clone(),
            tier: request.tier,
            ttl_ms,
            request: tag,
            claim: None,
            arrived,
            patience,
            undecided,
            place: Default::default(),
        };
        if lane.acquire(core, waiter).is_ok() {
            return Ok(Caller { waiting, ticket, requested: tag.is_some(), answered: false });
        }
        // The lane closed in between; a new one is open.
        core.forget_lane(&lane);
    }
}

fn check_request_id(request: &Acquire) -> Result<(), AcquireError> {
    let Some(id) = &request.request_id else { return Ok(()) };
    if (1..=MAX_REQUEST_ID).contains(&id.len()) {
        return Ok(());
    }
    let problem = format!("{} bytes are outside 1 to {MAX_REQUEST_ID}", id.len());
    Err(CoordinatorError::from(SpecError { field: "request_id".into(), problem }).into())
}

/// Until when the caller waits, and until when for its first decision.
fn patience(core: &Core, request: &Acquire, arrived: Duration) -> (Duration, Duration) {
    let deadline = request.deadline.map(|left| left - core.config.answer_margin.min(left / 10));
    let wait = request.max_wait.min(core.config.max_wait).min(deadline.unwrap_or(Duration::MAX));
    let decision = DECISION.min(deadline.unwrap_or(Duration::MAX));
    (arrived + wait, arrived + wait.max(decision))
}

type Specified = (Arc<SpecView>, Arc<Kind>, Option<u64>);

/// Finds what the call costs. What the specification does not allow is held against a new one once, if the known one
/// is not quite recent: another replica may have changed it.
async fn specify(core: &Core, lane: &Lane, request: &Acquire) -> Result<Specified, AcquireError> {
    let mut last = false;
    loop {
        let view = lane.spec.get(core, &lane.name).await.map_err(|missing| match missing {
            Missing::Unknown => refusal(Reason::UnknownBudget, None),
            Missing::Failed(error) => CoordinatorError::Ledger(error).into(),
        })?;
        let class = view.spec.class_or_default(request.class.clone());
        let known = view.kind(&class, &request.costs);
        match known.and_then(|kind| Ok((kind, view.ttl_ms(request.ttl)?))) {
            Ok((kind, ttl_ms)) => return Ok((view, kind, ttl_ms)),
            Err(error) => {
                let then = core.clock.monotonic().saturating_sub(RECENT);
                if last || !lane.spec.forget_older(then) {
                    return Err(CoordinatorError::Invalid(error).into());
                }
                last = true;
            }
        }
    }
}

/// A caller's place in the bounds, given back when it is dropped.
struct Ticket {
    core: Arc<Core>,
    lane: Arc<Lane>,
}

impl Ticket {
    fn take(
        core: &Arc<Core>,
        lane: &Arc<Lane>,
        view: &SpecView,
        request: &Acquire,
        kind: &Kind,
    ) -> Result<Self, AcquireError> {
        let ticket = Self { core: Arc::clone(core), lane: Arc::clone(lane) };
        let all = core.waiting.fetch_add(1, Ordering::AcqRel);
        let here = lane.live.fetch_add(1, Ordering::AcqRel);
        core.metrics.waiting.inc();
        let most = usize::try_from(view.spec.max_waiting).unwrap_or(usize::MAX).saturating_add(UNDECIDED);
        if all < core.config.max_waiting && here < most {
            return Ok(ticket);
        }
        let reason = Reason::QueueFull;
        core.metrics.refused(&lane.name, &request.tenant, request.tier, &kind.class, reason);
        Err(refusal(reason, Some(FULL_FOR)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.live.fetch_sub(1, Ordering::AcqRel);
        self.core.metrics.waiting.dec();
        if self.core.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.core.emptied.notify_waiters();
        }
    }
}

/// A caller that waits for its answer. Dropping it means that the caller went away.
struct Caller {
    waiting: oneshot::Receiver<Answer>,
    ticket: Ticket,
    requested: bool,
    answered: bool,
}

impl Caller {
    async fn answer(mut self) -> Answer {
        let answer = (&mut self.waiting).await;
        self.answered = true;
        answer.unwrap_or(Err(AcquireError::Failed(CoordinatorError::Stopped)))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let Ticket { core, lane } = &self.ticket;
        core.metrics.cancelled(&lane.name);
        self.waiting.close();
        match self.waiting.try_recv() {
            // Granted, but nobody is left to take it. Where a retry has taken it by the request id, the ledger keeps it.
            Ok(Ok(granted)) => {
                let (lease, index) = (granted.permit.lease(), granted.permit.index());
                core.give_back(&lane.name, Unclaimed { lease, index, requested: self.requested });
            }
            Ok(_) => {}
            Err(_) => lane.cancelled(),
        }
    }
}

impl Lane {
    /// A request came to nothing: a lane that has nothing else to do need not be kept.
    pub(crate) fn unused(self: &Arc<Self>, core: &Arc<Core>) {
        if self.never_ran() && self.try_close() {
            core.forget_lane(self);
        }
    }
}
