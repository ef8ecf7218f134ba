//! What goes wrong with a measurement.

use std::io;

use bursar_client::{AcquireError, CallError, ConnectError};
use bursar_quota::{NameError, Settled};

/// Why there is no figure. A run in which one call fails has none: what is fast because it fails is not fast.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A flag that makes no sense, and what would.
    #[error("{flag}: {problem}")]
    Flag {
        /// The flag as it is written, such as `--callers`.
        flag: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// A process that was needed did not start.
    #[error("{program} does not start: {problem}")]
    Start {
        /// Which.
        program: String,
        /// What happened.
        problem: String,
    },
    /// A process or a port could not be read.
    #[error("reading {what}")]
    Read {
        /// Of what.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server could not be reached.
    #[error("connecting")]
    Connect(#[source] ConnectError),
    /// The transport of a raw client or of the echo failed.
    #[error("the transport failed")]
    Transport(#[source] tonic::transport::Error),
    /// A call of a raw client failed.
    #[error("a call failed: {} {}", .0.code(), .0.message())]
    Status(Box<tonic::Status>),
    /// An acquire failed or was refused.
    #[error("an acquire gave no permit")]
    Acquire(#[source] Box<AcquireError>),
    /// A settlement, or a call about budgets, failed.
    #[error("a call failed")]
    Call(#[source] Box<CallError>),
    /// A settlement did not take effect.
    #[error("a settlement that should have taken effect came out as {0:?}")]
    Settled(Option<Settled>),
    /// The store's script did not do what it should.
    #[error("the script did not do what it should: {0}")]
    Script(String),
    /// What should be an echo answered otherwise.
    #[error(
        "the floor needs an echo (`bursar bench echo`), which grants everything; this server answered {0}"
    )]
    Echo(String),
    /// A budget's name, which the bench makes itself.
    #[error("a name that the bench made is none")]
    Name(#[from] NameError),
    /// A task of the bench ended as it should not.
    #[error("a task of the bench ended: {0}")]
    Task(String),
}

impl BenchError {
    pub(crate) fn flag(flag: &'static str, problem: impl Into<String>) -> Self {
        Self::Flag { flag, problem: problem.into() }
    }

    pub(crate) fn reading(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Read { what, source }
    }

    pub(crate) fn start(program: &str, problem: impl ToString) -> Self {
        Self::Start { program: program.to_owned(), problem: problem.to_string() }
    }
}

impl From<tonic::Status> for BenchError {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<AcquireError> for BenchError {
    fn from(error: AcquireError) -> Self {
        Self::Acquire(Box::new(error))
    }
}

impl From<CallError> for BenchError {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}
