//! Each bad input gets a typed answer that names the field and the bound, and moves nothing.

use bursar_wire::v1;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use super::support::*;

fn header(name: &str, bytes: usize) -> v1::Header {
    v1::Header { name: name.into(), value: vec![0xff; bytes].into() }
}

#[tokio::test]
async fn of_an_acquire() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let most = bursar_quota::MAX_CAPACITY;
    let costs = |unit: &str, cost| v1::AcquireRequest { costs: [(unit.into(), cost)].into(), ..acquire() };
    for (request, field, says) in [
        (v1::AcquireRequest { budget: String::new(), ..acquire() }, "budget", "1 to 128 characters"),
        (v1::AcquireRequest { budget: "B b".into(), ..acquire() }, "budget", "outside [a-z0-9._/-]"),
        (v1::AcquireRequest { budget: "b".repeat(129), ..acquire() }, "budget", "at most 128"),
        (v1::AcquireRequest { class: "é".into(), ..acquire() }, "class", "outside [a-z0-9._/-]"),
        (v1::AcquireRequest { tenant: "*".into(), ..acquire() }, "tenant", "outside [a-z0-9._/-]"),
        (v1::AcquireRequest { tier: 9, ..acquire() }, "tier", "0 to 3"),
        (costs("requests", 0), "costs[requests]", "outside 1 to 1000000000000"),
        (costs("requests", most + 1), "costs[requests]", "outside 1 to 1000000000000"),
        (costs("requests", u64::MAX), "costs[requests]", "outside 1 to 1000000000000"),
        (costs("To kens", 1), "costs[To kens]", "outside [a-z0-9._/-]"),
        (
            v1::AcquireRequest { costs: (0..9).map(|i| (format!("u{i}"), 1)).collect(), ..acquire() },
            "costs",
            "at most 8",
        ),
        (v1::AcquireRequest { max_wait_ms: 3_600_001, ..acquire() }, "max_wait_ms", "0 to 3600000 ms"),
        (v1::AcquireRequest { ttl_ms: 86_400_001, ..acquire() }, "ttl_ms", "0 to 86400000 ms"),
        (v1::AcquireRequest { request_id: "x".repeat(129), ..acquire() }, "request_id", "at most 128"),
    ] {
        let status = soon(permits.acquire(request)).await.unwrap_err();
        let (found, description) = violation(&status);
        assert_eq!(found, field);
        assert!(description.contains(says), "{field}: {description}");
        assert!(status.message().starts_with(field), "{}", status.message());
    }
    assert_eq!(server.ledger.state().granted, 0);
}

#[tokio::test]
async fn that_the_budget_alone_can_tell() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let unit = v1::AcquireRequest { costs: [("tokens".into(), 1)].into(), ..acquire() };
    assert_eq!(violation(&soon(permits.acquire(unit)).await.unwrap_err()).0, "costs[tokens]");
    let ttl = v1::AcquireRequest { ttl_ms: 600_001, ..acquire() };
    assert_eq!(violation(&soon(permits.acquire(ttl)).await.unwrap_err()).0, "ttl_ms");
    assert_eq!(server.ledger.state().granted, 0);
}

