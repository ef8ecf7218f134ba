//! A ledger that grants everything at once and remembers nothing.

use std::time::Duration;

use bursar_quota::{
    BoxFuture, BoxStream, BudgetName, BudgetSnapshot, BudgetSpec, Commit, CommitReply, Decision, Ledger,
    LedgerError, LedgerEvent, Put, Settled, Stored,
};

/// Of this budget, at version 1.
#[derive(Debug)]
pub(crate) struct Yes(pub(crate) BudgetSpec);

fn now<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, LedgerError>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Ledger for Yes {
    fn commit<'a>(
        &'a self,
        _: &'a BudgetName,
        commit: &'a Commit,
    ) -> BoxFuture<'a, Result<CommitReply, LedgerError>> {
        let decide = |count| Decision {
            granted: count,
            places: Vec::new(),
            send_within_ms: 5_000,
            deadline_ms: 60_000,
            refusal: None,
        };
        now(CommitReply {
            settled: commit.settles.iter().map(|group| vec![Settled::Applied; group.indexes.len()]).collect(),
            renewed: Vec::new(),
            decisions: commit.acquires.iter().map(|group| decide(group.count)).collect(),
            paused_ms: vec![0; commit.settles.len()],
            limits: vec![(1_000_000, 0, 0); self.0.limits.len()],
            found: vec![None; commit.looks.len()],
            resent: false,
        })
    }

    fn put<'a>(&'a self, _: &'a BudgetSpec) -> BoxFuture<'a, Result<Put, LedgerError>> {
        now(Put { version: 1, changed: false })
    }

    fn get<'a>(&'a self, _: &'a BudgetName) -> BoxFuture<'a, Result<Option<Stored>, LedgerError>> {
        let snapshot = BudgetSnapshot {
            limits: Vec::new(),
            pauses: Vec::new(),
            usage: Vec::new(),
            granted: 0,
            settled: 0,
            refused_upstream: 0,
            waiting: Vec::new(),
        };
        now(Some(Stored { spec: self.0.clone(), version: 1, snapshot }))
    }

    fn list<'a>(
        &'a self,
        _: Option<&'a BudgetName>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<BudgetName>, LedgerError>> {
        now(vec![self.0.name.clone()])
    }

    fn delete<'a>(&'a self, _: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>> {
        now(false)
    }

    fn pause<'a>(&'a self, _: &'a BudgetName, _: Option<Duration>) -> BoxFuture<'a, Result<(), LedgerError>> {
        now(())
    }

    fn resume<'a>(&'a self, _: &'a BudgetName) -> BoxFuture<'a, Result<(), LedgerError>> {
        now(())
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        now(())
    }

    fn events(&self) -> BoxStream<LedgerEvent> {
        Box::pin(futures_util::stream::pending())
    }
}
