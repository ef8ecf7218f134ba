//! Virtual time, and clocks that are off.

use std::time::Duration;

use bursar_quota::Clock;

use super::plan::START_UNIX as EPOCH;

/// The time since the simulation's start: that of the paused runtime it was made in.
#[derive(Debug)]
pub(crate) struct VirtualClock {
    start: tokio::time::Instant,
}

impl VirtualClock {
    /// A clock that starts now. Within the simulation's runtime.
    #[allow(clippy::disallowed_methods, reason = "virtual time comes from the paused runtime, here alone")]
    pub(crate) fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Clock for VirtualClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix(&self) -> Duration {
        EPOCH + self.start.elapsed()
    }
}

/// The store's wall clock: it steps and drifts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StoreClock {
    /// How far it was ahead at `since`, microseconds.
    ahead: i64,
    since: Duration,
    /// Millionths that it runs too fast.
    drift: i64,
}

impl StoreClock {
    fn ahead(&self, now: Duration) -> i64 {
        let passed = i64::try_from(now.saturating_sub(self.since).as_micros()).unwrap_or(i64::MAX);
        self.ahead + passed.saturating_mul(self.drift) / 1_000_000
    }

    /// What it shows at `now`, since the Unix epoch.
    pub(crate) fn unix(&self, now: Duration) -> Duration {
        let ahead = self.ahead(now);
        let (off, shown) = (Duration::from_micros(ahead.unsigned_abs()), EPOCH + now);
        if ahead < 0 { shown.saturating_sub(off) } else { shown + off }
    }

    /// It steps by so many milliseconds.
    pub(crate) fn step(&mut self, now: Duration, ms: i64) {
        (self.ahead, self.since) = (self.ahead(now) + ms * 1000, now);
    }

    /// From now on it runs so many millionths too fast.
    pub(crate) fn drift(&mut self, now: Duration, millionths: i32) {
        (self.ahead, self.since, self.drift) = (self.ahead(now), now, i64::from(millionths));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_clock_steps_and_drifts() {
        let at = Duration::from_secs;
        let mut clock = StoreClock::default();
        assert_eq!(clock.unix(at(10)), EPOCH + at(10));
        clock.drift(at(10), 1000);
        assert_eq!(clock.unix(at(20)), EPOCH + Duration::from_millis(20_010));
        clock.step(at(20), -5_000);
        clock.drift(at(20), 0);
        assert_eq!(clock.unix(at(30)), EPOCH + Duration::from_millis(25_010));
    }
}
