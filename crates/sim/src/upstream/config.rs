//! What a simulated upstream is like.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The longest window after scaling, and the longest of every other time.
const MAX_TIME: Duration = Duration::from_secs(86_400);

/// Which vendor is played. The rules of each are in the `vendor` module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VendorProfile {
    /// Autotask: 600 a minute, 10 a minute on authentication endpoints, 3 at once with linger; a reset in epoch seconds.
    #[default]
    Autotask,
    /// SalesTim: reads and writes throttled apart, 6 in 15 minutes each; refused calls count; no reset is sent.
    Salestim,
    /// 100 a minute, with the structured fields of the current IETF draft.
    Ietf,
    /// 100 a minute, with the three `RateLimit-*` fields of the older drafts (the reset is a delta).
    Polli,
    /// 100 a minute, with `X-RateLimit-*`, the reset in epoch seconds.
    Generic,
}

impl VendorProfile {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Autotask, Self::Salestim, Self::Ietf, Self::Polli, Self::Generic];

    /// Its name: `autotask`, `salestim`, `ietf`, `polli`, `generic`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Autotask => "autotask",
            Self::Salestim => "salestim",
            Self::Ietf => "ietf",
            Self::Polli => "polli",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for VendorProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for VendorProfile {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|profile| profile.as_str() == text);
        found.ok_or_else(|| ConfigError {
            field: "profile",
            problem: format!("{text:?} is none of {}", known()),
        })
    }
}

/// How windows begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// On a clock with a phase of its own, whoever calls.
    Clock,
    /// With their first call.
    FirstCall,
    /// Not at all: what counts is what was called in the last window.
    Rolling,
    /// Not at all: a bucket of the capacity that refills evenly within a window.
    Bucket,
}

impl FromStr for WindowKind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "clock" => Ok(Self::Clock),
            "first_call" => Ok(Self::FirstCall),
            "rolling" => Ok(Self::Rolling),
            "bucket" => Ok(Self::Bucket),
            _ => Err(ConfigError {
                field: "windows",
                problem: format!("{text:?} is none of clock, first_call, rolling, bucket"),
            }),
        }
    }
}

/// A simulated upstream: which vendor, and how badly it behaves. [`UpstreamConfig::new`] is the vendor at its best.
///
/// Times of the vendor (windows, linger, Retry-After) are divided by `scale`. Times that are given here (`window`,
/// `linger`, `latency`) are taken as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Which vendor.
    pub profile: VendorProfile,
    /// How many times faster than the vendor: 0.001 to 100,000.
    pub scale: f64,
    /// Instead of the capacity of the vendor's windows (the authentication endpoints aside): 1 to 10^12.
    pub capacity: Option<u64>,
    /// Instead of the vendor's window (the authentication endpoints' as well), not scaled: 1 ms to 1 day.
    pub window: Option<Duration>,
    /// Instead of the vendor's limit on authentication endpoints: 1 to 10^12.
    pub auth_capacity: Option<u64>,
    /// Instead of how many calls the vendor lets a token have at once; 0: any number.
    pub concurrency: Option<u32>,
    /// Instead of the time by which a slot outlasts its response, not scaled: at most 1 day.
    pub linger: Option<Duration>,
    /// Instead of how the vendor's windows begin and end.
    pub windows: Option<WindowKind>,
    /// When, after its clock's zero, the first window ends: any time, taken modulo the window. Absent: by `seed`, each
    /// limit its own. All tokens share it.
    pub phase: Option<Duration>,
    /// The least and the most time that an accepted call takes, evenly spread: at most 1 day.
    pub latency: (Duration, Duration),
    /// Share of the responses that carry no reading at all: 0 to 1.
    pub drop_headers: f64,
    /// Share of the responses with one of their readings garbled: 0 to 1.
    pub garble_headers: f64,
    /// Share of the refusals without a Retry-After header: 0 to 1.
    pub omit_retry_after: f64,
    /// How far its clock (Date and epochs) is ahead of the true one, in ms; negative: behind. At most a year.
    pub clock_offset_ms: i64,
    /// Calls by others with each token in each window, on average, as a Poisson process: 0 to 10^6. They are over at once.
    pub foreign_per_window: f64,
    /// How many different tokens it knows at most, 1 to 4096; a call with another one is answered with 403.
    pub max_tokens: usize,
    /// How many connections it holds at most, 1 to 65,536; more wait to be accepted.
    pub max_connections: usize,
    /// What everything random follows from.
    pub seed: u64,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self::new(VendorProfile::default())
    }
}

