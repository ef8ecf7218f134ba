//! From an acquire to its commit and back.

use bursar_coordinator::{Acquire, AcquireError, CoordinatorError};
use bursar_quota::{BudgetName, Reason, UnitName};
use futures_util::future::join_all;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_lone_acquire_goes_out_at_once() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    let granted = coordinator.acquire(ask()).await.unwrap();
    assert_eq!((granted.waited, granted.send_within, granted.deadline), (ms(0), secs(5), secs(60)));
    let commits = world.ledger.commits();
    assert_eq!((commits.len(), commits[0].acquires.len(), commits[0].acquires[0].count), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_arrives_meanwhile_shares_the_next_commit() {
    let (world, coordinator) = one(vec![limit("w", window(1000, secs(60)))]);
    world.ledger.latency(ms(10));
    let all = join_all((0..500).map(|_| coordinator.acquire(ask()))).await;
    assert!(all.iter().all(Result::is_ok));
    let commits = world.ledger.commits();
    let counts: u64 = commits.iter().flat_map(|c| &c.acquires).map(|g| u64::from(g.count)).sum();
    assert_eq!(counts, 500);
    assert!(commits.len() <= 2, "{} commits", commits.len());
    assert_eq!(commits.iter().map(|commit| commit.acquires.len()).max(), Some(1), "equal acquires fold");
    let mut permits: Vec<_> = all.into_iter().map(|granted| granted.unwrap().permit).collect();
    permits.sort();
    permits.dedup();
    assert_eq!(permits.len(), 500, "no permit is given twice");
}

#[tokio::test(start_paused = true)]
async fn a_rush_is_split_into_bounded_commits() {
    let (world, coordinator) = one(vec![limit("w", window(100_000, secs(60)))]);
    world.ledger.latency(ms(1));
    let tenants: Vec<_> = (0..700).map(|n| tenant(&format!("t{n}"))).collect();
    let asks = (0..3000).map(|n| coordinator.acquire(Acquire { tenant: tenants[n % 700].clone(), ..ask() }));
    let all = join_all(asks).await;
    // The fake ledger checks the bounds of each commit.
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(world.ledger.counts(), (3000, 0, 3000));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_is_told_its_field() {
    let (_world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    let field = |result| match result {
        Err(AcquireError::Failed(CoordinatorError::Invalid(error))) => error.field,
        other => panic!("not invalid but {other:?}"),
    };
    let tokens = UnitName::new("tokens").unwrap();
    let costs = vec![(tokens, 1)];
    assert_eq!(field(coordinator.acquire(Acquire { costs, ..ask() }).await), "costs[tokens]");
    let costs = vec![(UnitName::requests(), 0)];
    assert_eq!(field(coordinator.acquire(Acquire { costs, ..ask() }).await), "costs[requests]");
    let ttl = Some(secs(601));
    assert_eq!(field(coordinator.acquire(Acquire { ttl, ..ask() }).await), "ttl");
    let request_id = Some("x".repeat(129));
    assert_eq!(field(coordinator.acquire(Acquire { request_id, ..ask() }).await), "request_id");
    let costs = vec![(UnitName::requests(), 11)];
    let refusal = refused(coordinator.acquire(Acquire { costs, max_wait: secs(9), ..ask() }).await);
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::CostAboveCapacity, None));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_budget_is_a_refusal() {
    let (_world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    let other = BudgetName::new("other").unwrap();
    let refusal = refused(coordinator.acquire(Acquire::new(other.clone())).await);
    assert_eq!(refusal.reason, Reason::UnknownBudget);
    let error = coordinator.get_budget(&other).await.unwrap_err();
    assert_eq!(error, CoordinatorError::UnknownBudget(other));
}

#[tokio::test(start_paused = true)]
async fn costs_of_another_version_are_counted_anew() {
    let (world, coordinator) = one(vec![limit("w", window(2, secs(60)))]);
    let _first = coordinator.acquire(ask()).await.unwrap();
    let _second = coordinator.acquire(ask()).await.unwrap();
    let waiting = spawn(&coordinator, patient(secs(100))).await;
    // Another replica raises the limit and adds one; nobody is told.
    let spec = budget(vec![limit("w", window(3, secs(60))), limit("c", at_once(9))]);
    world.ledger.put_silently(&spec);
    let third = coordinator.acquire(ask()).await;
    // The one who waited longer goes first.
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(refused(third).reason, Reason::QuotaExhausted);
    assert_eq!(world.ledger.commits().last().unwrap().spec_version, 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_class_is_known_at_once_though_the_announcement_was_lost() {
    let (world, coordinator) = one(vec![of_class(limit("w", window(2, secs(60))), "read")]);
    let read = Acquire { class: Some(class("read")), ..ask() };
    let _granted = coordinator.acquire(read).await.unwrap();
    let write = Acquire { class: Some(class("write")), ..ask() };
    assert!(matches!(coordinator.acquire(write.clone()).await, Err(AcquireError::Failed(_))));
    tokio::time::sleep(secs(1)).await;
    let limits = vec![
        of_class(limit("w", window(2, secs(60))), "read"),
        of_class(limit("v", window(2, secs(60))), "write"),
    ];
    world.ledger.put_silently(&budget(limits));
    assert!(coordinator.acquire(write).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_budget_refuses_its_waiters() {
    let (world, coordinator) = one(vec![limit("w", window(1, secs(60)))]);
    let _granted = coordinator.acquire(ask()).await.unwrap();
    let waiting = spawn(&coordinator, patient(secs(100))).await;
    assert!(coordinator.delete_budget(&name()).await.unwrap());
    assert_eq!(refused(waiting.await.unwrap()).reason, Reason::UnknownBudget);
    // Nobody tells this one but the ledger itself.
    world.ledger.put_silently(&budget(vec![limit("w", window(1, secs(60)))]));
    let _granted = coordinator.acquire(ask()).await.unwrap();
    let waiting = spawn(&coordinator, patient(secs(100))).await;
    world.ledger.delete_silently(&name());
    assert_eq!(refused(waiting.await.unwrap()).reason, Reason::UnknownBudget);
    assert!(world.clock_is_before(secs(10)));
}
