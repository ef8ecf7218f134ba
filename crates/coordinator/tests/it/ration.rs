//! What becomes of callers when the ledger does not answer and the budget declares a ration.

use bursar_coordinator::{
    Acquire, AcquireError, Coordinator, CoordinatorError, Granted, Outcome, Renew, WatchItem,
};
use bursar_quota::{
    BudgetSpec, Clock, EventKind, LedgerError, LedgerEvent, LimitSpec, OnStoreLoss, Ration, Reason, Renewal,
    Settled,
};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{fake::FakeLedger, world::*};

/// A budget of which a fraction is rationed among three, for two minutes.
pub(crate) fn rationed(limits: Vec<LimitSpec>, fraction: f64) -> BudgetSpec {
    BudgetSpec {
        on_store_loss: OnStoreLoss::Ration,
        ration: Some(Ration { fraction, replicas: 3, span: secs(120) }),
        ..budget(limits)
    }
}

/// One replica that has read the budget and was granted a permit, then cut off.
async fn lost(limits: Vec<LimitSpec>, fraction: f64) -> (World, FakeLedger, Coordinator) {
    let world = World::new(&[rationed(limits, fraction)]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    let granted = coordinator.acquire(ask()).await.unwrap();
    assert!(!granted.rationed);
    coordinator.settle(settle(&granted, Outcome::Lost)).await.unwrap();
    ledger.cut(true);
    (world, ledger, coordinator)
}

fn unavailable(result: &Result<Granted, AcquireError>) -> bool {
    matches!(result, Err(AcquireError::Failed(CoordinatorError::Ledger(LedgerError::Unavailable { .. }))))
}

/// Asks `many` times at once: how many were granted. The others were told that the store gives no answer.
async fn burst(coordinator: &Coordinator, many: usize) -> Vec<Granted> {
    let results = join_all((0..many).map(|_| coordinator.acquire(ask()))).await;
    let mut granted = Vec::new();
    for result in results {
        assert!(result.is_ok() || unavailable(&result), "{result:?}");
        granted.extend(result.ok());
    }
    assert!(granted.iter().all(|granted| granted.rationed));
    granted
}

fn metric(coordinator: &Coordinator, name: &str) -> u64 {
    let mut registry = prometheus_client::registry::Registry::default();
    coordinator.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_replica_grants_its_part_of_each_window_until_the_time_is_over() {
    let (world, _ledger, coordinator) = lost(vec![limit("w", window(100, secs(20)))], 0.3).await;
    let start = world.clock.monotonic();
    // A third of 30 % of 100.
    assert_eq!(burst(&coordinator, 40).await.len(), 10);
    assert_eq!(burst(&coordinator, 40).await.len(), 0);
    // It weighs for a window, the time to send, and the part of the window that it is remembered by.
    sleep(secs(25)).await;
    assert_eq!(burst(&coordinator, 40).await.len(), 0);
    sleep(ms(100)).await;
    assert_eq!(burst(&coordinator, 40).await.len(), 10);
    sleep(secs(94)).await;
    assert_eq!(burst(&coordinator, 1).await.len(), 1, "{:?}", world.clock.monotonic() - start);
    sleep(secs(1)).await;
    assert_eq!(burst(&coordinator, 40).await.len(), 0, "the time is over");
    assert_eq!(metric(&coordinator, "permits_rationed_total"), 21);
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_what_the_ration_has_when_it_has_it() {
    let (_world, _ledger, coordinator) = lost(vec![limit("w", window(10, secs(10)))], 0.3).await;
    let first = spawn(&coordinator, patient(secs(60))).await;
    let second = spawn(&coordinator, patient(secs(60))).await;
    assert!(first.is_finished() && !second.is_finished());
    let granted = second.await.unwrap().unwrap();
    assert!(granted.rationed);
    assert!(granted.waited >= secs(15) && granted.waited < ms(15_400), "{:?}", granted.waited);
}

#[tokio::test(start_paused = true)]
async fn without_a_declaration_it_is_refused() {
    let world = World::new(&[budget(vec![limit("w", window(100, secs(20)))])]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    let _first = coordinator.acquire(ask()).await.unwrap();
    ledger.cut(true);
    assert_eq!(burst(&coordinator, 40).await.len(), 0);
    assert!(coordinator.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_was_never_read_is_not_rationed() {
    let world = World::new(&[rationed(vec![limit("w", window(100, secs(20)))], 1.0)]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    ledger.cut(true);
    assert_eq!(burst(&coordinator, 5).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn slots_of_the_ration_come_back_when_settled_and_at_their_deadline() {
    let (_world, _ledger, coordinator) = lost(vec![limit("c", at_once(6))], 1.0).await;
    let held = burst(&coordinator, 9).await;
    assert_eq!(held.len(), 2);
    let report = coordinator.settle(not_sent(&held[0])).await.unwrap();
    assert_eq!(report.result, Settled::Applied);
    let report = coordinator.settle(not_sent(&held[0])).await.unwrap();
    assert_eq!(report.result, Settled::Already);
    assert_eq!(burst(&coordinator, 9).await.len(), 1);
    sleep(secs(40)).await;
    let renew = Renew { budget: name(), permit: held[1].permit, ttl: None };
    assert_eq!(coordinator.renew(renew).await.unwrap(), Renewal::Renewed { deadline_ms: 60_000 });
    sleep(secs(30)).await;
    assert_eq!(burst(&coordinator, 9).await.len(), 1, "one was renewed, the other's deadline is over");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_gives_its_part_and_what_flows_back() {
    let bucket = bursar_quota::LimitKind::Bucket { capacity: 60, refill_per_second: 3.0 };
    let (_world, _ledger, coordinator) = lost(vec![limit("b", bucket)], 0.5).await;
    assert_eq!(burst(&coordinator, 40).await.len(), 10);
    sleep(secs(8)).await;
    assert_eq!(burst(&coordinator, 40).await.len(), 4, "half a call a second");
    sleep(secs(80)).await;
    assert_eq!(burst(&coordinator, 40).await.len(), 10, "never more than its part");
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_rate_gives_its_part_of_the_least() {
    let adaptive =
        bursar_quota::LimitKind::Adaptive { start_per_second: 1.0, min_per_second: 0.3, max_per_second: 9.0 };
    let world = World::new(&[rationed(vec![limit("a", adaptive), limit("c", at_once(90))], 1.0)]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    let _first = coordinator.acquire(ask()).await;
    ledger.cut(true);
    assert_eq!(burst(&coordinator, 5).await.len(), 0);
    // One in ten seconds, and a moment for what is not exact in a double.
    sleep(ms(10_001)).await;
    assert_eq!(burst(&coordinator, 5).await.len(), 1);
    sleep(secs(60)).await;
    assert_eq!(burst(&coordinator, 5).await.len(), 1, "no more than one is saved up");
}

#[tokio::test(start_paused = true)]
async fn where_the_store_said_no_nothing_is_rationed() {
    // An operator's pause, heard of by its announcement.
    let (world, ledger, coordinator) = lost(vec![limit("w", window(100, secs(20)))], 1.0).await;
    let paused = EventKind::Paused { scope: "operator".into(), for_ms: None };
    world.ledger.announce(LedgerEvent { budget: name(), kind: paused });
    settle_down().await;
    assert_eq!(burst(&coordinator, 5).await.len(), 0);
    drop((ledger, coordinator));

    // A pause that a caller was refused for.
    let world = World::new(&[rationed(vec![limit("w", window(100, secs(20)))], 1.0)]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    let _granted = coordinator.acquire(ask()).await.unwrap();
    world.replica("other").pause_budget(&name(), Some(secs(30))).await.unwrap();
    assert_eq!(refused(coordinator.acquire(ask()).await).reason, Reason::PausedByOperator);
    ledger.cut(true);
    assert_eq!(burst(&coordinator, 5).await.len(), 0);
    sleep(secs(31)).await;
    assert_eq!(burst(&coordinator, 5).await.len(), 5, "it is over");
    drop((ledger, coordinator));

    // A limit that is used up for a time.
    let world = World::new(&[rationed(vec![limit("w", window(5, secs(20)))], 1.0)]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    for _ in 0..5 {
        let _granted = coordinator.acquire(ask()).await.unwrap();
    }
    assert_eq!(refused(coordinator.acquire(ask()).await).reason, Reason::QuotaExhausted);
    ledger.cut(true);
    assert_eq!(burst(&coordinator, 5).await.len(), 0);
    sleep(secs(21)).await;
    assert_eq!(burst(&coordinator, 5).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_refuses_ends_the_ration_of_its_scope() {
    let (_world, ledger, coordinator) = lost(vec![limit("w", window(100, secs(20)))], 0.9).await;
    let held = burst(&coordinator, 2).await;
    let report = coordinator.settle(settle(&held[0], answered(429, &[("Retry-After", "7")]))).await.unwrap();
    assert_eq!(report.result, Settled::Applied);
    assert!(report.paused_for >= secs(7));
    assert_eq!(burst(&coordinator, 5).await.len(), 0);
    sleep(secs(30)).await;
    assert_eq!(burst(&coordinator, 5).await.len(), 0, "until the store grants again");
    // And the store is told of it.
    ledger.cut(false);
    sleep(secs(2)).await;
    let pauses: Vec<_> = ledger.commits().into_iter().flat_map(|commit| commit.settles).collect();
    assert!(pauses.iter().any(|settle| settle.pause.is_some()), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_of_the_stores_own_is_heeded_though_it_cannot_be_told() {
    let world = World::new(&[rationed(vec![limit("w", window(100, secs(20)))], 0.9)]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    let granted = coordinator.acquire(ask()).await.unwrap();
    ledger.cut(true);
    assert_eq!(burst(&coordinator, 1).await.len(), 1);
    let told = coordinator.settle(settle(&granted, answered(429, &[("Retry-After", "7")]))).await;
    assert!(told.is_err());
    assert_eq!(burst(&coordinator, 5).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_told_of_all_when_it_is_back() {
    let (world, ledger, coordinator) =
        lost(vec![limit("w", window(100, secs(20))), limit("c", at_once(60))], 0.3).await;
    let before = world.ledger.counts();
    let held = burst(&coordinator, 6).await;
    coordinator.settle(settle(&held[0], Outcome::Lost)).await.unwrap();
    coordinator.settle(not_sent(&held[1])).await.unwrap();
    coordinator.settle(settle(&held[2], answered(200, &[("X-RateLimit-Remaining", "1")]))).await.unwrap();
    assert_eq!(world.ledger.counts(), before, "nothing reached it");
    ledger.cut(false);
    sleep(secs(2)).await;
    let (granted, not_sent, out) = world.ledger.counts();
    assert_eq!((granted - before.0, not_sent, out), (6, 1, 3));
    // What is still out is known to any replica.
    let other = world.replica("r2");
    assert_eq!(other.settle(settle(&held[3], Outcome::Lost)).await.unwrap().result, Settled::Applied);
    assert_eq!(coordinator.settle(settle(&held[3], Outcome::Lost)).await.unwrap().result, Settled::Already);
    assert_eq!(coordinator.settle(settle(&held[4], Outcome::Lost)).await.unwrap().result, Settled::Applied);
    assert_eq!(coordinator.settle(settle(&held[0], Outcome::Lost)).await.unwrap().result, Settled::Already);
    // The response of a call that the store granted only later is not a reading of it.
    let readings = world.ledger.commits().into_iter().flat_map(|commit| commit.settles);
    assert_eq!(readings.filter(|settle| !settle.readings.is_empty()).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_no_room_for_stays_here() {
    let (world, ledger, coordinator) = lost(vec![limit("w", window(30, secs(20)))], 0.3).await;
    let held = burst(&coordinator, 9).await;
    assert_eq!(held.len(), 3);
    // Another replica uses all that there is meanwhile.
    let other = world.replica("r2");
    for _ in 0..29 {
        let _granted = other.acquire(ask()).await.unwrap();
    }
    ledger.cut(false);
    sleep(secs(2)).await;
    assert_eq!(metric(&coordinator, "permits_rationed_untold_total"), 3);
    for granted in &held {
        let report = coordinator.settle(settle(granted, Outcome::Lost)).await.unwrap();
        assert_eq!(report.result, Settled::Applied);
    }
    assert!(coordinator.acquire(ask()).await.is_err(), "it asks the store again");
}

#[tokio::test(start_paused = true)]
async fn a_retry_by_its_request_id_gets_the_same_permit() {
    let (_world, ledger, coordinator) = lost(vec![limit("w", window(100, secs(20)))], 0.3).await;
    let request = Acquire { request_id: Some("x".into()), ..ask() };
    let first = coordinator.acquire(request.clone()).await.unwrap();
    let again = coordinator.acquire(request.clone()).await.unwrap();
    assert_eq!(first.permit, again.permit);
    assert_eq!(burst(&coordinator, 40).await.len(), 9, "charged once");
    ledger.cut(false);
    sleep(secs(2)).await;
    assert_eq!(coordinator.acquire(request).await.unwrap().permit, first.permit, "the store knows it now");
}

#[tokio::test(start_paused = true)]
async fn losses_that_follow_each_other_share_one_part() {
    let (_world, ledger, coordinator) = lost(vec![limit("w", window(100, secs(600)))], 0.3).await;
    let mut granted = 0;
    for _ in 0..8 {
        ledger.cut(true);
        granted += burst(&coordinator, 3).await.len();
        ledger.cut(false);
        sleep(secs(2)).await;
        // The store grants in between, as ever; and the lane has nothing to do for a while.
        assert!(!coordinator.acquire(ask()).await.unwrap().rationed);
        sleep(secs(61)).await;
    }
    // The first and the last are a window, and more, apart.
    assert_eq!(granted, 10);
}

#[tokio::test(start_paused = true)]
async fn its_beginning_and_its_end_are_told() {
    let (_world, ledger, coordinator) = lost(vec![limit("w", window(100, secs(20)))], 0.3).await;
    let mut watcher = coordinator.watch();
    assert_eq!(metric(&coordinator, "rationing"), 0);
    assert_eq!(burst(&coordinator, 4).await.len(), 4);
    let replica = World::config("r1").replica;
    let began = EventKind::RationBegan { replica: replica.clone(), for_ms: 120_000 };
    assert_eq!(watcher.next().await, Some(WatchItem::Event(LedgerEvent { budget: name(), kind: began })));
    assert_eq!(metric(&coordinator, "rationing"), 1);
    assert!(coordinator.ready().await.is_ok(), "callers are served");
    ledger.cut(false);
    let ended = EventKind::RationEnded { replica: replica.clone(), granted: 4, store_back: true };
    assert_eq!(watcher.next().await, Some(WatchItem::Event(LedgerEvent { budget: name(), kind: ended })));
    assert_eq!(metric(&coordinator, "rationing"), 0);

    sleep(secs(30)).await;
    ledger.cut(true);
    assert_eq!(burst(&coordinator, 1).await.len(), 1);
    let _began = watcher.next().await;
    let ended = EventKind::RationEnded { replica, granted: 1, store_back: false };
    assert_eq!(watcher.next().await, Some(WatchItem::Event(LedgerEvent { budget: name(), kind: ended })));
    assert!(coordinator.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_went_away_leaves_no_slot_behind() {
    let (_world, _ledger, coordinator) =
        lost(vec![limit("c", at_once(3)), limit("w", window(90, secs(9)))], 1.0).await;
    let held = burst(&coordinator, 1).await;
    let waiting = spawn(&coordinator, patient(secs(50))).await;
    waiting.abort();
    settle_down().await;
    coordinator.settle(not_sent(&held[0])).await.unwrap();
    assert_eq!(burst(&coordinator, 3).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_finds_the_store_back_though_nothing_was_rationed() {
    // Of one at once a third is nothing, so that nothing is to be told when the store is back.
    let limits = vec![limit("c", at_once(1)), limit("w", window(90, secs(9)))];
    let (world, ledger, coordinator) = lost(limits, 1.0).await;
    let first = spawn(&coordinator, patient(secs(60))).await;
    let second = spawn(&coordinator, patient(secs(60))).await;
    sleep(secs(10)).await;
    assert!(!first.is_finished() && !second.is_finished());
    ledger.cut(false);
    let back = world.clock.monotonic();
    let granted = first.await.unwrap().unwrap();
    assert!(!granted.rationed && world.clock.monotonic() - back <= secs(1));
    coordinator.settle(not_sent(&granted)).await.unwrap();
    assert!(!second.await.unwrap().unwrap().rationed);
    assert_eq!(world.ledger.counts().2, 1, "nothing is held for nobody");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_ran_unheard_holds_nothing_for_nobody() {
    let world = World::new(&[rationed(vec![limit("w", window(100, secs(20)))], 0.3)]);
    let coordinator = world.replica("r1");
    let _first = coordinator.acquire(ask()).await.unwrap();
    world.ledger.fault(crate::fake::Fault::After(ms(500)));
    let granted = coordinator.acquire(patient(secs(5))).await.unwrap();
    assert!(granted.rationed, "it need not wait for the store");
    sleep(secs(3)).await;
    let (in_all, not_sent, out) = world.ledger.counts();
    assert_eq!(
        (in_all - not_sent, out),
        (2, 2),
        "what the lost commit gave is given back, and the ration is known"
    );
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_the_store_is_known_to_be_away_waits_for_no_commit() {
    let world = World::new(&[rationed(vec![limit("w", window(100, secs(20)))], 0.3)]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    let _first = coordinator.acquire(ask()).await.unwrap();
    sleep(secs(1)).await;
    // It takes what it is asked, and does not answer for long.
    ledger.latency(secs(10));
    ledger.trouble(true);
    let began = world.clock.monotonic();
    assert_eq!(burst(&coordinator, 10).await.len(), 10);
    assert_eq!(world.clock.monotonic(), began);
    assert_eq!(metric(&coordinator, "rationing"), 1);

    // It answers again: what was rationed is told, and the store grants.
    ledger.trouble(false);
    ledger.latency(ms(0));
    sleep(secs(11)).await;
    assert_eq!(metric(&coordinator, "rationing"), 0);
    assert!(!coordinator.acquire(ask()).await.unwrap().rationed);
    assert_eq!(world.ledger.counts().0, 12, "those that were rationed, and two");

    // What it answered just now counts for more than what is said of it.
    ledger.trouble(true);
    assert!(!coordinator.acquire(ask()).await.unwrap().rationed);
}

#[tokio::test(start_paused = true)]
async fn a_budget_without_a_ration_waits_for_its_commit_whatever_is_known() {
    let world = World::new(&[budget(vec![limit("w", window(100, secs(20)))])]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r1"));
    ledger.trouble(true);
    assert!(!coordinator.acquire(ask()).await.unwrap().rationed);
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_late_rations_no_longer_than_the_others() {
    let (_world, ledger, coordinator) = lost(vec![limit("w", window(100, secs(20)))], 0.3).await;
    ledger.trouble(true);
    sleep(secs(119)).await;
    assert_eq!(burst(&coordinator, 1).await.len(), 1);
    sleep(secs(1)).await;
    assert_eq!(burst(&coordinator, 1).await.len(), 0, "the time is over");
    ledger.cut(false);
    ledger.trouble(false);
    sleep(secs(1)).await;
    assert!(!coordinator.acquire(ask()).await.unwrap().rationed);
    ledger.cut(true);
    sleep(secs(121)).await;
    ledger.trouble(true);
    assert_eq!(burst(&coordinator, 1).await.len(), 1, "nothing was found of it until now");
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_for_as_long_as_it_would_ration() {
    let (_world, ledger, coordinator) = lost(vec![limit("w", window(100, secs(20)))], 0.3).await;
    ledger.trouble(true);
    assert!(coordinator.ready().await.is_ok() && coordinator.would_ration(), "whoever asks is served");
    sleep(secs(119)).await;
    assert!(coordinator.ready().await.is_ok());
    sleep(secs(1)).await;
    assert!(coordinator.ready().await.is_err() && !coordinator.would_ration());

    // Where nothing but its own calls fail, its time counts from the first of them.
    let (_world, _ledger, coordinator) = lost(vec![limit("w", window(100, secs(20)))], 0.3).await;
    sleep(secs(300)).await;
    assert!(coordinator.ready().await.is_ok());
    assert_eq!(burst(&coordinator, 1).await.len(), 1);
    sleep(secs(121)).await;
    assert!(coordinator.ready().await.is_err());

    // One that never read the budget would not.
    let world = World::new(&[rationed(vec![limit("w", window(100, secs(20)))], 0.3)]);
    let ledger = world.ledger.handle();
    let coordinator = world.over(&ledger, World::config("r2"));
    ledger.cut(true);
    assert!(coordinator.ready().await.is_err());
}
