//! What can go wrong, typed; gRPC statuses are read in one place.

use std::{error::Error as _, time::Duration};

use bursar_quota::{LimitName, Reason};
use bursar_wire::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::config::ConfigError;

/// Bursar's answer that there is no permit: what binds, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused: {message}")]
pub struct Refusal {
    /// Why: of the reasons that hold, the first in order of precedence.
    pub reason: Reason,
    /// The limit that binds longest, where one does.
    pub limit: Option<LimitName>,
    /// When it could be granted if nothing else happens, to the millisecond. `None`: no time helps, or none is known.
    pub retry_after: Option<Duration>,
    /// The same for a person to read.
    pub message: String,
}

impl Refusal {
    /// Reads a refusal from the wire; a reason that this client does not know is an error with its number.
    pub(crate) fn read(refusal: v1::Refusal) -> Result<Self, CallError> {
        let retry_after = refusal.retry_after_ms.map(Duration::from_millis);
        let reason = usize::try_from(refusal.reason).ok().and_then(|number| number.checked_sub(1));
        let Some(reason) = reason.and_then(|place| Reason::ALL.get(place)).copied() else {
            let message = format!("refusal reason {} is unknown: {}", refusal.reason, refusal.message);
            return Err(CallError::Protocol { message, retry_after });
        };
        let limit = LimitName::new(&refusal.limit).ok();
        Ok(Self { reason, limit, retry_after, message: refusal.message })
    }
}

/// Why there is no permit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// Bursar said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A permit came, but too late to be sent, and was given back. The client asks again by itself, as often as it may;
    /// with a request id of the caller's own it cannot, for the same id gets the same permit.
    #[error("the permit came too late to be sent, and was given back")]
    TooLate,
    /// No answer, or none that is one.
    #[error(transparent)]
    Failed(#[from] CallError),
}

impl AcquireError {
    /// When to come back, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::TooLate => Some(Duration::ZERO),
            Self::Failed(error) => error.retry_after(),
        }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request is broken.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field of the request; empty if the server did not say.
        field: String,
        /// What is wrong with it, and its bound.
        problem: String,
    },
    /// No token, a wrong one, or one without the right to this.
    #[error("not allowed: {message}")]
    Unauthorized {
        /// What the server said.
        message: String,
    },
    /// No replica could be reached, or none could reach its store, in as many attempts as were allowed.
    #[error("unavailable after {attempts} attempts: {message}")]
    Unavailable {
        /// What the last attempt met.
        message: String,
        /// How many attempts were made.
        attempts: u32,
        /// When to try again, if a server said so.
        retry_after: Option<Duration>,
    },
    /// The caller's deadline came first.
    #[error("no answer within {} ms", within.as_millis())]
    Deadline {
        /// The deadline, from the start of the call.
        within: Duration,
        /// What the last attempt met; empty if there was no failure but the time.
        last: String,
    },
    /// The server answered what it should not.
    #[error("not understood: {message}")]
    Protocol {
        /// What it was.
        message: String,
        /// When to try again, if it said so.
        retry_after: Option<Duration>,
    },
    /// Another gRPC error.
    #[error("{code:?}: {message}")]
    Failed {
        /// The gRPC status code.
        code: Code,
        /// What the server said.
        message: String,
    },
}

impl CallError {
    /// When to come back, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::Protocol { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Why a client could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A field of the configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no tokio runtime here.
    #[error("a client is made inside a tokio runtime, and there is none here")]
    NoRuntime,
    /// No endpoint answered.
    #[error("no endpoint could be reached; the last said: {0}")]
    Unreachable(String),
}

/// One attempt's failure, sorted by what helps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// Another replica may do better, now: this one is gone, going, or silent.
    Elsewhere(String),
    /// Time may help: the replica is well, something behind it is not.
    Later { message: String, retry_after: Option<Duration> },
    /// Nothing helps.
    Final(CallError),
}

impl Fault {
    /// Reads the status of a unary call or of a stream.
    pub(crate) fn read(status: &Status) -> Self {
        // Only what this process made itself (no connection, a broken one, a stream that was reset) has a source.
        let local = status.source().is_some() || status.message().starts_with("Service was not ready");
        if local && status.code() != Code::Unimplemented {
            let message = status.source().map_or_else(|| status.message().to_owned(), root_cause);
            return Self::Elsewhere(message);
        }
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let violation =
            || status.get_details_bad_request().and_then(|bad| bad.field_violations.into_iter().next());
        let field = violation().map(|violation| (violation.field, violation.description));
        Self::sort(status.code(), status.message(), field, retry_after)
    }

    /// Reads the error of one request of a session.
    pub(crate) fn of_session(error: v1::SessionError) -> Self {
        let code = Code::from_i32(i32::try_from(error.code).unwrap_or(-1));
        let field = (!error.field.is_empty()).then(|| (error.field, error.message.clone()));
        Self::sort(code, &error.message, field, error.retry_after_ms.map(Duration::from_millis))
    }

    fn sort(code: Code, text: &str, field: Option<(String, String)>, after: Option<Duration>) -> Self {
        let message = text.to_owned();
        match (code, after) {
            (Code::Unavailable, None) | (Code::DeadlineExceeded, _) => Self::Elsewhere(message),
            (Code::Unavailable | Code::ResourceExhausted, Some(_)) => {
                Self::Later { message, retry_after: after }
            }
            (Code::InvalidArgument, _) => {
                let (field, problem) = field.unwrap_or_else(|| (String::new(), message));
                Self::Final(CallError::Invalid { field, problem })
            }
            (Code::Unauthenticated | Code::PermissionDenied, _) => {
                Self::Final(CallError::Unauthorized { message })
            }
            _ => Self::Final(CallError::Failed { code, message }),
        }
    }

    /// What is told of it where it is not tried again.
    pub(crate) fn into_error(self) -> CallError {
        match self {
            Self::Final(error) => error,
            Self::Elsewhere(message) => CallError::Unavailable { message, attempts: 1, retry_after: None },
            Self::Later { message, retry_after } => {
                CallError::Unavailable { message, attempts: 1, retry_after }
            }
        }
    }

    /// What happened, for a person to read.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Elsewhere(message) | Self::Later { message, .. } => message.clone(),
            Self::Final(error) => error.to_string(),
        }
    }
}

/// The last of the chain, which says what happened ("connection refused"); the first says only that something did.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
