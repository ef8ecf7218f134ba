//! How a profile declares readings: values that belong together, in families that are never mixed.

use std::{collections::BTreeMap, time::Duration};

use bursar_quota::{LimitName, LimitSelector, UnitName, opt_duration_text};
use serde::Deserialize;

use crate::{
    source::{HeaderName, Source, Sources},
    time::{TimeSource, TimeUnit},
};

/// Readings that an upstream sends together. Of several families one speaks: the first that yields a remaining,
/// otherwise the first that yields anything.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// What people call it.
    pub name: String,
    /// 1 to 16 readings: all of them are taken, each is of one limit.
    pub readings: Vec<ReadingRule>,
}

/// How one limit is read from a response.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "RawReading")]
pub struct ReadingRule {
    /// Which limit it is about.
    pub target: Target,
    /// Where its values are.
    pub form: Form,
}

/// Which limit a reading is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one of this name.
    Named(LimitName),
    /// One like it.
    Like {
        /// What it counts.
        unit: UnitName,
        /// Its window in milliseconds, where the form of the reading tells it.
        window_ms: Option<u64>,
    },
}

/// Where the values of a reading are.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// A value a place.
    Fields(Box<Fields>),
    /// The structured fields `RateLimit` and `RateLimit-Policy`.
    Structured(Structured),
}

/// Values in places of their own; each may be absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    /// The capacity.
    pub limit: Option<Sources>,
    /// What remains.
    pub remaining: Option<Sources>,
    /// What is used; with the capacity it tells what remains.
    pub used: Option<Sources>,
    /// `32/40`: 32 used of 40.
    pub used_of_limit: Option<Sources>,
    /// `8/40`: 8 remain of 40.
    pub remaining_of_limit: Option<Sources>,
    /// When the window ends.
    pub reset: Option<TimeSource>,
    /// How long the window is.
    pub window: Option<TimeSource>,
    /// The header with quota policies `100;w=60, 1000;w=3600`; the limit's own header may then hold them as well.
    pub policies: Option<HeaderName>,
}

/// The structured fields of draft-ietf-httpapi-ratelimit-headers: a list of quotas `"default";r=50;t=30` and a list of
/// policies `"default";q=100;w=60;qu="requests"`, matched by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Structured {
    /// The header with what remains.
    pub quotas: HeaderName,
    /// The header with the policies.
    pub policies: HeaderName,
    /// Policies whose names are known to mean a limit of this name; the others are found by quota and window.
    #[serde(default)]
    pub names: BTreeMap<String, LimitName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReading {
    #[serde(default)]
    for_limit: Option<LimitName>,
    #[serde(default)]
    for_unit: Option<UnitName>,
    #[serde(default, with = "opt_duration_text")]
    for_window: Option<Duration>,
    #[serde(default)]
    limit: Option<Sources>,
    #[serde(default)]
    remaining: Option<Sources>,
    #[serde(default)]
    used: Option<Sources>,
    #[serde(default)]
    used_of_limit: Option<Sources>,
    #[serde(default)]
    remaining_of_limit: Option<Sources>,
    #[serde(default)]
    reset: Option<TimeSource>,
    #[serde(default)]
    window: Option<TimeSource>,
    #[serde(default)]
    policies: Option<HeaderName>,
    #[serde(default)]
    structured: Option<Structured>,
}

impl TryFrom<RawReading> for ReadingRule {
    type Error = String;

    fn try_from(raw: RawReading) -> Result<Self, String> {
        let RawReading { for_limit, for_unit, for_window, structured, .. } = raw;
        let target = match (for_limit, &for_unit, for_window) {
            (Some(limit), None, None) => Target::Named(limit),
            (Some(_), ..) => return Err("for_limit: says it all; for_unit and for_window go without".into()),
            (None, _, window) => Target::Like {
                unit: for_unit.clone().unwrap_or_else(UnitName::requests),
                window_ms: window.map(whole_ms).transpose()?,
            },
        };
        let fields = Fields {
            limit: raw.limit,
            remaining: raw.remaining,
            used: raw.used,
            used_of_limit: raw.used_of_limit,
            remaining_of_limit: raw.remaining_of_limit,
            reset: raw.reset,
            window: raw.window,
            policies: raw.policies,
        };
        let form = match structured {
            None => Form::Fields(Box::new(checked(fields)?)),
            Some(_) if fields != Fields::default() => {
                return Err("structured: stands alone; the fields carry all there is".into());
            }
            Some(_) if for_unit.is_some() || for_window.is_some() || matches!(target, Target::Named(_)) => {
                return Err("structured: the policies say which limits; use structured.names".into());
            }
            Some(structured) => Form::Structured(structured),
        };
        Ok(Self { target, form })
    }
}

