//! What a scenario leaves to its seed.

use std::{ops::RangeInclusive, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::simulate::plan::PerMille;

/// Draws of one scenario: from the seed and its name.
#[derive(Debug)]
pub(super) struct Draws(SmallRng);

impl Draws {
    pub(super) fn new(name: &str, seed: u64) -> Self {
        // FNV-1a: each scenario has its own worlds.
        let named = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(SmallRng::seed_from_u64(seed ^ named))
    }

    /// A number in the range.
    pub(super) fn number(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// As [`Self::number`], of small numbers.
    pub(super) fn small(&mut self, range: RangeInclusive<u32>) -> u32 {
        self.0.random_range(range)
    }

    /// A number of milliseconds in the range.
    pub(super) fn ms(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    /// So many thousandths of `whole`, a number of them in the range; in whole milliseconds.
    pub(super) fn part(&mut self, whole: Duration, range: RangeInclusive<PerMille>) -> Duration {
        part(whole, self.small(range))
    }

    /// Whether what happens in so many of a thousand cases happens.
    pub(super) fn happens(&mut self, share: PerMille) -> bool {
        self.small(0..=999) < share
    }

    /// One of them; there is one at least.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.random_range(0..all.len())]
    }
}

/// So many thousandths of `whole`, in whole milliseconds.
pub(super) fn part(whole: Duration, share: PerMille) -> Duration {
    let ms = whole.as_millis() * u128::from(share) / 1000;
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}
