//! What the network between a replica and its Redis does, by a proxy before the one Redis.

use std::{net::SocketAddr, time::Duration};

use bursar_ledger::testing::RedisServer;
use bursar_tests::{Cut, FaultProxy, Report, Setup, World};

use crate::{LONGER_THAN_THE_DEADLINES, OTHERS_GO_ON, STORE_IS_BACK, go_on, judged, lasts};

struct Net {
    world: World,
    proxies: Vec<FaultProxy>,
    _redis: RedisServer,
}

/// Three replicas, each with a proxy of its own before the store.
async fn net() -> Net {
    let redis = RedisServer::start();
    let server = SocketAddr::from(([127, 0, 0, 1], redis.port()));
    let mut proxies = Vec::new();
    for _ in 0..3 {
        proxies.push(FaultProxy::start(server).await);
    }
    let urls: Vec<_> = proxies.iter().map(|proxy| format!("redis://{}", proxy.address())).collect();
    let world = World::start(&urls, Setup::default()).await;
    go_on(&world, 300).await;
    Net { world, proxies, _redis: redis }
}

/// One replica is cut off; the others are not.
async fn one_is_cut_off(cut: Cut, fault: &str) -> Report {
    let net = net().await;
    net.proxies[0].cut(cut);
    let span = lasts(&net.world, LONGER_THAN_THE_DEADLINES).await;
    net.proxies[0].heal();
    judged(net.world, fault, span, OTHERS_GO_ON).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_redis_from_a_replica() {
    let report = one_is_cut_off(Cut::ToServer, "replica to Redis cut for 6.5 s").await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_a_replica_from_redis() {
    let report = one_is_cut_off(Cut::FromServer, "Redis to replica cut for 6.5 s").await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_between_a_replica_and_redis() {
    let report = one_is_cut_off(Cut::BothWays, "replica and Redis cut for 6.5 s").await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_replica_reaches_redis() {
    let net = net().await;
    net.proxies.iter().for_each(FaultProxy::refuse);
    let span = lasts(&net.world, Duration::from_secs(3)).await;
    net.proxies.iter().for_each(FaultProxy::heal);
    let report = judged(net.world, "Redis refuses all for 3 s", span, STORE_IS_BACK).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_slow() {
    let net = net().await;
    net.proxies.iter().for_each(|proxy| proxy.delay(Duration::from_millis(150)));
    let span = lasts(&net.world, Duration::from_secs(5)).await;
    // Slow is not down.
    let meanwhile = net.world.book.granted_after(span.0);
    assert!(meanwhile > 20, "{meanwhile} permits in 5 s");
    net.proxies.iter().for_each(FaultProxy::heal);
    let report = judged(net.world, "Redis 300 ms slower for 5 s", span, OTHERS_GO_ON).await;
    assert_eq!(report.failed, 0, "{report}");
}
