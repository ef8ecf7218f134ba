//! Sentinels and clusters.

use bursar_ledger::{
    RedisHost, Reply, ScriptHost as _,
    testing::{RedisCluster, RedisSentinel},
};
use futures_util::future::join_all;

use super::{connect, count, eventually, hasty, unavailable};

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
