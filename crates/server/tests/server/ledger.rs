//! A ledger with so many slots, which can be held up and taken down.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bursar_quota::{
    BoxFuture, BoxStream, BudgetName, BudgetSnapshot, BudgetSpec, Commit, CommitReply, Decision, EventKind,
    Ledger, LedgerError, LedgerEvent, LimitName, Put, Reason, Refusal, Renewal, SettleKind, Settled, Stored,
};
use futures_util::{StreamExt, stream};
use tokio::sync::{broadcast, watch};

#[derive(Debug)]
pub(crate) struct Slots {
    state: Mutex<State>,
    refused: watch::Sender<u64>,
    open: watch::Sender<bool>,
    changed: watch::Sender<u64>,
    events: broadcast::Sender<LedgerEvent>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) budgets: BTreeMap<BudgetName, (BudgetSpec, u64)>,
    pub(crate) free: u64,
    pub(crate) down: bool,
    pub(crate) granted: u64,
    pub(crate) not_sent: u64,
    pub(crate) settled: u64,
    /// Commits that found it down.
    pub(crate) turned_away: u64,
    /// What a refusal says.
    pub(crate) refusal: Option<Refusal>,
    leases: HashMap<u128, (u16, HashSet<u16>)>,
}

impl Slots {
    pub(crate) fn new(free: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State { free, ..State::default() }),
            refused: watch::Sender::new(0),
            open: watch::Sender::new(true),
            changed: watch::Sender::new(0),
            events: broadcast::channel(64).0,
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How many permits were granted, and how many of them were not sent.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.granted, state.not_sent)
    }

    pub(crate) fn announce(&self, budget: &str, kind: EventKind) {
        let _ = self.events.send(LedgerEvent { budget: BudgetName::new(budget).unwrap(), kind });
    }

    /// Holds commits up, or lets them through.
    pub(crate) fn open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Waits until so many acquires did not get what they wanted.
    pub(crate) async fn refused(&self, least: u64) {
        let mut refused = self.refused.subscribe();
        super::support::soon(refused.wait_for(|refused| *refused >= least)).await.unwrap();
    }

    /// Waits until the state is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        super::support::soon(changed.wait_for(|_| wanted(&self.state()))).await.unwrap();
    }

    fn reach(&self) -> Result<MutexGuard<'_, State>, LedgerError> {
        let state = self.state();
        if state.down {
            let retry_after = Duration::from_millis(250);
            return Err(LedgerError::Unavailable { cause: "taken down".into(), retry_after });
        }
        Ok(state)
    }

    fn decide(&self, budget: &BudgetName, commit: &Commit) -> Result<CommitReply, LedgerError> {
        let mut state = self.reach()?;
        let Some((spec, version)) = state.budgets.get(budget) else {
            return Err(LedgerError::UnknownBudget(budget.clone()));
        };
        let (limits, version) = (spec.limits.len(), *version);
        if version != commit.spec_version {
            return Err(LedgerError::StaleSpec { budget: budget.clone(), version });
        }
        let settled: Vec<Vec<_>> = commit
            .settles
            .iter()
            .map(|group| group.indexes.iter().map(|i| state.settle(group.lease.0, *i, group.kind)).collect())
            .collect();
        let renewed = commit
            .renews
            .iter()
            .map(|renew| match state.leases.get(&renew.lease.0) {
                Some((granted, settled)) if renew.index < *granted && !settled.contains(&renew.index) => {
                    Renewal::Renewed { deadline_ms: renew.ttl_ms }
                }
                Some((granted, _)) if renew.index < *granted => Renewal::Settled,
                _ => Renewal::Unknown,
            })
            .collect();
        let decisions: Vec<_> = commit
            .acquires
            .iter()
            .map(|group| state.grant(group.lease.0, group.count, group.ttl_ms))
            .collect();
        let refused = decisions.iter().filter(|decision| decision.refusal.is_some()).count() as u64;
        drop(state);
        self.refused.send_modify(|total| *total += refused);
        self.changed.send_modify(|changes| *changes += 1);
        let paused_ms = vec![0; commit.settles.len()];
        let found = vec![None; commit.looks.len()];
        let limits = vec![(0, 0, 0); limits];
        Ok(CommitReply { settled, renewed, decisions, paused_ms, limits, found, resent: false })
    }
}

