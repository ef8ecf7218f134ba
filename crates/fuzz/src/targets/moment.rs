//! Input: three bytes that choose unit, rounding and the rest, then the time as text.

use std::{collections::HashMap, sync::Mutex};

use bursar_dialect::Profile;
use bursar_quota::Span;

use super::number::decimal;
use crate::{
    checks::MAX_AHEAD_MS,
    response::{DATE, RECEIVED_UNIX_MS, Response},
};

const UNITS: [&str; 9] = [
    "seconds",
    "milliseconds",
    "epoch-seconds",
    "epoch-milliseconds",
    "duration",
    "rfc3339",
    "http-date",
    "sniff",
    "ignored",
];
const ROUNDINGS: [&str; 4] = ["up", "down", "nearest", "unknown"];
/// In milliseconds.
const RESOLUTIONS: [i64; 4] = [0, 1, 60_000, 3_600_000];

/// How a time is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Declared {
    unit: &'static str,
    rounding: &'static str,
    resolution_ms: i64,
    zero_is_unknown: bool,
}

impl Declared {
    fn profile(self) -> Profile {
        static PROFILES: Mutex<Option<HashMap<Declared, Profile>>> = Mutex::new(None);
        let mut profiles = PROFILES.lock().unwrap();
        profiles.get_or_insert_default().entry(self).or_insert_with(|| self.parse()).clone()
    }

    fn parse(self) -> Profile {
        let Self { unit, rounding, resolution_ms, zero_is_unknown } = self;
        let resolution = match resolution_ms {
            0 => String::new(),
            ms => format!(", resolution = \"{ms}ms\""),
        };
        let time = format!(
            r#"from = "x-time", unit = "{unit}", rounding = "{rounding}", zero_is_unknown = {zero_is_unknown}{resolution}"#
        );
        // "sniff" is for the profile of this name alone.
        let text = format!(
            r#"
            name = "generic"
            title = "a time"
            retry_after = [{{ {time} }}]
            [[families]]
            name = "time"
            [[families.readings]]
            remaining = "x-remaining"
            reset = {{ {time} }}
            "#
        );
        Profile::from_toml(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The interval that a plain number of milliseconds or seconds means, worked out in microseconds. `None`: it is none.
    fn by_hand(self, text: &str, dated: bool) -> Option<Span> {
        let (value, _) = decimal(text).filter(|_| text.chars().all(|c| c.is_ascii_digit()))?;
        let digit = if self.unit.ends_with("milliseconds") { 1_000 } else { 1_000_000 };
        let at = i128::from(value) * digit;
        let step = digit.max(i128::from(self.resolution_ms) * 1000);
        let (mut earliest, mut latest) = match self.rounding {
            "up" => (at - step, at),
            "down" => (at, at + step),
            "nearest" => (at - step / 2, at + step / 2),
            _ => (at - step, at + step),
        };
        if self.unit.starts_with("epoch") {
            let made = i128::from(RECEIVED_UNIX_MS) * 1000;
            let (before, after) = if dated { (0, 1_000_000) } else { (5_000_000, 5_000_000) };
            earliest -= made + after;
            latest -= made - before;
        }
        let span = Span {
            earliest_ms: i64::try_from(earliest.div_euclid(1000)).ok()?,
            latest_ms: i64::try_from(-(-latest).div_euclid(1000)).ok()?,
        };
        let unknown = self.zero_is_unknown && value == 0;
        (!unknown && span.latest_ms >= 0 && span.earliest_ms <= MAX_AHEAD_MS).then_some(span)
    }
}

/// A reset is the interval that its text means, and a Retry-After its end.
pub(crate) fn run(data: &[u8]) {
    let [unit, rounding, rest, text @ ..] = data else { return };
    let of = |byte: u8, count: usize| usize::from(byte) % count;
    let declared = Declared {
        unit: UNITS[of(*unit, UNITS.len())],
        rounding: ROUNDINGS[of(*rounding, ROUNDINGS.len())],
        resolution_ms: RESOLUTIONS[of(*rest, RESOLUTIONS.len())],
        zero_is_unknown: rest & 4 > 0,
    };
    let dated = rest & 8 > 0;
    let mut headers = vec![("x-remaining".to_owned(), b"1".to_vec()), ("x-time".to_owned(), text.to_vec())];
    if dated {
        headers.push(("date".to_owned(), DATE.to_vec()));
    }
    let seen = Response { status: 429, headers, body: Vec::new() }.observe(&declared.profile());
    let reset = seen.readings.first().and_then(|reading| reading.reset);
    // Lists between commas have rules of their own.
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (text, list) = (text.trim(), text.contains(','));
    if declared.unit == "ignored" {
        assert_eq!((reset, seen.retry_after_ms), (None, None));
    } else if !list {
        let wait = reset.and_then(|span| u64::try_from(span.latest_ms).ok());
        assert_eq!(seen.retry_after_ms, wait.filter(|ms| *ms <= MAX_AHEAD_MS.unsigned_abs()));
    }
    if declared.unit.ends_with("seconds") && !list && !text.contains('.') {
        assert_eq!(reset, declared.by_hand(text, dated), "{declared:?}");
    }
}
