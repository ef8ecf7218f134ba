//! A budget's specification as last read, and reading it once for all who need it.

use std::{
    sync::{Arc, Mutex as Lock, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use bursar_quota::{BudgetName, LedgerError};
use tokio::sync::Mutex;

use crate::{bars::Bars, core::Core, spec::SpecView};

/// Why there is no specification.
#[derive(Debug, Clone)]
pub(crate) enum Missing {
    /// No budget has this name.
    Unknown,
    /// The ledger gave no answer, or does not know a budget that this replica is declaring.
    Failed(LedgerError),
}

#[derive(Debug, Default)]
pub(crate) struct SpecCell {
    known: RwLock<Option<Known>>,
    /// Held while it is read, so that many callers read it once.
    reading: Mutex<()>,
    /// What the store said last that a ration must heed.
    bars: Lock<Bars>,
}

#[derive(Debug, Clone)]
struct Known {
    view: Arc<SpecView>,
    since: Duration,
}

impl SpecCell {
    fn known(&self) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the store said last that a ration must heed. Not to be held across an await.
    pub(crate) fn bars(&self) -> MutexGuard<'_, Bars> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The specification, if it is known.
    pub(crate) fn peek(&self) -> Option<Arc<SpecView>> {
        self.known().map(|known| known.view)
    }

    /// The specification, read from the ledger if it is not known.
    pub(crate) async fn get(&self, core: &Core, name: &BudgetName) -> Result<Arc<SpecView>, Missing> {
        if let Some(known) = self.known() {
            return Ok(known.view);
        }
        let _reading = self.reading.lock().await;
        if let Some(known) = self.known() {
            return Ok(known.view);
        }
        let stored = match core.ledger.get(name).await {
            Ok(Some(stored)) => stored,
            Ok(None) | Err(LedgerError::UnknownBudget(_)) => {
                return Err(core.expected.miss(name).map_or(Missing::Unknown, Missing::Failed));
            }
            Err(error) => {
                core.metrics.unread(name, crate::core::error_kind(&error));
                return Err(Missing::Failed(error));
            }
        };
        core.metrics.expect_all(&stored.spec);
        self.bars().read(&stored.spec, &stored.snapshot, core.clock.monotonic());
        let view = Arc::new(SpecView::new(stored.spec, stored.version, &core.profiles));
        let known = Known { view: Arc::clone(&view), since: core.clock.monotonic() };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(view)
    }

    /// Forgets it unless it is of this version.
    pub(crate) fn forget_unless(&self, version: u64) {
        self.forget_if(|known| known.view.version != version);
    }

    /// Forgets it if it is of this version.
    pub(crate) fn forget(&self, version: u64) {
        self.forget_if(|known| known.view.version == version);
    }

    /// Forgets it.
    pub(crate) fn clear(&self) {
        self.forget_if(|_| true);
    }

    /// Forgets it if it was read before `then`.
    pub(crate) fn forget_older(&self, then: Duration) -> bool {
        self.forget_if(|known| known.since < then)
    }

    fn forget_if(&self, which: impl Fn(&Known) -> bool) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.take_if(|known| which(known)).is_some()
    }
}
