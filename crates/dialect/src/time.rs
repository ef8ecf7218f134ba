//! How a profile declares where a time is found and how it is written.

use std::time::Duration;

use bursar_quota::opt_duration_text;
use serde::Deserialize;

use crate::source::Sources;

/// The form in which an upstream writes a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// Seconds from now, `30` or `1.5`.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// Seconds since the Unix epoch, fractions allowed.
    EpochSeconds,
    /// Milliseconds since the Unix epoch.
    EpochMilliseconds,
    /// Text with units, `6m0s`, `12ms`, `1h2m3.5s`.
    Duration,
    /// `2026-11-22T03:00:00Z`, with any fraction or offset; the seconds may be missing.
    #[serde(rename = "rfc3339")]
    Rfc3339,
    /// An HTTP date in any of its three forms.
    HttpDate,
    /// What Retry-After allows: seconds (fractions too) or an HTTP date, and RFC 3339 for those who send that.
    RetryAfter,
    /// Guessed by form and magnitude, within guards. For the profile `generic` alone.
    Sniff,
    /// It is there, but it is not the end of a window: never read.
    Ignored,
}

impl TimeUnit {
    /// Whether it is a length of time and not a moment on the upstream's clock.
    pub(crate) fn is_length(self) -> bool {
        matches!(self, Self::Seconds | Self::Milliseconds | Self::Duration)
    }
}

/// How the upstream rounds a time to its last digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// To the next above: the truth is at or before what is written.
    Up,
    /// Cut: the truth is at or after what is written.
    Down,
    /// To the nearest: half a digit either side.
    Nearest,
    /// Not known: a whole digit either side.
    #[default]
    Unknown,
}

/// Where a time is found and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawTime")]
pub struct TimeSource {
    /// Where; the first that is there and well-formed is taken.
    pub from: Sources,
    /// How it is written.
    pub unit: TimeUnit,
    /// How it is rounded; absent: unknown for a reset, up for a Retry-After.
    pub rounding: Option<Rounding>,
    /// What it is exact to at best, where that is coarser than its digits show: 1 ms to 1 h.
    pub resolution: Option<Duration>,
    /// Nought means that the upstream does not know.
    pub zero_is_unknown: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTime {
    from: Sources,
    unit: TimeUnit,
    #[serde(default)]
    rounding: Option<Rounding>,
    #[serde(default, with = "opt_duration_text")]
    resolution: Option<Duration>,
    #[serde(default)]
    zero_is_unknown: bool,
}

impl TryFrom<RawTime> for TimeSource {
    type Error = String;

    fn try_from(raw: RawTime) -> Result<Self, String> {
        let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
        if raw.resolution.is_some_and(|resolution| !bounds.contains(&resolution)) {
            return Err("resolution: is outside 1ms to 1h".into());
        }
        Ok(Self {
            from: raw.from,
            unit: raw.unit,
            rounding: raw.rounding,
            resolution: raw.resolution,
            zero_is_unknown: raw.zero_is_unknown,
        })
    }
}

impl TimeSource {
    /// A time with nothing said but where it is and how it is written.
    pub(crate) fn new(from: Sources, unit: TimeUnit) -> Self {
        Self { from, unit, rounding: None, resolution: None, zero_is_unknown: false }
    }

    /// The declared resolution in nanoseconds.
    pub(crate) fn resolution_nanos(&self) -> Option<i128> {
        self.resolution.and_then(|resolution| i128::try_from(resolution.as_nanos()).ok())
    }
}
