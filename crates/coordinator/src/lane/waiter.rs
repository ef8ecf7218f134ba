//! One caller that waits, and what it was told so far.

use std::{sync::Arc, time::Duration};

use bursar_quota::{LeaseId, LimitKind, Reason, Refusal, RequestTag, TenantName, Tier};
use tokio::sync::oneshot;

use crate::{
    AcquireError, Granted,
    millis::ceil,
    spec::{Kind, SpecView},
};

/// What a caller gets in the end, exactly once.
pub(crate) type Answer = Result<Granted, AcquireError>;

/// A caller's acquire, validated.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) answer: oneshot::Sender<Answer>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) tenant: TenantName,
    pub(crate) tier: Tier,
    /// As asked, milliseconds; `None`: the budget's.
    pub(crate) ttl_ms: Option<u64>,
    /// The tag of the caller's request id.
    pub(crate) request: Option<RequestTag>,
    /// The permit that the request was granted before, as the ledger said: to be asked for once more.
    pub(crate) claim: Option<Box<(LeaseId, u16)>>,
    pub(crate) arrived: Duration,
    /// Until when it waits if it is refused.
    pub(crate) patience: Duration,
    /// Until when it waits for its first decision, `patience` at least: even who does not wait gets one.
    pub(crate) undecided: Duration,
    pub(crate) place: Place,
}

/// Where a lane has put a waiter.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(super) seq: u64,
    pub(super) party: u32,
    pub(super) class: u32,
    /// Under which moment it stands among its class's timers.
    pub(super) timer: Option<Duration>,
    pub(super) in_flight: bool,
    /// Whether the ledger has refused it (or its like) at least once: now it waits.
    pub(super) decided: bool,
    pub(super) told: Option<Arc<Told>>,
}

/// A refusal and when it was given.
#[derive(Debug)]
pub(crate) struct Told {
    pub(super) refusal: Refusal,
    pub(super) at: Duration,
    /// When it could be granted.
    pub(super) retry_at: Option<Duration>,
    /// Only time helps, as far as is known: a wait that ends before `retry_at` cannot succeed. What others hold (a
    /// slot, the probe, a permit that is not settled) may come back any moment.
    pub(super) timed: bool,
}

impl Told {
    /// `stand` is what the commit's reply says of each limit.
    pub(super) fn new(refusal: Refusal, view: &SpecView, stand: &[(i64, u64, u64)], at: Duration) -> Self {
        // What comes back in less than a millisecond is asked for in one.
        let least = Duration::from_millis(1);
        let retry_at = refusal.retry_after.map(|after| at + after.max(least));
        let limit = refusal.limit.as_ref();
        let index = limit.and_then(|name| view.spec.limits.iter().position(|limit| limit.name == *name));
        let held = index.is_some_and(|index| match &view.spec.limits[index].kind {
            LimitKind::Concurrency { .. } => true,
            LimitKind::Window { .. } | LimitKind::Bucket { .. } => {
                // What is out may be settled any moment: given back, or with a reading that names an earlier end.
                let by_use = matches!(
                    refusal.reason,
                    Reason::QuotaExhausted | Reason::Reserved | Reason::TenantCapped
                );
                by_use && stand.get(index).is_none_or(|(_, out, _)| *out > 0)
            }
            LimitKind::Adaptive { .. } => false,
        });
        let timed = !held && !matches!(refusal.reason, Reason::Probing | Reason::ConcurrencyExhausted);
        Self { refusal, at, retry_at, timed }
    }

    /// The same for one whose turn comes at another moment.
    pub(super) fn with_turn(&self, turn: Duration) -> Self {
        Self { refusal: self.refusal.clone(), at: self.at, retry_at: Some(turn), timed: self.timed }
    }

    /// The refusal as it is to be told `now`.
    pub(super) fn at(&self, now: Duration) -> Refusal {
        let retry_after = self.retry_at.map(|at| ceil(at.saturating_sub(now)).max(Duration::from_millis(1)));
        Refusal { retry_after, ..self.refusal.clone() }
    }

    /// The limit that binds a call of these costs, and its cost there.
    pub(super) fn binds(&self, view: &SpecView, costs: &[u64]) -> Option<(usize, u64)> {
        let name = self.refusal.limit.as_ref()?;
        let at = view.spec.limits.iter().position(|limit| limit.name == *name)?;
        Some((at, *costs.get(at)?))
    }

    /// No wait helps.
    pub(super) fn never(&self) -> bool {
        matches!(
            self.refusal.reason,
            Reason::CostAboveCapacity | Reason::UnknownBudget | Reason::Draining | Reason::QueueFull
        )
    }

    /// Whether one who waits until `patience` waits in vain.
    pub(super) fn in_vain(&self, patience: Duration, now: Duration) -> bool {
        self.never() || patience <= now || (self.timed && self.retry_at.is_some_and(|at| patience < at))
    }

    /// Whether it holds for all of the class that cost as much, and not for one party only.
    pub(super) fn class_wide(&self) -> bool {
        !self.never() && !matches!(self.refusal.reason, Reason::Reserved | Reason::TenantCapped)
    }
}
