//! Input: three bytes that are not looked at, the limit as text, a line end, the remaining as text.

use std::sync::OnceLock;

use bursar_dialect::Profile;
use bursar_quota::MAX_CAPACITY;

use crate::response::{Response, cut};

const PROFILE: &str = r#"
name = "number"
title = "two numbers"
[[families]]
name = "number"
[[families.readings]]
limit = "x-limit"
remaining = "x-remaining"
[[costs]]
unit = "requests"
from = "x-limit"
"#;

/// `12` or `12.5` digit by digit: the whole number below, and whether there is a rest. `None`: no such number.
pub(crate) fn decimal(text: &str) -> Option<(u64, bool)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let long = text.len() > 64 || whole.len() > 15;
    (digits(whole) && digits(fraction) && !long).then(|| {
        let value = whole.chars().fold(0, |value, c| value * 10 + u64::from(c) - u64::from('0'));
        // Digits beyond the ninth are cut.
        (value, fraction.chars().take(9).any(|c| c != '0'))
    })
}

/// Numbers are read exactly or not at all.
pub(crate) fn run(data: &[u8]) {
    static NUMBER: OnceLock<Profile> = OnceLock::new();
    let profile = NUMBER.get_or_init(|| Profile::from_toml(PROFILE).unwrap());
    let (limit, remaining) = cut(data.get(3..).unwrap_or_default(), b"\n");
    let headers =
        vec![("x-limit".to_owned(), limit.to_vec()), ("x-remaining".to_owned(), remaining.to_vec())];
    let seen = Response { status: 200, headers, body: Vec::new() }.observe(profile);
    // Lists between commas have rules of their own.
    let text = |bytes| std::str::from_utf8(bytes).ok().map(str::trim).filter(|text| !text.contains(','));
    let (Some(limit), Some(remaining)) = (text(limit), text(remaining)) else { return };
    let most = |(value, rest): &(u64, bool)| *value + u64::from(*rest) <= MAX_CAPACITY;
    let [limit, remaining] = [limit, remaining].map(|text| decimal(text).filter(most));
    let cost = limit.map(|(value, rest)| value + u64::from(rest)).filter(|cost| *cost > 0);
    assert_eq!(seen.costs.first().map(|(_, cost)| *cost), cost);
    let capacity = limit.map(|(value, _)| value).filter(|capacity| *capacity > 0);
    match seen.readings.first() {
        Some(reading) => {
            assert_eq!(reading.capacity, capacity);
            assert_eq!(reading.remaining, remaining.map(|(value, _)| value));
        }
        // More than the limit remains, or there is neither.
        None => assert!(limit.is_none_or(|limit| remaining.is_none_or(|remaining| remaining >= limit))),
    }
}
