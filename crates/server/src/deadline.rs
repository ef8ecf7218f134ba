//! The caller's own deadline, from the `grpc-timeout` header.

use std::time::Duration;

use tonic::metadata::MetadataMap;

use crate::invalid::Invalid;

/// How much time the caller gave the call: 1 to 8 digits and one of `H M S m u n`. `None`: it named no deadline.
pub(crate) fn of(metadata: &MetadataMap) -> Result<Option<Duration>, Invalid> {
    let Some(value) = metadata.get("grpc-timeout") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse);
    let wrong = || Invalid::new("grpc-timeout", "must be 1 to 8 digits and a unit, one of H, M, S, m, u, n");
    parsed.map(Some).ok_or_else(wrong)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    // Eight digits of hours are far from overflowing.
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(text: &str) -> Result<Option<Duration>, Invalid> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        of(&metadata)
    }

    #[test]
    fn each_unit_is_read() {
        assert_eq!(of(&MetadataMap::new()), Ok(None));
        for (text, ms) in [("2H", 7_200_000), ("1M", 60_000), ("3S", 3000), ("50m", 50), ("1000u", 1)] {
            assert_eq!(with(text), Ok(Some(Duration::from_millis(ms))), "{text}");
        }
        assert_eq!(with("10n"), Ok(Some(Duration::from_nanos(10))));
        assert!(with("99999999H").unwrap().is_some());
    }

    #[test]
    fn what_is_no_timeout_names_the_header() {
        for text in ["", "m", "10", "10x", "-1m", "1.5S", "+3S", "123456789m"] {
            assert_eq!(with(text).unwrap_err().field, "grpc-timeout", "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[ -~]{0,12}") {
            let _ = with(&text);
        }
    }
}