/// A window as declared, in whole milliseconds.
fn whole_ms(window: Duration) -> Result<u64, String> {
    let bounds = Duration::from_millis(10)..=Duration::from_secs(31 * 86_400);
    match u64::try_from(window.as_millis()) {
        Ok(ms) if bounds.contains(&window) => Ok(ms),
        _ => Err("for_window: is outside 10ms to 31days".into()),
    }
}

fn checked(fields: Fields) -> Result<Fields, String> {
    let Fields { limit, remaining, used, used_of_limit, remaining_of_limit, reset, window, policies } =
        &fields;
    let ways = [remaining.is_some() || used.is_some(), used_of_limit.is_some(), remaining_of_limit.is_some()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err(
            "used_of_limit, remaining_of_limit and remaining (or used) are three ways of saying one thing: \
                    name one"
                .into(),
        );
    }
    if used.is_some() && remaining.is_none() && limit.is_none() {
        return Err("used: tells what remains only together with limit".into());
    }
    if reset.as_ref().is_some_and(|reset| reset.unit == TimeUnit::RetryAfter) {
        return Err("reset.unit: \"retry-after\" is for retry_after alone".into());
    }
    if window.as_ref().is_some_and(|window| !window.unit.is_length()) {
        return Err("window.unit: a length is \"seconds\", \"milliseconds\" or \"duration\"".into());
    }
    let whole_header = |source: &Source| matches!(source, Source::Header { key: None, .. });
    if policies.is_some() && !limit.as_ref().is_some_and(|limit| limit.iter().all(whole_header)) {
        return Err("policies: go with a limit that is a header".into());
    }
    let says = [limit.is_some(), reset.is_some()];
    if !ways.into_iter().chain(says).any(|it| it) {
        return Err(
            "a reading needs one of limit, remaining, used, used_of_limit, remaining_of_limit, reset, \
                    structured"
                .into(),
        );
    }
    Ok(fields)
}

impl Target {
    /// The selector, with what the response said of the limit.
    pub(crate) fn selector(&self, capacity: Option<u64>, window: Option<u64>) -> LimitSelector {
        match self {
            Self::Named(name) => LimitSelector::Named(name.clone()),
            Self::Like { unit, window_ms } => LimitSelector::Like {
                called: None,
                unit: unit.clone(),
                capacity,
                window_ms: window_ms.or(window),
            },
        }
    }
}

impl ReadingRule {
    /// The headers it reads.
    pub(crate) fn headers(&self) -> Vec<&str> {
        match &self.form {
            Form::Structured(s) => vec![s.quotas.as_str(), s.policies.as_str()],
            Form::Fields(f) => {
                let plain = [&f.limit, &f.remaining, &f.used, &f.used_of_limit, &f.remaining_of_limit];
                let timed = [&f.reset, &f.window].into_iter().flatten().map(|time| &time.from);
                let sources = plain.into_iter().flatten().chain(timed);
                sources
                    .flat_map(|sources| sources.iter().filter_map(|source| source.header()))
                    .chain(f.policies.as_ref().map(HeaderName::as_str))
                    .collect()
            }
        }
    }

    /// The times it reads.
    pub(crate) fn times(&self) -> impl Iterator<Item = (&'static str, &TimeSource)> {
        let fields = match &self.form {
            Form::Fields(fields) => Some(fields),
            Form::Structured(_) => None,
        };
        fields.into_iter().flat_map(|f| {
            [("reset", &f.reset), ("window", &f.window)]
                .into_iter()
                .filter_map(|(key, time)| time.as_ref().map(|time| (key, time)))
        })
    }
}
