//! What a fleet has done so far, for a live view.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Counters of a fleet; its workers count, anybody may look.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    given_up: AtomicU64,
    errors: AtomicU64,
    not_granted: AtomicU64,
    not_sent: AtomicU64,
    unsettled: AtomicU64,
    waiting: AtomicU64,
    under_way: AtomicU64,
}

/// What a fleet had done at some moment. The counts are read one after the other: under way they may be off by a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSnapshot {
    /// Requests sent to the upstream, tries of the same call each.
    pub sent: u64,
    /// Calls that were answered otherwise than by a refusal.
    pub done: u64,
    /// Requests that the upstream refused.
    pub refused: u64,
    /// Calls given up after as many tries as a worker makes.
    pub given_up: u64,
    /// Requests that failed without an answer from the upstream.
    pub errors: u64,
    /// Acquires that Bursar refused or did not answer.
    pub not_granted: u64,
    /// Permits given back because they could not be sent any more.
    pub not_sent: u64,
    /// Permits whose settlement did not reach Bursar.
    pub unsettled: u64,
    /// Workers that wait for a permit, or until they may try again.
    pub waiting: u64,
    /// Requests under way.
    pub under_way: u64,
}

impl Counters {
    /// How the counts stand.
    pub fn snapshot(&self) -> FleetSnapshot {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FleetSnapshot {
            sent: of(&self.sent),
            done: of(&self.done),
            refused: of(&self.refused),
            given_up: of(&self.given_up),
            errors: of(&self.errors),
            not_granted: of(&self.not_granted),
            not_sent: of(&self.not_sent),
            unsettled: of(&self.unsettled),
            waiting: of(&self.waiting),
            under_way: of(&self.under_way),
        }
    }

    pub(super) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn not_granted(&self) {
        self.not_granted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn not_sent(&self) {
        self.not_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unsettled(&self) {
        self.unsettled.fetch_add(1, Ordering::Relaxed);
    }

    /// A request goes out; it is under way until the guard is dropped.
    pub(super) fn send(&self) -> Gauge<'_> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Gauge::new(&self.under_way)
    }

    /// A worker waits until the guard is dropped.
    pub(super) fn wait(&self) -> Gauge<'_> {
        Gauge::new(&self.waiting)
    }
}

/// One more, until it is dropped.
pub(super) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    fn new(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
