//! What a single Redis does: it stops, restarts, forgets, refuses.

use std::time::Duration;

use bursar_ledger::testing::RedisServer;
use bursar_tests::{Replica, Setup, World};
use tokio::time::{sleep, timeout};

use crate::{
    FORGOT, LONGER_THAN_THE_DEADLINES, OTHERS_GO_ON, PATIENCE, STORE_IS_ALL_THERE, STORE_IS_BACK, go_on,
    judged, lasts, thrice,
};

async fn world(redis: &RedisServer) -> World {
    let world = World::start(&thrice(&redis.url()), Setup::default()).await;
    go_on(&world, 300).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_stopped_for_longer_than_the_deadlines() {
    let redis = RedisServer::start();
    let world = world(&redis).await;
    redis.freeze();
    let fault = lasts(&world, LONGER_THAN_THE_DEADLINES).await;
    redis.thaw();
    let report = judged(world, "Redis stopped for 6.5 s", fault, STORE_IS_BACK).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_restarts_empty() {
    let mut redis = RedisServer::start();
    let world = world(&redis).await;
    let began = world.now();
    redis.restart();
    let report = judged(world, "Redis restarted empty", (began, began), FORGOT).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_restarts_from_an_old_dump() {
    let mut redis = RedisServer::start();
    let world = world(&redis).await;
    redis.save();
    // So much of what is known now is not in the dump.
    go_on(&world, 100).await;
    let began = world.now();
    redis.restart();
    let report = judged(world, "Redis restarted from an old dump", (began, began), FORGOT).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_out_of_memory() {
    let redis = RedisServer::setup().args("--maxmemory-policy noeviction").start();
    let world = world(&redis).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let fault = lasts(&world, Duration::from_secs(3)).await;
    // A script may go on whose first write takes no memory, so that some commits pass.
    let errors = format!("{:?}", redis.command(&["INFO", "errorstats"]));
    assert!(errors.contains("errorstat_OOM"), "nothing was refused for want of memory: {errors}");
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let report = judged(world, "Redis out of memory for 3 s", fault, STORE_IS_ALL_THERE).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_evict() {
    let redis = RedisServer::setup().args("--maxmemory-policy allkeys-lru").start();
    let replica = Replica::start(&redis.url());
    let told = async {
        while !replica.page("/metrics").await.contains("\nbursar_store_may_evict 1\n") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("the metric says so");
    let ready = replica.page("/readyz").await;
    assert!(ready.contains("200 OK") && ready.contains("maxmemory-policy is allkeys-lru"), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_read_only() {
    let redis = RedisServer::start();
    let world = world(&redis).await;
    // Nobody listens there: it keeps what it has.
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let fault = lasts(&world, Duration::from_secs(3)).await;
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    let report = judged(world, "Redis read-only for 3 s", fault, STORE_IS_BACK).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_loading() {
    let mut redis = RedisServer::setup().args("--loading-process-events-interval-bytes 1024").start();
    let world = world(&redis).await;
    let keys: Vec<_> =
        (0..4000).map(|n| format!("other:{n}")).flat_map(|key| [key, "x".repeat(64)]).collect();
    let words: Vec<_> = ["MSET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    redis.command(&words);
    redis.save();
    let began = world.now();
    redis.restart_slowly();
    let loading =
        || redis.try_command(&["GET", "other:0"]).is_err_and(|error| error.code() == Some("LOADING"));
    assert!(loading(), "it has loaded already");
    while loading() {
        sleep(Duration::from_millis(5)).await;
    }
    let healed = world.now();
    let report = judged(world, "Redis loading an old dump", (began, healed), FORGOT).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_forgets_its_scripts_again_and_again() {
    let redis = RedisServer::start();
    let world = world(&redis).await;
    let began = world.now();
    for _ in 0..40 {
        redis.command(&["SCRIPT", "FLUSH"]);
        world.granted_after(world.now(), 5, PATIENCE).await;
    }
    let healed = world.now();
    let report = judged(world, "scripts flushed 40 times", (began, healed), OTHERS_GO_ON).await;
    assert_eq!(report.failed, 0, "{report}");
}