impl State {
    fn settle(&mut self, lease: u128, index: u16, kind: SettleKind) -> Settled {
        let Some((granted, settled)) = self.leases.get_mut(&lease) else { return Settled::Unknown };
        if index >= *granted {
            return Settled::Unknown;
        }
        if !settled.insert(index) {
            return Settled::Already;
        }
        self.free += 1;
        self.settled += 1;
        self.not_sent += u64::from(matches!(kind, SettleKind::NotSent | SettleKind::Unclaimed));
        Settled::Applied
    }

    fn grant(&mut self, lease: u128, count: u16, ttl_ms: u64) -> Decision {
        let before = self.leases.get(&lease).map(|(granted, _)| *granted);
        let granted = before.unwrap_or_else(|| count.min(u16::try_from(self.free).unwrap_or(u16::MAX)));
        if before.is_none() && granted > 0 {
            self.free -= u64::from(granted);
            self.granted += u64::from(granted);
            self.leases.insert(lease, (granted, HashSet::new()));
        }
        let full = || Refusal {
            reason: Reason::ConcurrencyExhausted,
            limit: LimitName::new("slots").ok(),
            retry_after: Some(Duration::from_millis(500)),
        };
        let refusal = (granted < count).then(|| self.refusal.clone().unwrap_or_else(full));
        Decision { granted, places: Vec::new(), send_within_ms: 5000, deadline_ms: ttl_ms, refusal }
    }
}

impl Ledger for Slots {
    fn commit<'a>(
        &'a self,
        budget: &'a BudgetName,
        commit: &'a Commit,
    ) -> BoxFuture<'a, Result<CommitReply, LedgerError>> {
        Box::pin(async move {
            let mut open = self.open.subscribe();
            let _ = open.wait_for(|open| *open).await;
            let decided = self.decide(budget, commit);
            if matches!(decided, Err(LedgerError::Unavailable { .. })) {
                self.state().turned_away += 1;
                self.changed.send_modify(|changes| *changes += 1);
            }
            decided
        })
    }

    fn put<'a>(&'a self, spec: &'a BudgetSpec) -> BoxFuture<'a, Result<Put, LedgerError>> {
        Box::pin(async move {
            let mut state = self.reach()?;
            let (was, version) = match state.budgets.get(&spec.name) {
                Some((was, version)) => (Some(was.clone()), *version),
                None => (None, 0),
            };
            let changed = was.as_ref() != Some(spec);
            let version = version + u64::from(changed);
            state.budgets.insert(spec.name.clone(), (spec.clone(), version));
            Ok(Put { version, changed })
        })
    }

    fn get<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<Option<Stored>, LedgerError>> {
        Box::pin(async move {
            let state = self.reach()?;
            Ok(state.budgets.get(budget).map(|(spec, version)| Stored {
                spec: spec.clone(),
                version: *version,
                snapshot: BudgetSnapshot {
                    limits: Vec::new(),
                    pauses: Vec::new(),
                    usage: Vec::new(),
                    granted: state.granted,
                    settled: state.settled,
                    refused_upstream: 0,
                    waiting: vec![("here".into(), 2)],
                },
            }))
        })
    }

    fn list<'a>(
        &'a self,
        after: Option<&'a BudgetName>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<BudgetName>, LedgerError>> {
        Box::pin(async move {
            let state = self.reach()?;
            let later = state.budgets.keys().filter(|name| after.is_none_or(|after| *name > after));
            Ok(later.take(most).cloned().collect())
        })
    }

    fn delete<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move { Ok(self.reach()?.budgets.remove(budget).is_some()) })
    }

    fn pause<'a>(
        &'a self,
        budget: &'a BudgetName,
        _span: Option<Duration>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.resume(budget)
    }

    fn resume<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let known = self.reach()?.budgets.contains_key(budget);
            if known { Ok(()) } else { Err(LedgerError::UnknownBudget(budget.clone())) }
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move { self.reach().map(drop) })
    }

    fn events(&self) -> BoxStream<LedgerEvent> {
        let events = self.events.subscribe();
        let events =
            stream::unfold(events, |mut events| async move { Some((events.recv().await.ok()?, events)) });
        events.chain(stream::pending()).boxed()
    }
}
