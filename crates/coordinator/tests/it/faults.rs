//! What becomes of callers when the ledger does not answer.

use bursar_coordinator::{Acquire, AcquireError, CoordinatorError};
use bursar_quota::{Clock, LedgerError, SettleKind, Settled};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{fake::Fault, world::*};

fn unavailable<T: std::fmt::Debug>(result: Result<T, AcquireError>) -> bool {
    matches!(result, Err(AcquireError::Failed(CoordinatorError::Ledger(LedgerError::Unavailable { .. }))))
}

#[tokio::test(start_paused = true)]
async fn who_can_wait_waits_the_outage_out_and_others_are_told() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    world.ledger.fault(Fault::Before(secs(1)));
    let patient = spawn(&coordinator, patient(secs(5))).await;
    assert!(!patient.is_finished());
    let start = world.clock.monotonic();
    assert!(unavailable(coordinator.acquire(ask()).await), "the ledger is left alone meanwhile");
    assert_eq!(world.clock.monotonic(), start);
    let granted = patient.await.unwrap().unwrap();
    assert!(granted.waited >= secs(1) && granted.waited <= ms(1510), "{:?}", granted.waited);
    assert!(coordinator.acquire(ask()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_impatient_caller_gets_the_error_at_once() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    world.ledger.fault(Fault::Before(secs(3)));
    assert!(unavailable(coordinator.acquire(patient(secs(2))).await));
    assert!(world.clock.monotonic() < ms(5));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_reply_was_lost_is_found_again() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    world.ledger.fault(Fault::After(ms(200)));
    let granted = coordinator.acquire(patient(secs(5))).await.unwrap();
    assert_eq!(world.ledger.counts(), (1, 0, 1), "granted once");
    // What it may still be sent within counts from the first time.
    assert!(granted.send_within <= ms(4800), "{:?}", granted.send_within);
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_commit_granted_to_nobody_is_given_back() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    world.ledger.fault(Fault::After(secs(1)));
    let (gone, stays) = tokio::join!(coordinator.acquire(ask()), coordinator.acquire(ask()));
    assert!(unavailable(gone) && unavailable(stays));
    sleep(secs(3)).await;
    let (granted, not_sent, out) = world.ledger.counts();
    assert_eq!((granted, not_sent, out), (granted, granted, 0));
    assert!(granted > 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_stay_share_the_batch_with_those_who_left() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    world.ledger.latency(ms(10));
    let _warm = coordinator.acquire(ask()).await.unwrap();
    let first = spawn(&coordinator, ask()).await;
    // These share a commit: it runs, its reply is lost, and only some of them can wait for it to be found.
    let asked =
        join_all((0..6).map(|n| spawn(&coordinator, if n % 2 == 0 { ask() } else { patient(secs(9)) })));
    let asked = asked.await;
    assert!(first.await.unwrap().is_ok());
    world.ledger.fault(Fault::After(secs(1)));
    sleep(ms(5)).await;
    let results = join_all(asked).await;
    let granted = results.iter().filter(|result| matches!(result, Ok(Ok(_)))).count();
    sleep(secs(5)).await;
    let (in_all, not_sent, out) = world.ledger.counts();
    assert!(granted == 3 || granted == 6, "{results:?}");
    assert_eq!(u64::try_from(out).unwrap(), in_all - not_sent);
    assert_eq!(out, 2 + granted, "nothing is held for nobody");
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_was_not_answered_can_be_made_again() {
    let (world, coordinator) = one(vec![limit("c", at_once(1))]);
    let granted = coordinator.acquire(ask()).await.unwrap();
    world.ledger.fault(Fault::After(ms(100)));
    let error = coordinator.settle(not_sent(&granted)).await.unwrap_err();
    assert!(matches!(error, CoordinatorError::Ledger(LedgerError::Unavailable { .. })));
    let report = coordinator.settle(not_sent(&granted)).await.unwrap();
    assert_eq!(report.result, Settled::Already);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_answer_is_told() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    world.ledger.fault(Fault::Corrupt);
    let error = coordinator.acquire(patient(secs(9))).await.unwrap_err();
    assert!(matches!(error, AcquireError::Failed(CoordinatorError::Ledger(LedgerError::Corrupt(_)))));
    assert!(coordinator.acquire(ask()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_hammered() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    for _ in 0..100 {
        world.ledger.fault(Fault::Before(ms(0)));
    }
    let waiting: Vec<_> = join_all((0..50).map(|_| spawn(&coordinator, patient(secs(1))))).await;
    let results = join_all(waiting).await;
    assert!(results.into_iter().all(|result| unavailable(result.unwrap())));
    assert!(world.clock.monotonic() < ms(1200));
    assert!(
        world.ledger.faults_left() < 100 && world.ledger.faults_left() > 0
            || world.clock.monotonic() < ms(1100)
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_a_replica_that_has_lost_its_store_is_told_so_in_time_to_ask_another() {
    let (world, a) = one(vec![limit("w", window(2, secs(600)))]);
    for _ in 0..2 {
        let _granted = a.acquire(ask()).await.unwrap();
    }
    let waiting: Vec<_> = join_all((0..50).map(|_| spawn(&a, patient(secs(3600))))).await;
    sleep(secs(10)).await;
    // A short outage is waited out.
    world.ledger.cut(true);
    let late = spawn(&a, patient(secs(3600))).await;
    sleep(ms(2500)).await;
    world.ledger.cut(false);
    sleep(secs(10)).await;
    assert!(!late.is_finished() && waiting.iter().all(|waiting| !waiting.is_finished()));
    world.ledger.cut(true);
    let cut_at = world.clock.monotonic();
    let last = spawn(&a, patient(secs(3600))).await;
    for waiting in waiting.into_iter().chain([late, last]) {
        assert!(unavailable(waiting.await.unwrap()));
    }
    let told_after = world.clock.monotonic() - cut_at;
    assert!(told_after >= secs(3) && told_after < ms(4500), "{told_after:?}");
    // Who comes later is told at once, or by the next try.
    for _ in 0..20 {
        let came_at = world.clock.monotonic();
        assert!(unavailable(a.acquire(patient(secs(3600))).await));
        assert!(world.clock.monotonic() - came_at < ms(1500));
        sleep(ms(700)).await;
    }
    world.ledger.cut(false);
    sleep(secs(1)).await;
    let again = spawn(&a, patient(secs(3600))).await;
    sleep(secs(5)).await;
    assert!(!again.is_finished(), "it waits for the window");
    again.abort();
}

#[tokio::test(start_paused = true)]
async fn a_request_id_survives_an_outage() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    world.ledger.fault(Fault::After(secs(1)));
    let request = Acquire { request_id: Some("x".into()), ..ask() };
    assert!(unavailable(coordinator.acquire(request.clone()).await));
    sleep(secs(3)).await;
    let _granted = coordinator.acquire(request).await.unwrap();
    let (granted, not_sent, out) = world.ledger.counts();
    assert_eq!((granted - not_sent, out), (1, 1), "one is out, whether found again or granted anew");
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_when_it_was_sent_again_is_given_up_in_case_the_first_comes_late() {
    let (world, coordinator) = one(vec![limit("w", window(1, secs(60)))]);
    let _granted = coordinator.acquire(ask()).await.unwrap();
    world.ledger.fault(Fault::Before(ms(100)));
    let waiting = spawn(&coordinator, patient(secs(300))).await;
    sleep(secs(5)).await;
    let commits = world.ledger.commits();
    let given_up: Vec<_> = commits.iter().flat_map(|commit| &commit.settles).collect();
    let [group] = &given_up[..] else { panic!("{given_up:?}") };
    assert_eq!((group.lease, group.kind), (commits[1].acquires[0].lease, SettleKind::Unclaimed));
    assert_eq!(group.indexes, [0]);
    // Whoever waits asks in another lease, and what comes of that is not given up.
    sleep(secs(60)).await;
    assert!(waiting.await.unwrap().is_ok());
    let asked = world.ledger.commits().iter().flat_map(|commit| commit.acquires.clone()).next_back().unwrap();
    assert_ne!(asked.lease, group.lease);
    let (granted, not_sent, _) = world.ledger.counts();
    assert_eq!((granted, not_sent), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn draining_ends_in_time_though_the_ledger_is_away() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    world.ledger.fault(Fault::After(secs(30)));
    let waiting = spawn(&coordinator, patient(secs(300))).await;
    coordinator.drain(secs(2)).await;
    assert!(world.clock.monotonic() < secs(3));
    assert!(waiting.is_finished());
    sleep(secs(60)).await;
    assert_eq!(world.ledger.counts(), (1, 1, 0), "what it was granted is given back");
}
