//! Sentinels and clusters.

use std::time::Duration;

use bursar_ledger::{
    RedisConfig, RedisHost, Reply, ScriptHost as _,
    testing::{RedisCluster, RedisSentinel, RedisServer},
};
use futures_util::future::join_all;

use super::{connect, count, eventually, hasty, stub::Stub, timed, unavailable};

#[tokio::test]
async fn sentinels_lead_to_the_master_and_to_the_next_one() {
    let sentinel = RedisSentinel::start();
    let host = connect(sentinel.url());
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    assert_eq!(host.ready().await, Ok(()));
    let before = sentinel.master().port();
    sentinel.fail_over();
    assert_ne!(sentinel.master().port(), before);
    eventually("the new master to be used", || async { count(&host, "k").await.is_ok() }).await;
    assert_eq!(host.ready().await, Ok(()));
    let mut listening = host.listening();
    listening.wait_for(|heard| *heard).await.unwrap();
}

#[tokio::test]
async fn a_dead_sentinel_in_front_does_not_matter_and_an_unknown_service_is_named() {
    let sentinel = RedisSentinel::start();
    let with_a_dead_one = sentinel.url().replace("//", "//127.0.0.1:1,");
    assert_eq!(count(&connect(with_a_dead_one), "k").await, Ok(Reply::Int(1)));
    let host = RedisHost::connect(hasty(sentinel.url().replace("/main", "/other"))).unwrap();
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.contains("sentinel"), "{cause}");
}

/// How often something has connected to it, the question itself included.
fn connections(server: &RedisServer) -> u64 {
    let redis::Value::BulkString(stats) = server.command(&["INFO", "stats"]) else { panic!("no stats") };
    let stats = String::from_utf8(stats).unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.unwrap().parse().unwrap()
}

/// Waits until the server that was started second is a master.
async fn promoted(sentinel: &RedisSentinel) {
    eventually("another master", || async { sentinel.servers()[1].is_master() }).await;
}

/// The longest until all have moved to a master: two looks, and what a busy machine adds.
const MOVED: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_master_that_is_deposed_and_was_not_told_is_left_and_so_are_its_announcements() {
    let sentinel = RedisSentinel::start_as(&RedisServer::setup().user("bursar", "hunter2"), 3);
    // One connection, made before.
    let host = RedisHost::connect(RedisConfig { drivers: 1, ..RedisConfig::at(sentinel.url()) }).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    let mut listening = host.listening();
    listening.wait_for(|heard| *heard).await.unwrap();
    sentinel.split();
    promoted(&sentinel).await;
    let [old, new] = sentinel.servers();
    assert!(old.is_master() && count(&host, "k").await.is_ok());
    let counts_there = || async {
        let _ = count(&host, "moved").await;
        new.command(&["EXISTS", "moved"]) == redis::Value::Int(1)
    };
    let (took, ()) = timed(eventually("the new master to be used", counts_there)).await;
    assert!(took < MOVED, "{took:?}");
    eventually("announcements to be heard there", || async {
        new.command(&["PUBLISH", "bursar:announce", "x"]) == redis::Value::Int(1)
    })
    .await;
    assert!(old.is_master(), "it was told, and this shows nothing");
    assert_eq!(host.ready().await, Ok(()));
}

#[tokio::test]
async fn a_master_that_refuses_for_want_of_replicas_is_left_when_another_is_promoted() {
    let sentinel = RedisSentinel::start_as(&RedisServer::setup().user("bursar", "hunter2"), 3);
    let [old, new] = sentinel.servers();
    old.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let host = RedisHost::connect(hasty(sentinel.url())).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    sentinel.split();
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.contains("NOREPLICAS"), "{cause}");
    promoted(&sentinel).await;
    let counts = || async { count(&host, "k").await.is_ok() };
    let (took, ()) = timed(eventually("the new master to be used", counts)).await;
    assert!(took < MOVED, "{took:?}");
    assert_eq!(new.command(&["EXISTS", "k"]), redis::Value::Int(1));
    // Another driver may still be on its way.
    eventually("it to be ready", || async { host.ready().await.is_ok() }).await;
    assert!(old.is_master() && old.try_command(&["SET", "k", "v"]).is_err());
}

