//! Refusals: a closed enumeration in order of precedence.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::LimitName;

/// Why a permit was not granted. Where several hold, the first in this order is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No budget has this name.
    UnknownBudget,
    /// This replica is shutting down: ask another.
    Draining,
    /// The cost is above the limit's capacity (or what a reservation or cap leaves of it): it can never be granted.
    CostAboveCapacity,
    /// An operator has paused the budget.
    PausedByOperator,
    /// The upstream said to stay away, and the time is not over.
    PausedByUpstream,
    /// The truth is unknown: the rest wait for a probe's answer, or until what a lost state forgot is over.
    Probing,
    /// A window, a bucket or an adaptive rate is used up.
    QuotaExhausted,
    /// As many calls are under way as may be at once.
    ConcurrencyExhausted,
    /// What is left is reserved for another tier or tenant.
    Reserved,
    /// The tenant has as much as it may have.
    TenantCapped,
    /// After a pause calls are let out little by little.
    Ramping,
    /// This replica's queue for the budget is full.
    QueueFull,
    /// The caller's patience (`max_wait` or its deadline) ended, or would end before the call's turn.
    WaitTooLong,
}

impl Reason {
    /// All reasons in order of precedence.
    pub const ALL: [Self; 13] = [
        Self::UnknownBudget,
        Self::Draining,
        Self::CostAboveCapacity,
        Self::PausedByOperator,
        Self::PausedByUpstream,
        Self::Probing,
        Self::QuotaExhausted,
        Self::ConcurrencyExhausted,
        Self::Reserved,
        Self::TenantCapped,
        Self::Ramping,
        Self::QueueFull,
        Self::WaitTooLong,
    ];

    /// The reason in snake case, as metrics and the scripts spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownBudget => "unknown_budget",
            Self::Draining => "draining",
            Self::CostAboveCapacity => "cost_above_capacity",
            Self::PausedByOperator => "paused_by_operator",
            Self::PausedByUpstream => "paused_by_upstream",
            Self::Probing => "probing",
            Self::QuotaExhausted => "quota_exhausted",
            Self::ConcurrencyExhausted => "concurrency_exhausted",
            Self::Reserved => "reserved",
            Self::TenantCapped => "tenant_capped",
            Self::Ramping => "ramping",
            Self::QueueFull => "queue_full",
            Self::WaitTooLong => "wait_too_long",
        }
    }

    /// The reason a script spelled, if it is one.
    pub fn from_script(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal is an answer: what binds, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused: {reason}{}{}", of_limit(limit), come_back(retry_after))]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The limit that binds longest, where one does.
    pub limit: Option<LimitName>,
    /// When it could be granted if nothing else happens, to the millisecond. `None`: no time helps (or none is known).
    pub retry_after: Option<Duration>,
}

fn of_limit(limit: &Option<LimitName>) -> String {
    limit.as_ref().map(|limit| format!(" by limit {limit}")).unwrap_or_default()
}

fn come_back(retry_after: &Option<Duration>) -> String {
    retry_after.map(|after| format!(", come back in {} ms", after.as_millis())).unwrap_or_default()
}
