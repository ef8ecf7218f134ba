//! What goes wrong while a tree is read, told in words for whoever wrote it.

use serde::de::{self, Expected, Unexpected};

use super::{
    origin::Origin,
    tree::{Node, Value},
};

/// An error on its way out; each table and list that it passes adds its step.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Error {
    pub(super) origin: Option<Origin>,
    /// Innermost first: `window`, `[1]`, `limits`.
    pub(super) steps: Vec<String>,
    pub(super) problem: String,
}

impl Error {
    pub(super) fn of(problem: String) -> Self {
        Self { origin: None, steps: Vec::new(), problem }
    }

    /// Says where, unless something further in has said so. A message that begins with the name of a key
    /// (`window: a limit of kind "window" needs it`) is about that key of a table; the name of a scalar is dropped,
    /// since its path tells it.
    pub(super) fn at(mut self, node: &Node) -> Self {
        if self.origin.is_some() {
            return self;
        }
        self.origin = Some(node.origin.clone());
        let is_key =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if let Some((key, rest)) = self.problem.split_once(": ").filter(|(key, _)| is_key(key)) {
            if matches!(node.value, Value::Map(_)) {
                self.origin = Some(node.locate(key).clone());
                self.steps.push(key.to_owned());
            }
            self.problem = rest.to_owned();
        }
        self
    }

    pub(super) fn step(mut self, step: String) -> Self {
        self.steps.push(step);
        self
    }
}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::of(message.to_string())
    }

    // The value itself is left out: it may be a secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "a truth value",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a bare number",
            Unexpected::Float(_) => "a bare number",
            Unexpected::Str(_) | Unexpected::Char(_) => "text",
            Unexpected::Unit | Unexpected::Option => "nothing",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            _ => "something else",
        };
        Self::of(format!("{found} stands here, expected {}", plain(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Signed(value) => {
                Self::of(format!("{value} stands here, expected {}", plain(expected)))
            }
            Unexpected::Unsigned(value) => {
                Self::of(format!("{value} stands here, expected {}", plain(expected)))
            }
            _ => Self::of(format!("expected {}", plain(expected))),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::of(format!("{variant:?} is none of {}", expected.join(", ")))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::of(match expected {
            [] => "unknown key; there is none here".to_owned(),
            _ => format!("unknown key; known here are {}", expected.join(", ")),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of("is missing".to_owned()).step(field.to_owned())
    }
}

/// What serde expects, in words for whoever writes files.
fn plain(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let words = match text.as_str() {
        "u64" | "usize" => "a whole number, 0 or more",
        "u32" => "a whole number, 0 to 4294967295",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        "a sequence" => "a list",
        _ if text.starts_with("struct ") => "a table",
        _ => return text,
    };
    words.to_owned()
}