#[tokio::test]
async fn a_master_that_refuses_for_want_of_replicas_and_is_the_only_one_is_kept() {
    let sentinel = RedisSentinel::start();
    let host = RedisHost::connect(hasty(sentinel.url())).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    let master = sentinel.master();
    master.command(&["CONFIG", "SET", "min-replicas-to-write", "2"]);
    let before = connections(master);
    for _ in 0..30 {
        let cause = unavailable(count(&host, "k").await);
        assert!(cause.contains("NOREPLICAS"), "{cause}");
    }
    // The first look and this question connect; the calls, each tried thrice, do not.
    assert!(connections(master) - before < 10, "{}", connections(master) - before);
    master.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(2)));
}

#[tokio::test]
async fn a_cluster_is_looked_at_anew_when_a_master_may_be_deposed() {
    for refusal in ["NOREPLICAS Not enough good replicas to write.", "CLUSTERDOWN The cluster is down"] {
        let cluster = Stub::start(refusal).await;
        let host = RedisHost::connect(hasty(cluster.url())).unwrap();
        assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)), "{refusal}");
        cluster.depose();
        let cause = unavailable(count(&host, "k").await);
        assert!(cause.contains(refusal.split_once(' ').unwrap().0), "{cause}");
        eventually("the new master to be used", || async { count(&host, "k").await == Ok(Reply::Int(2)) })
            .await;
    }
}

#[tokio::test]
async fn a_cluster_serves_every_slot() {
    let cluster = RedisCluster::start();
    let host = connect(cluster.url());
    let counted = join_all((0..200).map(|n| {
        let (host, key) = (&host, format!("{{budget-{n}}}:state"));
        async move { count(host, &key).await }
    }));
    assert!(counted.await.iter().all(|reply| *reply == Ok(Reply::Int(1))));
    for node in cluster.nodes() {
        node.command(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(count(&host, "{budget-7}:state").await, Ok(Reply::Int(2)));
    assert_eq!(host.ready().await, Ok(()));
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = RedisCluster::start();
    let host = connect(cluster.url());
    assert_eq!(count(&host, "{a}").await, Ok(Reply::Int(1)));
    let redis_slot = cluster.nodes()[0].command(&["CLUSTER", "KEYSLOT", "{a}"]);
    let redis::Value::Int(slot) = redis_slot else { panic!("{redis_slot:?}") };
    let slot = slot.to_string();
    let id = |at: usize| match cluster.nodes()[at].command(&["CLUSTER", "MYID"]) {
        redis::Value::BulkString(id) => String::from_utf8(id).unwrap(),
        other => panic!("{other:?}"),
    };
    let owns = |at: usize| cluster.nodes()[at].try_command(&["EXISTS", "{a}"]).is_ok();
    let from = (0..3).find(|at| owns(*at)).unwrap();
    let to = (from + 1) % 3;
    let port = cluster.nodes()[to].port().to_string();
    cluster.nodes()[to].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    cluster.nodes()[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    cluster.nodes()[from].command(&["MIGRATE", "127.0.0.1", &port, "{a}", "0", "5000"]);
    // The key is there already, the slot is not yet: the server answers ASK.
    assert_eq!(count(&host, "{a}").await, Ok(Reply::Int(2)));
    for at in [to, from, (from + 2) % 3] {
        cluster.nodes()[at].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    assert_eq!(count(&host, "{a}").await, Ok(Reply::Int(3)));
}

#[tokio::test]
async fn a_cluster_node_that_dies_takes_only_its_slots_and_comes_back() {
    let mut cluster = RedisCluster::start();
    let host = RedisHost::connect(hasty(cluster.url())).unwrap();
    let keys: Vec<_> = (0..50).map(|n| format!("{{{n}}}")).collect();
    for key in &keys {
        assert_eq!(count(&host, key).await, Ok(Reply::Int(1)));
    }
    cluster.nodes_mut()[0].kill();
    let replies = join_all(keys.iter().map(|key| count(&host, key))).await;
    let lost = replies.iter().filter(|reply| reply.is_err()).count();
    assert!(lost > 0 && lost < keys.len(), "{lost} of {}", keys.len());
    cluster.nodes_mut()[0].restart();
    eventually("all slots to be served again", || async {
        join_all(keys.iter().map(|key| count(&host, key))).await.iter().all(Result::is_ok)
    })
    .await;
}
