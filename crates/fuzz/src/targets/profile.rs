//! Input: a profile, then perhaps a line `---` and a response.

use bursar_dialect::Profile;
use bursar_quota::BudgetName;

use crate::{
    checks,
    response::{Response, cut},
};

/// A profile that is taken gives budgets that are right, and reads within bounds; one that is not is told where.
pub(crate) fn run(data: &[u8]) {
    let (text, response) = cut(data, b"\n---\n");
    let Ok(text) = std::str::from_utf8(text) else { return };
    let profile = match Profile::from_toml(text) {
        Ok(profile) => profile,
        Err(error) => {
            assert!(!error.problem.is_empty());
            assert!(error.line.is_some() || !error.field.is_empty(), "no place, no field: {error}");
            let lines = text.matches('\n').count() + 1;
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "of {lines} lines: {error}");
            return;
        }
    };
    let budget = profile.budget(BudgetName::new("b").unwrap());
    if budget.limits.is_empty() {
        assert_eq!(budget.validate().unwrap_err().field, "limits");
    } else {
        checks::spec(&budget);
    }
    Response::parse(response).observe(&profile);
}
