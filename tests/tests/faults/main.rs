//! Real faults: replicas of the real binary, a real store, a fleet that asks through the SDK without pause, and an upstream
//! that counts what it accepted and refused. Something breaks, it heals, and then must hold: the upstream refused nothing, no
//! permit was given twice, nothing stays out, no memory grew, and the fleet goes on within a bound.
//!
//! Each prints a row of what it cost: `cargo test -p bursar-tests --test faults -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]

mod answers;
mod cluster;
mod network;
mod processes;
mod sentinel;
mod store;
mod tls;

use std::time::Duration;

use bursar_ledger::testing::RedisServer;
use bursar_quota::{Clock as _, SystemClock};
use bursar_tests::{Report, World};
use tokio::time::sleep;

/// Longer than a permit lives (5 s), than it may be sent (2 s), and than a replica tries one call of its store (5 s).
const LONGER_THAN_THE_DEADLINES: Duration = Duration::from_millis(6500);

/// How soon after a fault's end the next permit is granted, at most: what its steps add up to, and 1 s or more for a machine that
/// others use as well.
#[derive(Debug, Clone, Copy)]
struct Bound {
    within: Duration,
    /// Whether the store may have lost something; then its counts say nothing.
    forgot: bool,
}

impl Bound {
    const fn ms(ms: u64) -> Self {
        Self { within: Duration::from_millis(ms), forgot: false }
    }
}

/// Others go on, or what was slow is not any more: the window may be used up (3 s).
const OTHERS_GO_ON: Bound = Bound::ms(4000);

/// The store is back after longer than a window: a try that is under way gives up (1 s), then the rest between tries (0.75 s).
const STORE_IS_BACK: Bound = Bound::ms(3000);

/// The same where some commits passed meanwhile, so that the window may be used up (3 s).
const STORE_IS_ALL_THERE: Bound = Bound::ms(6000);

/// A cluster has another master for the slots, which replicas ask for all the time: tries are half a second apart at most.
const ELECTED: Bound = Bound::ms(1000);

/// The same behind sentinels, who name it only after they have told it: a try to connect that is under way (3.5 s).
const PROMOTED: Bound = Bound::ms(4500);

/// The store has forgotten what happened last, or everything: slots that were forgotten wait until the longest deadline of a
/// permit has passed (5 s), and a budget that is gone as well is declared again (1 s). Or it may have: a master that is killed
/// while it is written to takes with it what its replica does not have yet.
const FORGOT: Bound = Bound { within: Duration::from_millis(9000), forgot: true };

/// The longest for what is no subject of a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets the fleet go on until it has so many permits more.
async fn go_on(world: &World, permits: usize) {
    world.granted_after(world.now(), permits, PATIENCE).await;
}

/// How a master is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    /// While it is written to.
    Writing,
    /// Once its replica has all that it was told, and nobody was told of more.
    Whole,
}

impl Killed {
    /// Kills it so.
    fn kill(self, master: &mut RedisServer, offset: impl Fn() -> u64) {
        if self == Self::Whole {
            master.pause_writes(PATIENCE);
            let clock = SystemClock::new();
            while offset() < master.replication_offset() {
                assert!(clock.monotonic() < PATIENCE, "the replica does not follow");
            }
        }
        master.kill();
    }
}

/// A fault that lasts: from when to when. Neither begins nor heals anything by itself.
async fn lasts(world: &World, span: Duration) -> (Duration, Duration) {
    let began = world.now();
    sleep(span).await;
    (began, world.now())
}

/// Waits for the first permit after the heal within its bound and for two windows' worth more, and ends it all.
async fn judged(world: World, fault: &str, (began, healed): (Duration, Duration), bound: Bound) -> Report {
    world.granted_after(healed, 1, bound.within).await;
    world.granted_after(healed, 700, PATIENCE).await;
    let report = world.finish(fault, (began, healed), bound.within, bound.forgot).await;
    report.judge();
    report
}

/// Three replicas' addresses of one store.
fn thrice(url: &str) -> Vec<String> {
    vec![url.to_owned(); 3]
}
