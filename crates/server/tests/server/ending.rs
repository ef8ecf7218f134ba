//! The end: typed answers to the last, and then nothing is left.

use bursar_wire::v1;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{admin, support::*};

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let mut server = start(1).await;
    let mut permits = server.permits().await;
    soon(permits.acquire(acquire())).await.unwrap();
    let address = server.address;
    server.stop();
    server.ended().await.unwrap();
    assert!(soon(tokio::net::TcpStream::connect(address)).await.is_err(), "it listens no more");
}

#[tokio::test]
async fn a_drain_refuses_what_is_new_and_finishes_what_waits() {
    let mut server = start(1).await;
    let mut permits = server.permits().await;
    let held = permit(soon(permits.acquire(acquire())).await.unwrap().into_inner()).permit_id;
    let waiter = tokio::spawn({
        let mut permits = permits.clone();
        async move { permits.acquire(waiting()).await }
    });
    server.ledger.refused(1).await;
    let mut watch = HealthClient::new(server.channel().await);
    let mut watch = soon(watch.watch(HealthCheckRequest::default())).await.unwrap().into_inner();
    let mut budgets = server.budgets().await;
    let mut events = soon(budgets.watch(v1::WatchRequest::default())).await.unwrap().into_inner();
    server.stop();
    soon(async { while admin::get(server.admin, "/readyz").await.0 != 503 {} }).await;
    assert!(admin::get(server.admin, "/readyz").await.1.contains("draining"));
    assert_eq!(admin::get(server.admin, "/healthz").await.0, 200);
    soon(async {
        while watch.message().await.unwrap().map(|answer| answer.status()) != Some(ServingStatus::NotServing)
        {
        }
    })
    .await;
    // The drain has begun for the coordinator a moment after it has for the probes.
    soon(async {
        loop {
            let refused = refusal(permits.acquire(acquire()).await.unwrap().into_inner());
            if refused.reason() == v1::RefusalReason::Draining {
                break;
            }
        }
    })
    .await;
    soon(permits.settle(lost(&held))).await.unwrap();
    permit(soon(waiter).await.unwrap().unwrap().into_inner());
    let gone = soon(events.message()).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unavailable);
    server.ended().await.unwrap();
}

#[tokio::test]
async fn bad_tls_is_told_at_once() {
    let ended = start_with(1, |options| {
        let (certificate, key) = (b"no certificate".to_vec(), b"no key".to_vec());
        options.tls = Some(bursar_server::Tls { certificate, key, client_ca: None });
    });
    let error = ended.await.ended().await.unwrap_err();
    assert!(matches!(error, bursar_server::ServeError::Tls(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("no key"), "{error:?}");
}
