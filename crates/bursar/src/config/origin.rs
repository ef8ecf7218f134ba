//! Where a value of the configuration came from, and what is wrong with it.

use std::{fmt, path::Path, sync::Arc};

/// Where a value stands, so that an error can say what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a file. Line and column count from 1; the column counts characters.
    File {
        /// The file as it was named.
        path: Arc<Path>,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In an environment variable of this name.
    Env(Arc<str>),
    /// In a flag of this name, dashes included.
    Flag(Arc<str>),
    /// In a profile of this name, which a budget took its limits from.
    Profile(Arc<str>),
    /// Nowhere: nothing was given.
    Nothing,
}

impl Origin {
    /// The line in a file, from 1.
    pub(crate) fn line(&self) -> Option<usize> {
        if let Self::File { line, .. } = self { Some(*line) } else { None }
    }

    /// The column in a file, from 1.
    pub(crate) fn column(&self) -> Option<usize> {
        if let Self::File { column, .. } = self { Some(*column) } else { None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Nothing => f.write_str("configuration"),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where.
    pub(crate) origin: Origin,
    /// Which field, as a path such as `budgets[1].limits[0].window`; empty: the file as a whole.
    pub(crate) field: String,
    /// What is wrong and what would be right. Never the value of a secret.
    pub(crate) problem: String,
}

/// A key as a path shows it: one without a letter is seen all the same.
pub(super) fn shown(key: &str) -> &str {
    if key.is_empty() { "\"\"" } else { key }
}

impl Problem {
    /// A problem with `field`.
    pub(crate) fn new(origin: Origin, field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { origin, field: field.into(), problem: one_line(&problem.into()) }
    }
}

/// The text with what would end its line written out: names of a quoted text may have anything in them.
fn one_line(text: &str) -> String {
    let out = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.into() };
    text.chars().map(out).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", one_line(&self.field))?;
        }
        f.write_str(&self.problem)
    }
}

/// All that is wrong with a configuration; at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
