//! Real faults: replicas of the real binary, a real store, a fleet that asks through the SDK without pause, and an upstream
//! that counts what it accepted and refused. Something breaks, it heals, and then must hold: the upstream refused nothing, no
//! permit was given twice, nothing stays out, no memory grew, and the fleet goes on within a bound.
//!
//! Each prints a row of what it cost: `cargo test -p bursar-tests --test faults -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]

mod cluster;
mod network;
mod processes;
mod sentinel;
mod store;

use std::time::Duration;

use bursar_tests::{Report, World};
use tokio::time::sleep;

/// Longer than a permit lives (5 s), than it may be sent (2 s), and than a replica tries one call of its store (5 s).
const LONGER_THAN_THE_DEADLINES: Duration = Duration::from_millis(6500);

/// The longest from a fault's end to the next grant where the store has lost nothing: a try that is under way gives up
/// (1 s), the rest between tries (0.75 s), and, where the window is used up, its end (3 s). As much again for a busy machine.
const GOES_ON: Duration = Duration::from_secs(10);

/// The longest where it has: the budget is declared again (1 s, if it is gone as well), and slots that were forgotten wait
/// until the longest deadline of a permit has passed (5 s); on top what it takes to find the store again (3 s). As much again
/// for a busy machine.
const LEARNS_AGAIN: Duration = Duration::from_secs(18);

/// The longest for what is no subject of a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets the fleet go on until it has so many permits more.
async fn go_on(world: &World, permits: usize) {
    world.granted_after(world.now(), permits, PATIENCE).await;
}

/// A fault that lasts: from when to when. Neither begins nor heals anything by itself.
async fn lasts(world: &World, span: Duration) -> (Duration, Duration) {
    let began = world.now();
    sleep(span).await;
    (began, world.now())
}

/// Waits for the first permit after the heal within its bound and for two windows' worth more, and ends it all.
async fn judged(world: World, fault: &str, (began, healed): (Duration, Duration), forgot: bool) -> Report {
    let bound = if forgot { LEARNS_AGAIN } else { GOES_ON };
    world.granted_after(healed, 1, bound).await;
    world.granted_after(healed, 700, PATIENCE).await;
    let report = world.finish(fault, began, healed, forgot).await;
    report.judge();
    report
}

/// Three replicas' addresses of one store.
fn thrice(url: &str) -> Vec<String> {
    vec![url.to_owned(); 3]
}
