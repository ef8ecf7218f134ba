//! A master behind a trio of sentinels is killed.

use std::time::Duration;

use bursar_ledger::testing::{RedisSentinel, RedisServer};
use bursar_tests::{Setup, World};
use tokio::time::{sleep, timeout};

use crate::{FORGOT, Killed, PATIENCE, PROMOTED, go_on, judged, thrice};

/// Waits until the server that was started second is a master.
async fn promoted(sentinel: &RedisSentinel) {
    let elected = async {
        while !sentinel.servers()[1].is_master() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, elected).await.expect("the sentinels agree on another master");
}

/// Ends the master, and waits until the other server is one: when that began and ended.
pub(crate) async fn killed(world: &World, sentinel: &mut RedisSentinel, how: Killed) -> (Duration, Duration) {
    let began = world.now();
    let [master, replica] = sentinel.servers_mut();
    how.kill(master, || replica.replication_offset());
    promoted(sentinel).await;
    (began, world.now())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_is_killed_and_its_replica_has_all() {
    let mut sentinel = RedisSentinel::start_with(3);
    let world = World::start(&thrice(&sentinel.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let fault = killed(&world, &mut sentinel, Killed::Whole).await;
    let report = judged(world, "master killed, Sentinel", fault, PROMOTED).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_is_killed_while_it_is_written_to() {
    let mut sentinel = RedisSentinel::start_with(3);
    let world = World::start(&thrice(&sentinel.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let fault = killed(&world, &mut sentinel, Killed::Writing).await;
    // Replication is asynchronous: its last writes may be lost.
    let report = judged(world, "master killed in the midst of writes, Sentinel", fault, FORGOT).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_missed_the_last_writes_becomes_master() {
    let mut sentinel = RedisSentinel::start_with(3);
    let world = World::start(&thrice(&sentinel.url()), Setup::default()).await;
    go_on(&world, 300).await;
    // With a password that its master does not know it cannot come back.
    sentinel.servers()[1].command(&["CONFIG", "SET", "masterauth", "wrong"]);
    sentinel.servers()[0].command(&["CLIENT", "KILL", "TYPE", "replica"]);
    go_on(&world, 100).await;
    let fault = killed(&world, &mut sentinel, Killed::Writing).await;
    let report = judged(world, "a stale replica promoted, Sentinel", fault, FORGOT).await;
    assert_eq!(report.failed, 0, "{report}");
}

/// Cuts the master off from its replica and the sentinels, and from nobody else, until the other one is master.
async fn split(fenced: &str, fault: &str) {
    let sentinel = RedisSentinel::start_as(&RedisServer::setup().user("bursar", "hunter2"), 3);
    sentinel.servers()[0].command(&["CONFIG", "SET", "min-replicas-to-write", fenced]);
    let world = World::start(&thrice(&sentinel.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let began = world.now();
    sentinel.split();
    promoted(&sentinel).await;
    let span = (began, world.now());
    // Its last writes may not have left it.
    let report = judged(world, fault, span, FORGOT).await;
    assert!(sentinel.servers()[0].is_master(), "it was told, and this shows nothing");
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_is_cut_off_from_its_replica_and_the_sentinels_but_not_from_ours() {
    split("1", "split, min-replicas-to-write, Sentinel").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_where_it_goes_on_granting_what_the_other_one_does_not_hear_of() {
    split("0", "split, Sentinel").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_change_as_planned() {
    let sentinel = RedisSentinel::start_with(3);
    let world = World::start(&thrice(&sentinel.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let began = world.now();
    for _ in 0..3 {
        sentinel.fail_over();
        go_on(&world, 200).await;
    }
    sentinel.fail_over();
    let span = (began, world.now());
    // The sentinels do not wait until the other one has all.
    let report = judged(world, "four planned failovers, Sentinel", span, FORGOT).await;
    assert_eq!(report.failed, 0, "{report}");
}
