//! What operators and watchers ask for.

use std::{collections::BTreeSet, time::Duration};

use bursar_dialect::Profiles;
use bursar_quota::{BudgetName, BudgetSpec};
use bursar_wire::v1;

use super::budget;
use crate::invalid::{Invalid, demand, millis, name, optional_name, within};

/// The most budgets on a page.
const PAGE_MAX: u64 = 1000;

/// The budgets on a page where none is asked for.
const PAGE_DEFAULT: usize = 100;

/// The longest an operator's pause lasts that is not until resumed, in milliseconds: 31 days.
const PAUSE_MAX_MS: u64 = 2_678_400_000;

/// The most budgets that a watcher names.
const WATCHED_MAX: usize = 256;

/// A page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// At most so many, 1 to 1,000.
    pub(crate) size: usize,
    /// Those behind this one; absent: from the beginning.
    pub(crate) after: Option<BudgetName>,
}

/// Checks a request that names a budget and says no more.
pub(crate) fn named(text: &str) -> Result<BudgetName, Invalid> {
    name("name", text)
}

/// Checks a declaration.
pub(crate) fn put(request: v1::PutBudgetRequest, profiles: &Profiles) -> Result<BudgetSpec, Invalid> {
    let declared = request.budget.ok_or_else(|| Invalid::new("budget", "a declaration is needed"))?;
    budget::spec(declared, profiles).map_err(|e| e.under("budget"))
}

/// Checks what page of the listing is wanted.
pub(crate) fn page(request: &v1::ListBudgetsRequest) -> Result<Page, Invalid> {
    let size = within("page_size", request.page_size.into(), 0..=PAGE_MAX)?;
    let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(PAGE_DEFAULT);
    let after = optional_name("page_token", &request.page_token)
        .map_err(|_| Invalid::new("page_token", "not a token: give back next_page_token as it was"))?;
    Ok(Page { size, after })
}

/// Checks a pause: of which budget, and for how long; absent: until it is resumed.
pub(crate) fn pause(request: &v1::PauseBudgetRequest) -> Result<(BudgetName, Option<Duration>), Invalid> {
    let budget = named(&request.name)?;
    let span = request.for_ms.map(|ms| millis("for_ms", ms, 1..=PAUSE_MAX_MS)).transpose()?;
    Ok((budget, span))
}

/// Checks what is to be watched: these budgets; none: all.
pub(crate) fn watched(request: &v1::WatchRequest) -> Result<BTreeSet<BudgetName>, Invalid> {
    demand(request.names.len() <= WATCHED_MAX, "names", || {
        format!("{} are too many, at most {WATCHED_MAX}", request.names.len())
    })?;
    request.names.iter().enumerate().map(|(i, n)| name(&format!("names[{i}]"), n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_names_its_field() {
        let of = |invalid: Invalid| invalid.field;
        let page = |page_size, token: &str| {
            self::page(&v1::ListBudgetsRequest { page_size, page_token: token.into() }).map_err(of)
        };
        assert_eq!(page(0, ""), Ok(Page { size: 100, after: None }));
        assert_eq!(page(1001, ""), Err("page_size".into()));
        assert_eq!(page(1000, "No token"), Err("page_token".into()));
        let pause = |for_ms| {
            self::pause(&v1::PauseBudgetRequest { name: "b".into(), for_ms }).map(|(_, s)| s).map_err(of)
        };
        assert_eq!(pause(None), Ok(None));
        assert_eq!(pause(Some(0)), Err("for_ms".into()));
        assert_eq!(pause(Some(PAUSE_MAX_MS)), Ok(Some(Duration::from_millis(PAUSE_MAX_MS))));
        assert_eq!(pause(Some(PAUSE_MAX_MS + 1)), Err("for_ms".into()));
        let watch = |names: Vec<String>| watched(&v1::WatchRequest { names }).map(|n| n.len()).map_err(of);
        assert_eq!(watch(vec!["b".into(), "a".into(), "b".into()]), Ok(2));
        assert_eq!(watch(vec!["b".into(), "A".into()]), Err("names[1]".into()));
        assert_eq!(watch(vec!["b".into(); 257]), Err("names".into()));
        assert_eq!(
            put(v1::PutBudgetRequest::default(), &Profiles::builtin()).map_err(of),
            Err("budget".into())
        );
    }
}
