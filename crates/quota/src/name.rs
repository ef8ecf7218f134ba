//! Names: budgets, limits, classes, tenants, units, profiles, replicas. One alphabet for all of them.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in bytes.
const MAX_LEN: usize = 128;

/// A name that is empty, too long, or has a character outside `[a-z0-9._/-]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{field}: a name is needed, 1 to 128 characters of [a-z0-9._/-]")]
    Empty {
        /// Which name was wrong, as the caller spells it.
        field: &'static str,
    },
    /// More than 128 bytes.
    #[error("{field}: {len} bytes are too long for a name, at most 128")]
    TooLong {
        /// Which name was wrong.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside the alphabet.
    #[error("{field}: {found:?} at byte {at} is outside [a-z0-9._/-]")]
    Character {
        /// Which name was wrong.
        field: &'static str,
        /// The first character outside.
        found: char,
        /// Where it stands, in bytes from 0.
        at: usize,
    },
}

fn check(field: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { field });
    }
    if text.len() > MAX_LEN {
        return Err(NameError::TooLong { field, len: text.len() });
    }
    let outside = |c: &char| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '/' | '-');
    match text.char_indices().find(|(_, c)| outside(c)) {
        Some((at, found)) => Err(NameError::Character { field, found, at }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 128 characters of `[a-z0-9._/-]`; cheap to clone.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes the text; [`NameError`] names the field and what is wrong with it.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check($field, text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// One shared quota: one token, one account, one IP. Never the token itself.
    BudgetName, "budget");
name!(
    /// One rule of a budget.
    LimitName, "limit");
name!(
    /// What kind of call it is.
    ClassName, "class");
name!(
    /// Who asks.
    TenantName, "tenant");
name!(
    /// What a limit counts.
    UnitName, "unit");
name!(
    /// A named upstream: its dialect, its limits, its habits.
    ProfileName, "profile");
name!(
    /// One Bursar process, for as long as it lives.
    ReplicaName, "replica");

impl UnitName {
    /// The unit that a limit counts unless it says otherwise.
    pub fn requests() -> Self {
        Self("requests".into())
    }

    /// Whether this is the unit `requests`, of which a call costs one unless it says otherwise.
    pub fn is_requests(&self) -> bool {
        &*self.0 == "requests"
    }
}

impl ClassName {
    /// The class of a call that names none.
    pub fn default_class() -> Self {
        Self("default".into())
    }
}

impl TenantName {
    /// The tenant of a caller that names none.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outside_the_alphabet_is_told_where() {
        assert!(BudgetName::new("autotask/prod-1.a_b").is_ok());
        assert_eq!(BudgetName::new(""), Err(NameError::Empty { field: "budget" }));
        assert_eq!(ClassName::new("aÄ"), Err(NameError::Character { field: "class", found: 'Ä', at: 1 }));
        let long = "a".repeat(129);
        assert_eq!(TenantName::new(&long), Err(NameError::TooLong { field: "tenant", len: 129 }));
        assert!(TenantName::new(&long[..128]).is_ok());
    }
}
