//! A cluster of six: a master is killed, and a slot moves.

use std::time::Duration;

use bursar_ledger::testing::RedisCluster;
use bursar_tests::{Setup, World};
use tokio::time::{sleep, timeout};

use crate::{GOES_ON, PATIENCE, go_on, judged, thrice};

/// Where the budget of a [`World`] lives.
const KEY: &str = "{faults}";

#[tokio::test(flavor = "multi_thread")]
async fn the_master_of_the_budget_is_killed() {
    let mut cluster = RedisCluster::start_replicated(1500);
    let world = World::start(&thrice(&cluster.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let of = cluster.first_master_of(cluster.slot(KEY));
    let began = world.now();
    cluster.nodes_mut()[of].kill();
    let elected = async {
        while !cluster.nodes()[of + 3].is_master() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, elected).await.expect("the cluster agrees on another master");
    let healed = world.now();
    let report = judged(world, "master killed, Cluster", (began, healed), true).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slot_of_the_budget_moves() {
    let cluster = RedisCluster::start_replicated(1500);
    let world = World::start(&thrice(&cluster.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let slot = cluster.slot(KEY);
    let from = cluster.first_master_of(slot);
    let began = world.now();
    cluster.move_slot(slot, from, (from + 1) % 3);
    let healed = world.now();
    world.granted_after(healed, 1, GOES_ON).await;
    cluster.move_slot(slot, (from + 1) % 3, from);
    let report = judged(world, "slot moved and moved back", (began, healed), false).await;
    assert_eq!(report.failed, 0, "{report}");
}