#[tokio::test]
async fn of_a_settlement() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let permit = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    let ok = v1::UpstreamResponse { status: 200, ..Default::default() };
    let with = |headers| answered(&permit, v1::UpstreamResponse { headers, ..ok.clone() });
    for (request, field, says) in [
        (lost(""), "permit_id", "not a permit id"),
        (lost("b1.x.y.0"), "permit_id", "not a permit id"),
        (lost(&format!("{permit}0000")), "permit_id", "not a permit id"),
        (
            v1::SettleRequest { budget: "other".into(), ..lost(&permit) },
            "permit_id",
            "another budget than other",
        ),
        (v1::SettleRequest { outcome: None, ..lost(&permit) }, "outcome", "exactly one of"),
        (v1::SettleRequest { age_ms: 86_400_001, ..lost(&permit) }, "age_ms", "0 to 86400000 ms"),
        (
            v1::SettleRequest { costs: [("requests".into(), 0)].into(), ..lost(&permit) },
            "costs[requests]",
            "outside 1 to",
        ),
        (
            answered(&permit, v1::UpstreamResponse { status: 99, ..ok.clone() }),
            "response.status",
            "100 to 999",
        ),
        (with(vec![header("a", 65_536)]), "response.headers", "at most 65536"),
        (with(vec![header("a", 1); 257]), "response.headers", "at most 256"),
        (with(vec![header("", 1)]), "response.headers[0].name", "1 to 256"),
        (
            answered(&permit, v1::UpstreamResponse { body: vec![b' '; 16_385].into(), ..ok.clone() }),
            "response.body",
            "at most 16384",
        ),
    ] {
        let (found, description) = violation(&soon(permits.settle(request)).await.unwrap_err());
        assert_eq!(found, field);
        assert!(description.contains(says), "{field}: {description}");
    }
    assert_eq!(server.ledger.state().settled, 0, "none of them was a settlement");
    // Odd, but the wire's to carry: bytes that are no text, a body that is no JSON, resets from nowhere.
    let odd = v1::UpstreamResponse {
        status: 200,
        headers: vec![
            header("x-ratelimit-remaining", 3),
            v1::Header { name: "X-RateLimit-Reset".into(), value: (&b"-99999999999999999999"[..]).into() },
            v1::Header { name: "X-RateLimit-Reset".into(), value: (&b"NaN"[..]).into() },
        ],
        body: (&b"{no json"[..]).into(),
    };
    let settled = soon(permits.settle(answered(&permit, odd))).await.unwrap().into_inner();
    assert_eq!(settled.result(), v1::SettleResult::Applied);
    let again = soon(permits.settle(lost(&permit))).await.unwrap().into_inner();
    assert_eq!(again.result(), v1::SettleResult::AlreadySettled);
}

#[tokio::test]
async fn a_forged_permit_is_unknown() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let permit = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    let parts: Vec<_> = permit.split('.').collect();
    let forged = format!("{}.{}.{}.0", parts[0], parts[1], "0".repeat(32));
    let settled = soon(permits.settle(lost(&forged))).await.unwrap().into_inner();
    assert_eq!(settled.result(), v1::SettleResult::UnknownPermit);
    let renew = v1::RenewRequest { budget: "b".into(), permit_id: forged, ttl_ms: 0 };
    let renewed = soon(permits.renew(renew)).await.unwrap().into_inner();
    assert_eq!(renewed.result(), v1::RenewResult::UnknownPermit);
    let malformed = v1::RenewRequest { budget: "b".into(), permit_id: "?".into(), ttl_ms: 0 };
    assert_eq!(violation(&soon(permits.renew(malformed)).await.unwrap_err()).0, "permit_id");
    let long = v1::RenewRequest { budget: "b".into(), permit_id: permit, ttl_ms: 86_400_001 };
    assert_eq!(violation(&soon(permits.renew(long)).await.unwrap_err()).0, "ttl_ms");
    assert_eq!(server.ledger.state().settled, 0);
}

#[tokio::test]
async fn of_the_budget_service() {
    let server = start(1).await;
    let mut budgets = server.budgets().await;
    let put = v1::PutBudgetRequest { budget: None };
    assert_eq!(violation(&soon(budgets.put_budget(put)).await.unwrap_err()).0, "budget");
    let bucket = v1::BucketLimit { capacity: 1, refill_per_second: -1.0 };
    let limit =
        v1::Limit { name: "l".into(), kind: Some(v1::limit::Kind::Bucket(bucket)), ..Default::default() };
    let budget = v1::Budget { name: "x".into(), limits: vec![limit], ..Default::default() };
    let put = v1::PutBudgetRequest { budget: Some(budget) };
    let (field, says) = violation(&soon(budgets.put_budget(put)).await.unwrap_err());
    assert_eq!(field, "budget.limits[0].bucket.refill_per_second");
    assert!(says.contains("outside 0.000001 to"), "{says}");
    let list = v1::ListBudgetsRequest { page_size: 1001, ..Default::default() };
    assert_eq!(violation(&soon(budgets.list_budgets(list)).await.unwrap_err()).0, "page_size");
    let list = v1::ListBudgetsRequest { page_token: "Ä".into(), ..Default::default() };
    assert_eq!(violation(&soon(budgets.list_budgets(list)).await.unwrap_err()).0, "page_token");
    for for_ms in [0, 2_678_400_001] {
        let pause = v1::PauseBudgetRequest { name: "b".into(), for_ms: Some(for_ms) };
        assert_eq!(violation(&soon(budgets.pause_budget(pause)).await.unwrap_err()).0, "for_ms");
    }
    let get = v1::GetBudgetRequest { name: String::new() };
    assert_eq!(violation(&soon(budgets.get_budget(get)).await.unwrap_err()).0, "name");
    let watch = v1::WatchRequest { names: vec!["b".into(), "?".into()] };
    assert_eq!(violation(&soon(budgets.watch(watch)).await.unwrap_err()).0, "names[1]");
    let watch = v1::WatchRequest { names: vec!["b".into(); 257] };
    assert_eq!(violation(&soon(budgets.watch(watch)).await.unwrap_err()).0, "names");
}

