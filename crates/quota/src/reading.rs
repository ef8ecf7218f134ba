//! What a response said: the result of a dialect, before it is matched to the limits of a budget.

use crate::{ClassName, LimitName, UnitName};

/// A response as a dialect sees it. Header values are raw bytes: vendors send what they like.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    /// The HTTP status code.
    pub status: u16,
    /// Header lines in the order received; names in any case. At most 64 KiB in all.
    pub headers: &'a [(String, Vec<u8>)],
    /// The first bytes of the body, at most 16 KiB; empty when unknown.
    pub body: &'a [u8],
    /// Wall-clock time at which the response was received, milliseconds since the Unix epoch. Used only where the
    /// response has no `Date` of its own.
    pub received_unix_ms: u64,
}

/// An interval of time in milliseconds, counted from the moment the response was made. `earliest_ms <= latest_ms`.
/// Negative is past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Not before this.
    pub earliest_ms: i64,
    /// Not after this.
    pub latest_ms: i64,
}

/// Which limit of a budget is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitSelector {
    /// By its name in the profile.
    Named(LimitName),
    /// By what the response said of it; [`crate::BudgetSpec::select`] finds it among the limits of the call's class.
    Like {
        /// What the response calls it, where it does; a limit of that name is meant.
        called: Option<LimitName>,
        /// What it counts.
        unit: UnitName,
        /// Its capacity, where sent.
        capacity: Option<u64>,
        /// Its window in milliseconds, where sent.
        window_ms: Option<u64>,
    },
}

/// One limit as one response described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Which limit.
    pub limit: LimitSelector,
    /// The limit's capacity, where sent: 1 to [`crate::MAX_CAPACITY`].
    pub capacity: Option<u64>,
    /// What remains right after this call: 0 to [`crate::MAX_CAPACITY`]. Fractions are rounded down.
    pub remaining: Option<u64>,
    /// When the limit's window ends, from the moment the response was made.
    pub reset: Option<Span>,
}

/// What a refusal was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hit {
    /// This limit is used up.
    Limit(LimitSelector),
    /// This class of calls.
    Class(ClassName),
    /// The call's own class, whatever it is.
    CallClass,
    /// The whole budget: the response does not say more, or it was a concurrency or a secondary limit.
    Budget,
}

/// What became of the call, in the upstream's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was counted.
    Accepted,
    /// It was refused for quota (429 and its kin).
    Refused {
        /// Whether this upstream counts refused calls all the same.
        counted: bool,
        /// What was hit.
        hit: Hit,
    },
}

/// All that a response said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Accepted or refused.
    pub verdict: Verdict,
    /// At most 16 readings.
    pub readings: Vec<Reading>,
    /// How long to stay away, milliseconds from the moment the response was made, rounded up. On a refusal it wins
    /// over everything else; on a success a dialect reports none.
    pub retry_after_ms: Option<u64>,
    /// How many values were malformed and therefore ignored.
    pub malformed: u32,
    /// Actual cost by unit, where the response tells it.
    pub costs: Vec<(UnitName, u64)>,
}
