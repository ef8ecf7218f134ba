//! Fixed windows on a clock.

use std::time::Duration;

use super::{Model, from_nanos, nanos};

/// Fixed windows on a clock: they end at `phase`, `phase + window`, `phase + 2 * window` and so on, whoever calls.
#[derive(Debug, Clone)]
pub struct ClockWindow {
    capacity: u64,
    window: u128,
    phase: u128,
    /// The window that `used` is of.
    index: u128,
    used: u64,
}

impl ClockWindow {
    /// At most `capacity` in each window of `window` (at least 1 ns); the first that ends, ends at `phase` modulo `window`.
    pub fn new(capacity: u64, window: Duration, phase: Duration) -> Self {
        let window = window.as_nanos().max(1);
        Self { capacity, window, phase: phase.as_nanos() % window, index: 0, used: 0 }
    }

    /// Which window `now` is in: 0 is the one that ends at `phase`.
    pub fn index(&self, now: Duration) -> u64 {
        u64::try_from(self.index_of(now)).unwrap_or(u64::MAX)
    }

    fn index_of(&self, now: Duration) -> u128 {
        (u128::from(nanos(now)) + self.window - self.phase) / self.window
    }

    fn end_of(&self, index: u128) -> Duration {
        from_nanos(self.phase + index * self.window)
    }

    fn turn(&mut self, now: Duration) {
        let index = self.index_of(now);
        if index != self.index {
            self.index = index;
            self.used = 0;
        }
    }
}

impl Model for ClockWindow {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn remaining(&mut self, now: Duration) -> u64 {
        self.turn(now);
        self.capacity.saturating_sub(self.used)
    }

    fn resize(&mut self, _now: Duration, capacity: u64) {
        self.capacity = capacity.max(1);
    }

    fn charge(&mut self, now: Duration, cost: u64) {
        self.turn(now);
        self.used = self.used.saturating_add(cost);
    }

    fn window_end(&mut self, now: Duration) -> Option<Duration> {
        Some(self.end_of(self.index_of(now)))
    }

    fn fits_at(&mut self, now: Duration, cost: u64) -> Option<Duration> {
        if cost > self.capacity {
            return None;
        }
        if self.fits(now, cost) { Some(now) } else { self.window_end(now) }
    }
}