/// A value outside its bounds: which field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl UpstreamConfig {
    /// The vendor in true time, answering in 5 to 25 ms, with every header right.
    pub fn new(profile: VendorProfile) -> Self {
        Self {
            profile,
            scale: 1.0,
            capacity: None,
            window: None,
            auth_capacity: None,
            concurrency: None,
            linger: None,
            windows: None,
            phase: None,
            latency: (Duration::from_millis(5), Duration::from_millis(25)),
            drop_headers: 0.0,
            garble_headers: 0.0,
            omit_retry_after: 0.0,
            clock_offset_ms: 0,
            foreign_per_window: 0.0,
            max_tokens: 64,
            max_connections: 4096,
            seed: 0,
        }
    }

    /// Checks every bound that the fields' documentation states.
    pub fn validate(&self) -> Result<(), ConfigError> {
        between("scale", self.scale, 0.001, 100_000.0)?;
        for (field, capacity) in [("capacity", self.capacity), ("auth_capacity", self.auth_capacity)] {
            let capacity = capacity.unwrap_or(1);
            let most = bursar_quota::MAX_CAPACITY;
            demand((1..=most).contains(&capacity), field, format_args!("{capacity} is outside 1 to {most}"))?;
        }
        let window = self.window.unwrap_or(MAX_TIME);
        let ms = Duration::from_millis(1);
        demand((ms..=MAX_TIME).contains(&window), "window", format_args!("must be 1 ms to 1 day"))?;
        let linger = self.linger.unwrap_or_default();
        demand(linger <= MAX_TIME, "linger", format_args!("must be at most 1 day"))?;
        let (least, most) = self.latency;
        let ordered = least <= most && most <= MAX_TIME;
        demand(ordered, "latency", format_args!("the least must not exceed the most, nor that 1 day"))?;
        between("drop_headers", self.drop_headers, 0.0, 1.0)?;
        between("garble_headers", self.garble_headers, 0.0, 1.0)?;
        between("omit_retry_after", self.omit_retry_after, 0.0, 1.0)?;
        between("foreign_per_window", self.foreign_per_window, 0.0, 1e6)?;
        let year_ms = 366 * 86_400_000_u64;
        demand(
            self.clock_offset_ms.unsigned_abs() <= year_ms,
            "clock_offset_ms",
            format_args!("must be at most {year_ms}, either way"),
        )?;
        demand((1..=4096).contains(&self.max_tokens), "max_tokens", format_args!("must be 1 to 4096"))?;
        demand(
            (1..=65_536).contains(&self.max_connections),
            "max_connections",
            format_args!("must be 1 to 65536"),
        )
    }

    /// A time of the vendor, scaled; at least 1 ms unless it is nothing.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        if time.is_zero() { time } else { time.div_f64(self.scale).max(Duration::from_millis(1)) }
    }
}

fn demand(holds: bool, field: &'static str, problem: fmt::Arguments<'_>) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError { field, problem: problem.to_string() }) }
}

fn between(field: &'static str, value: f64, least: f64, most: f64) -> Result<(), ConfigError> {
    let holds = (least..=most).contains(&value);
    demand(holds, field, format_args!("{value} is outside {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let wrong = |change: fn(&mut UpstreamConfig)| {
            let mut config = UpstreamConfig::default();
            change(&mut config);
            config.validate().unwrap_err().field
        };
        assert_eq!(UpstreamConfig::default().validate(), Ok(()));
        assert_eq!(wrong(|c| c.scale = 0.0), "scale");
        assert_eq!(wrong(|c| c.scale = f64::NAN), "scale");
        assert_eq!(wrong(|c| c.capacity = Some(0)), "capacity");
        assert_eq!(wrong(|c| c.auth_capacity = Some(u64::MAX)), "auth_capacity");
        assert_eq!(wrong(|c| c.window = Some(Duration::ZERO)), "window");
        assert_eq!(wrong(|c| c.linger = Some(Duration::MAX)), "linger");
        assert_eq!(wrong(|c| c.latency = (Duration::MAX, Duration::ZERO)), "latency");
        assert_eq!(wrong(|c| c.drop_headers = 1.1), "drop_headers");
        assert_eq!(wrong(|c| c.clock_offset_ms = i64::MIN), "clock_offset_ms");
        assert_eq!(wrong(|c| c.foreign_per_window = f64::INFINITY), "foreign_per_window");
        assert_eq!(wrong(|c| c.max_tokens = 0), "max_tokens");
        assert_eq!(wrong(|c| c.max_connections = 0), "max_connections");
        assert_eq!("sales".parse::<VendorProfile>().unwrap_err().field, "profile");
        for profile in VendorProfile::ALL {
            assert_eq!(profile.as_str().parse(), Ok(profile));
        }
    }
}
