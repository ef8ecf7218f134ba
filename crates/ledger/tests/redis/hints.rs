//! Addresses that lead to a server and do not fit it: what is likely is said.

use std::sync::Arc;

use bursar_ledger::{
    RedisConfig, RedisHost, Reply, ScriptHost as _,
    testing::{Certificates, RedisServer},
};

use super::{count, eventually, hasty, unavailable};

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_said_to_be_one() {
    let certificates = Certificates::new();
    let server = RedisServer::start();
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let host = RedisHost::connect(RedisConfig { tls: certificates.client(), ..hasty(url) }).unwrap();
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.contains("the server may not speak TLS there (redis:// is without)"), "{cause}");
    // Whoever asks whether it is ready, and does not wait as long as that takes, hears it as well.
    let trouble = host.trouble().unwrap().cause;
    assert!(trouble.contains("may not speak TLS"), "{trouble}");
}

#[tokio::test]
async fn a_server_that_wants_tls_is_said_to_be_one() {
    let certificates = Arc::new(Certificates::new());
    let server = RedisServer::setup().tls(&certificates).start();
    let host = RedisHost::connect(hasty(format!("redis://127.0.0.1:{}", server.port()))).unwrap();
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.contains("the server may want TLS there (rediss://)"), "{cause}");
}

#[tokio::test]
async fn a_server_that_was_reached_is_not_said_to_be_of_another_kind() {
    let mut server = RedisServer::start();
    let host = RedisHost::connect(hasty(server.url())).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    assert_eq!(host.trouble(), None);
    server.kill();
    let cause = unavailable(count(&host, "k").await);
    assert!(!cause.contains("TLS") && host.trouble().is_some(), "{cause}");
    server.restart();
    eventually("the server to be used again", || async { count(&host, "k").await.is_ok() }).await;
    assert_eq!(host.trouble(), None);
}

#[tokio::test]
async fn a_cluster_without_slots_is_said_to_be_one() {
    let server = RedisServer::setup().args("--cluster-enabled yes").start();
    let host = RedisHost::connect(hasty(format!("redis+cluster://127.0.0.1:{}", server.port()))).unwrap();
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.starts_with("the cluster has assigned no slots, or none of the nodes"), "{cause}");
}
