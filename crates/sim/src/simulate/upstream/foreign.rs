//! Calls by others with the same token.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::simulate::plan::Foreign;

/// When others call, and how much at once.
#[derive(Debug, Clone)]
pub(super) struct ForeignCalls {
    rng: SmallRng,
    rhythm: Rhythm,
    next: Duration,
    /// Those who were refused and come again, and when.
    refused: u64,
    again: Duration,
}

/// How long others who are patient stay away when they are refused.
const AWAY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum Rhythm {
    Never,
    Poisson { mean: Duration, is_patient: bool },
    Bursts { every: Duration, size: u64 },
}

/// At least a nanosecond, so that time goes on.
fn some(time: Duration) -> Duration {
    time.max(Duration::from_nanos(1))
}

/// `time * part / whole` in whole nanoseconds.
fn share_of(time: Duration, part: u128, whole: u128) -> Duration {
    let nanos = time.as_nanos() * part / whole.max(1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// An exponentially distributed number of mean 2^32, by comparisons of integers alone (von Neumann, 1951): the same
/// on every machine, as the logarithm of a library is not.
fn exponential(rng: &mut SmallRng) -> u64 {
    let mut whole = 0_u64;
    loop {
        let first: u32 = rng.random();
        let (mut last, mut falls) = (first, 1_u32);
        loop {
            let next: u32 = rng.random();
            if next >= last {
                break;
            }
            (last, falls) = (next, falls + 1);
        }
        if falls % 2 == 1 {
            return (whole << 32) + u64::from(first);
        }
        whole += 1;
    }
}

impl ForeignCalls {
    /// As planned, by a rule of `capacity` in `window`, from the start on.
    pub(super) fn new(plan: &Foreign, capacity: u64, window: Duration, seed: u64) -> Self {
        let rhythm = match plan {
            Foreign::Poisson(share) | Foreign::Patient(share) if *share > 0 && capacity > 0 => {
                let mean = share_of(window, 1000, u128::from(capacity) * u128::from(*share));
                Rhythm::Poisson { mean: some(mean), is_patient: matches!(plan, Foreign::Patient(_)) }
            }
            Foreign::Bursts { every, size } if *size > 0 => {
                Rhythm::Bursts { every: some(*every), size: *size }
            }
            _ => Rhythm::Never,
        };
        let mut calls = Self {
            rng: SmallRng::seed_from_u64(seed),
            rhythm,
            next: Duration::ZERO,
            refused: 0,
            again: Duration::ZERO,
        };
        calls.draw();
        calls
    }

    fn draw(&mut self) {
        let gap = match self.rhythm {
            Rhythm::Never => return,
            Rhythm::Poisson { mean, .. } => share_of(mean, u128::from(exponential(&mut self.rng)), 1 << 32),
            Rhythm::Bursts { every, .. } => {
                share_of(every, 500 + u128::from(self.rng.random_range(0..=1000_u32)), 1000)
            }
        };
        self.next = self.next.saturating_add(some(gap));
    }

    /// The moment of the next call.
    pub(super) fn next(&self) -> Option<Duration> {
        let next = if self.refused > 0 { self.next.min(self.again) } else { self.next };
        (!matches!(self.rhythm, Rhythm::Never)).then_some(next)
    }

    /// So many of those that called at `now` were refused.
    pub(super) fn refused(&mut self, now: Duration, count: u64) {
        if matches!(self.rhythm, Rhythm::Poisson { is_patient: true, .. }) && count > 0 {
            if self.refused == 0 {
                self.again = now + AWAY;
            }
            self.refused += count;
        }
    }

    /// Takes the next call: how many at once.
    pub(super) fn take(&mut self) -> u64 {
        if self.refused > 0 && self.again < self.next {
            return std::mem::take(&mut self.refused);
        }
        self.draw();
        match self.rhythm {
            Rhythm::Never => 0,
            Rhythm::Poisson { .. } => 1,
            Rhythm::Bursts { size, .. } => size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(plan: &Foreign, count: usize) -> Vec<f64> {
        let mut calls = ForeignCalls::new(plan, 600, Duration::from_secs(60), 7);
        let mut last = Duration::ZERO;
        let mut gap = || {
            let at = calls.next().unwrap();
            assert!(at > last);
            calls.take();
            let gap = at - last;
            last = at;
            gap.as_secs_f64()
        };
        (0..count).map(|_| gap()).collect()
    }

    #[test]
    fn gaps_are_exponential_with_the_mean_that_the_share_says() {
        // 10 % of 600 a minute: one a second.
        let gaps = gaps(&Foreign::Poisson(100), 40_000);
        let mean = gaps.iter().sum::<f64>() / 40_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        for (longer_than, share) in [(0.5, 0.6065), (1.0, 0.3679), (2.0, 0.1353), (4.0, 0.0183)] {
            let seen = gaps.iter().filter(|gap| **gap > longer_than).count();
            let seen = f64::from(u32::try_from(seen).unwrap()) / 40_000.0;
            assert!((seen - share).abs() < 0.01, "{seen} of the gaps are longer than {longer_than} s");
        }
    }

    #[test]
    fn bursts_come_at_about_their_interval() {
        let every = Duration::from_secs(10);
        let gaps = gaps(&Foreign::Bursts { every, size: 30 }, 1000);
        assert!(gaps.iter().all(|gap| (5.0..=15.0).contains(gap)));
        let mean = gaps.iter().sum::<f64>() / 1000.0;
        assert!((mean - 10.0).abs() < 0.5, "{mean}");
    }

    #[test]
    fn who_is_patient_comes_again_until_it_is_accepted() {
        for (plan, comes_again) in [(Foreign::Patient(100), true), (Foreign::Poisson(100), false)] {
            let mut calls = ForeignCalls::new(&plan, 600, Duration::from_secs(60), 7);
            let (mut now, mut refused, mut comes) = (Duration::ZERO, 0, Vec::new());
            while now < Duration::from_secs(20) {
                now = calls.next().unwrap();
                let count = calls.take();
                refused += count;
                comes.push(count);
                calls.refused(now, count);
            }
            let most = comes.iter().copied().max().unwrap();
            assert_eq!(most > 10, comes_again, "{plan:?}: {comes:?}");
            assert!(refused >= most, "{plan:?}");
        }
    }

    #[test]
    fn nobody_calls_where_nobody_is() {
        for plan in [Foreign::None, Foreign::Poisson(0)] {
            assert_eq!(ForeignCalls::new(&plan, 600, Duration::from_secs(60), 7).next(), None);
        }
    }
}
