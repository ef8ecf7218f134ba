//! What happens to replicas: they stop, and they are restarted one after the other.

use bursar_ledger::testing::RedisServer;
use bursar_tests::{Setup, World};

use crate::{LONGER_THAN_THE_DEADLINES, go_on, judged, lasts, thrice};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_stopped_for_longer_than_the_deadlines() {
    let redis = RedisServer::start();
    let world = World::start(&thrice(&redis.url()), Setup::default()).await;
    go_on(&world, 300).await;
    world.replicas[0].freeze();
    let fault = lasts(&world, LONGER_THAN_THE_DEADLINES).await;
    world.replicas[0].thaw();
    let report = judged(world, "a replica stopped for 6.5 s", fault, false).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_replicas_are_restarted_one_after_the_other() {
    let redis = RedisServer::start();
    let mut world = World::start(&thrice(&redis.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let began = world.now();
    for number in 0..world.replicas.len() {
        world.replicas[number].restart().await;
        go_on(&world, 50).await;
    }
    let healed = world.now();
    let report = judged(world, "three replicas restarted in turn", (began, healed), false).await;
    assert_eq!((report.failed, report.unsettled), (0, 0), "{report}");
}
