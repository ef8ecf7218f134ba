//! Sessions: many callers on one stream, that breaks and comes back.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use bursar_client::{AcquireError, AcquireOptions, CallError, Client, Outcome, Session};
use bursar_wire::v1::RefusalReason;
use tokio::task::JoinSet;
use tonic::Status;

use crate::support::{Act, Fake, client_of, config, ms, pair, refusal};

fn options() -> AcquireOptions {
    AcquireOptions::new("autotask")
}

/// So many workers, each acquires and settles so often; the permits' ids.
async fn crowd(session: &Session, workers: usize, each: usize) -> Vec<String> {
    let mut set = JoinSet::new();
    for _ in 0..workers {
        let session = session.clone();
        set.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..each {
                let permit = session.acquire(options()).await.unwrap();
                ids.push(permit.id().to_owned());
                permit.settle(200, [("date", "now")], b"").await.unwrap();
            }
            ids
        });
    }
    set.join_all().await.concat()
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_callers_share_messages() {
    let (fake, client) = pair();
    let ids = crowd(&client.session(), 600, 5).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3_000);
    let seen = fake.seen();
    assert_eq!((seen.acquires.len(), seen.settles.len()), (3_000, 3_000));
    assert_eq!(fake.wire.opened(), 1);
    assert!(seen.batches.iter().all(|batch| *batch <= 256));
    // Two rounds of 600 requests, five times over, at most 256 of a kind a message: 30 at least.
    assert!(seen.batches.len() < 40, "{} messages for 6,000 requests", seen.batches.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hundreds_of_callers_on_several_threads() {
    let (fake, client) = pair();
    let ids = crowd(&client.session(), 300, 20).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 6_000);
    assert_eq!(fake.seen().settles.len(), 6_000);
}

#[tokio::test(start_paused = true)]
async fn what_had_no_answer_when_the_stream_broke_is_asked_again_and_granted_once() {
    let (fake, client) = pair();
    let asked = AtomicUsize::new(0);
    // Every 40th request breaks the connection after it was granted.
    fake.on_acquire(move |_| match asked.fetch_add(1, Ordering::SeqCst) % 40 {
        39 => Act::Cut,
        _ => Act::Grant,
    });
    let ids = crowd(&client.session(), 20, 10).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 200);
    let seen = fake.seen();
    assert_eq!(seen.granted.len(), 200, "as many grants as calls");
    assert!(fake.wire.opened() > 3, "it did break: {}", fake.wire.opened());
    let settled: HashSet<_> = seen.settles.iter().map(|settle| &settle.permit_id).collect();
    assert_eq!(settled.len(), 200);
}

