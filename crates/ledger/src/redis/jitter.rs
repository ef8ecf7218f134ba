//! Back-off that does not come back in step.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// Exponential back-off with jitter from a generator of its own.
#[derive(Debug)]
pub(super) struct Jitter {
    base: Duration,
    most: Duration,
    random: Mutex<SmallRng>,
}

impl Jitter {
    /// Steps that begin with `base`, double, and end at `most`.
    pub(super) fn new(seed: u64, base: Duration, most: Duration) -> Self {
        Self { base, most, random: Mutex::new(SmallRng::seed_from_u64(seed)) }
    }

    /// The wait before try number `attempt`, from 1: between half of the step and all of it, so that it is never
    /// nothing.
    pub(super) fn backoff(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1).min(16));
        let step = self.base.saturating_mul(doubled).min(self.most);
        let share = self.random.lock().unwrap_or_else(PoisonError::into_inner).random_range(0.5..=1.0);
        step.mul_f64(share)
    }

    /// When a caller should come back whose call failed although it was tried again.
    pub(super) fn come_back(&self) -> Duration {
        self.backoff(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_their_bound_and_are_never_nothing() {
        let ms = Duration::from_millis;
        let jitter = Jitter::new(1, ms(20), ms(500));
        for (attempt, step) in [(1, 20), (2, 40), (3, 80), (6, 500), (u32::MAX, 500)] {
            let wait = jitter.backoff(attempt);
            assert!(ms(step) / 2 <= wait && wait <= ms(step), "{attempt}: {wait:?}");
        }
    }
}
