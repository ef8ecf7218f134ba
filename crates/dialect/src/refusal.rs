//! How a profile declares refusals: by status, by what stands in the body, and what was hit.

use bursar_quota::{ClassName, Hit, LimitName, LimitSelector};
use serde::Deserialize;

use crate::source::Sources;

/// What means refusal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refusals {
    /// These statuses always do.
    pub statuses: Vec<u16>,
    /// These do with a well-formed Retry-After (or what the profile takes for one).
    pub with_retry_after: Vec<u16>,
    /// These do where a reading says that nothing remains.
    pub when_exhausted: Vec<u16>,
    /// Whether the upstream counts what it refuses.
    pub counted: bool,
    /// What was hit where the response does not tell.
    pub hit: DeclaredHit,
    /// At most 32 rules on what else means refusal; the first that holds counts.
    pub rules: Vec<RefusalRule>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            statuses: vec![429],
            with_retry_after: vec![503],
            when_exhausted: Vec::new(),
            counted: false,
            hit: DeclaredHit::Budget,
            rules: Vec::new(),
        }
    }
}

/// What was hit, as a profile states it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclaredHit {
    /// The budget.
    Budget,
    /// The call's own class.
    CallClass,
    /// This class.
    Class(ClassName),
    /// This limit.
    Limit(LimitName),
}

impl DeclaredHit {
    /// In the words of the domain.
    pub(crate) fn to_hit(&self) -> Hit {
        match self {
            Self::Budget => Hit::Budget,
            Self::CallClass => Hit::CallClass,
            Self::Class(class) => Hit::Class(class.clone()),
            Self::Limit(limit) => Hit::Limit(LimitSelector::Named(limit.clone())),
        }
    }
}

/// A value in the response that means refusal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawRule")]
pub struct RefusalRule {
    /// Where it stands.
    pub from: Sources,
    /// What it must be.
    pub test: Test,
    /// With these statuses; empty: with 400 and above.
    pub statuses: Vec<u16>,
    /// What was hit, whatever the readings say; absent: as for any refusal.
    pub hit: Option<DeclaredHit>,
    /// Whether such a refusal is counted; absent: as for any refusal.
    pub counted: Option<bool>,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// There, whatever it is (JSON's `null` is not there).
    Present,
    /// One of these texts; numbers and truth values in their JSON form.
    Equals(Vec<String>),
    /// A text that contains one of these, in any case of ASCII letters. Kept in lower case.
    Contains(Vec<String>),
}

impl Test {
    /// Whether a value passes. `None`: it is there, but no text.
    pub(crate) fn holds(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Present, _) => true,
            (Self::Equals(texts), Some(value)) => texts.iter().any(|text| text == value),
            (Self::Contains(parts), Some(value)) => {
                let value = value.to_ascii_lowercase();
                parts.iter().any(|part| value.contains(part.as_str()))
            }
            (_, None) => false,
        }
    }
}

impl RefusalRule {
    /// Whether it looks at responses of `status`.
    pub(crate) fn looks_at(&self, status: u16) -> bool {
        if self.statuses.is_empty() { status >= 400 } else { self.statuses.contains(&status) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    from: Sources,
    #[serde(default)]
    equals: Vec<String>,
    #[serde(default)]
    contains: Vec<String>,
    #[serde(default)]
    statuses: Vec<u16>,
    #[serde(default)]
    hit: Option<DeclaredHit>,
    #[serde(default)]
    counted: Option<bool>,
}

impl TryFrom<RawRule> for RefusalRule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Self, String> {
        let test = match (raw.equals.is_empty(), raw.contains.is_empty()) {
            (true, true) => Test::Present,
            (false, true) => Test::Equals(raw.equals),
            (true, false) => {
                Test::Contains(raw.contains.into_iter().map(|text| text.to_ascii_lowercase()).collect())
            }
            (false, false) => return Err("equals: goes without contains; write two rules".into()),
        };
        Ok(Self { from: raw.from, test, statuses: raw.statuses, hit: raw.hit, counted: raw.counted })
    }
}
