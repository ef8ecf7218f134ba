//! The coordinator: one per replica, shared by all that serve.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bursar_dialect::Profiles;
use bursar_quota::{
    BudgetName, BudgetSpec, Clock, Eviction, Ledger, LedgerError, LedgerEvent, Put, Renewal, Stored,
};
use prometheus_client::registry::Registry;
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};

use crate::{
    Acquire, AcquireError, Config, CoordinatorError, Granted, Renew, Settle, SettleReport, Watcher, acquire,
    bars::FOR_GOOD, core::Core, events, settle, store_metrics::StoreCollector,
};

/// How long those who were in a commit when a drain's bound passed are given for their answer.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A replica's lanes. Clones share them; when the last is dropped, its tasks end.
#[derive(Clone)]
pub struct Coordinator {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    events: broadcast::WeakSender<LedgerEvent>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.stop.cancel();
    }
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator").field("config", &self.inner.core.config).finish_non_exhaustive()
    }
}

fn asked(error: LedgerError) -> CoordinatorError {
    match error {
        LedgerError::UnknownBudget(name) | LedgerError::Forgotten(name) => {
            CoordinatorError::UnknownBudget(name)
        }
        error => CoordinatorError::Ledger(error),
    }
}

/// As [`asked`], of one budget: one that is being declared is to be asked for again.
fn asked_of(core: &Core, error: LedgerError) -> CoordinatorError {
    match error {
        LedgerError::UnknownBudget(name) | LedgerError::Forgotten(name) => match core.expected.miss(&name) {
            Some(undeclared) => CoordinatorError::Ledger(undeclared),
            None => CoordinatorError::UnknownBudget(name),
        },
        error => CoordinatorError::Ledger(error),
    }
}

