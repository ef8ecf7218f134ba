//! Budgets that a replica declares itself, and the store does not know.

use bursar_coordinator::{Acquire, AcquireError, Coordinator, CoordinatorError, Granted, Outcome, Renew};
use bursar_quota::{BudgetName, Clock, EventKind, LedgerError, LedgerEvent, Reason, Settled};
use tokio::time::timeout;

use crate::world::*;

fn is_passing(error: &CoordinatorError) -> bool {
    let CoordinatorError::Ledger(LedgerError::Unavailable { cause, retry_after }) = error else {
        return false;
    };
    cause.contains("does not know b yet") && !retry_after.is_zero()
}

fn undeclared(result: Result<Granted, AcquireError>) -> bool {
    matches!(result, Err(AcquireError::Failed(error)) if is_passing(&error))
}

async fn is_missed(coordinator: &Coordinator) -> bool {
    timeout(ms(1), coordinator.budget_missed()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_once_the_store_has_answered_for_each() {
    let world = World::new(&[]);
    let coordinator = world.replica("r1");
    assert!(coordinator.ready().await.is_ok(), "it expects none");
    let other = BudgetName::new("c").unwrap();
    coordinator.expect_budgets([name(), other.clone()]);
    let error = coordinator.ready().await.unwrap_err();
    assert!(is_passing(&CoordinatorError::Ledger(error)));
    coordinator.budget_answered(&name());
    assert!(coordinator.ready().await.is_err());
    coordinator.budget_withdrawn(&other);
    assert!(coordinator.ready().await.is_ok());
    // Others that are wanted later keep nobody from the rest.
    coordinator.expect_budgets([BudgetName::new("d").unwrap()]);
    assert!(coordinator.ready().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_one_is_told_to_come_back_and_has_it_declared() {
    let world = World::new(&[]);
    let coordinator = world.replica("r1");
    let unknown = refused(coordinator.acquire(ask()).await);
    assert_eq!(unknown.reason, Reason::UnknownBudget, "nobody declares it");
    coordinator.expect_budgets([name()]);
    assert!(!is_missed(&coordinator).await);
    assert!(undeclared(coordinator.acquire(ask()).await));
    assert!(is_missed(&coordinator).await);
    assert!(!is_missed(&coordinator).await, "it is told once");
    let other = Acquire::new(BudgetName::new("other").unwrap());
    assert_eq!(refused(coordinator.acquire(other).await).reason, Reason::UnknownBudget);
    assert!(is_passing(&coordinator.get_budget(&name()).await.unwrap_err()));
    assert!(is_missed(&coordinator).await, "who reads it has it declared as well");
    assert_eq!(coordinator.knows_budget(&name()).await, Ok(false));
    assert!(!is_missed(&coordinator).await, "who declares it does not");
    let paused = coordinator.pause_budget(&name(), None).await.unwrap_err();
    assert!(is_passing(&paused) && is_passing(&coordinator.resume_budget(&name()).await.unwrap_err()));

    coordinator.put_budget(budget(vec![limit("c", at_once(1))])).await.unwrap();
    let granted = coordinator.acquire(ask()).await.unwrap();
    world.ledger.delete_silently(&name());
    let lost = coordinator.settle(settle(&granted, Outcome::Lost)).await.unwrap_err();
    assert!(is_passing(&lost), "{lost:?}");
    let renew = Renew { budget: name(), permit: granted.permit, ttl: None };
    let lost = coordinator.renew(renew).await.unwrap_err();
    assert!(is_passing(&lost), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_goes_on_waiting_until_it_is_declared_again() {
    let spec = budget(vec![limit("c", at_once(1))]);
    let world = World::new(std::slice::from_ref(&spec));
    let coordinator = world.replica("r1");
    coordinator.expect_budgets([name()]);
    let held = coordinator.acquire(ask()).await.unwrap();
    let waiting = spawn(&coordinator, patient(secs(60))).await;
    world.ledger.delete_silently(&name());
    let settling = coordinator.settle(not_sent(&held));
    // The settlement finds that the store has lost the budget, and is tried until it is told so.
    assert!(is_passing(&settling.await.unwrap_err()));
    assert!(is_missed(&coordinator).await && !waiting.is_finished());
    coordinator.put_budget(spec).await.unwrap();
    let granted = timeout(secs(2), waiting).await.unwrap().unwrap().unwrap();
    let report = coordinator.settle(not_sent(&granted)).await.unwrap();
    assert_eq!(report.result, Settled::Applied);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_deleted_is_not_missing_until_it_is_put_again() {
    let spec = budget(vec![limit("c", at_once(1))]);
    let world = World::new(std::slice::from_ref(&spec));
    let coordinator = world.replica("r1");
    coordinator.expect_budgets([name()]);
    let unknown = async || refused(coordinator.acquire(ask()).await).reason == Reason::UnknownBudget;
    assert!(coordinator.delete_budget(&name()).await.unwrap());
    assert!(unknown().await && coordinator.is_budget_deleted(&name()));
    assert!(!is_missed(&coordinator).await);

    coordinator.put_budget(spec.clone()).await.unwrap();
    world.ledger.delete_silently(&name());
    settle_down().await;
    assert!(undeclared(coordinator.acquire(ask()).await));

    // Another replica's doing is announced.
    world.ledger.announce(LedgerEvent { budget: name(), kind: EventKind::Deleted });
    settle_down().await;
    assert!(unknown().await);
    coordinator.expect_budgets([name()]);
    assert!(undeclared(coordinator.acquire(ask()).await), "whoever declares it wants it again");
}

#[tokio::test(start_paused = true)]
async fn it_is_declared_anew_for_who_asks_from_now_on_and_not_within_a_second() {
    let world = World::new(&[]);
    let coordinator = world.replica("r1");
    coordinator.expect_budgets([name()]);
    assert!(undeclared(coordinator.acquire(ask()).await));
    let started = world.clock.monotonic();
    let mut anew = Box::pin(coordinator.budget_missed_anew());
    assert!(
        timeout(ms(5000), &mut anew).await.is_err(),
        "who asked before is served by what was declared since"
    );
    assert!(undeclared(coordinator.acquire(ask()).await));
    anew.await;
    assert_eq!(world.clock.monotonic() - started, ms(5100), "a deletion may be on its way");
    let started = world.clock.monotonic();
    let mut anew = Box::pin(coordinator.budget_missed_anew());
    assert!(timeout(ms(1), &mut anew).await.is_err());
    assert!(undeclared(coordinator.acquire(ask()).await));
    anew.await;
    let took = world.clock.monotonic() - started;
    assert!(took >= ms(1000) && took <= ms(1002), "{took:?}");
}
