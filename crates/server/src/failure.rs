//! Why an RPC has no result, and the one function that says so in gRPC's terms.

use std::{error::Error, time::Duration};

use bursar_coordinator::CoordinatorError;
use bursar_quota::LedgerError;
use bursar_wire::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    convert::to_millis_up,
    invalid::{Invalid, clip},
};

/// The longest message, in bytes.
pub(crate) const MESSAGE_MAX: usize = 1024;

/// The longest field path on a session, in bytes.
const FIELD_MAX: usize = 256;

/// When to try again after two operators changed the same budget at once.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Why an RPC has no result. A refusal is a result, and none of these.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A field breaks its bound.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No token was shown, or none that is known.
    #[error("a known token is needed: authorization: Bearer <token>")]
    Unauthenticated,
    /// The token is not for this.
    #[error("{0}")]
    Forbidden(String),
    /// A bound of this server is reached.
    #[error("{subject} is full: {bound}")]
    Full {
        /// What is full: `session` or `connection`.
        subject: &'static str,
        /// Its bound, for a person to read.
        bound: String,
    },
    /// This replica ends.
    #[error("this replica is shutting down; ask another")]
    Ending,
    /// The deadline of a session has passed.
    #[error("the deadline of the session has passed")]
    DeadlinePassed,
    /// The coordinator has no answer.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

/// A failure in gRPC's terms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The field that was wrong, where one was.
    pub(crate) field: Option<Invalid>,
    /// When to try again; `None`: that does not help.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// What the failure is in gRPC's terms. Every error that leaves this server goes through here.
    pub(crate) fn facts(&self) -> Facts {
        let facts = |code, retry_after| Facts { code, message: whole(self), field: None, retry_after };
        match self {
            Self::Invalid(invalid) => {
                Facts { field: Some(invalid.clone()), ..facts(Code::InvalidArgument, None) }
            }
            Self::Unauthenticated => facts(Code::Unauthenticated, None),
            Self::Forbidden(_) => facts(Code::PermissionDenied, None),
            Self::Full { .. } => facts(Code::ResourceExhausted, Some(Duration::from_millis(100))),
            Self::Ending => facts(Code::Unavailable, Some(Duration::ZERO)),
            Self::DeadlinePassed => facts(Code::DeadlineExceeded, None),
            Self::Coordinator(CoordinatorError::Invalid(error)) => {
                let invalid = Invalid { field: in_wire_terms(&error.field), problem: error.problem.clone() };
                Facts { field: Some(invalid), ..facts(Code::InvalidArgument, None) }
            }
            Self::Coordinator(CoordinatorError::UnknownBudget(_)) => facts(Code::NotFound, None),
            Self::Coordinator(CoordinatorError::Overloaded { retry_after, .. }) => {
                facts(Code::ResourceExhausted, Some(*retry_after))
            }
            Self::Coordinator(CoordinatorError::Stopped) => facts(Code::Unavailable, Some(Duration::ZERO)),
            Self::Coordinator(CoordinatorError::Ledger(error)) => match error {
                LedgerError::UnknownBudget(_) | LedgerError::Forgotten(_) => facts(Code::NotFound, None),
                LedgerError::StaleSpec { .. } => facts(Code::Aborted, Some(AT_ONCE)),
                LedgerError::Unavailable { retry_after, .. } => facts(Code::Unavailable, Some(*retry_after)),
                LedgerError::Corrupt(_) => facts(Code::Internal, None),
            },
        }
    }

    /// When this replica itself may try again; `None`: another one must, or nobody can.
    pub(crate) fn passes_in(&self) -> Option<Duration> {
        match self {
            Self::Coordinator(
                CoordinatorError::Overloaded { retry_after, .. }
                | CoordinatorError::Ledger(LedgerError::Unavailable { retry_after, .. }),
            ) => Some(*retry_after),
            Self::Coordinator(CoordinatorError::Ledger(LedgerError::StaleSpec { .. })) => Some(AT_ONCE),
            _ => None,
        }
    }

    pub(crate) fn code(&self) -> Code {
        self.facts().code
    }

    /// The failure of a call of its own: a status with `google.rpc` details.
    pub(crate) fn status(&self) -> Status {
        let Facts { code, message, field, retry_after } = self.facts();
        let mut details = ErrorDetails::new();
        if let Some(Invalid { field, problem }) = field {
            details.add_bad_request_violation(field, clip(&problem, MESSAGE_MAX));
        }
        if let Self::Full { subject, bound } = self {
            details.add_quota_failure_violation(*subject, bound);
        }
        if retry_after.is_some() {
            details.set_retry_info(retry_after);
        }
        Status::with_error_details(code, clip(&message, MESSAGE_MAX), details)
    }

    /// The failure of one request of a session.
    pub(crate) fn on_session(&self) -> v1::SessionError {
        let Facts { code, message, field, retry_after } = self.facts();
        v1::SessionError {
            code: i32::from(code).unsigned_abs(),
            message: clip(&message, MESSAGE_MAX).to_owned(),
            field: field.map(|invalid| clip(&invalid.field, FIELD_MAX).to_owned()).unwrap_or_default(),
            retry_after_ms: retry_after.map(to_millis_up),
        }
    }
}