impl Coordinator {
    /// A coordinator over `ledger`. Must be called within a tokio runtime, on which its lanes then run.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        profiles: Arc<Profiles>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Self {
        let (watchers, _) = broadcast::channel(config.watch_capacity.max(1));
        let events = watchers.downgrade();
        let core = Arc::new(Core::new(ledger, profiles, clock, config, events.clone()));
        core.handle.spawn(events::listen(Arc::clone(&core), watchers));
        Self { inner: Arc::new(Inner { core, events }) }
    }

    /// Asks for a permit and waits for it within the request's bounds.
    ///
    /// Dropping the future means that the caller went away: it stops waiting at once, and what was granted meanwhile
    /// is given back. A permit with a request id that was asked for more than once is kept instead, since a retry may
    /// hold it: should none, its deadline reclaims it.
    ///
    /// A settlement that is made (polled) before an acquire takes effect before it is decided.
    pub fn acquire(
        &self,
        request: Acquire,
    ) -> impl Future<Output = Result<Granted, AcquireError>> + Send + use<'_> {
        // Not `async`: many wait here, each with what it asked for, which is to be there once.
        acquire::acquire(&self.inner.core, request)
    }

    /// Settles a permit of any replica. Once it is queued it is carried out, even if the future is dropped.
    pub async fn settle(&self, request: Settle) -> Result<SettleReport, CoordinatorError> {
        settle::settle(&self.inner.core, request).await
    }

    /// Moves a permit's deadline on.
    pub async fn renew(&self, request: Renew) -> Result<Renewal, CoordinatorError> {
        settle::renew(&self.inner.core, request).await
    }

    /// Declares a budget or changes its declaration.
    pub async fn put_budget(&self, spec: BudgetSpec) -> Result<Put, CoordinatorError> {
        spec.validate()?;
        let put = self.inner.core.ledger.put(&spec).await.map_err(asked)?;
        self.inner.core.expected.heard(&spec.name, false);
        self.inner.core.metrics.expect_all(&spec);
        // The announcement would say so too, a little later.
        if let Some(lane) = self.inner.core.find_lane(&spec.name) {
            lane.spec.forget_unless(put.version);
            lane.respec();
        }
        Ok(put)
    }

    /// Reads a budget as declared and as it stands; [`CoordinatorError::UnknownBudget`] if there is none. One that is being
    /// declared is to be asked for again.
    pub async fn get_budget(&self, name: &BudgetName) -> Result<Stored, CoordinatorError> {
        let stored = self.inner.core.ledger.get(name).await.map_err(asked)?;
        stored.ok_or_else(|| asked_of(&self.inner.core, LedgerError::UnknownBudget(name.clone())))
    }

    /// Whether the store knows a budget of this name; for whoever declares it.
    pub async fn knows_budget(&self, name: &BudgetName) -> Result<bool, CoordinatorError> {
        self.inner.core.ledger.knows(name).await.map_err(asked)
    }

    /// Names of budgets in order, after `after`, at most `most`.
    pub async fn list_budgets(
        &self,
        after: Option<&BudgetName>,
        most: usize,
    ) -> Result<Vec<BudgetName>, CoordinatorError> {
        self.inner.core.ledger.list(after, most).await.map_err(asked)
    }

    /// Forgets a budget; whether there was one.
    pub async fn delete_budget(&self, name: &BudgetName) -> Result<bool, CoordinatorError> {
        let deleted = self.inner.core.ledger.delete(name).await.map_err(asked)?;
        self.inner.core.expected.heard(name, true);
        if let Some(lane) = self.inner.core.find_lane(name) {
            lane.spec.clear();
            lane.respec();
        }
        Ok(deleted)
    }

    /// Stops all grants of a budget, for a time or until it is resumed.
    pub async fn pause_budget(
        &self,
        name: &BudgetName,
        span: Option<Duration>,
    ) -> Result<(), CoordinatorError> {
        self.inner.core.ledger.pause(name, span).await.map_err(|error| asked_of(&self.inner.core, error))?;
        if let Some(lane) = self.inner.core.find_lane(name) {
            let now = self.inner.core.clock.monotonic();
            lane.spec.bars().scope("operator", span.map_or(FOR_GOOD, |span| now.saturating_add(span)));
        }
        Ok(())
    }

    /// Ends all pauses of a budget, the upstream's as well.
    pub async fn resume_budget(&self, name: &BudgetName) -> Result<(), CoordinatorError> {
        self.inner.core.ledger.resume(name).await.map_err(|error| asked_of(&self.inner.core, error))?;
        if let Some(lane) = self.inner.core.find_lane(name) {
            lane.spec.bars().resume_all();
            lane.wake();
        }
        Ok(())
    }

    /// What changes from now on, in any budget.
    pub fn watch(&self) -> Watcher {
        // The listener holds the sender, so that watchers end when it does.
        let events = self.inner.events.upgrade();
        Watcher::new(events.map_or_else(|| broadcast::channel(1).1, |events| events.subscribe()))
    }

    /// Refuses new acquires with `Draining`, lets those that wait finish within `bound`, then refuses them too.
    /// Settlements and renewals still work. Calling it again waits again.
    pub async fn drain(&self, bound: Duration) {
        let core = &self.inner.core;
        core.draining.store(true, Ordering::Release);
        if timeout(bound, self.emptied()).await.is_err() {
            for lane in core.all_lanes() {
                lane.drain();
            }
            // Those in a commit get its answer.
            let _ = timeout(LAST_ANSWERS, self.emptied()).await;
        }
    }

    /// Waits until no acquire is under way.
    async fn emptied(&self) {
        let core = &self.inner.core;
        loop {
            let told = core.emptied.notified();
            if core.waiting.load(Ordering::Acquire) == 0 {
                return;
            }
            // The look-in covers a caller that came in between.
            tokio::select! {
                biased;
                () = told => {}
                () = sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// Whether callers can be served now: the ledger can be written and knows the budgets that are declared here, or a
    /// budget's ration is in force, or would be for who asks: a replica that nobody is sent to would never find out.
    pub async fn ready(&self) -> Result<(), LedgerError> {
        let core = &self.inner.core;
        if core.rationing.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        match core.ledger.ready().await {
            Ok(()) => core.expected.ready(),
            Err(_) if core.would_ration() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether some budget's ration would be in force, if the ledger gave no answer now.
    pub fn would_ration(&self) -> bool {
        self.inner.core.would_ration()
    }

    /// Whoever holds this will declare these budgets, in place of those named before. While the store does not know one
    /// of them, and nobody was heard to delete it, its callers are told `Unavailable` and when to come back, instead of
    /// that there is none. Until it has answered for each once ([`Self::budget_answered`]) nobody is served by
    /// [`Self::ready`]'s word; that is of the first that are named.
    pub fn expect_budgets(&self, names: impl IntoIterator<Item = BudgetName>) {
        let core = &self.inner.core;
        core.expected.replace(names.into_iter().inspect(|name| core.metrics.expect(name)));
    }

    /// The store has answered to the declaration of a budget, whatever it said.
    pub fn budget_answered(&self, name: &BudgetName) {
        self.inner.core.expected.answered(name);
    }

    /// A budget is not expected any more, since it cannot be declared.
    pub fn budget_withdrawn(&self, name: &BudgetName) {
        self.inner.core.expected.withdraw(name);
    }

    /// Whether somebody was heard to delete an expected budget since it was declared.
    pub fn is_budget_deleted(&self, name: &BudgetName) -> bool {
        self.inner.core.expected.is_deleted(name)
    }

    /// Ends when a caller has asked for an expected budget that the store does not know; at once if one has since the
    /// last time.
    pub async fn budget_missed(&self) {
        self.inner.core.expected.missed().await;
    }

    /// Ends when an expected budget is to be declared anew, because a caller asks for it from now on and the store does not
    /// know it: as soon as another replica's deletion would have been heard, and not within a second.
    pub async fn budget_missed_anew(&self) {
        self.inner.core.expected.missed_anew().await;
    }

    /// Why the store could last not be reached; `None`: it could, or nobody has tried. It asks nobody.
    pub fn store_trouble(&self) -> Option<String> {
        self.inner.core.ledger.trouble().map(|trouble| trouble.cause)
    }

    /// Whether the store may forget what it was told, as far as was seen.
    pub fn eviction(&self) -> Eviction {
        self.inner.core.ledger.eviction()
    }

    /// Registers what this coordinator counts; the names have no prefix of their own.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.inner.core.metrics.register(registry);
        registry.register_collector(Box::new(StoreCollector(Arc::clone(&self.inner.core.ledger))));
    }
}
