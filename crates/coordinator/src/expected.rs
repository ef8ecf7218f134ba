//! Budgets that this replica declares itself: one of them that the store does not know is on its way there.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use bursar_quota::{BudgetName, LedgerError};
use futures_util::FutureExt;
use tokio::{sync::Notify, time::sleep};

/// When to come back for a budget that is being declared.
const DECLARED_WITHIN: Duration = Duration::from_millis(250);
/// The least time between two declarations that callers bring about.
const BETWEEN: Duration = Duration::from_secs(1);
/// How long after a caller missed a budget its deletion may still be announced.
const ANNOUNCED: Duration = Duration::from_millis(100);

/// Which budgets are declared here, and how far that is.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    state: RwLock<State>,
    /// Told when the store was found not to know one of them.
    missed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By name, whether somebody was heard to delete it since: then it is not missing.
    deleted: HashMap<BudgetName, bool>,
    /// Those of the first declaration that the store has not answered yet; none from then on.
    outstanding: HashSet<BudgetName>,
    /// Whether the first declaration was said to be complete.
    settled: bool,
}

impl Expected {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are declared here from now on, in place of those before.
    pub(crate) fn replace(&self, names: impl Iterator<Item = BudgetName>) {
        let mut state = self.write();
        state.deleted = names.map(|name| (name, false)).collect();
        if !state.settled {
            state.outstanding = state.deleted.keys().cloned().collect();
        }
    }

    /// The store has answered to the declaration of one.
    // ## undeclared => declared, once it is the last
    pub(crate) fn answered(&self, name: &BudgetName) {
        let mut state = self.write();
        state.outstanding.remove(name);
        state.settled |= state.outstanding.is_empty();
    }

    /// It cannot be declared.
    pub(crate) fn withdraw(&self, name: &BudgetName) {
        self.answered(name);
        self.write().deleted.remove(name);
    }

    /// Somebody deleted it, or put it again.
    pub(crate) fn heard(&self, name: &BudgetName, is_deleted: bool) {
        // Most events are of budgets that others declare, and need no turn at writing.
        if self.read().deleted.get(name).is_some_and(|known| *known != is_deleted)
            && let Some(known) = self.write().deleted.get_mut(name)
        {
            *known = is_deleted;
        }
    }

    /// Whether somebody was heard to delete it since it was declared here.
    pub(crate) fn is_deleted(&self, name: &BudgetName) -> bool {
        self.read().deleted.get(name).copied().unwrap_or_default()
    }

    /// The store does not know a budget: what its callers are told if it is one of these, which is then declared anew.
    /// `None`: there is no such budget.
    pub(crate) fn miss(&self, name: &BudgetName) -> Option<LedgerError> {
        let is_deleted = *self.read().deleted.get(name)?;
        if is_deleted {
            return None;
        }
        self.missed.notify_one();
        Some(undeclared(name))
    }

    /// Ends when one was missed, at once if one was since the last time.
    pub(crate) async fn missed(&self) {
        self.missed.notified().await;
    }

    /// Ends when one is missed from now on: as soon as another replica's deletion of it would have been heard, and not within
    /// [`BETWEEN`].
    pub(crate) async fn missed_anew(&self) {
        // What was missed before now was declared meanwhile.
        let _ = self.missed().now_or_never();
        let rest = pin!(sleep(BETWEEN));
        self.missed().await;
        sleep(ANNOUNCED).await;
        rest.await;
    }

    /// Fails while the store has not answered to the first declaration of each.
    pub(crate) fn ready(&self) -> Result<(), LedgerError> {
        match self.read().outstanding.iter().min() {
            Some(name) => Err(undeclared(name)),
            None => Ok(()),
        }
    }
}

fn undeclared(name: &BudgetName) -> LedgerError {
    let cause = format!("it does not know {name} yet, which is being declared");
    LedgerError::Unavailable { cause, retry_after: DECLARED_WITHIN }
}
