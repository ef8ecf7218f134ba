//! Whatever happens in whatever order: every caller gets one answer, nothing is granted beyond the limits, and nothing
//! is held for nobody.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bursar_coordinator::{Acquire, Coordinator, Outcome};
use bursar_quota::{Tier, UnitName};
use proptest::prelude::*;
use tokio::{task::JoinHandle, time::sleep};

use crate::{fake::Fault, world::*};

#[derive(Debug, Clone)]
enum Step {
    Ask {
        replica: usize,
        tenant: u8,
        tier: usize,
        auth: bool,
        cost: u64,
        wait_ms: u64,
        id: Option<u8>,
        hold_ms: u64,
    },
    Cancel(usize),
    Pass(u64),
    Break(Fault),
    Slow(u64),
    Respec(u64),
    Pause(Option<u64>),
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    let ask = (
        0..2_usize,
        0..4_u8,
        0..3_usize,
        proptest::bool::weighted(0.2),
        1..4_u64,
        prop_oneof![Just(0_u64), 0..5000_u64],
        proptest::option::weighted(0.2, 0..6_u8),
        0..3000_u64,
    )
        .prop_map(|(replica, tenant, tier, auth, cost, wait_ms, id, hold_ms)| Step::Ask {
            replica,
            tenant,
            tier,
            auth,
            cost,
            wait_ms,
            id,
            hold_ms,
        });
    let fault = prop_oneof![
        (0..800_u64).prop_map(|after| Fault::Before(ms(after))),
        (0..800_u64).prop_map(|after| Fault::After(ms(after))),
        Just(Fault::Corrupt),
    ];
    prop_oneof![
        12 => ask,
        2 => (0..40_usize).prop_map(Step::Cancel),
        4 => (0..700_u64).prop_map(Step::Pass),
        1 => fault.prop_map(Step::Break),
        1 => prop_oneof![Just(0_u64), 1..60_u64, 300..600_u64].prop_map(Step::Slow),
        1 => (4..12_u64).prop_map(Step::Respec),
        1 => proptest::option::of(0..900_u64).prop_map(Step::Pause),
        2 => Just(Step::Resume),
    ]
}

fn spec(capacity: u64) -> bursar_quota::BudgetSpec {
    let auth = of_class(limit("auth", window(2, secs(2))), "auth");
    let mut spec = budget(vec![limit("w", window(capacity, secs(1))), limit("c", at_once(6)), auth]);
    spec.max_waiting = 20;
    // Nothing expires before the end, so that what is held for nobody shows.
    spec.permit_ttl = secs(600);
    spec
}

async fn play(steps: Vec<Step>, in_flight: usize, ids: bool) {
    let world = World::new(&[spec(8)]);
    let replicas: Vec<Coordinator> = ["r1", "r2"]
        .map(|replica| {
            let mut config = World::config(replica);
            config.max_in_flight = in_flight;
            config.lane_idle = secs(2);
            world.with(config)
        })
        .into();
    let mut asked: Vec<JoinHandle<()>> = Vec::new();
    let (mut request_ids, held) = (false, Arc::new(AtomicUsize::new(0)));
    for step in steps {
        match step {
            Step::Ask { replica, tenant: who, tier, auth, cost, wait_ms, id, hold_ms } => {
                let acquire = Acquire {
                    class: auth.then(|| class("auth")),
                    tenant: tenant(&format!("t{who}")),
                    tier: Tier::ALL[tier],
                    costs: vec![(UnitName::requests(), cost)],
                    request_id: id.filter(|_| ids).map(|id| format!("{who}{id}")),
                    ..patient(ms(wait_ms))
                };
                let (coordinator, other) = (replicas[replica].clone(), replicas[1 - replica].clone());
                request_ids |= acquire.request_id.is_some();
                let held = Arc::clone(&held);
                asked.push(tokio::spawn(async move {
                    // A refusal and an error are answers too.
                    let Ok(granted) = coordinator.acquire(acquire).await else { return };
                    held.fetch_add(1, Ordering::Relaxed);
                    if hold_ms > 0 {
                        // The permit is settled wherever, until it is: what the ledger did not answer is repeated.
                        sleep(ms(hold_ms / 10)).await;
                        while other.settle(settle(&granted, Outcome::NotSent)).await.is_err() {
                            sleep(ms(50)).await;
                        }
                        held.fetch_sub(1, Ordering::Relaxed);
                    }
                }));
            }
            Step::Cancel(at) => {
                if let Some(asked) = asked.get(at) {
                    asked.abort();
                }
            }
            Step::Pass(span) => sleep(ms(span)).await,
            Step::Break(fault) => world.ledger.fault(fault),
            Step::Slow(span) => world.ledger.latency(ms(span)),
            Step::Respec(capacity) => {
                world.ledger.put_silently(&spec(capacity));
            }
            Step::Pause(span) => replicas[0].pause_budget(&name(), span.map(ms)).await.unwrap(),
            Step::Resume => replicas[1].resume_budget(&name()).await.unwrap(),
        }
        settle_down().await;
    }
    // Heal, then everything must end: within the longest patience, slow replies and outages included.
    world.ledger.heal();
    for asked in asked {
        let ended = tokio::time::timeout(secs(30), asked).await;
        let ended = ended.expect("a caller got no answer");
        assert!(ended.is_ok() || ended.unwrap_err().is_cancelled(), "a task panicked");
    }
    replicas[0].resume_budget(&name()).await.unwrap();
    sleep(secs(60)).await;
    let out = world.ledger.counts().2;
    let held = held.load(Ordering::Relaxed);
    assert!(request_ids || out <= held, "{out} permits are out, {held} are held");
    // All permits expire, so that lanes have nothing left but what they owe.
    sleep(secs(700)).await;
    assert_eq!(world.ledger.counts().2, 0);
    for coordinator in &replicas {
        assert!(coordinator.acquire(ask()).await.is_ok(), "a lane is stuck");
    }
}

proptest! {
    #[test]
    fn every_acquire_gets_exactly_one_answer(
        steps in proptest::collection::vec(step(), 1..80),
        in_flight in 1..4_usize,
        ids: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(steps, in_flight, ids));
    }
}
