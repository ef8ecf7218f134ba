//! What happens to a store that is reached by TLS, each side with a certificate of its own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bursar_ledger::testing::{Certificates, Flaw, RedisCluster, RedisSentinel, RedisServer};
use bursar_tests::{Cut, FaultProxy, Replica, Setup, World};
use tokio::time::{sleep, timeout};

use crate::{
    ELECTED, FORGOT, Killed, LONGER_THAN_THE_DEADLINES, PATIENCE, PROMOTED, STORE_IS_ALL_THERE,
    STORE_IS_BACK, cluster, go_on, judged, lasts, sentinel, thrice,
};

fn setup(certificates: &Certificates) -> Setup {
    Setup { store_tls: certificates.client(), ..Setup::default() }
}

/// One server with TLS, a proxy before it, and three replicas that go through that.
async fn net() -> (RedisServer, Arc<Certificates>, FaultProxy, World) {
    let certificates = Arc::new(Certificates::new());
    let redis = RedisServer::setup().tls(&certificates).start();
    let proxy = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], redis.port()))).await;
    let urls = thrice(&format!("rediss://{}", proxy.address()));
    let world = World::start(&urls, setup(&certificates)).await;
    go_on(&world, 300).await;
    (redis, certificates, proxy, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes() {
    let (_redis, _certificates, proxy, world) = net().await;
    proxy.cut(Cut::BothWays);
    let span = lasts(&world, LONGER_THAN_THE_DEADLINES).await;
    proxy.heal();
    let report = judged(world, "TLS: nothing passes for 6.5 s", span, STORE_IS_BACK).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_are_cut_and_refused() {
    let (_redis, _certificates, proxy, world) = net().await;
    proxy.refuse();
    let span = lasts(&world, Duration::from_secs(3)).await;
    proxy.heal();
    let report = judged(world, "TLS: Redis refuses all for 3 s", span, STORE_IS_BACK).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_restarts_from_an_old_dump() {
    let (mut redis, _certificates, _proxy, world) = net().await;
    redis.save();
    go_on(&world, 100).await;
    let began = world.now();
    redis.restart();
    let report = judged(world, "TLS: Redis restarted from an old dump", (began, began), FORGOT).await;
    assert_eq!(report.failed, 0, "{report}");
}

/// What a replica says of its store, as soon as it says that it is not ready.
async fn not_ready(replica: &Replica) -> String {
    let told = async {
        loop {
            let page = replica.page("/readyz").await;
            if page.contains(" 503 ") {
                return page;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("it is not ready")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_expires_and_is_renewed() {
    let (redis, certificates, _proxy, world) = net().await;
    redis.show_certificate(&certificates.flawed(Flaw::Expired));
    redis.hang_up();
    let began = world.now();
    let told = not_ready(&world.replicas[0]).await;
    assert!(told.contains("the store's certificate has expired"), "{told}");
    let (_, healed) = lasts(&world, Duration::from_secs(2)).await;
    redis.show_certificate(&certificates.path("server.pem"));
    let report =
        judged(world, "TLS: an expired certificate for 2 s", (began, healed), STORE_IS_ALL_THERE).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_is_not_asked() {
    let (certificates, others) = (Arc::new(Certificates::new()), Certificates::new());
    let redis = RedisServer::setup().tls(&certificates).start();
    let config = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let files = others.client();
    let tls = serde_json::json!({ "ca_file": files.ca_file, "cert_file": files.cert_file, "key_file": files.key_file });
    std::fs::write(config.path(), serde_json::json!({ "store": { "tls": tls } }).to_string()).unwrap();
    let path = config.path().to_str().unwrap();
    let replica = Replica::start_with(&redis.url(), &["--config", path]);
    let told = not_ready(&replica).await;
    assert!(told.contains("of no authority that is trusted here"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_behind_sentinels_is_killed() {
    let certificates = Arc::new(Certificates::new());
    let servers = RedisServer::setup().tls(&certificates);
    let mut sentinels = RedisSentinel::start_as(&servers, 3);
    let world = World::start(&thrice(&sentinels.url()), setup(&certificates)).await;
    go_on(&world, 300).await;
    let fault = sentinel::killed(&world, &mut sentinels, Killed::Whole).await;
    let report = judged(world, "TLS: master killed, Sentinel", fault, PROMOTED).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_of_a_cluster_is_killed() {
    let certificates = Arc::new(Certificates::new());
    let servers = RedisServer::setup().tls(&certificates);
    let mut nodes = RedisCluster::start_replicated_as(&servers, 1500);
    let world = World::start(&thrice(&nodes.url()), setup(&certificates)).await;
    go_on(&world, 300).await;
    let fault = cluster::killed(&world, &mut nodes, Killed::Whole).await;
    let report = judged(world, "TLS: master killed, Cluster", fault, ELECTED).await;
    assert_eq!(report.failed, 0, "{report}");
}
