//! A permit's life: how long it may be sent, how it is settled, what dropping it does.

use bursar_client::{AcquireOptions, CallError, Client, Outcome, Permit, Settled};
use bursar_quota::Clock;
use bursar_wire::v1::{self, settle_request};
use tonic::Status;

use crate::support::{Act, Fake, Seen, TokioClock, client_of, config, ms, pair};

async fn acquire(client: &Client) -> Permit {
    client.acquire(AcquireOptions::new("autotask")).await.unwrap()
}

async fn settled(fake: &Fake) -> Seen {
    fake.until(|seen| !seen.settles.is_empty()).await
}

#[tokio::test(start_paused = true)]
async fn send_within_counts_from_the_earliest_moment_the_answer_can_have_been_made() {
    let (fake, client) = pair();
    fake.script([Act::GrantAfter(ms(2_000)), Act::GrantAfter(ms(2_000))]);
    let permit = acquire(&client).await;
    assert_eq!((permit.send_within(), permit.deadline()), (ms(5_000), ms(60_000)));
    assert_eq!(permit.waited(), ms(2_000));
    tokio::time::sleep(ms(4_899)).await;
    assert!(permit.is_sendable());
    tokio::time::sleep(ms(1)).await;
    assert_eq!(permit.send_within(), ms(100));
    assert!(!permit.is_sendable(), "the way to the upstream takes time too");
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!((permit.send_within(), permit.deadline()), (ms(0), ms(54_100)));
    permit.not_sent().await.unwrap();
    // An id of the caller's own may have begun to wait before: then the wait proves nothing.
    let options = AcquireOptions::new("autotask").request_id("mine");
    let permit = client.acquire(options).await.unwrap();
    assert_eq!(permit.send_within(), ms(3_000));
    permit.not_sent().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_second_attempt_the_wait_proves_nothing() {
    let (fake, client) = pair();
    fake.script([Act::Cut, Act::GrantAfter(ms(500))]);
    let permit = acquire(&client).await;
    assert_eq!(permit.send_within(), ms(4_500));
    permit.not_sent().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_settlement_tells_the_response() {
    let (fake, client) = pair();
    fake.on_settle(|_| {
        let result = v1::SettleResult::Applied.into();
        Ok(v1::SettleResponse { result, paused_for_ms: 30_000, malformed: 2, problem: String::new() })
    });
    let response = http::Response::builder().status(429).header("Retry-After", "30").body(()).unwrap();
    let settlement = acquire(&client).await.settle_response(&response).await.unwrap();
    assert_eq!((settlement.result, settlement.paused_for), (Settled::Applied, ms(30_000)));
    assert_eq!(settlement.malformed, 2);
    let permit = acquire(&client).await;
    permit.settle_with_cost(&response, [("tokens", 17)]).await.unwrap();
    let outcome = Outcome::response(200, [("a", "b")], b"body").received_ago(ms(40));
    acquire(&client).await.settle_as(outcome).await.unwrap();
    let seen = fake.seen();
    let header = v1::Header { name: "retry-after".to_owned(), value: "30".into() };
    let body = bytes::Bytes::new();
    let told = v1::UpstreamResponse { status: 429, headers: vec![header], body };
    let first = v1::SettleRequest {
        budget: "autotask".to_owned(),
        permit_id: "permit-0".to_owned(),
        outcome: Some(settle_request::Outcome::Response(told)),
        costs: [].into(),
        age_ms: 0,
    };
    assert_eq!(seen.settles[0], first);
    assert_eq!(seen.settles[1].costs, [("tokens".to_owned(), 17)].into());
    assert_eq!(seen.settles[2].age_ms, 40);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_settlement_tells_its_age() {
    let (fake, client) = pair();
    let permit = acquire(&client).await;
    fake.wire.refuse(true);
    fake.wire.cut();
    let clock = TokioClock::shared();
    let settling = tokio::spawn(permit.settle(200, [("date", "now")], b""));
    tokio::time::sleep(ms(700)).await;
    fake.wire.refuse(false);
    settling.await.unwrap().unwrap();
    let took = clock.monotonic();
    let age = ms(settled(&fake).await.settles[0].age_ms);
    assert!(age >= ms(700) && age <= took, "{age:?} of {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_nobody_takes_ends() {
    let fake = Fake::start();
    let mut config = config();
    config.retry.attempts = 3;
    let client = client_of(config, &[&fake]);
    fake.on_settle(|_| Err(Status::unavailable("gone")));
    let error = acquire(&client).await.lost().await.unwrap_err();
    assert!(matches!(error, CallError::Unavailable { attempts: 3, .. }), "{error:?}");
    assert_eq!(fake.seen().settles.len(), 3);
    client.settled().await;
    assert_eq!(fake.seen().settles.len(), 3, "it is over");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_permit_is_settled_as_lost() {
    let (fake, client) = pair();
    let permit = acquire(&client).await;
    drop(permit);
    client.settled().await;
    assert_eq!(fake.seen().outcomes(), ["lost"]);
    assert_eq!(fake.seen().settles[0].permit_id, "permit-0");
}

#[tokio::test(start_paused = true)]
async fn a_settlement_whose_caller_goes_away_is_delivered_as_told() {
    let (fake, client) = pair();
    let permit = acquire(&client).await;
    fake.wire.refuse(true);
    fake.wire.cut();
    let settling = tokio::spawn(permit.settle(429, [("Retry-After", "9")], b""));
    tokio::time::sleep(ms(20)).await;
    settling.abort();
    fake.wire.refuse(false);
    assert_eq!(settled(&fake).await.outcomes(), ["response"]);
    client.settled().await;
}

#[tokio::test(start_paused = true)]
async fn dropped_beyond_the_bound_or_detached_is_left_to_the_deadline() {
    let fake = Fake::start();
    let mut config = config();
    config.max_background = 2;
    let client = client_of(config, &[&fake]);
    let mut permits = Vec::new();
    for _ in 0..5 {
        permits.push(acquire(&client).await);
    }
    let id = permits.pop().unwrap().detach();
    drop(permits);
    client.settled().await;
    assert_eq!(fake.seen().outcomes(), ["lost"; 2]);
    let adopted = client.adopt("autotask", id.clone());
    assert!(!adopted.is_sendable());
    adopted.not_sent().await.unwrap();
    assert_eq!(fake.seen().settles[2].permit_id, id);
}

#[test]
fn a_permit_may_outlive_its_runtime() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let permit = runtime.block_on(async {
        let (_fake, client) = pair();
        acquire(&client).await
    });
    drop(runtime);
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_worker_loses_its_permit_and_nothing_else() {
    let (fake, client) = pair();
    let permit = acquire(&client).await;
    let worker = tokio::spawn(async move {
        let _held = permit;
        panic!("the worker's own fault");
    });
    assert!(worker.await.is_err());
    client.settled().await;
    assert_eq!(fake.seen().outcomes(), ["lost"]);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_rides_on_the_next_acquire() {
    let (fake, client) = pair();
    let permit = acquire(&client).await;
    let outcome = Outcome::response(200, [("X-RateLimit-Remaining", "9")], b"");
    let next = permit.settle_and_acquire(outcome, AcquireOptions::new("other")).await;
    assert_eq!(next.settled.map(|settlement| settlement.result), Some(Settled::Applied));
    let permit = next.permit.unwrap();
    assert_eq!((permit.id(), permit.budget()), ("permit-1", "other"));
    let seen = fake.seen();
    assert_eq!(seen.settles.len(), 1);
    assert_eq!(seen.acquires[1].settle.as_ref(), Some(&seen.settles[0]));
    assert_eq!((seen.settles[0].budget.as_str(), seen.outcomes()), ("autotask", vec!["response"]));
    permit.not_sent().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ride_that_fails_is_settled_by_itself() {
    let (fake, client) = pair();
    let permit = acquire(&client).await;
    let first = std::sync::atomic::AtomicBool::new(true);
    fake.on_settle(move |_| match first.swap(false, std::sync::atomic::Ordering::SeqCst) {
        true => Err(Status::unavailable("the store is away")),
        false => Ok(v1::SettleResponse { result: v1::SettleResult::Applied.into(), ..Default::default() }),
    });
    let next = permit.settle_and_acquire(Outcome::lost(), AcquireOptions::new("autotask")).await;
    assert_eq!(next.settled, None);
    client.settled().await;
    assert_eq!(fake.seen().outcomes(), ["lost", "lost"]);
    next.permit.unwrap().not_sent().await.unwrap();
    // Nor is it lost where the acquire gets no answer at all.
    let permit = acquire(&client).await;
    fake.on_acquire(|_| Act::Fail(Status::unauthenticated("who?")));
    let next = permit.settle_and_acquire(Outcome::not_sent(), AcquireOptions::new("autotask")).await;
    assert!(next.permit.is_err());
    client.settled().await;
    assert_eq!(fake.seen().settles[3].permit_id, "permit-2");
    assert_eq!(fake.seen().outcomes()[3], "not_sent");
}

#[tokio::test(start_paused = true)]
async fn renewing_moves_the_deadline() {
    let (fake, client) = pair();
    let mut permit = acquire(&client).await;
    tokio::time::sleep(ms(50_000)).await;
    assert_eq!(permit.deadline(), ms(10_000));
    assert_eq!(permit.renew(ms(90_000)).await.unwrap(), ms(90_000));
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(permit.deadline(), ms(89_000));
    let seen = fake.seen();
    assert_eq!((seen.renews[0].permit_id.as_str(), seen.renews[0].ttl_ms), (permit.id(), 90_000));
    permit.lost().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_held_permit_is_renewed_while_the_call_lasts() {
    let (fake, client) = pair();
    let mut permit = acquire(&client).await;
    let call = tokio::time::sleep(ms(200_000));
    permit.hold(ms(60_000), call).await;
    assert_eq!(fake.seen().renews.len(), 6, "every 30 s, as half of a minute is left");
    permit.lost().await.unwrap();
}
