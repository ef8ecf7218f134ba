//! Waiting: how long, what ends it, and what is told at its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bursar_coordinator::{Acquire, Coordinator};
use bursar_dialect::Profiles;
use bursar_quota::{Clock, Reason, Tier, UnitName};
use futures_util::future::join_all;
use tokio::time::{advance, sleep};

use crate::{fake::TokioClock, world::*};

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_gets_one_decision_and_its_refusal() {
    let (world, coordinator) = one(vec![limit("w", window(1, secs(60)))]);
    let _granted = coordinator.acquire(ask()).await.unwrap();
    sleep(secs(20)).await;
    let refusal = refused(coordinator.acquire(ask()).await);
    assert_eq!(refusal.reason, Reason::QuotaExhausted);
    assert_eq!(refusal.limit.unwrap().as_str(), "w");
    assert_eq!(refusal.retry_after, Some(secs(40)));
    assert_eq!(world.ledger.commits().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_succeed_is_refused_at_once() {
    let (world, coordinator) = one(vec![limit("w", window(1, secs(60)))]);
    use_up(&coordinator, 1).await;
    let start = world.clock.monotonic();
    let refusal = refused(coordinator.acquire(patient(secs(59))).await);
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::QuotaExhausted, Some(secs(60))));
    let hurried = Acquire { deadline: Some(secs(30)), ..patient(secs(100)) };
    assert_eq!(refused(coordinator.acquire(hurried).await).reason, Reason::QuotaExhausted);
    assert_eq!(world.clock.monotonic(), start);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_exact() {
    let (world, coordinator) = one(vec![limit("w", window(1, secs(60)))]);
    let _granted = coordinator.acquire(ask()).await.unwrap();
    sleep(ms(123)).await;
    let granted = coordinator.acquire(patient(secs(60))).await.unwrap();
    assert!(granted.waited >= ms(59_877) && granted.waited <= ms(59_879), "{:?}", granted.waited);
    assert!(world.ledger.commits().len() < 20, "it is not asked over and over");
}

#[tokio::test(start_paused = true)]
async fn a_settlement_lets_the_next_one_through_in_the_same_commit() {
    let (world, coordinator) = one(vec![limit("c", at_once(1))]);
    let granted = coordinator.acquire(ask()).await.unwrap();
    // Who holds the slot may give it back any moment: a short wait is no vain wait.
    let waiting = spawn(&coordinator, patient(secs(10))).await;
    assert!(!waiting.is_finished());
    let before = world.ledger.commits().len();
    coordinator.settle(not_sent(&granted)).await.unwrap();
    assert!(waiting.await.unwrap().is_ok());
    let commits = world.ledger.commits();
    assert_eq!(commits.len(), before + 1);
    assert_eq!((commits[before].settles.len(), commits[before].acquires.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_patience_tells_what_binds() {
    let (world, coordinator) = one(vec![limit("c", at_once(1))]);
    let _granted = coordinator.acquire(ask()).await.unwrap();
    let start = world.clock.monotonic();
    let refusal = refused(coordinator.acquire(patient(secs(10))).await);
    assert_eq!(refusal.reason, Reason::ConcurrencyExhausted);
    assert_eq!(refusal.retry_after, Some(secs(50)));
    let waited = world.clock.monotonic() - start;
    assert!(waited >= secs(10) && waited < ms(10_010), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_frees_on_another_replica_wakes() {
    let (world, a) = one(vec![limit("c", at_once(1))]);
    let b = world.replica("r2");
    let granted = a.acquire(ask()).await.unwrap();
    let waiting = spawn(&b, patient(secs(30))).await;
    a.settle(not_sent(&granted)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().waited, ms(0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_wake_up_costs_a_bounded_delay() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    coordinator.pause_budget(&name(), None).await.unwrap();
    let waiting = spawn(&coordinator, patient(secs(600))).await;
    advance(secs(100)).await;
    assert!(!waiting.is_finished());
    world.ledger.unpause_silently(&name());
    let start = world.clock.monotonic();
    assert!(waiting.await.unwrap().is_ok());
    assert!(world.clock.monotonic() - start <= ms(5001));
}

#[tokio::test(start_paused = true)]
async fn a_resume_wakes_at_once() {
    let (_world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    coordinator.pause_budget(&name(), None).await.unwrap();
    assert_eq!(refused(coordinator.acquire(ask()).await).reason, Reason::PausedByOperator);
    let waiting = spawn(&coordinator, patient(secs(600))).await;
    coordinator.resume_budget(&name()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().waited, ms(0));
}

#[tokio::test(start_paused = true)]
async fn one_class_does_not_hold_up_another() {
    let auth = of_class(limit("auth", window(1, secs(60))), "auth");
    let (_world, coordinator) = one(vec![limit("w", window(10_000, secs(60))), auth]);
    let login = |max_wait| Acquire { class: Some(class("auth")), max_wait, ..ask() };
    let _granted = coordinator.acquire(login(ms(0))).await.unwrap();
    let mut logins = Vec::new();
    for _ in 0..2000 {
        let coordinator = coordinator.clone();
        let login = login(secs(100));
        logins.push(tokio::spawn(async move { coordinator.acquire(login).await }));
    }
    settle_down().await;
    let granted = coordinator.acquire(ask()).await.unwrap();
    assert_eq!(granted.waited, ms(0));
    assert!(logins.iter().all(|login| !login.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn those_at_the_back_of_a_long_queue_are_told_as_well() {
    let tokens = UnitName::new("tokens").unwrap();
    let mut limit = limit("w", window(3000, secs(60)));
    limit.unit = tokens.clone();
    let (world, coordinator) = one(vec![limit]);
    let granted = coordinator.acquire(Acquire { costs: vec![(tokens, 3000)], ..ask() }).await.unwrap();
    coordinator.settle(settle(&granted, answered(200, &[]))).await.unwrap();
    let patient = patient(secs(600));
    let waiting: Vec<_> = (0..3000)
        .map(|_| {
            let (coordinator, patient) = (coordinator.clone(), patient.clone());
            tokio::spawn(async move { coordinator.acquire(patient).await })
        })
        .collect();
    settle_down().await;
    let start = world.clock.monotonic();
    assert_eq!(refused(coordinator.acquire(ask()).await).reason, Reason::QuotaExhausted);
    let hurried = Acquire { max_wait: secs(50), ..ask() };
    assert_eq!(refused(coordinator.acquire(hurried).await).reason, Reason::QuotaExhausted);
    assert_eq!(world.clock.monotonic(), start);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may() {
    let mut spec = budget(vec![limit("c", at_once(1))]);
    spec.max_waiting = 2;
    let world = World::new(&[spec]);
    let coordinator = world.replica("r1");
    let granted = coordinator.acquire(ask()).await.unwrap();
    let first = spawn(&coordinator, patient(secs(30))).await;
    let second = spawn(&coordinator, patient(secs(30))).await;
    let refusal = refused(coordinator.acquire(patient(secs(30))).await);
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::QueueFull, Some(secs(60))));
    // Who does not wait needs no place, and is told what binds.
    assert_eq!(refused(coordinator.acquire(ask()).await).reason, Reason::ConcurrencyExhausted);
    // One who went away leaves its place to another.
    second.abort();
    let third = spawn(&coordinator, patient(secs(30))).await;
    assert!(!third.is_finished());
    coordinator.settle(not_sent(&granted)).await.unwrap();
    let granted = first.await.unwrap().unwrap();
    coordinator.settle(not_sent(&granted)).await.unwrap();
    assert!(third.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_process_has_a_bound_too() {
    let world = World::new(&[budget(vec![limit("c", at_once(1))])]);
    let mut config = World::config("r1");
    config.max_waiting = 2;
    let coordinator = world.with(config);
    let _granted = coordinator.acquire(ask()).await.unwrap();
    let first = spawn(&coordinator, patient(secs(30))).await;
    let _second = spawn(&coordinator, patient(secs(30))).await;
    let refusal = refused(coordinator.acquire(patient(secs(30))).await);
    assert_eq!(refusal.reason, Reason::QueueFull);
    assert!(refusal.retry_after.is_some());
    first.abort();
    let _third = spawn(&coordinator, patient(secs(30))).await;
    assert!(!_third.is_finished());
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_waiting_is_not_asked_for() {
    let (world, coordinator) = one(vec![limit("c", at_once(1))]);
    let granted = coordinator.acquire(ask()).await.unwrap();
    let waiting = spawn(&coordinator, patient(secs(30))).await;
    waiting.abort();
    settle_down().await;
    let before = world.ledger.commits().len();
    coordinator.settle(not_sent(&granted)).await.unwrap();
    let commits = world.ledger.commits();
    assert!(commits[before..].iter().all(|commit| commit.acquires.is_empty() && commit.waiting == 0));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_asked_for_gives_back() {
    let (world, coordinator) = one(vec![limit("c", at_once(3))]);
    world.ledger.latency(ms(10));
    let asked = [spawn(&coordinator, ask()).await, spawn(&coordinator, ask()).await];
    sleep(ms(6)).await;
    assert_eq!(world.ledger.counts().0, 1, "the commit has run, its reply is on the way");
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    sleep(secs(1)).await;
    assert_eq!(world.ledger.counts(), (1, 1, 0));
    // With a request id as well: its retry is granted anew.
    let request = Acquire { request_id: Some("x".into()), ..ask() };
    let asked = spawn(&coordinator, request.clone()).await;
    sleep(ms(6)).await;
    asked.abort();
    sleep(secs(1)).await;
    assert_eq!(world.ledger.counts(), (2, 2, 0));
    assert!(coordinator.acquire(request).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_permit_of_one_who_went_away_serves_the_next() {
    let (world, coordinator) = one(vec![limit("w", window(2, secs(600)))]);
    world.ledger.latency(ms(10));
    let first = spawn(&coordinator, ask()).await;
    let asked: Vec<_> = join_all((0..3).map(|_| spawn(&coordinator, patient(secs(1))))).await;
    assert!(first.await.unwrap().is_ok());
    // One permit is left for three, and the first of them leaves while it is asked for.
    sleep(ms(2)).await;
    asked[0].abort();
    let results = join_all(asked).await;
    let granted = results.iter().filter(|result| matches!(result, Ok(Ok(_)))).count();
    assert_eq!((granted, world.ledger.counts()), (1, (2, 0, 2)));
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_the_new_and_lets_the_waiting_finish() {
    let (world, coordinator) = one(vec![limit("c", at_once(1))]);
    let granted = coordinator.acquire(ask()).await.unwrap();
    let first = spawn(&coordinator, patient(secs(300))).await;
    let second = spawn(&coordinator, patient(secs(300))).await;
    let draining = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.drain(secs(10)).await }
    });
    settle_down().await;
    assert_eq!(refused(coordinator.acquire(ask()).await).reason, Reason::Draining);
    coordinator.settle(not_sent(&granted)).await.unwrap();
    let granted = first.await.unwrap().unwrap();
    assert_eq!(refused(second.await.unwrap()).reason, Reason::Draining);
    draining.await.unwrap();
    assert!(world.clock_is_before(ms(10_200)));
    // Settlements still work.
    coordinator.settle(not_sent(&granted)).await.unwrap();
    assert_eq!(world.ledger.counts().2, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cheap_call_does_not_overtake_a_dear_one() {
    let tokens = UnitName::new("tokens").unwrap();
    let mut limit = limit("t", window(100, secs(60)));
    limit.unit = tokens.clone();
    let (world, coordinator) = one(vec![limit]);
    let cost = |cost, who, what| Acquire {
        costs: vec![(tokens.clone(), cost)],
        tenant: tenant(who),
        class: Some(class(what)),
        ..patient(secs(100))
    };
    let _granted = coordinator.acquire(cost(60, "a", "x")).await.unwrap();
    sleep(secs(20)).await;
    let dear = spawn(&coordinator, cost(90, "b", "x")).await;
    // There is room for it, but then the dear one might wait for ever; of whatever class it is.
    let cheap = spawn(&coordinator, cost(10, "c", "y")).await;
    let same = spawn(&coordinator, cost(10, "d", "x")).await;
    let asked = world.ledger.commits().last().unwrap().acquires.len();
    assert!(!dear.is_finished() && !cheap.is_finished() && !same.is_finished() && asked >= 2);
    let waited = dear.await.unwrap().unwrap().waited;
    assert!(waited >= secs(40) && waited < ms(40_010), "{waited:?}");
    assert!(cheap.await.unwrap().unwrap().waited < ms(40_010));
    assert!(same.await.unwrap().unwrap().waited >= secs(99));
}

#[tokio::test(start_paused = true)]
async fn waits_end_in_time_though_the_ledger_is_slow() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    let _granted = coordinator.acquire(ask()).await.unwrap();
    world.ledger.latency(secs(20));
    let start = world.clock.monotonic();
    let slow = spawn(&coordinator, patient(secs(2))).await;
    let queued = spawn(&coordinator, Acquire { tier: Tier::Batch, ..patient(secs(3)) }).await;
    assert_eq!(refused(slow.await.unwrap()).reason, Reason::WaitTooLong);
    assert!(world.clock.monotonic() - start < ms(2200));
    assert_eq!(refused(queued.await.unwrap()).reason, Reason::WaitTooLong);
    assert!(world.clock.monotonic() - start < ms(3200));
    // What was granted too late is given back.
    sleep(secs(60)).await;
    assert_eq!(world.ledger.counts(), (2, 1, 1 - 1));
}

#[tokio::test(start_paused = true)]
async fn while_permits_are_out_a_wait_is_not_in_vain() {
    let (world, coordinator) = one(vec![limit("w", window(2, secs(60)))]);
    let first = coordinator.acquire(ask()).await.unwrap();
    let second = coordinator.acquire(ask()).await.unwrap();
    let lucky = spawn(&coordinator, patient(secs(30))).await;
    let unlucky = spawn(&coordinator, patient(secs(20))).await;
    assert!(!lucky.is_finished() && !unlucky.is_finished());
    sleep(secs(5)).await;
    coordinator.settle(not_sent(&first)).await.unwrap();
    let third = lucky.await.unwrap().unwrap();
    assert_eq!(third.waited, secs(5));
    // Once nothing is out any more only time helps, and there is not enough of it.
    coordinator.settle(settle(&second, answered(200, &[]))).await.unwrap();
    settle_down().await;
    assert!(!unlucky.is_finished());
    sleep(secs(1)).await;
    coordinator.settle(settle(&third, answered(200, &[]))).await.unwrap();
    let start = world.clock.monotonic();
    let refusal = refused(unlucky.await.unwrap());
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::QuotaExhausted, Some(secs(54))));
    assert_eq!(world.clock.monotonic(), start);
}

/// Uses up a window and settles all of it.
async fn use_up(coordinator: &bursar_coordinator::Coordinator, count: usize) {
    for _ in 0..count {
        let granted = coordinator.acquire(ask()).await.unwrap();
        coordinator.settle(settle(&granted, answered(200, &[]))).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_turn_in_time_is_refused_at_once() {
    // All at once, and one after the other: folded in one group, or told in others' stead.
    for at_once in [true, false] {
        let (world, coordinator) = one(vec![limit("w", window(5, secs(3)))]);
        use_up(&coordinator, 5).await;
        let start = world.clock.monotonic();
        let mut asked = Vec::new();
        for _ in 0..20 {
            let waiting = coordinator.clone();
            asked.push(tokio::spawn(async move { waiting.acquire(patient(secs(5))).await }));
            if !at_once {
                settle_down().await;
            }
        }
        settle_down().await;
        assert_eq!(world.clock.monotonic(), start);
        assert_eq!(asked.iter().filter(|asked| asked.is_finished()).count(), 15, "{at_once}");
        let (mut granted, mut later) = (0, 0);
        for asked in asked {
            match asked.await.unwrap() {
                Ok(permit) => {
                    assert!(permit.waited >= secs(3) && permit.waited < ms(3010), "{permit:?}");
                    granted += 1;
                }
                refusal => {
                    let refusal = refused(refusal);
                    assert_eq!(refusal.reason, Reason::QuotaExhausted);
                    // Who is refused is in nobody's way: the next one's turn would be the same.
                    assert_eq!(refusal.retry_after, Some(secs(6)));
                    later += 1;
                }
            }
        }
        assert_eq!((granted, later), (5, 15));
    }
}

#[tokio::test(start_paused = true)]
async fn each_tenant_has_its_turns_before_others_wait_in_vain() {
    let (_world, coordinator) = one(vec![limit("w", window(4, secs(3)))]);
    use_up(&coordinator, 4).await;
    let mut asked = Vec::new();
    for n in 0..40 {
        let who = if n < 30 { "many" } else { "few" };
        let ask = Acquire { tenant: tenant(who), ..patient(secs(7)) };
        let coordinator = coordinator.clone();
        asked.push((who, tokio::spawn(async move { coordinator.acquire(ask).await })));
    }
    settle_down().await;
    let (mut many, mut few) = (0, 0);
    for (who, asked) in asked {
        let granted = usize::from(asked.await.unwrap().is_ok());
        if who == "many" { many += granted } else { few += granted }
    }
    assert_eq!((many, few), (4, 4), "two windows' worth");
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_not_in_the_way_of_others() {
    let (_world, coordinator) = one(vec![limit("w", window(5, secs(3)))]);
    use_up(&coordinator, 5).await;
    let mut asked = Vec::new();
    for n in 0..20 {
        let ask = Acquire { tenant: tenant(["a", "b"][n % 2]), ..patient(secs([1, 5][n % 2])) };
        let coordinator = coordinator.clone();
        asked.push(tokio::spawn(async move { coordinator.acquire(ask).await }));
    }
    settle_down().await;
    assert_eq!(asked.iter().filter(|asked| asked.is_finished()).count(), 15);
    let results = join_all(asked).await;
    assert_eq!(results.iter().filter(|result| matches!(result, Ok(Ok(_)))).count(), 5);
}

/// Now and then goes on by some milliseconds between two looks, as a clock does for who is held up.
#[derive(Debug)]
struct Jumping(Arc<TokioClock>, AtomicU64);

impl Clock for Jumping {
    fn monotonic(&self) -> Duration {
        self.0.monotonic() + ms(12 * (self.1.fetch_add(1, Ordering::Relaxed) / 13))
    }

    fn unix(&self) -> Duration {
        self.0.unix()
    }
}

#[tokio::test(start_paused = true)]
async fn what_falls_due_while_the_lane_is_at_work_is_not_slept_over() {
    let (world, _) = one(vec![limit("w", window(1, ms(11)))]);
    let clock = Arc::new(Jumping(world.clock.clone(), AtomicU64::new(0)));
    let ledger = Arc::new(world.ledger.clone());
    let coordinator = Coordinator::new(ledger, Arc::new(Profiles::builtin()), clock, World::config("r2"));
    let waiting = join_all((0..300).map(|_| spawn(&coordinator, patient(secs(3600))))).await;
    let began = world.clock.monotonic();
    assert!(join_all(waiting).await.iter().all(|result| matches!(result, Ok(Ok(_)))));
    let took = world.clock.monotonic() - began;
    assert!(took < secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cheap_call_behind_a_dear_one_that_waits_in_vain_is_asked_for_again() {
    let tokens = UnitName::new("tokens").unwrap();
    let mut limit = limit("t", window(100, secs(60)));
    limit.unit = tokens.clone();
    let (_world, coordinator) = one(vec![limit]);
    let cost = |cost, who, wait| Acquire {
        costs: vec![(tokens.clone(), cost)],
        tenant: tenant(who),
        ..patient(secs(wait))
    };
    let granted = coordinator.acquire(cost(60, "a", 1)).await.unwrap();
    coordinator.settle(settle(&granted, answered(200, &[]))).await.unwrap();
    let (dear, cheap) = (coordinator.clone(), coordinator.clone());
    let (dear_ask, cheap_ask) = (cost(90, "b", 5), cost(10, "c", 5));
    let dear = tokio::spawn(async move { dear.acquire(dear_ask).await });
    let cheap = tokio::spawn(async move { cheap.acquire(cheap_ask).await });
    assert_eq!(refused(dear.await.unwrap()).retry_after, Some(secs(60)));
    assert!(cheap.await.unwrap().unwrap().waited < ms(5));
}
