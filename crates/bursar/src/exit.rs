//! How a command ends.

use std::{fmt, process::ExitCode};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong; exit code 1. The text is for a person.
    Failed(String),
    /// The request itself makes no sense; exit code 2.
    Usage(String),
    /// The permit was refused; exit code 3. What was refused has been printed.
    Refused,
    /// The command that was run under a permit ended with this code, which is passed on.
    Passed(u8),
}

impl Failure {
    /// The exit code: 1 an error, 2 wrong usage, 3 refused.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::Refused => ExitCode::from(3),
            Self::Passed(code) => ExitCode::from(*code),
        }
    }

    /// An error with all its causes in one line.
    pub(crate) fn of(error: impl std::error::Error) -> Self {
        Self::Failed(Self::text(&error))
    }

    /// An error with all its causes as text.
    pub(crate) fn text(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            // Some libraries repeat their cause.
            if !text.contains(&inner_text) {
                text.push_str(": ");
                text.push_str(&inner_text);
            }
            cause = inner.source();
        }
        text
    }

    /// The same, with what was being done in front.
    pub(crate) fn doing(what: impl fmt::Display, error: impl std::error::Error) -> Self {
        Self::Failed(format!("{what}: {}", Self::text(&error)))
    }
}

/// What a command returns.
pub(crate) type Outcome = Result<(), Failure>;
