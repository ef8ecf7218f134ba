//! The generic cell rate algorithm.

use std::time::Duration;

use super::{Model, common_divisor, from_nanos, nanos};

/// The generic cell rate algorithm: a theoretical arrival time that each call moves on by its emission interval
/// (`period / amount`), and a tolerance of `capacity` intervals. It accepts what a [`LeakyBucket`](super::LeakyBucket)
/// does; two forms of one rule, coded apart, to check each other.
#[derive(Debug, Clone)]
pub struct Gcra {
    capacity: u64,
    /// Calls per period; times are kept multiplied by it, so that an interval is whole.
    amount: u128,
    /// One emission interval in those times.
    interval: u128,
    arrival: u128,
}

impl Gcra {
    /// Nothing has been called. An `amount` or a `period` of nothing is taken for 1 and 1 ns.
    pub fn new(capacity: u64, amount: u64, period: Duration) -> Self {
        Self { capacity, amount: u128::from(amount.max(1)), interval: period.as_nanos().max(1), arrival: 0 }
    }

    fn scaled(&self, now: Duration) -> u128 {
        u128::from(nanos(now)) * self.amount
    }

    fn tolerance(&self) -> u128 {
        u128::from(self.capacity) * self.interval
    }
}

impl Model for Gcra {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn remaining(&mut self, now: Duration) -> u64 {
        let ahead = self.arrival.saturating_sub(self.scaled(now));
        u64::try_from(self.tolerance().saturating_sub(ahead) / self.interval).unwrap_or(u64::MAX)
    }

    fn resize(&mut self, now: Duration, capacity: u64) {
        let capacity = capacity.max(1);
        let ahead = self.arrival.saturating_sub(self.scaled(now));
        let (amount, interval) =
            (self.amount * u128::from(capacity), self.interval * u128::from(self.capacity.max(1)));
        let shared = common_divisor(amount, interval);
        // As many intervals ahead as before, each as long as the new ones are.
        let ahead = (ahead * (interval / shared)).div_ceil(self.interval);
        (self.amount, self.interval, self.capacity) = (amount / shared, interval / shared, capacity);
        self.arrival = self.scaled(now) + ahead;
    }

    fn charge(&mut self, now: Duration, cost: u64) {
        self.arrival = self.arrival.max(self.scaled(now)) + u128::from(cost) * self.interval;
    }

    fn window_end(&mut self, _now: Duration) -> Option<Duration> {
        None
    }

    fn named_reset(&mut self, now: Duration) -> Option<Duration> {
        Some(from_nanos(self.arrival.max(self.scaled(now)).div_ceil(self.amount)))
    }

    fn fits_at(&mut self, now: Duration, cost: u64) -> Option<Duration> {
        let room = u128::from(self.capacity.checked_sub(cost)?) * self.interval;
        Some(now.max(from_nanos(self.arrival.saturating_sub(room).div_ceil(self.amount))))
    }
}
