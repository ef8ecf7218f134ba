//! Whatever replicas lose the store when and for how long, or take it for lost: what they ration together stays within the fraction in every
//! window that the upstream could count; and all that is granted stays within the capacity and the fraction of it, per
//! window and at once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar_coordinator::{Coordinator, Outcome};
use bursar_quota::{Clock, UnitName};
use proptest::prelude::*;
use tokio::{task::JoinHandle, time::sleep};

use crate::{fake::FakeLedger, ration::rationed, world::*};

#[derive(Debug, Clone)]
enum Step {
    Ask {
        replica: usize,
        cost: u64,
        wait_ms: u64,
        hold_ms: u64,
    },
    Cut(usize, bool),
    /// A replica takes its store for lost, or not, be that so or not.
    Doubt(usize, bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let ask = (0..3_usize, 1..4_u64, prop_oneof![Just(0_u64), 0..4000_u64], 0..9000_u64);
    prop_oneof![
        10 => ask.prop_map(|(replica, cost, wait_ms, hold_ms)| Step::Ask { replica, cost, wait_ms, hold_ms }),
        3 => (0..3_usize, any::<bool>()).prop_map(|(replica, cut)| Step::Cut(replica, cut)),
        2 => (0..3_usize, any::<bool>()).prop_map(|(replica, doubt)| Step::Doubt(replica, doubt)),
        4 => (0..4000_u64).prop_map(Step::Pass),
    ]
}

const WINDOW: Duration = Duration::from_secs(10);
const SEND_WITHIN: Duration = Duration::from_secs(2);
const CAPACITY: u64 = 40;
const AT_ONCE: usize = 12;
const FRACTION: f64 = 0.5;

/// A permit as its holder saw it.
#[derive(Debug, Clone)]
struct Seen {
    from: Duration,
    /// When it was about to be settled.
    to: Duration,
    cost: u64,
    rationed: bool,
}

async fn play(steps: Vec<Step>) -> Vec<Seen> {
    let mut spec =
        rationed(vec![limit("w", window(CAPACITY, WINDOW)), limit("c", at_once(AT_ONCE as u64))], FRACTION);
    (spec.send_within, spec.permit_ttl) = (SEND_WITHIN, secs(600));
    let world = World::new(&[spec]);
    let replicas: Vec<(FakeLedger, Coordinator)> = ["r1", "r2", "r3"]
        .map(|replica| {
            let ledger = world.ledger.handle();
            let mut config = World::config(replica);
            config.lane_idle = secs(1);
            let coordinator = world.over(&ledger, config);
            (ledger, coordinator)
        })
        .into();
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let mut asked: Vec<JoinHandle<()>> = Vec::new();
    for step in steps {
        match step {
            Step::Ask { replica, cost, wait_ms, hold_ms } => {
                let coordinator = replicas[replica].1.clone();
                let (seen, clock) = (Arc::clone(&seen), Arc::clone(&world.clock));
                asked.push(tokio::spawn(async move {
                    let mut acquire = patient(ms(wait_ms));
                    acquire.costs = vec![(UnitName::requests(), cost)];
                    let Ok(granted) = coordinator.acquire(acquire).await else { return };
                    let at = clock.monotonic();
                    sleep(ms(hold_ms)).await;
                    let (to, rationed) = (clock.monotonic(), granted.rationed);
                    seen.lock().unwrap().push(Seen { from: at, to, cost, rationed });
                    while coordinator.settle(settle(&granted, Outcome::Lost)).await.is_err() {
                        sleep(ms(50)).await;
                    }
                }));
            }
            Step::Cut(replica, cut) => replicas[replica].0.cut(cut),
            Step::Doubt(replica, doubt) => replicas[replica].0.trouble(doubt),
            Step::Pass(span) => sleep(ms(span)).await,
        }
        settle_down().await;
    }
    for (ledger, _) in &replicas {
        ledger.cut(false);
        ledger.trouble(false);
    }
    for asked in asked {
        asked.await.unwrap();
    }
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

proptest! {
    #[test]
    fn all_that_is_rationed_stays_within_the_fraction(steps in proptest::collection::vec(step(), 20..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let seen = runtime.block_on(play(steps));
        let sum = |from: Duration, span: Duration, which: &dyn Fn(&Seen) -> bool| -> u64 {
            let within = seen.iter().filter(|one| one.from >= from && one.from < from + span && which(one));
            within.map(|one| one.cost).sum()
        };
        for one in &seen {
            // The upstream could count in one window all that was granted within a window and the time to send.
            let rationed = sum(one.from, WINDOW + SEND_WITHIN, &|one| one.rationed);
            prop_assert!(rationed * 2 <= CAPACITY, "{rationed} of {CAPACITY} from {one:?}: {seen:?}");
            let all = sum(one.from, WINDOW, &|_| true);
            prop_assert!(all * 2 <= CAPACITY * 3, "{all} of {CAPACITY} from {one:?}: {seen:?}");
            let at_once = seen.iter().filter(|other| other.from <= one.from && other.to > one.from).count();
            prop_assert!(at_once * 2 <= AT_ONCE * 3, "{at_once} of {AT_ONCE} at {one:?}: {seen:?}");
        }
    }
}
