//! Permits, one call each.

use std::time::Duration;

use bursar_quota::{Reason, Refusal};
use bursar_wire::v1;
use tonic::{Code, Request};

use super::support::*;

#[tokio::test]
async fn a_permit_is_granted_renewed_and_settled() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let response = soon(permits.acquire(acquire())).await.unwrap().into_inner();
    assert_eq!(response.settled, None);
    let permit = permit(response);
    assert!(permit.permit_id.len() <= 64, "{}", permit.permit_id);
    assert!((4000..=5000).contains(&permit.send_within_ms), "{permit:?}");
    assert!((59_000..=60_000).contains(&permit.deadline_ms), "{permit:?}");
    let renew = v1::RenewRequest { budget: "b".into(), permit_id: permit.permit_id.clone(), ttl_ms: 90_000 };
    let renewed = soon(permits.renew(renew.clone())).await.unwrap().into_inner();
    assert_eq!((renewed.result(), renewed.deadline_ms), (v1::RenewResult::Renewed, 90_000));
    let settled = soon(permits.settle(lost(&permit.permit_id))).await.unwrap().into_inner();
    assert_eq!(settled.result(), v1::SettleResult::Applied);
    let renewed = soon(permits.renew(renew)).await.unwrap().into_inner();
    assert_eq!((renewed.result(), renewed.deadline_ms), (v1::RenewResult::AlreadySettled, 0));
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let server = start(0).await;
    let mut permits = server.permits().await;
    let refused = refusal(soon(permits.acquire(acquire())).await.unwrap().into_inner());
    assert_eq!(refused.reason(), v1::RefusalReason::ConcurrencyExhausted);
    assert_eq!(refused.limit, "slots");
    assert!(refused.retry_after_ms.is_some_and(|ms| (1..=500).contains(&ms)), "{refused:?}");
    assert!(
        refused.message.contains("as many calls as limit slots of budget b allows"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a_settlement_rides_along_and_frees_the_slot_it_needs() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let mut held = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner());
    for _ in 0..5 {
        let request = v1::AcquireRequest { settle: Some(lost(&held.permit_id)), ..acquire() };
        let response = soon(permits.acquire(request)).await.unwrap().into_inner();
        assert_eq!(response.settled.as_ref().map(|s| s.result()), Some(v1::SettleResult::Applied));
        held = permit(response);
    }
}

#[tokio::test]
async fn a_bad_settlement_does_not_fail_the_acquire() {
    let server = start(2).await;
    let mut permits = server.permits().await;
    let request = v1::AcquireRequest { settle: Some(lost("forged")), ..acquire() };
    let response = soon(permits.acquire(request)).await.unwrap().into_inner();
    let settled = response.settled.clone().unwrap();
    assert_eq!(settled.result(), v1::SettleResult::Failed);
    assert!(settled.problem.starts_with("settle.permit_id: not a permit id"), "{}", settled.problem);
    permit(response);
    // A good one does not mend a bad acquire, and is not applied by itself.
    let held = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    let request = v1::AcquireRequest { tier: 9, settle: Some(lost(&held)), ..acquire() };
    assert_eq!(violation(&soon(permits.acquire(request)).await.unwrap_err()).0, "tier");
    assert_eq!(server.ledger.state().settled, 0);
}

#[tokio::test]
async fn what_rides_along_is_told_a_store_that_was_down() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let held = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    server.ledger.state().down = true;
    let waiter = tokio::spawn({
        let (mut permits, settle) = (permits.clone(), Some(lost(&held)));
        async move { permits.acquire(v1::AcquireRequest { settle, ..waiting() }).await }
    });
    // The commit with the settlement has failed; only it can free the slot that the acquire waits for.
    server.ledger.until(|state| state.turned_away >= 1).await;
    server.ledger.state().down = false;
    let response = soon(waiter).await.unwrap().unwrap().into_inner();
    assert_eq!(response.settled.clone().unwrap().result(), v1::SettleResult::Applied);
    permit(response);
}

#[tokio::test]
async fn a_waiter_gets_the_slot_that_is_freed() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let held = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    let waiter = tokio::spawn({
        let mut permits = permits.clone();
        async move { permits.acquire(waiting()).await }
    });
    server.ledger.refused(1).await;
    soon(permits.settle(lost(&held))).await.unwrap();
    permit(soon(waiter).await.unwrap().unwrap().into_inner());
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_place() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    let held = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    let waiter = tokio::spawn({
        let mut permits = permits.clone();
        async move { permits.acquire(waiting()).await }
    });
    server.ledger.refused(1).await;
    waiter.abort();
    let _ = soon(waiter).await;
    // What the one that is gone would have got, or got and gave back, is there for the next.
    soon(permits.settle(lost(&held))).await.unwrap();
    permit(soon(permits.acquire(waiting())).await.unwrap().into_inner());
    let state = server.ledger.state();
    assert_eq!(state.granted - state.settled, 1);
}

#[tokio::test]
async fn the_callers_deadline_bounds_the_wait() {
    let server = start(0).await;
    let retry_after = Some(Duration::from_secs(60));
    server.ledger.state().refusal =
        Some(Refusal { reason: Reason::QuotaExhausted, limit: None, retry_after });
    let mut permits = server.permits().await;
    // Without the deadline it would wait its ten minutes; as it is, it is told at once that waiting is no use.
    let mut request = Request::new(waiting());
    request.set_timeout(Duration::from_secs(50));
    refusal(soon(permits.acquire(request)).await.unwrap().into_inner());
}

#[tokio::test]
async fn waiting_acquires_leave_room_on_a_connection() {
    let server = start_with(1, |options| options.max_streams = 8).await;
    let mut permits = server.permits().await;
    let held = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    let waiters: Vec<_> = (0..7)
        .map(|_| {
            let mut permits = permits.clone();
            tokio::spawn(async move {
                loop {
                    match permits.acquire(waiting()).await {
                        // The eighth, below, was there before.
                        Err(status) if status.code() == Code::ResourceExhausted => {}
                        result => return result,
                    }
                }
            })
        })
        .collect();
    let full = soon(async {
        loop {
            // Until all seven have their places, an eighth finds one: it does not wait, and leaves it.
            match permits.acquire(acquire()).await {
                Err(status) => return status,
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(full.code(), Code::ResourceExhausted, "{full:?}");
    soon(permits.settle(lost(&held))).await.expect("there is room for a settlement");
    let freed = soon(futures_util::future::select_all(waiters)).await.0.unwrap().unwrap();
    permit(freed.into_inner());
}

#[tokio::test]
async fn connections_beyond_the_most_are_closed() {
    let server = start_with(1, |options| options.max_connections = 1).await;
    let mut permits = server.permits().await;
    soon(permits.acquire(acquire())).await.unwrap();
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", server.address)).unwrap();
    let second = endpoint.connect_lazy();
    let mut second = bursar_wire::v1::permit_service_client::PermitServiceClient::new(second);
    assert!(soon(second.acquire(acquire())).await.is_err());
    drop(permits);
    soon(async { while second.acquire(acquire()).await.is_err() {} }).await;
}
