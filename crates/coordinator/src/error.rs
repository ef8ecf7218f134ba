//! Why a coordinator gave no permit or no answer.

use std::time::Duration;

use bursar_quota::{BudgetName, LedgerError, Refusal, SpecError};

/// Why an acquire got no permit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// An answer: what binds, and when to come back.
    #[error("no permit was granted")]
    Refused(#[source] Refusal),
    /// No answer could be had.
    #[error("the request could not be decided")]
    Failed(#[source] CoordinatorError),
}

/// Why a request could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// The request cannot be: which field, and what would be right.
    #[error("the request is not valid")]
    Invalid(#[from] SpecError),
    /// No budget has this name. Acquires, settlements and renewals answer so in their result instead.
    #[error("no budget is named {0}")]
    UnknownBudget(BudgetName),
    /// More settlements and renewals are queued than this replica holds.
    #[error("too much is queued for {budget}; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// Whose queue is full.
        budget: BudgetName,
        /// When to try again.
        retry_after: Duration,
    },
    /// The ledger gave no answer. A settlement may have taken effect all the same; settling again changes nothing then.
    #[error("the ledger gave no answer")]
    Ledger(#[source] LedgerError),
    /// The coordinator has stopped.
    #[error("the coordinator has stopped")]
    Stopped,
}

impl From<Refusal> for AcquireError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<CoordinatorError> for AcquireError {
    fn from(error: CoordinatorError) -> Self {
        Self::Failed(error)
    }
}
