//! Ranges of seeds, and shares.

use std::ops::Range;

/// `A..B`, without B.
pub(super) fn parse(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is A..B, such as 0..1000")?;
    let seed =
        |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no seed: a whole number is"));
    let range = seed(from)?..seed(to)?;
    if range.is_empty() { Err("there is no seed in it".to_owned()) } else { Ok(range) }
}

/// A share in percent, as ten-thousandths.
pub(super) fn percent(text: &str) -> Result<u16, String> {
    let wrong = || format!("{text:?} is no share: a number from 0 to 100 is, such as 99.5");
    let share: f64 = text.parse().map_err(|_| wrong())?;
    // In steps of a hundredth, so that it can be told again as it was given.
    (0..=10_000).find(|part| (f64::from(*part) / 100.0 - share).abs() < 0.005).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{parse, percent};

    #[test]
    fn a_range_has_a_beginning_and_an_end() {
        assert_eq!(parse("3..10"), Ok(3..10));
        for wrong in ["3", "3..", "..3", "3..3", "5..3", "a..b", "-1..3"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_a_percentage() {
        for (text, share) in [("0", 0), ("99.5", 9950), ("99.99", 9999), ("100", 10_000)] {
            assert_eq!(percent(text), Ok(share));
        }
        for wrong in ["", "-1", "100.1", "all", "nan"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
