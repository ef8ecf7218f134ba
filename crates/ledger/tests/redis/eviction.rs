//! Servers that may evict, and those that do not say.

use bursar_ledger::{
    RedisHost, ScriptHost as _,
    testing::{RedisCluster, RedisSentinel, RedisServer},
};
use bursar_quota::Eviction;

use super::{connect, hasty};

/// What was seen first.
async fn seen(host: &RedisHost) -> Eviction {
    let mut eviction = host.watch_eviction();
    let known = eviction.wait_for(|eviction| *eviction != Eviction::Unknown);
    known.await.unwrap().clone()
}

#[tokio::test]
async fn a_server_that_may_evict_is_told_from_one_that_may_not() {
    let server = RedisServer::setup().args("--maxmemory 100mb --maxmemory-policy allkeys-lru").start();
    let host = connect(server.url());
    assert_eq!(seen(&host).await, Eviction::May { policy: "allkeys-lru".into(), evicted: 0 });
    assert_eq!(host.eviction(), Eviction::May { policy: "allkeys-lru".into(), evicted: 0 });
    assert!(host.eviction().to_string().contains("set it to noeviction"), "{}", host.eviction());
    let server = RedisServer::start();
    assert_eq!(seen(&connect(server.url())).await, Eviction::Never);
}

#[tokio::test]
async fn what_was_evicted_is_counted() {
    let server = RedisServer::setup().args("--maxmemory 3mb --maxmemory-policy allkeys-lru").start();
    let much = "x".repeat(100_000);
    for key in 0..50 {
        server.command(&["SET", &format!("key-{key}"), &much]);
    }
    let Eviction::May { evicted, .. } = seen(&connect(server.url())).await else { panic!("it may evict") };
    assert!((20..50).contains(&evicted), "{evicted}");
    let told = Eviction::May { policy: "allkeys-lru".into(), evicted }.to_string();
    assert!(told.ends_with(&format!("(evicted since it started: {evicted} keys)")), "{told}");
}

#[tokio::test]
async fn of_a_cluster_every_master_is_asked() {
    let cluster = RedisCluster::start();
    assert_eq!(seen(&connect(cluster.url())).await, Eviction::Never);
    cluster.nodes()[2].command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    assert_eq!(
        seen(&connect(cluster.url())).await,
        Eviction::May { policy: "volatile-ttl".into(), evicted: 0 }
    );
}

#[tokio::test]
async fn a_server_that_does_not_say_is_no_reason_to_stop() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "bursar", "on", ">pw", "~*", "&*", "+@all", "-info", "-config"]);
    let host = RedisHost::connect(hasty(server.url().replace("//", "//bursar:pw@"))).unwrap();
    let Eviction::Unseen { cause } = seen(&host).await else { panic!("{:?}", host.eviction()) };
    assert!(cause.contains("NOPERM"), "{cause}");
    assert_eq!(host.ready().await, Ok(()));
}

#[tokio::test]
async fn it_is_asked_as_soon_as_it_can_be_reached() {
    let mut server = RedisServer::setup().args("--maxmemory-policy allkeys-lfu").start();
    let url = server.url();
    server.kill();
    let host = RedisHost::connect(hasty(url)).unwrap();
    assert!(host.ready().await.is_err());
    assert_eq!(host.eviction(), Eviction::Unknown);
    server.restart();
    assert_eq!(seen(&host).await, Eviction::May { policy: "allkeys-lfu".into(), evicted: 0 });
}

#[tokio::test]
async fn behind_sentinels_it_is_seen_whether_a_master_goes_on_alone() {
    let sentinel = RedisSentinel::start();
    for demanded in ["0", "1"] {
        sentinel.master().command(&["CONFIG", "SET", "min-replicas-to-write", demanded]);
        let host = connect(sentinel.url());
        let mut fenced = host.watch_fenced();
        assert_eq!(*fenced.wait_for(Option::is_some).await.unwrap(), Some(demanded == "1"));
    }
}
