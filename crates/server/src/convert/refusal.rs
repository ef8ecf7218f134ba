//! Refusals, for programs and for people.

use std::time::Duration;

use bursar_quota::{BudgetName, Reason, Refusal};
use bursar_wire::v1;

use super::to_millis_up;

/// The reason on the wire.
pub(crate) fn reason(reason: Reason) -> v1::RefusalReason {
    match reason {
        Reason::UnknownBudget => v1::RefusalReason::UnknownBudget,
        Reason::Draining => v1::RefusalReason::Draining,
        Reason::CostAboveCapacity => v1::RefusalReason::CostAboveCapacity,
        Reason::PausedByOperator => v1::RefusalReason::PausedByOperator,
        Reason::PausedByUpstream => v1::RefusalReason::PausedByUpstream,
        Reason::Probing => v1::RefusalReason::Probing,
        Reason::QuotaExhausted => v1::RefusalReason::QuotaExhausted,
        Reason::ConcurrencyExhausted => v1::RefusalReason::ConcurrencyExhausted,
        Reason::Reserved => v1::RefusalReason::Reserved,
        Reason::TenantCapped => v1::RefusalReason::TenantCapped,
        Reason::Ramping => v1::RefusalReason::Ramping,
        Reason::QueueFull => v1::RefusalReason::QueueFull,
        Reason::WaitTooLong => v1::RefusalReason::WaitTooLong,
    }
}

/// A refusal for the wire.
pub(crate) fn refusal(budget: &BudgetName, refusal: &Refusal) -> v1::Refusal {
    v1::Refusal {
        reason: reason(refusal.reason).into(),
        limit: refusal.limit.as_ref().map(|limit| limit.as_str().to_owned()).unwrap_or_default(),
        retry_after_ms: refusal.retry_after.map(to_millis_up),
        message: sentence(budget, refusal),
    }
}

/// A sentence that says why, which limit binds and what to do. At most 512 bytes: two names and a number at most.
fn sentence(budget: &BudgetName, refusal: &Refusal) -> String {
    let limit = match &refusal.limit {
        Some(limit) => format!("limit {limit} of budget {budget}"),
        None => format!("budget {budget}"),
    };
    let why = match refusal.reason {
        Reason::UnknownBudget => format!("no budget is named {budget}; put it first, or check the name"),
        Reason::Draining => "this replica is shutting down; ask another".into(),
        Reason::CostAboveCapacity => format!("the cost is above what {limit} can ever give this caller"),
        Reason::PausedByOperator => format!("an operator has paused budget {budget}"),
        Reason::PausedByUpstream => format!("the upstream said to stay away from {limit}"),
        Reason::Probing => {
            format!(
                "where {limit} stands is not known: the rest wait for a probe's answer, or for a lost state to be over"
            )
        }
        Reason::QuotaExhausted => format!("{limit} is used up"),
        Reason::ConcurrencyExhausted => format!("as many calls as {limit} allows at once are under way"),
        Reason::Reserved => format!("what is left of {limit} is reserved for another tier or tenant"),
        Reason::TenantCapped => format!("the tenant has as much of {limit} as it may have"),
        Reason::Ramping => format!("after a pause the calls of {limit} are let out little by little"),
        Reason::QueueFull => format!("the queue for budget {budget} is full on this replica"),
        Reason::WaitTooLong => format!("max_wait_ms or the deadline ends before the call's turn at {limit}"),
    };
    match refusal.retry_after {
        Some(after) if after > Duration::ZERO => format!("{why}; come back in {} ms", to_millis_up(after)),
        Some(_) => format!("{why}; come back now"),
        None => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_quota::LimitName;

    #[test]
    fn reasons_keep_their_order_on_the_wire() {
        let numbers: Vec<i32> = Reason::ALL.into_iter().map(|r| reason(r).into()).collect();
        assert_eq!(numbers, (1..=13).collect::<Vec<_>>());
    }

    #[test]
    fn no_time_to_come_back_is_too_early() {
        let refused = Refusal {
            reason: Reason::QuotaExhausted,
            limit: LimitName::new("requests").ok(),
            retry_after: Some(Duration::from_micros(1_000_001)),
        };
        let wire = refusal(&BudgetName::new("autotask").unwrap(), &refused);
        assert_eq!(wire.retry_after_ms, Some(1001));
        assert_eq!(wire.message, "limit requests of budget autotask is used up; come back in 1001 ms");
    }

    #[test]
    fn every_sentence_fits() {
        let long = "x".repeat(128);
        for reason in Reason::ALL {
            let refused = Refusal {
                reason,
                limit: LimitName::new(&long).ok(),
                retry_after: Some(Duration::from_millis(u64::MAX)),
            };
            let message = refusal(&BudgetName::new(&long).unwrap(), &refused).message;
            assert!(!message.is_empty() && message.len() <= 512, "{reason}: {} bytes", message.len());
        }
    }
}
