//! A door for the fuzzer: each request of the wire through its conversion, and what a client is told that sent a bad one.

use std::time::Duration;

use bursar_coordinator::{Acquire, Renew, Settle};
use bursar_dialect::Profiles;
use bursar_quota::{BudgetName, BudgetSpec};
use bursar_wire::v1;

use crate::{auth::Caller, convert, failure::Failure, invalid::Invalid};

/// A request that was turned away.
#[derive(Debug)]
pub struct TurnedAway {
    /// What it is told on a session.
    pub on_session: v1::SessionError,
    /// Bytes of the message and the details of its status, where it is a call of its own.
    pub status_bytes: usize,
}

impl From<Failure> for TurnedAway {
    fn from(failure: Failure) -> Self {
        let status = failure.status();
        Self {
            on_session: failure.on_session(),
            status_bytes: status.message().len() + status.details().len(),
        }
    }
}

impl From<Invalid> for TurnedAway {
    fn from(invalid: Invalid) -> Self {
        Failure::from(invalid).into()
    }
}

/// `Acquire`, without the settlement that rides along.
pub fn acquire(request: v1::AcquireRequest) -> Result<Acquire, TurnedAway> {
    Ok(convert::acquire::acquire(request, &Caller::default(), None)?)
}

/// `Settle`.
pub fn settle(request: v1::SettleRequest) -> Result<Settle, TurnedAway> {
    Ok(convert::settle::settle(request, &Caller::default())?)
}

/// `Renew`.
pub fn renew(request: &v1::RenewRequest) -> Result<Renew, TurnedAway> {
    Ok(convert::settle::renew(request, &Caller::default())?)
}

/// `PutBudget`.
pub fn put(request: v1::PutBudgetRequest, profiles: &Profiles) -> Result<BudgetSpec, TurnedAway> {
    Ok(convert::operator::put(request, profiles)?)
}

/// A declaration as it is answered.
pub fn declared(spec: &BudgetSpec) -> v1::Budget {
    convert::declared::budget(spec)
}

/// `ListBudgets`: how many, and behind which.
pub fn list(request: &v1::ListBudgetsRequest) -> Result<(usize, Option<BudgetName>), TurnedAway> {
    let page = convert::operator::page(request)?;
    Ok((page.size, page.after))
}

/// `GetBudget`, `DeleteBudget` and `ResumeBudget`, which name a budget and say no more.
pub fn named(name: &str) -> Result<BudgetName, TurnedAway> {
    Ok(convert::operator::named(name)?)
}

/// `PauseBudget`: which, and for how long.
pub fn pause(request: &v1::PauseBudgetRequest) -> Result<(BudgetName, Option<Duration>), TurnedAway> {
    Ok(convert::operator::pause(request)?)
}

/// `Watch`: which.
pub fn watch(request: &v1::WatchRequest) -> Result<Vec<BudgetName>, TurnedAway> {
    Ok(convert::operator::watched(request)?.into_iter().collect())
}
