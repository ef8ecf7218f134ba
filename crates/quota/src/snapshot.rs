//! A budget as it stands: for people, metrics and `GetBudget`.

use crate::{LimitName, UnitName};

/// One limit as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitSnapshot {
    /// Which limit.
    pub limit: LimitName,
    /// Its capacity now: declared, or as the upstream last said; for an adaptive limit its rate per second, rounded down.
    pub capacity: u64,
    /// What could be granted now, in the limit's unit. Below zero after an estimate that was too low.
    pub available: i64,
    /// Granted and not settled.
    pub out: u64,
    /// Settled and still weighing.
    pub paid: u64,
    /// `aligned`, `sliding`, `paced`, `bucket`, `concurrency` or `adaptive`: how it is accounted now.
    pub rung: String,
    /// When the current window ends at the earliest and at the latest, milliseconds from now, where known.
    pub window_end_ms: Option<(u64, u64)>,
    /// Whether a reading (or enough blind probes) has shown where it stands.
    pub known: bool,
    /// Cost that others used, as far as seen, since the budget was made.
    pub foreign: u64,
    /// The store lost what it knew: without a reading it is known again in so many milliseconds.
    pub recovering_ms: Option<u64>,
    /// Cost that others use per window, as estimated now and rounded; 0 where the limit has no window.
    pub foreign_per_window: u64,
    /// Cost kept back from `available` now, as forecast for others; 0 where the limit has no window.
    pub reserved: u64,
}

/// A pause that is in force, or its aftermath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseSnapshot {
    /// `budget`, `operator`, `class:<name>` or `limit:<name>`.
    pub scope: String,
    /// Milliseconds that it still lasts; `None` until it is resumed; 0 when it is over and a probe or the ramp follows.
    pub for_ms: Option<u64>,
    /// `paused`, `probing` or `ramping`.
    pub phase: String,
}

/// Use since the budget was made, of one tenant, tier or class in one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// `tenant`, `tier` or `class`.
    pub dimension: String,
    /// Which tenant, tier or class; `_other` beyond the bound of 256 names a dimension.
    pub name: String,
    /// Which unit. For `requests`, one a call.
    pub unit: UnitName,
    /// Cost granted (less what was not sent; estimates corrected).
    pub cost: u64,
}

/// A budget as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetSnapshot {
    /// In the order of the specification.
    pub limits: Vec<LimitSnapshot>,
    /// Pauses in force.
    pub pauses: Vec<PauseSnapshot>,
    /// Use by tenant, tier and class.
    pub usage: Vec<Usage>,
    /// Permits granted, since the budget was made.
    pub granted: u64,
    /// Permits settled in any way.
    pub settled: u64,
    /// Calls that the upstream refused.
    pub refused_upstream: u64,
    /// Replicas that have callers waiting, with how many.
    pub waiting: Vec<(String, u64)>,
}
