//! How far a line at a used-up limit moves on at most, so that one can be told when it has no turn in time.
//!
//! A ledger says when the first of those it refused can be granted. Of a window no more than its capacity is granted
//! from then on within a window, of a bucket no more than flows back: so nobody behind comes sooner than that allows.

use std::time::Duration;

use bursar_quota::{LimitKind, Reason};

use super::waiter::Told;
use crate::spec::SpecView;

/// How a limit gives back.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Window { capacity: u64, window: Duration },
    Bucket { refill_per_second: f64 },
}

/// Those refused at one limit, in the order of their turns.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) limit: usize,
    pace: Pace,
    /// When the first can be granted at the earliest, and its cost: a cheaper one perhaps earlier.
    pub(super) first: (Duration, u64),
    /// The cost of those who wait on.
    ahead: u64,
    /// The turn of the last of those.
    last: Duration,
    /// Whether somebody in it was refused for good: what the ledger told those behind counts it, and is too late.
    pub(super) parted: bool,
    /// Whether nothing is known of turns any more, since who waits in front may go before `first`.
    pub(super) unsure: bool,
}

impl Line {
    /// The line that begins with one of this cost. `None`: nothing is known of how this limit gives back, or what is
    /// out may come back sooner.
    pub(super) fn new(
        told: &Told,
        view: &SpecView,
        costs: &[u64],
        stand: &[(i64, u64, u64)],
    ) -> Option<Self> {
        let at = told.retry_at.filter(|_| told.timed && told.refusal.reason == Reason::QuotaExhausted)?;
        let (limit, cost) = told.binds(view, costs).filter(|(_, cost)| *cost > 0)?;
        let pace = match &view.spec.limits.get(limit)?.kind {
            LimitKind::Window { capacity, window, .. } => {
                // The upstream may have named a larger capacity: then more than the declared one stands here.
                let (available, out, paid) = *stand.get(limit)?;
                let stands = u64::try_from(available).unwrap_or(0).saturating_add(out).saturating_add(paid);
                Pace::Window { capacity: stands.max(*capacity).max(1), window: *window }
            }
            LimitKind::Bucket { refill_per_second, .. } => {
                Pace::Bucket { refill_per_second: *refill_per_second }
            }
            LimitKind::Concurrency { .. } | LimitKind::Adaptive { .. } => return None,
        };
        let first = (at, cost);
        Some(Self { limit, pace, first, ahead: 0, last: Duration::ZERO, parted: false, unsure: false })
    }

    /// Whether nobody waits on in it.
    pub(super) fn is_empty(&self) -> bool {
        self.ahead == 0
    }

    /// Takes the ledger's word for whoever comes next.
    pub(super) fn told(&mut self, told: &Told) {
        if let Some(at) = told.retry_at.filter(|_| !self.parted) {
            self.last = self.last.max(at);
        }
    }

    /// Before when the next one, of this cost, certainly has no turn. `None`: that is not known.
    pub(super) fn turn(&self, cost: u64) -> Option<Duration> {
        let (at, least) = self.first;
        if self.unsure || (self.ahead == 0 && cost < least) {
            return None;
        }
        let later = match self.pace {
            Pace::Window { capacity, window } => {
                window.saturating_mul(u32::try_from(self.ahead / capacity).unwrap_or(u32::MAX))
            }
            #[allow(
                clippy::cast_precision_loss,
                reason = "a cost is at most 10^12, and a bound may be a little low"
            )]
            Pace::Bucket { refill_per_second } => {
                // What the first waits for is there at `at`.
                let missing = (self.ahead.saturating_add(cost)).saturating_sub(least) as f64;
                Duration::try_from_secs_f64(missing / refill_per_second).unwrap_or(Duration::MAX)
            }
        };
        Some(at.saturating_add(later).max(self.last))
    }

    /// The next one, of this cost, waits on.
    pub(super) fn keep(&mut self, cost: u64) {
        match self.turn(cost) {
            Some(turn) => self.last = turn,
            // One that costs nothing here stands in nobody's way.
            None => self.unsure |= cost > 0,
        }
        self.ahead = self.ahead.saturating_add(cost);
    }

    /// One of this cost waits on in a longer line, of which this one is a part; its turn there.
    pub(super) fn follow(&mut self, cost: u64, turn: Duration, unsure: bool) {
        self.unsure |= unsure;
        self.last = self.last.max(turn);
        self.ahead = self.ahead.saturating_add(cost);
    }
}
