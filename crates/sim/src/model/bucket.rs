//! A bucket that refills steadily.

use std::time::Duration;

use super::{Model, common_divisor, from_nanos, nanos};

/// A bucket of `capacity` that refills `amount` every `period`, evenly. Exact: it keeps what is missing in the unit's
/// `period`-th part, in nanoseconds.
#[derive(Debug, Clone)]
pub struct LeakyBucket {
    capacity: u64,
    amount: u128,
    period: u128,
    /// What is missing to a full bucket, times `period`.
    missing: u128,
    seen: Duration,
}

impl LeakyBucket {
    /// A full bucket. An `amount` or a `period` of nothing is taken for 1 and 1 ns.
    pub fn new(capacity: u64, amount: u64, period: Duration) -> Self {
        let period = period.as_nanos().max(1);
        Self { capacity, amount: u128::from(amount.max(1)), period, missing: 0, seen: Duration::ZERO }
    }

    fn refill(&mut self, now: Duration) {
        let passed = u128::from(nanos(now.saturating_sub(self.seen)));
        self.missing = self.missing.saturating_sub(passed.saturating_mul(self.amount));
        self.seen = self.seen.max(now);
    }
}

impl Model for LeakyBucket {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn remaining(&mut self, now: Duration) -> u64 {
        self.refill(now);
        let missing = u64::try_from(self.missing.div_ceil(self.period)).unwrap_or(u64::MAX);
        self.capacity.saturating_sub(missing)
    }

    fn resize(&mut self, now: Duration, capacity: u64) {
        self.refill(now);
        let capacity = capacity.max(1);
        let (amount, period) =
            (self.amount * u128::from(capacity), self.period * u128::from(self.capacity.max(1)));
        let shared = common_divisor(amount, period);
        // What is missing stays, rounded up to the new parts.
        self.missing = (self.missing * (period / shared)).div_ceil(self.period);
        (self.amount, self.period, self.capacity) = (amount / shared, period / shared, capacity);
    }

    fn charge(&mut self, now: Duration, cost: u64) {
        self.refill(now);
        self.missing = self.missing.saturating_add(u128::from(cost) * self.period);
    }

    fn window_end(&mut self, _now: Duration) -> Option<Duration> {
        None
    }

    fn named_reset(&mut self, now: Duration) -> Option<Duration> {
        self.refill(now);
        Some(now + from_nanos(self.missing.div_ceil(self.amount)))
    }

    fn fits_at(&mut self, now: Duration, cost: u64) -> Option<Duration> {
        self.refill(now);
        let may_miss = u128::from(self.capacity.checked_sub(cost)?) * self.period;
        Some(now + from_nanos(self.missing.saturating_sub(may_miss).div_ceil(self.amount)))
    }
}
