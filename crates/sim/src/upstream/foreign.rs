//! Calls by others with the same token.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The most windows that are caught up with after nobody asked for long: what is older weighs nowhere.
const MAX_BEHIND: u32 = 2;

/// The moments at which others call: a Poisson process, drawn as far as time has come.
#[derive(Debug)]
pub(super) struct ForeignCalls {
    rng: StdRng,
    /// The mean time between two; `None`: there are none.
    mean: Option<Duration>,
    window: Duration,
    next: Duration,
}

impl ForeignCalls {
    /// So many in a window on average, from `now` on.
    pub(super) fn new(per_window: f64, window: Duration, seed: u64, now: Duration) -> Self {
        let mean = (per_window > 0.0).then(|| window.div_f64(per_window).max(Duration::from_nanos(1)));
        let mut calls = Self { rng: StdRng::seed_from_u64(seed), mean, window, next: now };
        calls.draw();
        calls
    }

    fn draw(&mut self) {
        if let Some(mean) = self.mean {
            // Exponential; the generator gives [0, 1), whose logarithm is taken of (0, 1].
            let gap = mean.mul_f64(-(1.0 - self.rng.random::<f64>()).ln());
            self.next = self.next.saturating_add(gap.max(Duration::from_nanos(1)));
        }
    }

    /// The next call at or before `now`, if there is one.
    pub(super) fn due(&mut self, now: Duration) -> Option<Duration> {
        self.mean?;
        let horizon = now.saturating_sub(self.window * MAX_BEHIND);
        if self.next < horizon {
            self.next = horizon;
            self.draw();
        }
        let due = self.next;
        (due <= now).then(|| {
            self.draw();
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_call_as_often_as_they_are_said_to() {
        let second = Duration::from_secs(1);
        let mut calls = ForeignCalls::new(60.0, second, 7, Duration::ZERO);
        let (mut count, mut last) = (0_u32, Duration::ZERO);
        for window in 1..=100 {
            while let Some(at) = calls.due(second * window) {
                assert!(at >= last && at <= second * window);
                last = at;
                count += 1;
            }
        }
        // 6000 on average, standard deviation 77.
        assert!((5600..6400).contains(&count), "{count}");
        let mut late = 0;
        while calls.due(second * 1_000_000).is_some() {
            late += 1;
        }
        assert!(late < 200, "{late}");
        assert_eq!(ForeignCalls::new(0.0, second, 7, Duration::ZERO).due(second), None);
    }
}
