//! The admin pages, health and reflection.

use std::net::SocketAddr;

use bursar_wire::v1;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::support::*;

/// The status and the rest of an answer, head included.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = soon(TcpStream::connect(address)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text)
}

pub(crate) async fn health(server: &Running, service: &str) -> ServingStatus {
    let mut health = HealthClient::new(server.channel().await);
    let request = HealthCheckRequest { service: service.into() };
    soon(health.check(request)).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn the_pages_say_how_it_stands() {
    let server = start(1).await;
    let mut permits = server.permits().await;
    soon(permits.acquire(acquire())).await.unwrap();
    assert!(soon(permits.acquire(v1::AcquireRequest::default())).await.is_err());
    assert_eq!(get(server.admin, "/healthz").await.0, 200);
    assert_eq!(get(server.admin, "/readyz").await.0, 200);
    assert_eq!(get(server.admin, "/nothing").await.0, 404);
    let (status, text) = get(server.admin, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        text.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{text}"
    );
    for line in [
        "bursar_server_calls_total{method=\"Acquire\",code=\"Ok\"} 1",
        "bursar_server_calls_total{method=\"Acquire\",code=\"InvalidArgument\"} 1",
        "bursar_server_call_duration_seconds_count{method=\"Acquire\"} 2",
        "bursar_server_connections 1",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    server.ledger.state().down = true;
    let (status, text) = get(server.admin, "/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("not ready: the store is unavailable (taken down)"), "{text}");
    assert_eq!(get(server.admin, "/healthz").await.0, 200);
}

#[tokio::test]
async fn health_follows_the_store() {
    let server = start(1).await;
    for service in ["", "bursar.v1.PermitService", "bursar.v1.BudgetService"] {
        soon(async { while health(&server, service).await != ServingStatus::Serving {} }).await;
    }
    server.ledger.state().down = true;
    soon(async { while health(&server, "bursar.v1.PermitService").await != ServingStatus::NotServing {} })
        .await;
    server.ledger.state().down = false;
    soon(async { while health(&server, "").await != ServingStatus::Serving {} }).await;
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::{v1, v1alpha};
    let server = start(1).await;
    let expected = ["bursar.v1.BudgetService", "bursar.v1.PermitService", "grpc.health.v1.Health"];

    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut answers =
        soon(client.server_reflection_info(futures_util::stream::iter([ask]))).await.unwrap().into_inner();
    let answer = soon(answers.message()).await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!()
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(expected.iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");

    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            "bursar.v1.PermitService".into(),
        )),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut answers =
        soon(client.server_reflection_info(futures_util::stream::iter([ask]))).await.unwrap().into_inner();
    let answer = soon(answers.message()).await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(
        answer,
        v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
    ));
}
