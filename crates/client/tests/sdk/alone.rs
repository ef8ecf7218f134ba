//! A replica that keeps silent holds no slot: settlements reach another by themselves.

use bursar_client::{AcquireOptions, Client, Outcome, Permit, Session, Settled};
use bursar_quota::Clock;
use bursar_wire::v1;
use tokio::time::timeout;

use crate::support::{Act, Fake, TokioClock, client_of, config, ms, pair};

fn options() -> AcquireOptions {
    AcquireOptions::new("autotask")
}

/// Two servers, and a client that asks the first.
fn two() -> (Fake, Fake, Client) {
    let (first, second) = (Fake::start(), Fake::start());
    let client = client_of(config(), &[&first, &second]);
    (first, second, client)
}

/// Rides on an acquire that the first server never answers; when the second had the settlement.
async fn rides(permit: Permit, first: &Fake, second: &Fake) {
    let id = permit.id().to_owned();
    first.on_acquire(|_| Act::Hang);
    let clock = TokioClock::shared();
    let next = tokio::spawn(permit.settle_and_acquire(Outcome::lost(), options().max_wait(ms(20_000))));
    let told = timeout(ms(60_000), second.until(|seen| !seen.settles.is_empty()));
    let seen = told.await.expect("the second has the settlement");
    assert_eq!(clock.monotonic().as_millis(), 1_000, "as soon as it is late");
    assert_eq!((seen.settles[0].permit_id.as_str(), seen.outcomes()), (id.as_str(), vec!["lost"]));
    assert_eq!(seen.acquires.len(), 0, "the acquire may still be answered where it waits");
    let next = timeout(ms(60_000), next).await.expect("the second has the acquire").unwrap();
    assert_eq!(next.settled.map(|settlement| settlement.result), Some(Settled::Applied));
    let permit = next.permit.unwrap();
    let (asked, again) = (first.seen().acquires, second.seen().acquires);
    assert_eq!(asked[1].request_id, again[0].request_id, "the same acquire");
    assert_eq!(again[0].settle, None, "what was settled does not ride again");
    assert_eq!(second.seen().settles.len(), 1);
    permit.not_sent().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ride_that_is_not_answered_is_settled_elsewhere_by_itself() {
    let (first, second, client) = two();
    let permit = client.acquire(options()).await.unwrap();
    rides(permit, &first, &second).await;
}

#[tokio::test(start_paused = true)]
async fn so_is_one_of_a_session() {
    let (first, second, client) = two();
    let session: Session = client.session();
    let permit = session.acquire(options()).await.unwrap();
    rides(permit, &first, &second).await;
}

#[tokio::test(start_paused = true)]
async fn an_acquire_that_only_waits_keeps_its_place_and_its_replica() {
    let (first, second, client) = two();
    let permit = client.acquire(options()).await.unwrap();
    first.on_acquire(|_| Act::GrantAfter(ms(8_000)));
    let next = permit.settle_and_acquire(Outcome::lost(), options()).await;
    assert!(next.settled.is_some());
    assert_eq!(next.permit.unwrap().detach(), "permit-1");
    assert_eq!((second.seen().settles.len(), second.seen().acquires.len()), (1, 0));
    first.on_acquire(|_| Act::Grant);
    let _ = client.acquire(options()).await.unwrap().detach();
    assert_eq!(second.seen().acquires.len(), 0, "to wait is not to fail");
}

#[tokio::test(start_paused = true)]
async fn a_settlement_and_a_ride_that_nobody_else_takes_are_left_to_who_has_them() {
    let (first, second, client) = two();
    let permit = client.acquire(options()).await.unwrap();
    second.wire.refuse(true);
    first.on_acquire(|_| Act::GrantAfter(ms(60_000)));
    let next = permit.settle_and_acquire(Outcome::lost(), options().max_wait(ms(60_000))).await;
    assert_eq!(next.settled.map(|settlement| settlement.result), Some(Settled::Applied));
    let _ = next.permit.unwrap().detach();
}

#[tokio::test(start_paused = true)]
async fn a_lone_replica_is_not_told_twice() {
    let (fake, client) = pair();
    let permit = client.acquire(options()).await.unwrap();
    fake.on_acquire(|_| Act::GrantAfter(ms(8_000)));
    let next = permit.settle_and_acquire(Outcome::lost(), options()).await;
    let _ = next.permit.unwrap().detach();
    assert_eq!(fake.seen().settles.len(), 1);
}

/// A settlement on its own: the first server has stopped.
async fn stopped(permit: Permit, first: &Fake, second: &Fake) {
    first.wire.stall();
    second.on_settle(|_| {
        Ok(v1::SettleResponse { result: v1::SettleResult::AlreadySettled.into(), ..Default::default() })
    });
    let clock = TokioClock::shared();
    let settlement = permit.settle(200, [("date", "now")], b"").await.unwrap();
    assert_eq!((settlement.result, clock.monotonic().as_millis()), (Settled::Already, 1_000));
    assert_eq!((first.seen().settles.len(), second.seen().settles.len()), (0, 1));
    assert_eq!(second.seen().settles[0].age_ms, 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_replica_holds_up_one_settlement_and_no_other_call() {
    let (first, second, client) = two();
    let permit = client.acquire(options()).await.unwrap();
    stopped(permit, &first, &second).await;
    let clock = TokioClock::shared();
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    assert_eq!(clock.monotonic().as_millis(), 0, "the next goes elsewhere at once");
}

#[tokio::test(start_paused = true)]
async fn nor_does_a_session_to_it() {
    let (first, second, client) = two();
    let session = client.session();
    let permit = session.acquire(options()).await.unwrap();
    stopped(permit, &first, &second).await;
    let clock = TokioClock::shared();
    session.acquire(options()).await.unwrap().not_sent().await.unwrap();
    assert_eq!(clock.monotonic().as_millis(), 0, "the next goes elsewhere at once");
}
