//! The answers of a replica are lost after its commits ran, and then the replica as well: whoever waits for one asks another
//! replica under the same request id, and is told of the permit that is theirs already.

use std::time::Duration;

use bursar_ledger::testing::RedisServer;
use bursar_tests::{Cut, Setup, World};
use tokio::time::{sleep, timeout};

use crate::{Bound, OTHERS_GO_ON, PATIENCE, go_on, judged, thrice};

/// Waits until the first replica has granted what nobody was told of, and grants nothing more: all who ask it wait for answers.
async fn unheard(world: &World, alone: bool) {
    let count = async || {
        let granted = world.replicas[0].metric("bursar_permits_granted_total").await;
        (granted, world.book.granted_after(Duration::ZERO) as u64)
    };
    let at_rest = async {
        let mut before = count().await;
        loop {
            sleep(Duration::from_millis(100)).await;
            let now = count().await;
            // Who is alone asks the first replica alone. Of many some wait for others' slots, and the others go on.
            let enough = if alone { now.0 == now.1 + 1 } else { now.0 > 0 };
            if now.0 == before.0 && enough {
                return;
            }
            before = now;
        }
    };
    timeout(PATIENCE, at_rest).await.expect("it grants something that nobody is told of");
}

/// Swallows what the first replica says, waits until all who ask it wait for answers, and kills it. It comes back when the
/// fleet has gone on without it.
async fn lost(setup: Setup, fault: &str, bound: Bound) {
    let redis = RedisServer::start();
    let alone = setup.workers == 1;
    let mut world = World::start(&thrice(&redis.url()), Setup { proxied: true, ..setup }).await;
    go_on(&world, 300).await;
    let began = world.now();
    world.ways[0].cut(Cut::FromServer);
    unheard(&world, alone).await;
    world.replicas[0].crash();
    world.ways[0].refuse();
    let healed = world.now();
    go_on(&world, 100).await;
    world.replicas[0].revive();
    world.ways[0].heal();
    // Of a permit that was granted in vain, beside the one that its caller got, nobody could tell what became of it: it would
    // be left to its deadline. `judged` demands that none is, and that the upstream saw no more than was granted.
    let report = judged(world, fault, (began, healed), bound).await;
    assert_eq!((report.failed, report.refused, report.unsettled), (0, 0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_call_on_its_own() {
    // The first of the workers asks the first replica. It is alone, so that its acquire is the one whose answer is lost.
    let setup = Setup { workers: 1, unary: 5, ..Setup::default() };
    lost(setup, "an answer lost, its replica killed; a call", OTHERS_GO_ON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_call_over_a_session() {
    let setup = Setup { workers: 1, unary: 0, ..Setup::default() };
    lost(setup, "an answer lost, its replica killed; a session", OTHERS_GO_ON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_that_a_busy_replica_serves() {
    // All slots may be held by permits that nobody was told of, whose holders turn to a replica where others wait for slots.
    lost(Setup::default(), "answers lost, their replica killed", OTHERS_GO_ON).await;
}
