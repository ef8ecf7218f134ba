//! Tiers: how urgent a call is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How urgent a call is. Tiers share by weight, they do not preempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// A person waits for it.
    Interactive,
    /// The usual.
    #[default]
    Standard,
    /// Nobody waits for it.
    Batch,
}

impl Tier {
    /// All tiers, most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Standard, Self::Batch];

    /// The tier's name: `interactive`, `standard`, `batch`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Standard => "standard",
            Self::Batch => "batch",
        }
    }

    /// The tier's place in [`Tier::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A tier that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tier: {0:?} is none of interactive, standard, batch")]
pub struct UnknownTier(String);

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Self, UnknownTier> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text).ok_or_else(|| UnknownTier(text.to_owned()))
    }
}
