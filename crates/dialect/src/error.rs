//! What can be wrong with a profile.

use std::fmt;

/// A profile that cannot be used: which field, on which line where that is known, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{problem}", Line(*line), At(field))]
pub struct ProfileError {
    /// The line in the text, from 1.
    pub line: Option<usize>,
    /// The field as a path, such as `families[0].readings[1].reset.unit`; empty: the profile as a whole.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, "line {line}: "))
    }
}

struct At<'a>(&'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

impl ProfileError {
    /// About a field that was understood, but cannot be.
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { line: None, field: field.into(), problem: problem.into() }
    }

    /// About text that was not understood; `path` as the deserializer tracked it.
    pub(crate) fn toml(text: &str, path: String, error: &toml::de::Error) -> Self {
        let line = error.span().and_then(|span| {
            let before = text.as_bytes().get(..span.start)?;
            Some(1 + before.iter().filter(|b| **b == b'\n').count())
        });
        let field = if path == "." { String::new() } else { path };
        Self { line, field, problem: error.message().to_owned() }
    }
}