#[tokio::test]
async fn an_unknown_budget() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let request = v1::AcquireRequest { budget: "nobody".into(), ..waiting() };
    let refused = refusal(soon(permits.acquire(request)).await.unwrap().into_inner());
    assert_eq!(refused.reason(), v1::RefusalReason::UnknownBudget);
    assert!(refused.message.contains("no budget is named nobody"), "{}", refused.message);
    assert_eq!(refused.retry_after_ms, None);
    let mut budgets = server.budgets().await;
    let name = || "nobody".to_owned();
    let get = soon(budgets.get_budget(v1::GetBudgetRequest { name: name() })).await.unwrap_err();
    let pause = v1::PauseBudgetRequest { name: name(), for_ms: None };
    let pause = soon(budgets.pause_budget(pause)).await.unwrap_err();
    let resume = soon(budgets.resume_budget(v1::ResumeBudgetRequest { name: name() })).await.unwrap_err();
    for status in [get, pause, resume] {
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains("nobody"), "{}", status.message());
    }
    let delete = soon(budgets.delete_budget(v1::DeleteBudgetRequest { name: name() })).await.unwrap();
    assert!(!delete.into_inner().deleted);
}

#[tokio::test]
async fn an_unreachable_store_says_when_to_try_again() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let permit = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    server.ledger.state().down = true;
    let settled = soon(permits.settle(lost(&permit))).await.unwrap_err();
    let acquired = soon(permits.acquire(acquire())).await.unwrap_err();
    let mut budgets = server.budgets().await;
    let got = soon(budgets.get_budget(v1::GetBudgetRequest { name: "b".into() })).await.unwrap_err();
    for status in [settled, acquired, got] {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let retry = status.get_details_retry_info().expect("RetryInfo").retry_delay.expect("a time");
        assert!(retry > std::time::Duration::ZERO, "{retry:?}");
        assert!(status.message().contains("taken down"), "{}", status.message());
    }
    server.ledger.state().down = false;
    let settled = soon(permits.settle(lost(&permit))).await.unwrap().into_inner();
    assert_eq!(settled.result(), v1::SettleResult::Applied);
}

#[tokio::test]
async fn too_long_a_message_and_no_timeout() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let request = v1::AcquireRequest { request_id: "x".repeat(4 * 1024 * 1024), ..acquire() };
    assert_eq!(soon(permits.acquire(request)).await.unwrap_err().code(), Code::OutOfRange);
    // What can be read names its field, however far beyond the field's own bound it is.
    let request = v1::AcquireRequest { request_id: "x".repeat(2 * 1024 * 1024), ..acquire() };
    assert_eq!(violation(&soon(permits.acquire(request)).await.unwrap_err()).0, "request_id");
    let mut request = Request::new(acquire());
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(violation(&soon(permits.acquire(request)).await.unwrap_err()).0, "grpc-timeout");
    // A unit as long as a message may be is not sent back.
    let request = v1::AcquireRequest { costs: [("x".repeat(1_000_000), 1)].into(), ..acquire() };
    assert!(violation(&soon(permits.acquire(request)).await.unwrap_err()).0.len() < 200);
}
