//! Limits: one rule of a budget each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ClassName, LimitName, TenantName, Tier, UnitName, opt_duration_text};

/// The largest capacity, cost or remaining, in any unit. Sums of these stay exact in a double.
pub const MAX_CAPACITY: u64 = 1_000_000_000_000;

/// The most reservations and caps one limit has, each.
pub const MAX_SHARES: usize = 32;

/// One rule of a budget: so much of a unit, per window or at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawLimit", into = "RawLimit")]
pub struct LimitSpec {
    /// Its name, unique in the budget.
    pub name: LimitName,
    /// How it counts.
    pub kind: LimitKind,
    /// What it counts.
    pub unit: UnitName,
    /// The classes it applies to; empty: all.
    pub classes: Vec<ClassName>,
    /// What a call costs that does not say, in `unit`: 1 to the capacity.
    pub default_cost: u64,
    /// When the upstream counts.
    pub counted_at: CountedAt,
    /// Whether the upstream's responses promise readings of it: then, knowing nothing, one probe goes first.
    pub readings: bool,
    /// Parts that are kept for somebody, used or not.
    pub reservations: Vec<Reservation>,
    /// What a tenant may have at most.
    pub caps: Vec<Cap>,
}

/// How a limit counts.
#[derive(Debug, Clone, PartialEq)]
pub enum LimitKind {
    /// So much per window.
    Window {
        /// At most this, 1 to [`MAX_CAPACITY`].
        capacity: u64,
        /// The window's length, 10 ms to 31 days.
        window: Duration,
        /// The window is fixed: all of it is given back at its end. Otherwise it is taken for a rolling one.
        aligned: bool,
        /// The windows are on a clock: they end whole windows apart, whoever calls. Needs `aligned`.
        on_clock: bool,
    },
    /// A bucket that is known to refill steadily.
    Bucket {
        /// What it holds, 1 to [`MAX_CAPACITY`].
        capacity: u64,
        /// What comes back per second, above 0, at most [`MAX_CAPACITY`].
        refill_per_second: f64,
    },
    /// So many calls at once, whatever they cost.
    Concurrency {
        /// At most this many, 1 to [`MAX_CAPACITY`].
        capacity: u64,
        /// How long after its response a call still occupies its slot, at most 1 hour.
        linger: Duration,
    },
    /// No number is known and none is sent: a rate that grows while callers wait, and is cut at congestion.
    Adaptive {
        /// Units per second at the start.
        start_per_second: f64,
        /// Never below.
        min_per_second: f64,
        /// Never above.
        max_per_second: f64,
    },
}

impl LimitKind {
    /// What can be out at most; for an adaptive limit what its highest rate lets out in a second.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "validated: 0 < max <= MAX_CAPACITY"
    )]
    pub fn capacity(&self) -> u64 {
        match self {
            Self::Window { capacity, .. }
            | Self::Bucket { capacity, .. }
            | Self::Concurrency { capacity, .. } => *capacity,
            Self::Adaptive { max_per_second, .. } => (*max_per_second as u64).max(1),
        }
    }

    /// `window`, `bucket`, `concurrency`, `adaptive`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Window { .. } => "window",
            Self::Bucket { .. } => "bucket",
            Self::Concurrency { .. } => "concurrency",
            Self::Adaptive { .. } => "adaptive",
        }
    }
}

/// When the upstream counts a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CountedAt {
    /// When it arrives: at the latest `send_within` after the grant.
    #[default]
    Start,
    /// When it is done (LLM output tokens): at the latest at the permit's deadline.
    Completion,
}

/// A tier or a tenant: somebody who shares.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// All calls of a tier.
    Tier(Tier),
    /// All calls of a tenant.
    Tenant(TenantName),
}

/// So much of a limit is kept for one party, used or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// For whom.
    #[serde(rename = "for")]
    pub party: Party,
    /// How much, in the limit's unit.
    pub amount: u64,
}

/// No tenant has more than so much of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// This tenant, or each one that has no cap of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
    /// How much, in the limit's unit.
    pub amount: u64,
}

impl LimitSpec {
    /// A limit on requests of all classes, with nothing reserved or capped.
    pub fn new(name: LimitName, kind: LimitKind) -> Self {
        Self {
            name,
            kind,
            unit: UnitName::requests(),
            classes: Vec::new(),
            default_cost: 1,
            counted_at: CountedAt::Start,
            readings: false,
            reservations: Vec::new(),
            caps: Vec::new(),
        }
    }

    /// Whether calls of `class` fall under it.
    pub fn applies_to(&self, class: &ClassName) -> bool {
        self.classes.is_empty() || self.classes.contains(class)
    }
}

