//! How a vendor spells what it says: headers and bodies, pure.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use super::{
    state::Said,
    vendor::{HeaderStyle, RefusalBody, Vendor, WindowRule},
};

/// What broken servers and proxies were seen to send where a number belongs.
const GARBAGE: [&[u8]; 8] =
    [b"", b"-1", b"NaN", b"soon", b"12, 34, ", b"99999999999999999999999", b"1e400", b"\xff\xfe\x00?"];

/// The moment at which a response is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// On the upstream's monotonic clock.
    pub(super) now: Duration,
    /// On its wall clock, since the Unix epoch, as wrong as it is.
    pub(super) unix: Duration,
    /// How many times faster than the vendor it is.
    pub(super) scale: f64,
}

impl Moment {
    /// The vendor sends whole seconds, rounded up. Scaled, they would be too coarse for the windows: then values have a
    /// fraction, right to the millisecond, for a fraction's digits are taken for its precision.
    fn resolution_ms(self) -> u128 {
        if self.scale > 1.0 { 1 } else { 1000 }
    }

    /// A time in seconds.
    fn seconds(self, time: Duration) -> String {
        let resolution = self.resolution_ms();
        let ms = time.as_nanos().div_ceil(1_000_000).div_ceil(resolution) * resolution;
        if resolution == 1000 { (ms / 1000).to_string() } else { decimal(ms) }
    }
}

/// Milliseconds as seconds, with a fraction where there is one.
fn decimal(ms: u128) -> String {
    if ms.is_multiple_of(1000) { (ms / 1000).to_string() } else { format!("{}.{:03}", ms / 1000, ms % 1000) }
}

/// The Date header of a response, in whole seconds: the form knows no fractions, scaled or not.
pub(super) fn date(moment: Moment) -> HeaderValue {
    // 9999-12-31, the last date that the form can write.
    let last = Duration::from_secs(253_402_300_799);
    value(httpdate::fmt_http_date(UNIX_EPOCH + moment.unix.min(last)).as_bytes())
}

/// The Retry-After header of a refusal.
pub(super) fn retry_after(moment: Moment, after: Duration) -> HeaderValue {
    value(moment.seconds(after).as_bytes())
}

/// The readings that a response carries, garbled if it says so.
pub(super) fn readings(vendor: &Vendor, said: &Said, moment: Moment) -> Vec<(HeaderName, HeaderValue)> {
    let Some(standing) = said.standing else { return Vec::new() };
    let Some(rule) = vendor.rules.get(standing.rule) else { return Vec::new() };
    let (limit, remaining) = (standing.capacity, standing.remaining);
    // Named when the call was counted; told when it is answered: its end may have passed.
    let reset = standing.reset.map(|reset| reset.saturating_sub(moment.now));
    let mut lines: Vec<(&'static str, String)> = match vendor.style {
        HeaderStyle::EpochReset | HeaderStyle::NoReset => {
            vec![("x-ratelimit-limit", limit.to_string()), ("x-ratelimit-remaining", remaining.to_string())]
        }
        HeaderStyle::DeltaReset => vec![
            ("ratelimit-limit", limit.to_string()),
            ("ratelimit-remaining", remaining.to_string()),
            ("ratelimit-policy", format!("{limit};w={}", window_of(rule))),
        ],
        HeaderStyle::Structured => {
            let after = reset.map(|after| format!(";t={}", moment.seconds(after))).unwrap_or_default();
            vec![
                ("ratelimit-policy", format!("{:?};q={limit};w={}", rule.name, window_of(rule))),
                ("ratelimit", format!("{:?};r={remaining}{after}", rule.name)),
            ]
        }
    };
    match (vendor.style, standing.reset.zip(reset)) {
        (HeaderStyle::EpochReset, Some((reset, _))) => {
            let at = (moment.unix + reset).saturating_sub(moment.now);
            lines.push(("x-ratelimit-reset", moment.seconds(at)));
        }
        (HeaderStyle::DeltaReset, Some((_, after))) => lines.push(("ratelimit-reset", moment.seconds(after))),
        _ => {}
    }
    let garbled = said.garble.map(|n| (n % lines.len(), GARBAGE[n / lines.len() % GARBAGE.len()]));
    let line = |(i, (name, text)): (usize, (&'static str, String))| match garbled {
        Some((at, garbage)) if at == i => (HeaderName::from_static(name), value(garbage)),
        _ => (HeaderName::from_static(name), value(text.as_bytes())),
    };
    lines.into_iter().enumerate().map(line).collect()
}

fn window_of(rule: &WindowRule) -> String {
    decimal(rule.window.as_millis())
}

/// The body of a refusal. `by` is the limit that refused.
pub(super) fn refusal_body(vendor: &Vendor, by: &str, after: Duration, moment: Moment) -> Value {
    let rule = vendor.rules.iter().find(|rule| rule.name == by);
    match (vendor.body, rule) {
        (RefusalBody::RateLimitExceeded, Some(rule)) => json!({ "rateLimitExceeded": {
            "tier": "Tier 1",
            "rateLimitWindow": u64::try_from(rule.window.as_millis()).unwrap_or(u64::MAX),
            "rateLimitMax": rule.capacity,
        } }),
        _ => {
            let seconds = moment.seconds(after);
            let seconds =
                seconds.parse::<u64>().map(Value::from).or_else(|_| seconds.parse::<f64>().map(Value::from));
            json!({ "error": {
                "code": "RATE_LIMIT_EXCEEDED",
                "message": format!("limit on {by} reached"),
                "retryAfter": seconds.unwrap_or_default(),
            } })
        }
    }
}

/// A header value of any bytes; those that HTTP itself does not carry are left out.
fn value(bytes: &[u8]) -> HeaderValue {
    let carried: Vec<u8> = bytes.iter().copied().filter(|b| *b >= b' ' && *b != 127).collect();
    HeaderValue::from_bytes(&carried).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The names of headers that refusals and dates come in.
pub(super) const RETRY_AFTER: HeaderName = header::RETRY_AFTER;
