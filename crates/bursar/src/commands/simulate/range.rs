//! Ranges of seeds.

use std::ops::Range;

/// `A..B`, without B.
pub(super) fn parse(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is A..B, such as 0..1000")?;
    let seed =
        |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no seed: a whole number is"));
    let range = seed(from)?..seed(to)?;
    if range.is_empty() { Err("there is no seed in it".to_owned()) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_range_has_a_beginning_and_an_end() {
        assert_eq!(parse("3..10"), Ok(3..10));
        for wrong in ["3", "3..", "..3", "3..3", "5..3", "a..b", "-1..3"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