/// The form in files: flat, every key optional, checked by `TryFrom`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    name: LimitName,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capacity: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "opt_duration_text")]
    window: Option<Duration>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    aligned: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    on_clock: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refill_per_second: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "opt_duration_text")]
    linger: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_per_second: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_per_second: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_per_second: Option<f64>,
    #[serde(default = "UnitName::requests")]
    unit: UnitName,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<ClassName>,
    #[serde(default = "one")]
    default_cost: u64,
    #[serde(default)]
    counted_at: CountedAt,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    readings: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reservations: Vec<Reservation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    caps: Vec<Cap>,
}

fn one() -> u64 {
    1
}

/// Takes a key that its kind needs.
fn needed<T>(value: &mut Option<T>, kind: &str, key: &str) -> Result<T, String> {
    value.take().ok_or_else(|| format!("{key}: a limit of kind \"{kind}\" needs it"))
}

impl TryFrom<RawLimit> for LimitSpec {
    type Error = String;

    fn try_from(mut raw: RawLimit) -> Result<Self, String> {
        let of = raw.kind.clone();
        let kind = match of.as_str() {
            "window" => LimitKind::Window {
                capacity: needed(&mut raw.capacity, &of, "capacity")?,
                window: needed(&mut raw.window, &of, "window")?,
                aligned: std::mem::take(&mut raw.aligned),
                on_clock: std::mem::take(&mut raw.on_clock),
            },
            "bucket" => LimitKind::Bucket {
                capacity: needed(&mut raw.capacity, &of, "capacity")?,
                refill_per_second: needed(&mut raw.refill_per_second, &of, "refill_per_second")?,
            },
            "concurrency" => LimitKind::Concurrency {
                capacity: needed(&mut raw.capacity, &of, "capacity")?,
                linger: raw.linger.take().unwrap_or_default(),
            },
            "adaptive" => LimitKind::Adaptive {
                start_per_second: raw.start_per_second.take().unwrap_or(1.0),
                min_per_second: raw.min_per_second.take().unwrap_or(0.1),
                max_per_second: raw.max_per_second.take().unwrap_or(1000.0),
            },
            other => {
                return Err(format!("kind: {other:?} is none of window, bucket, concurrency, adaptive"));
            }
        };
        let left = [
            ("capacity", raw.capacity.is_some()),
            ("window", raw.window.is_some()),
            ("aligned", raw.aligned),
            ("on_clock", raw.on_clock),
            ("refill_per_second", raw.refill_per_second.is_some()),
            ("linger", raw.linger.is_some()),
            ("start_per_second", raw.start_per_second.is_some()),
            ("min_per_second", raw.min_per_second.is_some()),
            ("max_per_second", raw.max_per_second.is_some()),
        ];
        if let Some((key, _)) = left.into_iter().find(|(_, set)| *set) {
            return Err(format!("{key}: means nothing for a limit of kind {of:?}"));
        }
        Ok(Self {
            name: raw.name,
            kind,
            unit: raw.unit,
            classes: raw.classes,
            default_cost: raw.default_cost,
            counted_at: raw.counted_at,
            readings: raw.readings,
            reservations: raw.reservations,
            caps: raw.caps,
        })
    }
}

impl From<LimitSpec> for RawLimit {
    fn from(spec: LimitSpec) -> Self {
        let mut raw = Self {
            name: spec.name,
            kind: spec.kind.as_str().to_owned(),
            capacity: None,
            window: None,
            aligned: false,
            on_clock: false,
            refill_per_second: None,
            linger: None,
            start_per_second: None,
            min_per_second: None,
            max_per_second: None,
            unit: spec.unit,
            classes: spec.classes,
            default_cost: spec.default_cost,
            counted_at: spec.counted_at,
            readings: spec.readings,
            reservations: spec.reservations,
            caps: spec.caps,
        };
        match spec.kind {
            LimitKind::Window { capacity, window, aligned, on_clock } => {
                raw.capacity = Some(capacity);
                raw.window = Some(window);
                raw.aligned = aligned;
                raw.on_clock = on_clock;
            }
            LimitKind::Bucket { capacity, refill_per_second } => {
                raw.capacity = Some(capacity);
                raw.refill_per_second = Some(refill_per_second);
            }
            LimitKind::Concurrency { capacity, linger } => {
                raw.capacity = Some(capacity);
                raw.linger = Some(linger);
            }
            LimitKind::Adaptive { start_per_second, min_per_second, max_per_second } => {
                raw.start_per_second = Some(start_per_second);
                raw.min_per_second = Some(min_per_second);
                raw.max_per_second = Some(max_per_second);
            }
        }
        raw
    }
}
