//! Time comes in from outside.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Where a room takes its time from, so that any run can be replayed.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since some fixed moment of this process.
    fn monotonic(&self) -> Duration;

    /// Wall-clock time since the Unix epoch. It may step. No decision is made with it: it dates logs, the
    /// embedded engine's `TIME` begins with it, and a reset without the response's own `Date` is read against it.
    fn unix(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[allow(clippy::disallowed_methods, reason = "this is the one place where the machine's clock comes in")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place where the machine's clock comes in")]
    fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A clock that moves when it is told to; clones share their time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    micros: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands at `now` since the Unix epoch.
    pub fn at(now: Duration) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Moves to `now` since the Unix epoch, forwards or back. Kept to the microsecond.
    pub fn set(&self, now: Duration) {
        self.micros.store(u64::try_from(now.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Moves forwards by `step`.
    pub fn advance(&self, step: Duration) {
        self.micros.fetch_add(u64::try_from(step.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        self.unix()
    }

    fn unix(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }
}
