//! Names of keys: all of a budget's carry its name as hash tag, so that a budget lives in one cluster slot.

use bursar_quota::{BudgetName, LeaseId};

/// The keys of one deployment: a prefix before each.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys that begin with `prefix`, which may not contain braces (they are taken out).
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.replace(['{', '}'], "") }
    }

    /// `<prefix>{<budget>}:<part>`.
    pub fn of(&self, budget: &BudgetName, part: &str) -> Vec<u8> {
        format!("{}{{{budget}}}:{part}", self.prefix).into_bytes()
    }

    /// Several parts of a budget's keys.
    pub fn all(&self, budget: &BudgetName, parts: &[&str]) -> Vec<Vec<u8>> {
        parts.iter().map(|part| self.of(budget, part)).collect()
    }

    /// A lease's key.
    pub fn lease(&self, budget: &BudgetName, lease: LeaseId) -> Vec<u8> {
        self.of(budget, &format!("lease:{lease}"))
    }

    /// The list of budgets' names.
    pub fn names(&self) -> Vec<u8> {
        format!("{}names", self.prefix).into_bytes()
    }

    /// The channel on which scripts announce.
    pub fn channel(&self) -> String {
        format!("{}announce", self.prefix)
    }
}
