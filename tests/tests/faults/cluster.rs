//! A cluster of six: a master is killed, and a slot moves.

use std::time::Duration;

use bursar_ledger::testing::RedisCluster;
use bursar_tests::{Setup, World};
use tokio::time::{sleep, timeout};

use crate::{Bound, ELECTED, FORGOT, Killed, OTHERS_GO_ON, PATIENCE, go_on, judged, thrice};

/// Where the budget of a [`World`] lives.
const KEY: &str = "{faults}";

/// Ends the master of the budget, and waits until its replica is one: when that began and ended.
pub(crate) async fn killed(world: &World, cluster: &mut RedisCluster, how: Killed) -> (Duration, Duration) {
    let of = cluster.first_master_of(cluster.slot(KEY));
    let began = world.now();
    let (masters, replicas) = cluster.nodes_mut().split_at_mut(3);
    how.kill(&mut masters[of], || replicas[of].replication_offset());
    let elected = async {
        while !cluster.nodes()[of + 3].is_master() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, elected).await.expect("the cluster agrees on another master");
    (began, world.now())
}

async fn fails_over(how: Killed, fault: &str, bound: Bound) {
    let mut cluster = RedisCluster::start_replicated(1500);
    let world = World::start(&thrice(&cluster.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let span = killed(&world, &mut cluster, how).await;
    let report = judged(world, fault, span, bound).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_of_the_budget_is_killed_and_its_replica_has_all() {
    fails_over(Killed::Whole, "master killed, Cluster", ELECTED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_of_the_budget_is_killed_while_it_is_written_to() {
    fails_over(Killed::Writing, "master killed in the midst of writes, Cluster", FORGOT).await;
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
    world.granted_after(healed, 1, OTHERS_GO_ON.within).await;
    cluster.move_slot(slot, (from + 1) % 3, from);
    let report = judged(world, "slot moved and moved back", (began, healed), OTHERS_GO_ON).await;
    assert_eq!(report.failed, 0, "{report}");
}
