//! A rolling log of calls.

use std::{collections::VecDeque, time::Duration};

use super::Model;

/// A rolling log: what counts at a moment is what was called in the `window` before it.
#[derive(Debug, Clone)]
pub struct RollingLog {
    capacity: u64,
    window: Duration,
    /// When and how much, oldest first. No longer than needed to tell that nothing remains: at most `capacity` entries
    /// and one, since each costs at least 1.
    log: VecDeque<(Duration, u64)>,
    used: u64,
}

impl RollingLog {
    /// At most `capacity` in any span of `window`.
    pub fn new(capacity: u64, window: Duration) -> Self {
        Self { capacity, window, log: VecDeque::new(), used: 0 }
    }

    fn turn(&mut self, now: Duration) {
        while self.log.front().is_some_and(|(at, _)| *at + self.window <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, cost)) = self.log.pop_front() {
            self.used -= cost;
        }
    }
}

impl Model for RollingLog {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn remaining(&mut self, now: Duration) -> u64 {
        self.turn(now);
        self.capacity.saturating_sub(self.used)
    }

    /// Where refusals count: those beyond the old capacity are not known any more to a greater one.
    fn resize(&mut self, _now: Duration, capacity: u64) {
        self.capacity = capacity.max(1);
    }

    fn charge(&mut self, now: Duration, cost: u64) {
        self.turn(now);
        // A call that costs more than all there is fills the log as well as one that costs just that.
        let cost = cost.min(self.capacity);
        if cost == 0 {
            return;
        }
        self.log.push_back((now, cost));
        self.used += cost;
        // Where refusals count, the log would grow with every one. The newest that fill it are enough: whenever one of
        // the older still counts, so do all of them, and nothing remains.
        while self.log.front().is_some_and(|(_, oldest)| self.used - oldest >= self.capacity) {
            self.drop_oldest();
        }
    }

    fn window_end(&mut self, _now: Duration) -> Option<Duration> {
        None
    }

    fn named_reset(&mut self, now: Duration) -> Option<Duration> {
        self.turn(now);
        self.log.front().map(|(at, _)| *at + self.window)
    }

    fn fits_at(&mut self, now: Duration, cost: u64) -> Option<Duration> {
        if cost > self.capacity {
            return None;
        }
        let mut missing = cost.saturating_sub(self.remaining(now));
        // What counts above the capacity has to drop out first.
        if missing > 0 {
            missing += self.used.saturating_sub(self.capacity);
        }
        let mut at = now;
        for (called, freed) in &self.log {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(*freed);
            at = *called + self.window;
        }
        Some(at)
    }
}
