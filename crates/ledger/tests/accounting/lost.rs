//! A store that comes back empty or older: who remembers more says so, and nothing is granted on what was forgotten.

use std::time::Duration;

use bursar_quota::{LimitKind, LimitName, LimitReading, LimitSpec, Reason, SettleKind};

use crate::bench::{Bench, budget, minute, settle};

fn reads(capacity: u64) -> LimitSpec {
    LimitSpec { readings: true, ..minute(capacity) }
}

fn remembering(limits: Vec<LimitSpec>) -> (Bench, bursar_quota::BudgetSpec) {
    let spec = budget(limits);
    let mut bench = Bench::new(&spec);
    bench.remembers = true;
    bench.come_back(None, &spec);
    (bench, spec)
}

fn reading(remaining: u64) -> LimitReading {
    LimitReading {
        limit: 0,
        remaining_least: Some(remaining),
        remaining_last: None,
        capacity: None,
        reset: None,
    }
}

#[test]
fn a_probe_says_what_an_empty_store_has_forgotten() {
    let (mut bench, spec) = remembering(vec![reads(10)]);
    let (first, decision) = bench.ask();
    assert_eq!(decision.granted, 1);
    let answered = |lease, left| {
        let mut group = settle(lease, SettleKind::Accepted);
        group.readings = vec![reading(left)];
        group
    };
    bench.commit(vec![answered(first, 9)], Vec::new());
    bench.now += 1000;
    bench.come_back(None, &spec);
    // Nothing before all that may be out has been sent: five seconds and the slot's rounding.
    let (_, decision) = bench.ask();
    let refusal = decision.refusal.unwrap();
    assert_eq!((decision.granted, refusal.reason), (0, Reason::Probing));
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(5001)));
    assert!(bench.announced.iter().any(|event| event.kind == bursar_quota::EventKind::StateLost));
    assert_eq!(bench.stored().snapshot.limits[0].recovering_ms, Some(65_001));
    bench.now += 5000;
    assert_eq!(bench.ask().1.granted, 0);
    bench.now += 1;
    let (probe, decision) = bench.ask();
    assert_eq!(decision.granted, 1);
    assert_eq!(bench.ask().1.granted, 0, "one probe");
    bench.now += 200;
    let group = bench.acquire(10, 1, 60_000);
    let decisions = bench.commit(vec![answered(probe, 4)], vec![group]).decisions;
    assert_eq!(decisions[0].granted, 4, "as much as the upstream says");
}

#[test]
fn without_readings_a_whole_window_passes() {
    let (mut bench, spec) = remembering(vec![minute(10)]);
    assert_eq!(bench.ask().1.granted, 1);
    bench.come_back(None, &spec);
    let refusal = bench.ask().1.refusal.unwrap();
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(65_001)));
    bench.now += 65_000;
    assert_eq!(bench.ask().1.granted, 0);
    bench.now += 1;
    let group = bench.acquire(11, 1, 60_000);
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 10);
}

#[test]
fn slots_wait_for_the_longest_deadline_that_was_told() {
    let kind = LimitKind::Concurrency { capacity: 2, linger: Duration::ZERO };
    let (mut bench, spec) = remembering(vec![LimitSpec::new(LimitName::new("at_once").unwrap(), kind)]);
    let group = bench.acquire(2, 1, 300_000);
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 2);
    bench.now += 1000;
    bench.come_back(None, &spec);
    let refusal = bench.ask().1.refusal.unwrap();
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(299_001)));
    bench.now += 299_001;
    assert_eq!(bench.ask().1.granted, 1);
}

#[test]
fn an_older_store_is_found_out_and_its_permits_are_settled_without_effect() {
    let (mut bench, spec) = remembering(vec![minute(10)]);
    let (early, _) = bench.ask();
    let older = bench.copy();
    let group = bench.acquire(9, 1, 60_000);
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 9);
    bench.come_back(Some(&older), &spec);
    assert_eq!(bench.ask().1.granted, 0, "the older store has room for nine");
    bench.commit(vec![settle(early, SettleKind::NotSent)], Vec::new());
    let limit = bench.stored().snapshot.limits.remove(0);
    assert_eq!((limit.out, limit.available), (0, 0));
}

#[test]
fn a_second_replica_with_the_same_memory_does_not_begin_it_again() {
    let (mut bench, spec) = remembering(vec![reads(10)]);
    bench.ask();
    let (witness, told) = (bench.witness.clone(), bench.told.clone());
    bench.come_back(None, &spec);
    bench.ask();
    bench.now += 5001;
    let (probe, decision) = bench.ask();
    assert_eq!(decision.granted, 1);
    // The other comes with what it knew of the life before.
    (bench.witness, bench.told) = (witness, told);
    let mut answered = settle(probe, SettleKind::Accepted);
    answered.readings = vec![reading(7)];
    let group = bench.acquire(9, 1, 60_000);
    assert_eq!(bench.commit(vec![answered], vec![group]).decisions[0].granted, 7);
}

#[test]
fn a_pause_that_a_replica_remembers_goes_on() {
    let (mut bench, spec) = remembering(vec![reads(10)]);
    let (lease, _) = bench.ask();
    let mut refused = settle(lease, SettleKind::Refused { counted: false });
    refused.pause =
        Some(bursar_quota::PauseOrder { scope: bursar_quota::Scope::Budget, retry_after_ms: Some(30_000) });
    bench.commit(vec![refused], Vec::new());
    bench.now += 1000;
    bench.come_back(None, &spec);
    let refusal = bench.ask().1.refusal.unwrap();
    assert_eq!(refusal.reason, Reason::PausedByUpstream);
    bench.now += 28_999;
    assert_eq!(bench.ask().1.refusal.unwrap().reason, Reason::PausedByUpstream);
    bench.now += 1 + 1;
    assert_eq!(bench.ask().1.granted, 1, "the probe after the pause");
}

#[test]
fn an_operators_resume_ends_the_wait() {
    let (mut bench, spec) = remembering(vec![minute(10)]);
    bench.ask();
    bench.come_back(None, &spec);
    assert_eq!(bench.ask().1.granted, 0);
    bench.resume();
    assert_eq!(bench.ask().1.granted, 1);
}

#[test]
fn a_clock_of_the_store_that_jumps_ahead_is_not_believed() {
    let (mut bench, _) = remembering(vec![minute(10)]);
    let group = bench.acquire(10, 1, 60_000);
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 10);
    let began = bench.now;
    bench.now += 600_000;
    bench.witness.latest_ms = Some(began + 2000);
    assert_eq!(bench.ask().1.granted, 0);
    // From there on it passes as it does.
    bench.now += 62_999;
    bench.witness.latest_ms = Some(began + 64_999);
    assert_eq!(bench.ask().1.granted, 0);
    bench.now += 300;
    bench.witness.latest_ms = Some(began + 70_000);
    assert_eq!(bench.ask().1.granted, 1);
}