#[tokio::test(start_paused = true)]
async fn it_fails_over_and_comes_back() {
    let (first, second) = (Fake::start(), Fake::start());
    first.wire.refuse(true);
    let client = client_of(config(), &[&first, &second]);
    let session = client.session();
    crowd(&session, 3, 1).await;
    assert_eq!((first.seen().acquires.len(), second.seen().acquires.len()), (0, 3));
    second.wire.refuse(true);
    second.wire.cut();
    first.wire.refuse(false);
    crowd(&session, 3, 1).await;
    assert_eq!(first.seen().acquires.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_replica_does_not_answer_is_asked_of_another_under_the_same_id() {
    let (first, second) = (Fake::start(), Fake::start());
    let client = client_of(config(), &[&first, &second]);
    let session = client.session();
    let _ = session.acquire(options()).await.unwrap().detach();
    first.on_acquire(|_| Act::Hang);
    let permit = session.acquire(options().max_wait(ms(1_000)).deadline(ms(20_000))).await.unwrap();
    let (hung, answered) = (first.seen().acquires, second.seen().acquires);
    assert_eq!((hung.len(), answered.len()), (2, 1));
    assert_eq!(hung[1].request_id, answered[0].request_id);
    permit.not_sent().await.unwrap();
    assert_eq!((first.seen().settles.len(), second.seen().settles.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_an_error_within_bounds() {
    let (fake, client) = pair();
    fake.wire.refuse(true);
    let session = client.session();
    let error = session.acquire(options()).await.unwrap_err();
    let AcquireError::Failed(CallError::Unavailable { message, .. }) = &error else { panic!("{error:?}") };
    assert!(message.contains("refused"), "{message}");
    fake.wire.refuse(false);
    session.acquire(options()).await.unwrap().not_sent().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_draining_replica_keeps_its_waiters_and_gets_no_new_ones() {
    let (first, second) = (Fake::start(), Fake::start());
    let asked = AtomicUsize::new(0);
    first.on_acquire(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Act::GrantAfter(ms(3_000)),
        _ => Act::Refuse(refusal(RefusalReason::Draining, None)),
    });
    let client = client_of(config(), &[&first, &second]);
    let session = client.session();
    let waits = session.clone();
    let waiter = tokio::spawn(async move { waits.acquire(options()).await });
    first.until(|seen| seen.acquires.len() == 1).await;
    crowd(&session, 10, 2).await;
    let seen = first.seen();
    assert_eq!(seen.granted.len() + seen.cancels.len(), 0, "the waiter still waits there");
    assert_eq!(second.seen().granted.len(), 20);
    let permit = waiter.await.unwrap().unwrap();
    assert_eq!(first.seen().granted.len(), 1);
    permit.not_sent().await.unwrap();
    assert_eq!(second.seen().settles.len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_cancelled_and_its_permit_given_back() {
    let (fake, client) = pair();
    fake.script([Act::GrantAfter(ms(1_000))]);
    let session = client.session();
    let gone = tokio::time::timeout(ms(100), session.acquire(options())).await;
    assert!(gone.is_err());
    let seen = fake.until(|seen| !seen.settles.is_empty()).await;
    assert_eq!(seen.cancels.len(), 1);
    assert_eq!((seen.outcomes(), seen.settles[0].permit_id.as_str()), (vec!["not_sent"], "permit-0"));
    assert_eq!(seen.settles[0].budget, "autotask");
}

#[tokio::test(start_paused = true)]
async fn waiting_acquires_do_not_keep_settlements_out() {
    let fake = Fake::start();
    let mut config = config();
    config.max_in_flight = 4;
    let client = client_of(config, &[&fake]);
    let session = client.session();
    let permit = session.acquire(options()).await.unwrap();
    fake.on_acquire(|_| Act::GrantAfter(ms(20_000)));
    let mut waiters = JoinSet::new();
    for _ in 0..9 {
        let session = session.clone();
        waiters.spawn(async move { session.acquire(options().max_wait(ms(70_000))).await.unwrap().detach() });
    }
    fake.until(|seen| seen.acquires.len() == 5).await;
    permit.settle(200, [("date", "now")], b"").await.unwrap();
    assert_eq!(fake.seen().acquires.len(), 5, "four at a time");
    waiters.join_all().await;
    assert_eq!(fake.seen().acquires.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn errors_of_one_request_are_its_own() {
    let (fake, client) = pair();
    fake.on_acquire(|request| match request.class.as_str() {
        "bad" => Act::Fail(Status::invalid_argument("class: no")),
        _ => Act::Grant,
    });
    let session = client.session();
    let (good, bad) = tokio::join!(session.acquire(options()), session.acquire(options().class("bad")));
    assert!(matches!(bad.unwrap_err(), AcquireError::Failed(CallError::Invalid { .. })));
    good.unwrap().not_sent().await.unwrap();
    assert_eq!(fake.wire.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn permits_of_a_session_drop_renew_and_ride_as_others_do() {
    let (fake, client) = pair();
    let session = client.session();
    let mut permit = session.acquire(options()).await.unwrap();
    assert_eq!(permit.renew(ms(70_000)).await.unwrap(), ms(70_000));
    let next = permit.settle_and_acquire(Outcome::lost(), options()).await;
    assert!(next.settled.is_some());
    let permit = next.permit.unwrap();
    // The last handle is the permit's.
    drop(session);
    drop(permit);
    let seen = fake.until(|seen| seen.settles.len() == 2).await;
    assert_eq!(seen.outcomes(), ["lost", "lost"]);
    client.settled().await;
}

#[tokio::test(start_paused = true)]
async fn an_unused_session_opens_nothing_and_a_closed_one_leaves_nothing() {
    let (fake, client): (Fake, Client) = pair();
    drop(client.session());
    let session = client.session();
    crowd(&session, 1, 1).await;
    drop(session);
    // Another finds its way.
    crowd(&client.session(), 1, 1).await;
    assert_eq!(fake.wire.opened(), 1, "sessions share their client's connection");
}

#[tokio::test(start_paused = true)]
async fn a_message_stays_below_what_servers_take() {
    let (fake, client) = pair();
    let session = client.session();
    let mut permits = Vec::new();
    for _ in 0..40 {
        permits.push(session.acquire(options()).await.unwrap());
    }
    let mut settling = JoinSet::new();
    for permit in permits {
        let value = vec![b'x'; 60_000];
        settling.spawn(async move { permit.settle(429, [("x-limit", value)], &[0; 20_000]).await.unwrap() });
    }
    settling.join_all().await;
    let seen = fake.seen();
    assert_eq!(seen.settles.len(), 40);
    assert!((500_000..1_000_000).contains(&seen.largest), "{}", seen.largest);
}
