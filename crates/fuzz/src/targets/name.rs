//! Input: text.

use std::{fmt::Display, str::FromStr, time::Duration};

use bursar_quota::{
    BudgetName, ClassName, LimitName, NameError, ProfileName, ReplicaName, TenantName, UnitName,
    duration_text,
};
use bursar_server::BudgetPattern;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Span(#[serde(with = "duration_text")] Duration);

/// A name is read as it is, or told where it is wrong.
fn name<N: FromStr<Err = NameError> + Display>(field: &str, text: &str) -> bool {
    let error = match text.parse::<N>() {
        Ok(name) => {
            assert_eq!(name.to_string(), text);
            assert!((1..=128).contains(&text.len()));
            return true;
        }
        Err(error) => error,
    };
    assert!(error.to_string().starts_with(&format!("{field}: ")), "{error}");
    match error {
        NameError::Empty { .. } => assert!(text.is_empty()),
        NameError::TooLong { len, .. } => assert_eq!((len, true), (text.len(), len > 128)),
        NameError::Character { found, at, .. } => {
            assert!(text[at..].starts_with(found));
            assert!(text[..at].parse::<N>().is_ok() || at == 0);
        }
    }
    false
}

/// Names, patterns of names, durations.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let good = name::<BudgetName>("budget", text);
    let others = [
        name::<LimitName>("limit", text),
        name::<ClassName>("class", text),
        name::<TenantName>("tenant", text),
        name::<UnitName>("unit", text),
        name::<ProfileName>("profile", text),
        name::<ReplicaName>("replica", text),
    ];
    assert_eq!(others, [good; 6]);
    match BudgetPattern::new(text) {
        Ok(pattern) => {
            let begin = text.trim_end_matches('*');
            assert!(text.len() - begin.len() <= 1);
            if let Ok(budget) = BudgetName::new(begin) {
                assert!(pattern.matches(&budget));
            }
            let longer = BudgetName::new(&format!("{begin}x"));
            assert!(longer.is_err() || pattern.matches(&longer.unwrap()) == text.ends_with('*'));
        }
        Err(_) => assert!(!good && text != "*"),
    }
    let json = serde_json::to_string(text).unwrap();
    if let Ok(span) = serde_json::from_str::<Span>(&json) {
        let written = serde_json::to_string(&span).unwrap();
        assert_eq!(serde_json::from_str::<Span>(&written).unwrap(), span, "{text:?} as {written}");
    }
}
