//! Randomness that is the same on every machine.

use std::ops::RangeInclusive;

/// One actor's source of random numbers. It follows from the simulation's seed and the actor's name alone, so that what
/// one actor draws shifts no other's draws.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

/// One step of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The dice of the actor `name`, the `number`th of its kind.
    pub(crate) fn of(seed: u64, name: &str, number: u64) -> Self {
        let named = name.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
        Self { state: mix(named ^ mix(number.wrapping_add(1))) }
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The bias is below bound / 2^64.
        let wide = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number within `range`, both ends included.
    pub(crate) fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let (from, to) = (*range.start(), *range.end());
        if to <= from { from } else { from + self.below((to - from).saturating_add(1)) }
    }

    /// Whether what happens to `share` of a thousand happens now. Draws nothing for shares of 0.
    pub(crate) fn happens(&mut self, share: u32) -> bool {
        share > 0 && self.below(1000) < u64::from(share)
    }

    /// A place in `weights`, by weight; 0 if they are all 0.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = u64> + Clone) -> usize {
        let mut at = self.below(weights.clone().sum());
        for (place, weight) in weights.enumerate() {
            if at < weight {
                return place;
            }
            at -= weight;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn dice_follow_from_seed_name_and_number() {
        let roll = |seed, name, number| Dice::of(seed, name, number).bits();
        assert_eq!(roll(1, "worker", 2), roll(1, "worker", 2));
        let others = [roll(2, "worker", 2), roll(1, "replica", 2), roll(1, "worker", 3)];
        assert!(others.iter().all(|other| *other != roll(1, "worker", 2)));
        // The same on every machine and with every compiler: recorded logs depend on it.
        assert_eq!(roll(1, "worker", 2), 0x295c_ed45_7d49_7545);
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut dice = Dice::of(7, "test", 0);
        let mut seen = [false; 3];
        for _ in 0..1000 {
            let n = dice.within(&(5..=7));
            seen[usize::try_from(n - 5).unwrap()] = true;
            assert!(dice.below(3) < 3);
            assert_eq!(dice.weighted([0, 1, 0].into_iter()), 1);
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!((dice.below(0), dice.within(&(4..=4))), (0, 4));
        assert!(!dice.happens(0) && dice.happens(1000));
    }
}
