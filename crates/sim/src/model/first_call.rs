//! Windows that start with their first call.

use std::time::Duration;

use super::Model;

/// Windows that start with their first call, as `INCR` and `EXPIRE` make them: one is open for `window` from the call that
/// opened it; then there is none until somebody calls.
#[derive(Debug, Clone)]
pub struct FirstCallWindow {
    capacity: u64,
    window: Duration,
    opened: Option<Duration>,
    used: u64,
}

impl FirstCallWindow {
    /// At most `capacity` in each window of `window`.
    pub fn new(capacity: u64, window: Duration) -> Self {
        Self { capacity, window, opened: None, used: 0 }
    }

    fn turn(&mut self, now: Duration) {
        if self.opened.is_some_and(|opened| now >= opened + self.window) {
            self.opened = None;
            self.used = 0;
        }
    }
}

impl Model for FirstCallWindow {
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
        self.opened.get_or_insert(now);
        self.used = self.used.saturating_add(cost);
    }

    fn window_end(&mut self, now: Duration) -> Option<Duration> {
        self.turn(now);
        self.opened.map(|opened| opened + self.window)
    }

    fn fits_at(&mut self, now: Duration, cost: u64) -> Option<Duration> {
        if cost > self.capacity {
            return None;
        }
        if self.fits(now, cost) { Some(now) } else { self.window_end(now) }
    }
}
