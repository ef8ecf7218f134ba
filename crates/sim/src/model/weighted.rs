//! Two windows, the older one weighted.

use std::time::Duration;

use super::{Model, from_nanos, nanos};

/// Two fixed windows on a clock, the current one and the one before: what counts is the count of the current one, and that
/// of the one before times the share of it that the last `window` still covers. Cloudflare's and Flask-Limiter's
/// "sliding window counter". Stricter after a burst than a rolling log, for it takes the burst to have been even.
#[derive(Debug, Clone)]
pub struct WeightedWindows {
    capacity: u64,
    window: u128,
    phase: u128,
    /// The window that `current` is of.
    index: u128,
    current: u64,
    before: u64,
    /// Whether its current window's end is what it names, though nothing is given back there at once.
    names_ends: bool,
}

impl WeightedWindows {
    /// At most `capacity`, windows of `window` (at least 1 ns), one of which ends at `phase` modulo `window`.
    pub fn new(capacity: u64, window: Duration, phase: Duration) -> Self {
        let window = window.as_nanos().max(1);
        Self {
            capacity,
            window,
            phase: phase.as_nanos() % window,
            index: 0,
            current: 0,
            before: 0,
            names_ends: false,
        }
    }

    /// The same, naming its current window's end as its reset, as many that keep two fixed windows do.
    pub fn naming_ends(capacity: u64, window: Duration, phase: Duration) -> Self {
        Self { names_ends: true, ..Self::new(capacity, window, phase) }
    }

    fn turn(&mut self, now: Duration) {
        let index = (u128::from(nanos(now)) + self.window - self.phase) / self.window;
        match index - self.index {
            0 => {}
            1 => (self.before, self.current) = (self.current, 0),
            _ => (self.before, self.current) = (0, 0),
        }
        self.index = index;
    }

    /// The current window's end, nanoseconds.
    fn end(&self) -> u128 {
        self.phase + self.index * self.window
    }

    /// The first moment in the window that ends at `end` at which a window before of `before` weighs at most `room`,
    /// nanoseconds; `end` or later: not in this window.
    fn weighs_at_most(&self, end: u128, before: u64, room: u64) -> u128 {
        if before == 0 {
            return end.saturating_sub(self.window);
        }
        // before * left / window <= room, with left = end - at.
        let left = u128::from(room) * self.window / u128::from(before);
        end.saturating_sub(left.min(self.window))
    }
}

impl Model for WeightedWindows {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn remaining(&mut self, now: Duration) -> u64 {
        self.turn(now);
        let left = self.end() - u128::from(nanos(now));
        let before = (u128::from(self.before) * left).div_ceil(self.window);
        let before = u64::try_from(before).unwrap_or(u64::MAX);
        self.capacity.saturating_sub(self.current).saturating_sub(before)
    }

    fn resize(&mut self, _now: Duration, capacity: u64) {
        self.capacity = capacity.max(1);
    }

    fn charge(&mut self, now: Duration, cost: u64) {
        self.turn(now);
        self.current = self.current.saturating_add(cost);
    }

    fn window_end(&mut self, _now: Duration) -> Option<Duration> {
        None
    }

    /// The next moment at which something of the window before drops out, a whole call's worth; or the window's end.
    fn named_reset(&mut self, now: Duration) -> Option<Duration> {
        self.turn(now);
        let left = self.end() - u128::from(nanos(now));
        if self.names_ends {
            return Some(from_nanos(self.end()));
        }
        if self.before == 0 {
            return (self.current > 0).then(|| from_nanos(self.end()));
        }
        let weight = (u128::from(self.before) * left).div_ceil(self.window);
        let lighter = u64::try_from(weight.saturating_sub(1)).unwrap_or(u64::MAX);
        Some(from_nanos(self.weighs_at_most(self.end(), self.before, lighter)))
    }

    fn fits_at(&mut self, now: Duration, cost: u64) -> Option<Duration> {
        self.turn(now);
        let room = self.capacity.checked_sub(cost)?;
        let end = self.end();
        if let Some(room) = room.checked_sub(self.current) {
            let at = self.weighs_at_most(end, self.before, room);
            if at < end {
                return Some(now.max(from_nanos(at)));
            }
        }
        // In the next window the current one is the one before; in the one after that nothing is left.
        Some(from_nanos(self.weighs_at_most(end + self.window, self.current, room)))
    }
}
