//! So many calls at once.

use std::time::Duration;

/// So many calls at once, where a slot is freed slightly *after* the response.
#[derive(Debug, Clone)]
pub struct Concurrency {
    capacity: usize,
    linger: Duration,
    under_way: usize,
    /// When each slot whose call has been answered is freed. With those under way at most `capacity`.
    lingering: Vec<Duration>,
}

impl Concurrency {
    /// At most `capacity` at once; a slot is freed `linger` after its call was answered.
    pub fn new(capacity: usize, linger: Duration) -> Self {
        Self { capacity, linger, under_way: 0, lingering: Vec::new() }
    }

    fn turn(&mut self, now: Duration) {
        self.lingering.retain(|freed| *freed > now);
    }

    /// The most at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Slots that are taken at `now`, those that linger among them.
    pub fn taken(&mut self, now: Duration) -> usize {
        self.turn(now);
        self.under_way + self.lingering.len()
    }

    /// Calls that have started and not been answered.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether a call could start at `now`.
    pub fn fits(&mut self, now: Duration) -> bool {
        self.taken(now) < self.capacity
    }

    /// Starts a call at `now`, if a slot is free. Whoever started one must [`finish`](Self::finish) it.
    #[must_use]
    pub fn start(&mut self, now: Duration) -> bool {
        let fits = self.fits(now);
        if fits {
            self.under_way += 1;
        }
        fits
    }

    /// The response to a started call was made, or its caller went away, at `now`.
    pub fn finish(&mut self, now: Duration) {
        self.turn(now);
        if self.under_way > 0 {
            self.under_way -= 1;
            self.lingering.push(now + self.linger);
        }
    }

    /// The earliest moment at which a slot is known to be free: `now`, the end of a linger, or `None` where all slots are
    /// held by calls under way.
    pub fn fits_at(&mut self, now: Duration) -> Option<Duration> {
        if self.fits(now) { Some(now) } else { self.lingering.iter().min().copied() }
    }
}
