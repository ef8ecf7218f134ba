//! Servers that are gone, silent, read-only or full.

use std::time::Duration;

use bursar_ledger::{HostError, RedisConfig, RedisHost, Reply, ScriptHost as _, testing::RedisServer};
use futures_util::future::join_all;

use super::{call, connect, count, counter, eventually, hasty, script, timed, unavailable};

/// The bound of [`hasty`], and what a busy machine adds.
const BOUND: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn an_unreachable_server_is_said_to_be_so_within_the_bound() {
    let mut server = RedisServer::start();
    let url = server.url();
    server.kill();
    let host = RedisHost::connect(hasty(url)).unwrap();
    let (took, replies) = timed(join_all((0..100).map(|_| count(&host, "k")))).await;
    assert!(took < BOUND, "{took:?}");
    for reply in replies {
        let cause = unavailable(reply);
        assert!(cause.to_lowercase().contains("refused"), "{cause}");
    }
    assert!(host.ready().await.is_err());

    server.restart();
    eventually("the server to be used again", || async { count(&host, "k").await.is_ok() }).await;
    assert_eq!(host.ready().await, Ok(()));
}

#[tokio::test]
async fn a_server_that_restarts_under_load_is_found_again() {
    let mut server = RedisServer::start();
    let host = connect(server.url());
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    server.restart();
    // One connection died; the retries inside hide it.
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
}

#[tokio::test]
async fn a_silent_server_is_given_up_within_the_bound_and_used_again_when_it_speaks() {
    let server = RedisServer::start();
    let host = RedisHost::connect(hasty(server.url())).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    server.freeze();
    let (took, replies) = timed(join_all((0..20).map(|_| count(&host, "k")))).await;
    let (ready_took, ready) = timed(host.ready()).await;
    server.thaw();
    assert!(took < BOUND && ready_took < BOUND, "{took:?} {ready_took:?}");
    for reply in replies {
        let cause = unavailable(reply);
        assert!(cause.contains("in time"), "{cause}");
    }
    assert!(matches!(ready, Err(HostError::Unavailable { .. })), "{ready:?}");
    eventually("the server to be used again", || async { count(&host, "k").await.is_ok() }).await;
}

#[tokio::test]
async fn a_read_only_server_is_not_ready() {
    let master = RedisServer::start();
    let replica = RedisServer::setup().replica_of(&master).start();
    let host = RedisHost::connect(hasty(replica.url())).unwrap();
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.contains("READONLY"), "{cause}");
    assert!(matches!(host.ready().await, Err(HostError::Unavailable { .. })));
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    eventually("the promoted server to be used", || async { count(&host, "k").await.is_ok() }).await;
}

#[tokio::test]
async fn a_full_server_is_unavailable_until_it_has_room() {
    let server = RedisServer::setup().args("--maxmemory-policy noeviction").start();
    let host = RedisHost::connect(hasty(server.url())).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.contains("OOM"), "{cause}");
    assert!(host.ready().await.is_err());
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(2)));
}

#[tokio::test]
async fn a_script_that_takes_too_long_does_not_hold_up_the_caller() {
    let server = RedisServer::setup().args("--lua-time-limit 50").start();
    let host = RedisHost::connect(hasty(server.url())).unwrap();
    let forever = script("while true do end");
    let (took, reply) = timed(host.run(forever, call(&["k"], &[]))).await;
    let cause = unavailable(reply);
    assert!(took < BOUND && (cause.contains("in time") || cause.contains("BUSY")), "{took:?} {cause}");
    assert!(matches!(count(&host, "k").await, Err(HostError::Unavailable { .. })));
    eventually("the script to be killed", || async {
        let _ = server.try_command(&["SCRIPT", "KILL"]);
        count(&host, "k").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_is_not_waited_for() {
    let server = RedisServer::start();
    let host = RedisHost::connect(RedisConfig { drivers: 1, ..hasty(server.url()) }).unwrap();
    server.freeze();
    for _ in 0..2000 {
        // Polled once, then dropped: what is left in the queue must not count against those who come later.
        let _ = tokio::time::timeout(Duration::ZERO, host.run(counter(), call(&["k"], &[]))).await;
        tokio::task::yield_now().await;
    }
    server.thaw();
    eventually("a call to be answered", || async { count(&host, "other").await.is_ok() }).await;
}

#[tokio::test]
async fn a_cluster_node_by_a_plain_address_is_told_apart() {
    let server = RedisServer::setup().args("--cluster-enabled yes").start();
    let host = RedisHost::connect(hasty(server.url())).unwrap();
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.contains("CLUSTERDOWN"), "{cause}");
}