/// A field of a request as the wire spells it.
fn in_wire_terms(field: &str) -> String {
    match field {
        "ttl" | "max_wait" | "age" => format!("{field}_ms"),
        "span" => "for_ms".into(),
        _ => field.into(),
    }
}

/// An error and what caused it: no error's text repeats its source's.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_quota::SpecError;

    #[test]
    fn each_failure_has_its_code_and_its_time_to_come_back() {
        let budget = || "b".parse().unwrap();
        let ms = |ms| Some(Duration::from_millis(ms));
        let unavailable =
            LedgerError::Unavailable { cause: "gone".into(), retry_after: Duration::from_secs(2) };
        let overloaded =
            CoordinatorError::Overloaded { budget: budget(), retry_after: Duration::from_secs(1) };
        let ttl = SpecError { field: "ttl".into(), problem: "too long".into() };
        let ledger = |error| Failure::Coordinator(CoordinatorError::Ledger(error));
        for (failure, code, retry_after) in [
            (Invalid::new("a", "b").into(), Code::InvalidArgument, None),
            (CoordinatorError::Invalid(ttl).into(), Code::InvalidArgument, None),
            (Failure::Unauthenticated, Code::Unauthenticated, None),
            (Failure::Forbidden("no".into()), Code::PermissionDenied, None),
            (Failure::Full { subject: "session", bound: "1".into() }, Code::ResourceExhausted, ms(100)),
            (Failure::Ending, Code::Unavailable, ms(0)),
            (Failure::DeadlinePassed, Code::DeadlineExceeded, None),
            (CoordinatorError::UnknownBudget(budget()).into(), Code::NotFound, None),
            (overloaded.into(), Code::ResourceExhausted, ms(1000)),
            (CoordinatorError::Stopped.into(), Code::Unavailable, ms(0)),
            (ledger(LedgerError::UnknownBudget(budget())), Code::NotFound, None),
            (ledger(LedgerError::Forgotten(budget())), Code::NotFound, None),
            (ledger(LedgerError::StaleSpec { budget: budget(), version: 2 }), Code::Aborted, ms(50)),
            (ledger(unavailable), Code::Unavailable, ms(2000)),
            (ledger(LedgerError::Corrupt("odd".into())), Code::Internal, None),
        ] {
            let facts = failure.facts();
            assert_eq!((facts.code, facts.retry_after), (code, retry_after), "{failure:?}");
            let status = failure.status();
            assert_eq!(status.code(), code);
            assert_eq!(status.get_details_retry_info().and_then(|retry| retry.retry_delay), retry_after);
            assert_eq!(status.get_details_bad_request().is_some(), code == Code::InvalidArgument);
            let on_session = failure.on_session();
            assert_eq!(on_session.code, code as u32);
            assert_eq!(on_session.retry_after_ms.map(Duration::from_millis), retry_after);
        }
    }

    #[test]
    fn a_message_tells_its_cause_once_and_a_field_is_the_wires() {
        let cause = LedgerError::Corrupt("odd".into());
        let failure = Failure::Coordinator(CoordinatorError::Ledger(cause));
        assert_eq!(failure.facts().message.matches("odd").count(), 1, "{}", failure.facts().message);
        let ttl = SpecError { field: "ttl".into(), problem: "too long".into() };
        let found = Failure::from(CoordinatorError::Invalid(ttl)).on_session();
        assert_eq!(found.field, "ttl_ms");
        let long = Failure::Forbidden("é".repeat(5000)).on_session();
        assert!(long.message.len() <= MESSAGE_MAX);
    }
}
