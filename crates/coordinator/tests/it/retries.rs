//! Requests by id that are made again, at the same replica or at another.

use std::time::Duration;

use bursar_coordinator::Acquire;
use bursar_quota::{Clock, Reason, TenantName};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{fake::Fault, world::*};

#[tokio::test(start_paused = true)]
async fn a_request_id_finds_its_permit_again_on_any_replica() {
    let (world, a) = one(vec![limit("w", window(2, secs(60)))]);
    let b = world.replica("r2");
    let request = |id: &str| Acquire { request_id: Some(id.to_owned()), ..ask() };
    let first = a.acquire(request("x")).await.unwrap();
    let again = b.acquire(request("x")).await.unwrap();
    assert_eq!(first.permit, again.permit);
    let (one, two) = tokio::join!(a.acquire(request("y")), a.acquire(request("y")));
    assert_eq!(one.unwrap().permit, two.unwrap().permit);
    assert_eq!(world.ledger.counts().0, 2);
    assert_eq!(refused(a.acquire(request("z")).await).reason, Reason::QuotaExhausted);
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_holds_is_not_given_back_by_the_first_try() {
    let (world, a) = one(vec![limit("c", at_once(3))]);
    let b = world.replica("r2");
    world.ledger.latency(ms(10));
    world.ledger.fault(Fault::After(ms(30)));
    let request = Acquire { request_id: Some("x".into()), ..ask() };
    let first = spawn(&a, request.clone()).await;
    sleep(ms(1)).await;
    let retry = spawn(&b, request).await;
    sleep(ms(20)).await;
    first.abort();
    assert!(retry.await.unwrap().is_ok());
    sleep(secs(1)).await;
    assert_eq!(world.ledger.counts(), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_the_first_try_gave_back_before_its_retry_claimed_it_is_granted_anew() {
    let (world, a) = one(vec![limit("c", at_once(3))]);
    let b = world.replica("r2");
    world.ledger.latency(ms(10));
    let request = Acquire { request_id: Some("x".into()), ..ask() };
    let first = spawn(&a, request.clone()).await;
    sleep(ms(1)).await;
    let retry = spawn(&b, request).await;
    sleep(ms(7)).await;
    first.abort();
    assert!(retry.await.unwrap().is_ok());
    sleep(secs(1)).await;
    assert_eq!(world.ledger.counts(), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn requests_by_id_share_a_lease_and_a_retry_gets_its_own_permit() {
    let (world, a) = one(vec![limit("c", at_once(9))]);
    let b = world.replica("r2");
    let request = |id: &str| Acquire { request_id: Some(id.into()), ..ask() };
    // Those who come while a commit is under way are asked for together.
    world.ledger.latency(ms(10));
    let ids = ["v", "w", "x", "y"];
    let mut first = Vec::new();
    for id in ids {
        first.push(spawn(&a, request(id)).await);
    }
    let mut permits = Vec::new();
    for one in first {
        permits.push(one.await.unwrap().unwrap().permit);
    }
    let last = permits[1..].iter().filter(|permit| permit.lease() == permits[3].lease()).count();
    assert!(last > 1, "{permits:?}");
    for (id, permit) in ids.iter().zip(&permits).rev() {
        assert_eq!(b.acquire(request(id)).await.unwrap().permit, *permit);
    }
    assert_eq!(world.ledger.counts().0, 4);
}

#[tokio::test(start_paused = true)]
async fn a_retry_at_another_replica_does_not_wait_behind_others_for_what_it_holds() {
    let (world, a) = one(vec![limit("c", at_once(12))]);
    let b = world.replica("r2");
    world.ledger.latency(ms(2));
    let of = |tenant: &str, id: String, max_wait: Duration| Acquire {
        tenant: TenantName::new(tenant).unwrap(),
        request_id: Some(id),
        max_wait,
        ..ask()
    };
    let tenants = ["one", "two", "three"];
    let mut held = Vec::new();
    for n in 0..12 {
        held.push(a.acquire(of(tenants[n % 3], format!("held {n}"), secs(1))).await.unwrap().permit);
    }
    let mut others = Vec::new();
    for n in 0..60 {
        others.push(spawn(&b, of(tenants[n % 3], format!("new {n}"), secs(600))).await);
    }
    sleep(secs(10)).await;
    let before = world.ledger.commits().len();
    // All at once, behind sixty who wait; one of them would not wait at all.
    let began = world.clock.monotonic();
    let waits = (0..12).map(|n| if n == 5 { Duration::ZERO } else { secs(30) });
    let retries =
        (0..12).zip(waits).map(|(n, wait)| b.acquire(of(tenants[n % 3], format!("held {n}"), wait)));
    for (again, permit) in join_all(retries).await.into_iter().zip(&held) {
        assert_eq!(again.unwrap().permit, *permit);
    }
    assert!(world.clock.monotonic() - began <= ms(20), "{:?}", world.clock.monotonic() - began);
    assert!(world.ledger.commits().len() - before <= 6);
    assert_eq!(world.ledger.counts(), (12, 0, 12));
    // What was looked up is not looked up again.
    let looked: usize = world.ledger.commits().iter().map(|commit| commit.looks.len()).sum();
    assert!(looked <= 72, "{looked}");
    others.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_does_not_wait_gets_its_permit_beside_any_number_of_others() {
    for others in [0, 1, 2, 3, 4, 5, 40] {
        let (world, a) = one(vec![limit("c", at_once(2))]);
        let b = world.replica("r2");
        world.ledger.latency(ms(2));
        let request = |id: String, max_wait| Acquire { request_id: Some(id), max_wait, ..ask() };
        let mut held = Vec::new();
        for n in 0..2 {
            held.push(a.acquire(request(format!("held {n}"), secs(1))).await.unwrap().permit);
        }
        let mut waiting = Vec::new();
        for n in 0..others {
            waiting.push(spawn(&b, request(format!("new {n}"), secs(600))).await);
        }
        sleep(secs(3)).await;
        let retries = (0..2).map(|n| b.acquire(request(format!("held {n}"), Duration::ZERO)));
        for (again, permit) in join_all(retries).await.into_iter().zip(&held) {
            assert_eq!(again.map(|granted| granted.permit), Ok(*permit), "beside {others}");
        }
        assert_eq!(world.ledger.counts(), (2, 0, 2));
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_whose_commit_failed_is_made_again() {
    let (world, a) = one(vec![limit("c", at_once(1))]);
    let b = world.replica("r2");
    let request = |id: &str| Acquire { request_id: Some(id.into()), ..patient(secs(30)) };
    let held = a.acquire(request("held")).await.unwrap();
    let mut others = Vec::new();
    for id in ["u", "v", "w", "x", "y"] {
        others.push(spawn(&b, request(id)).await);
    }
    sleep(secs(1)).await;
    world.ledger.fault(Fault::Before(ms(50)));
    let began = world.clock.monotonic();
    assert_eq!(b.acquire(request("held")).await.unwrap().permit, held.permit);
    assert!(world.clock.monotonic() - began < ms(200));
    others.iter().for_each(tokio::task::JoinHandle::abort);
}
