//! Permit ids: which lease, and which permit of it.

use std::{fmt, str::FromStr};

use crate::{BudgetName, ClassName};

/// The most permits one lease carries.
pub const MAX_LEASE_PERMITS: u16 = 1024;

/// The lease of one script call: 112 bits that cannot be guessed, below 16 that tell the class.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u128);

/// 16 bits of a class name (FNV-1a, folded), kept in the lease's top bits: any replica that settles a permit must know
/// its class to know which limits a reading is about, and has nothing but the permit's id.
pub fn class_tag(class: &ClassName) -> u16 {
    let hash = fnv(class.as_str());
    let [a, b, c, d] = hash.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

impl LeaseId {
    /// A lease for permits of `class`; the other 112 bits are `random`'s.
    pub fn new(class: &ClassName, random: u128) -> Self {
        Self((random >> 16) | (u128::from(class_tag(class)) << 112))
    }

    /// The tag of the class its permits are of: [`class_tag`].
    #[allow(clippy::cast_possible_truncation, reason = "128 - 112 bits are left")]
    pub fn class_tag(self) -> u16 {
        (self.0 >> 112) as u16
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Leave to make one call. Text form: `b1.<budget tag, 8 hex>.<lease, 32 hex>.<index>`; opaque to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PermitId {
    tag: u32,
    lease: LeaseId,
    index: u16,
}

/// A permit id that no replica ever gave out for this budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermitIdError {
    /// Not the text form of a permit id.
    #[error("permit_id: not a permit id (\"b1.\", 8 hex digits, \".\", 32 hex digits, \".\", 0 to 1023)")]
    Malformed,
    /// A permit id, but of another budget.
    #[error("permit_id: this permit belongs to another budget than {budget}")]
    OtherBudget {
        /// The budget that was named beside the permit.
        budget: BudgetName,
    },
}

/// FNV-1a, 32 bits: tells budgets apart in a permit id. It guards against mix-ups, not against malice; the lease's
/// random bits do that.
fn tag(budget: &BudgetName) -> u32 {
    fnv(budget.as_str())
}

fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl PermitId {
    /// The permit at `index` of `lease` in `budget`.
    pub fn new(budget: &BudgetName, lease: LeaseId, index: u16) -> Self {
        Self { tag: tag(budget), lease, index }
    }

    /// Reads the text form and checks that it is of `budget`.
    pub fn parse(budget: &BudgetName, text: &str) -> Result<Self, PermitIdError> {
        let id: Self = text.parse()?;
        if id.tag != tag(budget) {
            return Err(PermitIdError::OtherBudget { budget: budget.clone() });
        }
        Ok(id)
    }

    /// The lease it is of.
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Its place in the lease, from 0.
    pub fn index(&self) -> u16 {
        self.index
    }
}

impl fmt::Display for PermitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b1.{:08x}.{}.{}", self.tag, self.lease, self.index)
    }
}

/// Lower-case hex of exactly `digits` digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && lower).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl FromStr for PermitId {
    type Err = PermitIdError;

    fn from_str(text: &str) -> Result<Self, PermitIdError> {
        let mut parts = text.split('.');
        let (Some("b1"), Some(tag), Some(lease), Some(index), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PermitIdError::Malformed);
        };
        let tag = hex(tag, 8).and_then(|tag| u32::try_from(tag).ok()).ok_or(PermitIdError::Malformed)?;
        let lease = hex(lease, 32).map(LeaseId).ok_or(PermitIdError::Malformed)?;
        let canonical = !index.starts_with('+') && (index == "0" || !index.starts_with('0'));
        match index.parse::<u16>() {
            Ok(index) if canonical && index < MAX_LEASE_PERMITS => Ok(Self { tag, lease, index }),
            _ => Err(PermitIdError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_reads_back(lease: u128, index in 0..MAX_LEASE_PERMITS) {
            let budget = BudgetName::new("autotask/prod").unwrap();
            let id = PermitId::new(&budget, LeaseId(lease), index);
            prop_assert_eq!(PermitId::parse(&budget, &id.to_string()), Ok(id));
            let other = BudgetName::new("autotask/test").unwrap();
            prop_assert_eq!(
                PermitId::parse(&other, &id.to_string()),
                Err(PermitIdError::OtherBudget { budget: other.clone() })
            );
        }

        #[test]
        fn no_text_panics_and_one_id_has_one_text(text in ".{0,60}") {
            if let Ok(id) = text.parse::<PermitId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
