//! Fixed windows that are enforced in parts.

use std::time::Duration;

use super::{ClockWindow, Model};

/// Fixed windows on a clock, each of which is cut into equal parts with an equal share of the capacity (rounded up), while
/// what is told is told of the whole: 600 a minute, enforced as 10 a second.
#[derive(Debug, Clone)]
pub struct SubWindows {
    whole: ClockWindow,
    part: ClockWindow,
    parts: u32,
}

impl SubWindows {
    /// At most `capacity` in each window, which ends as [`ClockWindow::new`] says, and its share in each of `parts` (at
    /// least 1) parts. The window is a whole number of nanoseconds times `parts`.
    pub fn new(capacity: u64, window: Duration, parts: u32, phase: Duration) -> Self {
        let parts = parts.max(1);
        let whole = ClockWindow::new(capacity, window, phase);
        let part = ClockWindow::new(capacity.div_ceil(u64::from(parts)), window / parts, phase);
        Self { whole, part, parts }
    }
}

impl Model for SubWindows {
    /// Of the whole window.
    fn capacity(&self) -> u64 {
        self.whole.capacity()
    }

    fn remaining(&mut self, now: Duration) -> u64 {
        self.whole.remaining(now).min(self.part.remaining(now))
    }

    /// Of the whole window.
    fn named_remaining(&mut self, now: Duration) -> u64 {
        self.whole.remaining(now)
    }

    fn resize(&mut self, now: Duration, capacity: u64) {
        self.whole.resize(now, capacity);
        self.part.resize(now, capacity.div_ceil(u64::from(self.parts)));
    }

    fn charge(&mut self, now: Duration, cost: u64) {
        self.whole.charge(now, cost);
        self.part.charge(now, cost);
    }

    fn window_end(&mut self, now: Duration) -> Option<Duration> {
        self.whole.window_end(now)
    }

    fn fits_at(&mut self, now: Duration, cost: u64) -> Option<Duration> {
        // A whole window begins with a part: once the whole has room, so has the part, or the next one.
        let at = self.whole.fits_at(now, cost)?;
        if at > now {
            return (cost <= self.part.capacity()).then_some(at);
        }
        self.part.fits_at(now, cost)
    }
}
