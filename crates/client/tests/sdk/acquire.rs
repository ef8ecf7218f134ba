//! Acquiring: what is asked, what comes back, what is tried again.

use crate::support::{Act, Fake, TokioClock, client_of, config, ms, pair, refusal};
use bursar_client::{AcquireError, AcquireOptions, CallError, Reason, Tier, Token};
use bursar_quota::Clock;
use bursar_wire::v1::{self, RefusalReason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn options() -> AcquireOptions {
    AcquireOptions::new("autotask")
}

#[tokio::test(start_paused = true)]
async fn all_that_is_asked_for_arrives() {
    let fake = Fake::start();
    let mut config = config();
    config.token = Some(Token::new("s3cret").unwrap());
    config.tenant = Some("acme".parse().unwrap());
    config.tier = Tier::Batch;
    let client = client_of(config, &[&fake]);
    let all = options().class("auth").cost("points", 3).max_wait(ms(2_000)).ttl(ms(90_000));
    let permit = client.acquire(all.tenant("other").tier(Tier::Interactive)).await.unwrap();
    client.acquire(options().without_request_id()).await.unwrap().not_sent().await.unwrap();
    let seen = fake.seen();
    let wanted = v1::AcquireRequest {
        budget: "autotask".to_owned(),
        class: "auth".to_owned(),
        tenant: "other".to_owned(),
        tier: v1::Tier::Interactive.into(),
        costs: [("points".to_owned(), 3)].into(),
        max_wait_ms: 2_000,
        ttl_ms: 90_000,
        request_id: "test.0".to_owned(),
        settle: None,
    };
    assert_eq!(seen.acquires[0], wanted);
    let plain = &seen.acquires[1];
    assert_eq!((plain.tenant.as_str(), plain.tier(), plain.ttl_ms), ("acme", v1::Tier::Batch, 0));
    assert_eq!((plain.request_id.as_str(), plain.max_wait_ms), ("", 30_000));
    assert_eq!(seen.tokens, vec![Some("Bearer s3cret".to_owned()); 2]);
    assert_eq!(seen.timeouts, ["7000000u", "35000000u"]);
    assert_eq!((permit.id(), permit.budget()), ("permit-0", "autotask"));
    permit.lost().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_read() {
    let (fake, client) = pair();
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        if reason == Reason::Draining {
            continue;
        }
        let number = i32::try_from(index).unwrap() + 1;
        let wire = RefusalReason::try_from(number).unwrap();
        assert_eq!(wire.as_str_name().to_lowercase(), format!("refusal_reason_{reason}"));
        fake.script([Act::Refuse(refusal(wire, Some(1_234)))]);
        let error = client.acquire(options()).await.unwrap_err();
        assert_eq!(error.retry_after(), Some(ms(1_234)));
        let refused = error.refusal().unwrap();
        assert_eq!(refused.reason, reason);
        assert_eq!(refused.limit.as_ref().map(|limit| limit.as_str()), Some("requests"));
        assert_eq!(error.to_string(), "refused: no");
    }
    let unknown = v1::Refusal { reason: 99, retry_after_ms: Some(7), ..Default::default() };
    fake.script([Act::Refuse(unknown)]);
    let error = client.acquire(options()).await.unwrap_err();
    assert!(matches!(error, AcquireError::Failed(CallError::Protocol { .. })), "{error}");
    assert_eq!(error.retry_after(), Some(ms(7)));
}

#[tokio::test(start_paused = true)]
async fn broken_requests_are_not_tried_again() {
    let (fake, client) = pair();
    let details = ErrorDetails::with_bad_request_violation("costs", "0 is not between 1 and 600");
    let status = Status::with_error_details(Code::InvalidArgument, "costs: 0 is wrong", details);
    fake.script([
        Act::Fail(status),
        Act::Fail(Status::permission_denied("autotask is not yours")),
        Act::Fail(Status::internal("a bug")),
    ]);
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(client.acquire(options()).await.unwrap_err());
    }
    let field = "costs".to_owned();
    let problem = "0 is not between 1 and 600".to_owned();
    let message = "autotask is not yours".to_owned();
    assert_eq!(errors[0], AcquireError::Failed(CallError::Invalid { field, problem }));
    assert_eq!(errors[1], AcquireError::Failed(CallError::Unauthorized { message }));
    let message = "a bug".to_owned();
    assert_eq!(errors[2], AcquireError::Failed(CallError::Failed { code: Code::Internal, message }));
    assert_eq!(fake.seen().acquires.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_after_the_request_arrived_grants_once() {
    let (fake, client) = pair();
    fake.script([Act::Cut, Act::Cut]);
    let permit = client.acquire(options().max_wait(ms(60_000))).await.unwrap();
    let seen = fake.seen();
    let ids: Vec<_> = seen.acquires.iter().map(|acquire| acquire.request_id.as_str()).collect();
    assert_eq!(ids, ["test.0"; 3]);
    assert_eq!(seen.granted.len(), 1);
    assert_eq!(permit.id(), seen.granted["test.0"]);
    let waits: Vec<_> = seen.acquires.iter().map(|acquire| acquire.max_wait_ms).collect();
    assert!(waits[0] == 60_000 && waits[2] < waits[0], "the wait counts from the first attempt: {waits:?}");
    permit.not_sent().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_endpoint_is_tried_at_once_and_kept() {
    let (first, second) = (Fake::start(), Fake::start());
    first.wire.refuse(true);
    let client = client_of(config(), &[&first, &second]);
    let clock = TokioClock::shared();
    for _ in 0..3 {
        client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    }
    assert_eq!(clock.monotonic(), ms(0), "nobody waited");
    assert_eq!(second.seen().acquires.len(), 3);
    second.wire.refuse(true);
    second.wire.cut();
    first.wire.refuse(false);
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    assert_eq!(first.seen().acquires.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_drains_is_left() {
    let (first, second) = (Fake::start(), Fake::start());
    first.on_acquire(|_| Act::Refuse(refusal(RefusalReason::Draining, None)));
    let client = client_of(config(), &[&first, &second]);
    let permit = client.acquire(options()).await.unwrap();
    assert_eq!(first.seen().acquires[0].request_id, second.seen().acquires[0].request_id);
    permit.settle(200, [("date", "now")], b"").await.unwrap();
    assert_eq!(second.seen().outcomes(), ["response"]);
    // Where all of them drain, that is the answer.
    second.on_acquire(|_| Act::Refuse(refusal(RefusalReason::Draining, None)));
    let error = client.acquire(options()).await.unwrap_err();
    assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(Reason::Draining));
    assert_eq!(first.seen().acquires.len() + second.seen().acquires.len(), 2 + 10, "ten attempts");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_puts_off_as_long_as_it_says() {
    let (fake, client) = pair();
    let details = ErrorDetails::with_retry_info(Some(ms(3_000)));
    let away = Status::with_error_details(Code::Unavailable, "the store is unavailable", details);
    fake.script([Act::Fail(away.clone())]);
    let clock = TokioClock::shared();
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    let waited = clock.monotonic();
    assert!((ms(3_000)..ms(3_060)).contains(&waited), "{waited:?}");
    // Later than the deadline: that is said now.
    fake.on_acquire(move |_| Act::Fail(away.clone()));
    let error = client.acquire(options().deadline(ms(2_000))).await.unwrap_err();
    assert_eq!(clock.monotonic(), waited);
    assert_eq!(error.retry_after(), Some(ms(3_000)));
}

#[tokio::test(start_paused = true)]
async fn nobody_there_ends_after_as_many_attempts_as_allowed() {
    let (fake, client) = pair();
    fake.wire.refuse(true);
    let error = client.acquire(options()).await.unwrap_err();
    let AcquireError::Failed(CallError::Unavailable { message, attempts: 10, retry_after: None }) = error
    else {
        panic!("{error:?}");
    };
    assert!(message.contains("refused"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_kept() {
    let (fake, client) = pair();
    fake.on_acquire(|_| Act::Hang);
    let clock = TokioClock::shared();
    let error = client.acquire(options().deadline(ms(1_500))).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Failed(CallError::Deadline { .. })), "{error:?}");
    assert_eq!(clock.monotonic(), ms(1_500));
    let seen = fake.until(|seen| seen.gone == 1).await;
    assert_eq!(seen.timeouts, ["1500000u"]);
    assert_eq!(seen.acquires[0].max_wait_ms, 1_350, "the refusal would still arrive");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_noticed() {
    let (fake, client) = pair();
    fake.on_acquire(|_| Act::Hang);
    let asking = tokio::spawn(async move { client.acquire(options()).await.map(drop) });
    fake.until(|seen| seen.acquires.len() == 1).await;
    asking.abort();
    fake.until(|seen| seen.gone == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_too_late_is_given_back_and_asked_for_again() {
    let (fake, client) = pair();
    fake.script([Act::GrantFor(0)]);
    let permit = client.acquire(options()).await.unwrap();
    assert_eq!(permit.id(), "permit-1");
    let seen = fake.until(|seen| !seen.settles.is_empty()).await;
    assert_eq!((seen.settles[0].permit_id.as_str(), seen.outcomes()), ("permit-0", vec!["not_sent"]));
    permit.not_sent().await.unwrap();
    // With an id of the caller's own there is no other permit to be had.
    fake.script([Act::GrantFor(0)]);
    let error = client.acquire(options().request_id("mine")).await.unwrap_err();
    assert_eq!(error, AcquireError::TooLate);
}

#[tokio::test(start_paused = true)]
async fn request_ids_can_be_switched_off_for_all() {
    let fake = Fake::start();
    let mut config = config();
    config.request_ids = false;
    let client = client_of(config, &[&fake]);
    fake.script([Act::Cut]);
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    client.acquire(options().request_id("mine")).await.unwrap().not_sent().await.unwrap();
    let ids: Vec<_> = fake.seen().acquires.iter().map(|acquire| acquire.request_id.clone()).collect();
    assert_eq!(ids, ["", "", "mine"]);
}

#[tokio::test(start_paused = true)]
async fn clients_spread_over_the_endpoints_and_their_ids_never_meet() {
    let fakes = [Fake::start(), Fake::start(), Fake::start()];
    for _ in 0..60 {
        let config = bursar_client::ClientConfig::new("http://fake");
        let client = client_of(config, &[&fakes[0], &fakes[1], &fakes[2]]);
        client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    }
    let seen = fakes.iter().map(Fake::seen);
    let ids: Vec<_> = seen.clone().flat_map(|seen| seen.acquires).map(|acquire| acquire.request_id).collect();
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 60);
    assert!(ids.iter().all(|id| id.len() == 34), "{}", ids[0]);
    assert!(seen.map(|seen| seen.acquires.len()).min() > Some(3), "twenty are expected at each");
}
