//! A request that cannot be: which field, and what would be right.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use bursar_quota::{NameError, SpecError};

/// A field that breaks its bound. Never repeats what the caller sent at length, so that an answer stays small.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(crate) struct Invalid {
    /// The field as a path in the request, such as `settle.permit_id` or `costs[tokens]`.
    pub(crate) field: String,
    /// What is wrong with it and what would be right.
    pub(crate) problem: String,
}

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same field, seen from the message that holds its message as `parent`.
    #[must_use]
    pub(crate) fn under(mut self, parent: impl Display) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

impl From<SpecError> for Invalid {
    fn from(error: SpecError) -> Self {
        Self { field: error.field, problem: error.problem }
    }
}

/// Fails with an [`Invalid`] unless `holds`.
pub(crate) fn demand(
    holds: bool,
    field: impl Into<String>,
    problem: impl FnOnce() -> String,
) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid::new(field, problem())) }
}

/// A count within its bounds.
pub(crate) fn within(field: &str, value: u64, bounds: RangeInclusive<u64>) -> Result<u64, Invalid> {
    let outside = || format!("{value} is outside {} to {}", bounds.start(), bounds.end());
    demand(bounds.contains(&value), field, outside).map(|()| value)
}

/// Milliseconds within their bounds.
pub(crate) fn millis(field: &str, value: u64, bounds: RangeInclusive<u64>) -> Result<Duration, Invalid> {
    let outside = || format!("{value} ms is outside {} to {} ms", bounds.start(), bounds.end());
    demand(bounds.contains(&value), field, outside).map(|()| Duration::from_millis(value))
}

/// A name that must be there.
pub(crate) fn name<N: FromStr<Err = NameError>>(field: &str, text: &str) -> Result<N, Invalid> {
    text.parse().map_err(|error| Invalid::new(field, name_problem(&error)))
}

/// A name that may be left out.
pub(crate) fn optional_name<N: FromStr<Err = NameError>>(
    field: &str,
    text: &str,
) -> Result<Option<N>, Invalid> {
    if text.is_empty() { Ok(None) } else { name(field, text).map(Some) }
}

/// What is wrong with a name, without the field: here the path says which.
pub(crate) fn name_problem(error: &NameError) -> String {
    match error {
        NameError::Empty { .. } => "a name is needed, 1 to 128 characters of [a-z0-9._/-]".into(),
        NameError::TooLong { len, .. } => format!("{len} bytes are too long for a name, at most 128"),
        NameError::Character { found, at, .. } => {
            format!("{found:?} at byte {at} is outside [a-z0-9._/-]")
        }
    }
}

/// The text up to `bytes_max`, cut between characters.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_quota::BudgetName;
    use proptest::prelude::*;

    #[test]
    fn a_bound_is_told_with_its_field() {
        let found = millis("max_wait_ms", 3_600_001, 0..=3_600_000).unwrap_err();
        assert_eq!(
            found.under("settle").to_string(),
            "settle.max_wait_ms: 3600001 ms is outside 0 to 3600000 ms"
        );
        let found = name::<BudgetName>("budget", "Prod").unwrap_err();
        assert_eq!(found, Invalid::new("budget", "'P' at byte 0 is outside [a-z0-9._/-]"));
        assert_eq!(optional_name::<BudgetName>("budget", ""), Ok(None));
    }

    proptest! {
        #[test]
        fn clipping_keeps_a_prefix_within_its_bound(text in ".{0,40}", bytes_max in 0_usize..80) {
            let clipped = clip(&text, bytes_max);
            prop_assert!(text.starts_with(clipped) && clipped.len() <= bytes_max);
            prop_assert!(clipped.len() == text.len() || clipped.len() + 4 > bytes_max);
        }
    }
}
