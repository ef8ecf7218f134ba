//! Budgets as things: put, read, listed, changed, deleted.

use bursar_quota::{BudgetName, BudgetSpec, Commit, EventKind, LedgerError, LedgerEvent, Put, SettleKind};
use futures_util::StreamExt as _;

use super::bench::{Bench, concurrency, ms, named, spec, window};

fn name(text: &str) -> BudgetName {
    BudgetName::new(text).unwrap()
}

pub(crate) async fn a_budget_is_put_read_listed_and_deleted(bench: &Bench) {
    let ledger = &bench.ledger;
    let mut spec = spec(vec![window(10, 60_000)]);
    assert_eq!(ledger.put(&spec).await.unwrap(), Put { version: 1, changed: true });
    assert_eq!(ledger.put(&spec).await.unwrap(), Put { version: 1, changed: false });
    spec.max_waiting = 7;
    assert_eq!(ledger.put(&spec).await.unwrap(), Put { version: 2, changed: true });

    let stored = ledger.get(&spec.name).await.unwrap().unwrap();
    assert_eq!((&stored.spec, stored.version), (&spec, 2));
    assert_eq!(stored.snapshot.limits[0].available, 10);
    assert_eq!(stored.snapshot.pauses, []);

    for other in ["a", "b/c", "vendor", "z"] {
        ledger.put(&BudgetSpec { name: name(other), ..spec.clone() }).await.unwrap();
    }
    let all = ["a", "b/c", "vendor", "vendor/prod", "z"].map(name);
    assert_eq!(ledger.list(None, 100).await.unwrap(), all);
    assert_eq!(ledger.list(None, 2).await.unwrap(), all[..2]);
    assert_eq!(ledger.list(Some(&name("b/c")), 2).await.unwrap(), all[2..4]);
    assert_eq!(ledger.list(Some(&name("z")), 2).await.unwrap(), []);

    assert!(ledger.delete(&spec.name).await.unwrap());
    assert!(!ledger.delete(&spec.name).await.unwrap());
    assert_eq!(ledger.get(&spec.name).await.unwrap(), None);
    assert!(!ledger.list(None, 100).await.unwrap().contains(&spec.name));
    // The version goes on, so that a replica that slept through all this notices.
    assert_eq!(ledger.put(&spec).await.unwrap(), Put { version: 3, changed: true });
}

pub(crate) async fn what_is_not_there_is_unknown(bench: &Bench) {
    let account = bench.budget(vec![window(10, 60_000)]).await;
    bench.ledger.delete(account.name()).await.unwrap();
    let unknown = LedgerError::UnknownBudget(account.name().clone());
    assert_eq!(account.send(&account.commit()).await.unwrap_err(), unknown);
    assert_eq!(bench.ledger.pause(account.name(), None).await.unwrap_err(), unknown);
    assert_eq!(bench.ledger.resume(account.name()).await.unwrap_err(), unknown);
    assert_eq!(bench.ledger.get(account.name()).await.unwrap(), None);
}

pub(crate) async fn a_commit_from_another_version_does_nothing(bench: &Bench) {
    let old = bench.budget(vec![window(10, 60_000)]).await;
    let new = bench.budget(vec![window(11, 60_000)]).await;
    let commit = Commit { acquires: vec![old.group(1)], ..old.commit() };
    let stale = LedgerError::StaleSpec { budget: old.name().clone(), version: new.version };
    assert_eq!(old.send(&commit).await.unwrap_err(), stale);
    assert_eq!(new.stand().await, (11, 0, 0));
}

pub(crate) async fn what_weighs_stays_when_a_budget_changes(bench: &Bench) {
    let old = bench.budget(vec![window(10, 60_000), concurrency(5, 0)]).await;
    let lease = old.granted(3).await;
    old.settle_as(lease, 0, SettleKind::Accepted).await;
    let new =
        bench.budget(vec![named("more", window(2, 60_000)), window(20, 60_000), concurrency(4, 0)]).await;
    let stands = new.snapshot().await.limits;
    let stand: Vec<_> = stands.iter().map(|limit| (limit.available, limit.out, limit.paid)).collect();
    assert_eq!(stand, [(2, 0, 0), (17, 2, 1), (2, 2, 0)]);
    // A permit of the old declaration is settled under the new one.
    new.settle_as(lease, 1, SettleKind::NotSent).await;
    let stands = new.snapshot().await.limits;
    assert_eq!((stands[1].available, stands[2].available), (18, 3));
}

pub(crate) async fn changes_are_announced(bench: &Bench) {
    bench.heard().await;
    let mut events = bench.ledger.events();
    let account = bench.budget(vec![window(10, 60_000)]).await;
    let budget = account.name();
    bench.ledger.pause(budget, Some(ms(60_000))).await.unwrap();
    bench.ledger.resume(budget).await.unwrap();
    let _ = account.granted(9).await;
    bench.ledger.delete(budget).await.unwrap();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&EventKind::Deleted) {
        let next = tokio::time::timeout(ms(5000), events.next()).await;
        let LedgerEvent { budget: whose, kind } = next.unwrap_or_else(|_| panic!("only {kinds:?}")).unwrap();
        assert_eq!(whose, *budget);
        kinds.push(kind);
    }
    assert_eq!(kinds[0], EventKind::SpecChanged { version: 1 });
    assert_eq!(kinds[1], EventKind::Paused { scope: "operator".into(), for_ms: Some(60_000) });
    assert!(kinds.contains(&EventKind::Resumed { scope: "operator".into() }), "{kinds:?}");
    assert!(kinds.contains(&EventKind::Wake), "{kinds:?}");
    let crossed =
        kinds.iter().find(|kind| matches!(kind, EventKind::ThresholdCrossed { used: 9, capacity: 10, .. }));
    assert!(crossed.is_some(), "{kinds:?}");
}

pub(crate) async fn the_store_is_ready(bench: &Bench) {
    assert_eq!(bench.ledger.ready().await, Ok(()));
}
