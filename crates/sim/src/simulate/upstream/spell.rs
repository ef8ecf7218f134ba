//! How an upstream spells what it says: headers and bodies, pure.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::rules::Rule;
use crate::simulate::plan::{Body, RetryAfter, RulePlan, Style};

/// The moment at which a response is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Since the start.
    pub(super) now: Duration,
    /// By the upstream's wall clock, as wrong as it is, since the Unix epoch.
    pub(super) unix: Duration,
}

impl Moment {
    /// What the wall clock will show at `at`.
    fn unix_at(self, at: Duration) -> Duration {
        self.unix + at.saturating_sub(self.now)
    }
}

/// A header line before noise is put on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) says: Says,
}

/// What a line is about, as far as noise must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Capacity,
    Remaining,
    Reset,
    /// Several of them.
    All,
}

/// A rule as a response tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) style: Style,
    pub(super) capacity: u64,
    pub(super) remaining: u64,
    pub(super) reset: Option<Duration>,
    pub(super) window: Duration,
}

impl Told {
    pub(super) fn of(rule: &mut Rule, now: Duration) -> Self {
        let RulePlan { name, unit, style, window, .. } = rule.plan.clone();
        let (capacity, remaining) = (rule.model.capacity(), rule.model.named_remaining(now));
        Self { name, unit, style, window, capacity, remaining, reset: rule.model.named_reset(now) }
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds_up(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// A duration as Go writes it, to the millisecond, rounded up: `6m0s`, `17.25s`, `12ms`.
fn go_duration(time: Duration) -> String {
    let ms = time.as_nanos().div_ceil(1_000_000);
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (minutes, ms) = (ms / 60_000, ms % 60_000);
    let minutes = if minutes > 0 { format!("{minutes}m") } else { String::new() };
    match ms % 1000 {
        0 => format!("{minutes}{}s", ms / 1000),
        rest => format!("{minutes}{}.{rest:03}s", ms / 1000),
    }
}

/// A length of a window in seconds, with a fraction where it has one.
fn window_seconds(window: Duration) -> String {
    match window.subsec_millis() {
        0 => window.as_secs().to_string(),
        rest => format!("{}.{rest:03}", window.as_secs()),
    }
}

/// The lines that tell of `told`, in the style that it has.
pub(super) fn lines(told: &Told, moment: Moment) -> Vec<Line> {
    let line = |name: &str, value: String, says| Line { name: name.to_owned(), value, says };
    let Told { capacity, remaining, reset, .. } = *told;
    let after = reset.map(|reset| reset.saturating_sub(moment.now));
    let pair = |prefix: &str| {
        vec![
            line(&format!("{prefix}-Limit"), capacity.to_string(), Says::Capacity),
            line(&format!("{prefix}-Remaining"), remaining.to_string(), Says::Remaining),
        ]
    };
    let window = window_seconds(told.window);
    match told.style {
        Style::Silent => Vec::new(),
        Style::NoReset => pair("X-RateLimit"),
        Style::Epoch => {
            let mut lines = pair("X-RateLimit");
            if let Some(at) = reset {
                let at = seconds_up(moment.unix_at(at)).to_string();
                lines.push(line("X-RateLimit-Reset", at, Says::Reset));
            }
            lines
        }
        Style::Delta => {
            let mut lines = pair("RateLimit");
            if let Some(after) = after {
                lines.push(line("RateLimit-Reset", seconds_up(after).to_string(), Says::Reset));
            }
            lines.push(line("RateLimit-Policy", format!("{capacity};w={window}"), Says::Capacity));
            lines
        }
        Style::Structured => {
            let name = &told.name;
            let after = after.map_or(String::new(), |after| format!(";t={}", seconds_up(after)));
            vec![
                line("RateLimit-Policy", format!("{name:?};q={capacity};w={window}"), Says::Capacity),
                line("RateLimit", format!("{name:?};r={remaining}{after}"), Says::All),
            ]
        }
        Style::PerUnit => {
            let header = |what: &str| format!("x-ratelimit-{what}-{}", told.unit);
            let mut lines = vec![
                line(&header("limit"), capacity.to_string(), Says::Capacity),
                line(&header("remaining"), remaining.to_string(), Says::Remaining),
            ];
            if let Some(after) = after {
                lines.push(line(&header("reset"), go_duration(after), Says::Reset));
            }
            lines
        }
    }
}

/// A date as HTTP writes it.
pub(super) fn http_date(unix: Duration) -> String {
    // 9999-12-31, the last date that the form can write.
    let last = Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + unix.min(last))
}

/// The value of Retry-After.
pub(super) fn retry_after(how: RetryAfter, after: Duration, moment: Moment) -> Option<String> {
    match how {
        RetryAfter::Absent => None,
        RetryAfter::Seconds => Some(seconds_up(after).to_string()),
        RetryAfter::Date => {
            let at = Duration::from_secs(seconds_up(moment.unix + after));
            Some(http_date(at))
        }
        RetryAfter::Zero => Some("0".to_owned()),
    }
}

/// The body of a refusal by `by`; `told` is the rule that refused, if one did, and `after` what Retry-After says.
pub(super) fn body(form: Body, by: &str, told: Option<&Told>, after: Option<Duration>) -> Vec<u8> {
    let value = match (form, told) {
        (Body::Empty, _) => return Vec::new(),
        (Body::RateLimitExceeded, Some(told)) => json!({ "rateLimitExceeded": {
            "tier": "Tier 1",
            "rateLimitWindow": u64::try_from(told.window.as_millis()).unwrap_or(u64::MAX),
            "rateLimitMax": told.capacity,
        } }),
        (Body::ErrorCode | Body::RateLimitExceeded, _) => json!({ "error": {
            "code": "RATE_LIMIT_EXCEEDED",
            "message": format!("limit on {by} reached"),
            "retryAfter": after.map_or(Value::Null, |after| Value::from(seconds_up(after))),
        } }),
        (Body::Problem, _) => json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Request cannot be satisfied as assigned quota has been exceeded",
            "violated-policies": [by],
        }),
    };
    value.to_string().into_bytes()
}
