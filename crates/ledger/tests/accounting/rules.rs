//! Single rules: costs known afterwards, cold starts, renewals, foreign use, changed limits and declarations, the adaptive rate.

use std::time::Duration;

use bursar_quota::{
    AcquireGroup, CountedAt, EventKind, LimitKind, LimitName, LimitReading, LimitSpec, Reason, RenewGroup,
    Renewal, RequestTag, Requests, SettleGroup, SettleKind, Settled, Span,
};

use crate::bench::{Bench, budget, minute, settle};

fn reading(remaining: u64, end_ms: i64) -> LimitReading {
    LimitReading {
        limit: 0,
        remaining_least: Some(remaining),
        remaining_last: None,
        capacity: None,
        reset: Some(Span { earliest_ms: end_ms, latest_ms: end_ms }),
    }
}

fn aligned(capacity: u64) -> LimitSpec {
    let window = Duration::from_secs(60);
    let kind = LimitKind::Window { capacity, window, aligned: true, on_clock: false };
    LimitSpec::new(LimitName::new("requests").unwrap(), kind)
}

fn available(bench: &mut Bench) -> i64 {
    bench.stored().snapshot.limits[0].available
}

#[test]
fn four_granted_together_and_settled_out_of_order() {
    // One merged floor would end at 2 here; the truth is 1.
    let mut bench = Bench::new(&budget(vec![aligned(4)]));
    let group = bench.acquire(3, 1, 60_000);
    let lease = group.lease;
    bench.commit(Vec::new(), vec![group]);
    for (index, remaining) in [(2, 1), (0, 3), (1, 2)] {
        let group = SettleGroup {
            indexes: vec![index],
            readings: vec![reading(remaining, 30_000)],
            ..settle(lease, SettleKind::Accepted)
        };
        bench.commit(vec![group], Vec::new());
    }
    assert_eq!(available(&mut bench), 1);
}

#[test]
fn a_cost_known_afterwards_replaces_the_estimate_and_may_go_below_zero() {
    let mut limit = minute(100);
    limit.counted_at = CountedAt::Completion;
    let mut bench = Bench::new(&budget(vec![limit]));
    let group = bench.acquire(1, 60, 60_000);
    let lease = group.lease;
    bench.commit(Vec::new(), vec![group]);
    assert_eq!(available(&mut bench), 40);
    let group = SettleGroup { costs: vec![130], ..settle(lease, SettleKind::Accepted) };
    bench.commit(vec![group.clone()], Vec::new());
    assert_eq!(available(&mut bench), -30);
    assert_eq!(bench.commit(vec![group], Vec::new()).settled, [[Settled::Already]]);
    assert_eq!(available(&mut bench), -30);
}

#[test]
fn knowing_nothing_one_probe_goes_first() {
    let mut limit = aligned(100);
    limit.readings = true;
    let mut bench = Bench::new(&budget(vec![limit]));
    let group = bench.acquire(5, 1, 60_000);
    let lease = group.lease;
    let decision = bench.commit(Vec::new(), vec![group]).decisions.remove(0);
    assert_eq!((decision.granted, decision.refusal.unwrap().reason), (1, Reason::Probing));
    // Somebody has used half.
    let group = SettleGroup { readings: vec![reading(49, 30_000)], ..settle(lease, SettleKind::Accepted) };
    bench.commit(vec![group], Vec::new());
    assert_eq!(available(&mut bench), 49);
    let group = bench.acquire(60, 1, 60_000);
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 49);
}

#[test]
fn after_three_probes_without_a_reading_the_declaration_is_believed() {
    let mut limit = minute(100);
    limit.readings = true;
    let mut bench = Bench::new(&budget(vec![limit]));
    for _ in 0..3 {
        let (lease, decision) = bench.ask();
        assert_eq!(decision.granted, 1);
        assert_eq!(bench.ask().1.granted, 0);
        bench.commit(vec![settle(lease, SettleKind::Accepted)], Vec::new());
    }
    let group = bench.acquire(90, 1, 60_000);
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 90);
}

#[test]
fn probes_that_are_never_answered_are_probes_without_a_reading() {
    let mut limit = minute(100);
    limit.readings = true;
    let mut bench = Bench::new(&budget(vec![limit]));
    for _ in 0..3 {
        assert_eq!(bench.ask().1.granted, 1);
        let refusal = bench.ask().1.refusal.unwrap();
        assert_eq!(refusal.reason, Reason::Probing);
        bench.now += 10_001;
    }
    // Once more, for it is the next that finds the third unanswered.
    assert_eq!(bench.ask().1.granted, 1);
    let group = bench.acquire(99, 1, 60_000);
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 96);
}

#[test]
fn in_a_sliding_window_foreign_use_is_charged_and_told() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    let (lease, _) = bench.ask();
    let group = SettleGroup { readings: vec![reading(6, 30_000)], ..settle(lease, SettleKind::Accepted) };
    bench.commit(vec![group], Vec::new());
    assert_eq!(available(&mut bench), 6);
    assert!(bench.announced.iter().any(|e| matches!(e.kind, EventKind::ForeignUse { cost: 3, .. })));
    assert_eq!(bench.stored().snapshot.limits[0].foreign, 3);
}

#[test]
fn the_capacity_that_the_upstream_names_is_taken_unless_it_refused() {
    let mut bench = Bench::new(&budget(vec![aligned(10)]));
    let mut said = reading(99, 30_000);
    // Absurd, however often; plausible, but once; and once more.
    for (capacity, expected) in [(1_795_323_400, 9), (1_795_323_400, 8), (100, 7), (100, 96)] {
        let (lease, _) = bench.ask();
        said.capacity = Some(capacity);
        said.remaining_least = Some(if capacity == 100 { 96 } else { 9 });
        let group = SettleGroup { readings: vec![said.clone()], ..settle(lease, SettleKind::Accepted) };
        bench.commit(vec![group], Vec::new());
        assert_eq!(bench.stored().snapshot.limits[0].capacity, if expected == 96 { 100 } else { 10 });
    }
    assert_eq!(available(&mut bench), 96);
    assert!(
        bench.announced.iter().any(|e| matches!(e.kind, EventKind::LimitChanged { from: 10, to: 100, .. }))
    );
    let (lease, _) = bench.ask();
    said.capacity = Some(3);
    said.remaining_least = Some(0);
    let group = SettleGroup { readings: vec![said], ..settle(lease, SettleKind::Refused { counted: false }) };
    bench.commit(vec![group], Vec::new());
    assert_eq!(
        bench.stored().snapshot.limits[0].capacity,
        100,
        "some send the concurrency limit's values then"
    );
}

#[test]
fn a_renewed_permit_keeps_its_slot_and_a_dead_one_gives_it_back() {
    let once = LimitKind::Concurrency { capacity: 2, linger: Duration::ZERO };
    let mut bench = Bench::new(&budget(vec![LimitSpec::new(LimitName::new("slots").unwrap(), once)]));
    let group = bench.acquire(2, 1, 10_000);
    let lease = group.lease;
    bench.commit(Vec::new(), vec![group]);
    bench.now += 9_000;
    let renews = vec![RenewGroup { lease, index: 1, ttl_ms: 30_000 }];
    let commit = bursar_quota::Commit { renews, ..bench.empty() };
    assert_eq!(bench.send(commit).renewed, [Renewal::Renewed { deadline_ms: 30_000 }]);
    bench.now += 1_500;
    assert_eq!(available(&mut bench), 1, "index 0 is dead, index 1 lives on");
    let renews = vec![RenewGroup { lease, index: 0, ttl_ms: 1000 }];
    let commit = bursar_quota::Commit { renews, ..bench.empty() };
    assert_eq!(bench.send(commit).renewed, [Renewal::Unknown], "its slot is given back");
    let group = SettleGroup { indexes: vec![0, 1], ..settle(lease, SettleKind::Accepted) };
    assert_eq!(bench.commit(vec![group], Vec::new()).settled, [[Settled::Applied, Settled::Applied]]);
    assert_eq!(available(&mut bench), 2);
    let renews = vec![RenewGroup { lease, index: 1, ttl_ms: 1000 }];
    let commit = bursar_quota::Commit { renews, ..bench.empty() };
    assert_eq!(bench.send(commit).renewed, [Renewal::Settled]);
}

#[test]
fn what_nobody_took_is_given_back_unless_somebody_asked_again() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    let (lease, _) = bench.ask();
    assert_eq!(
        bench.commit(vec![settle(lease, SettleKind::Unclaimed)], Vec::new()).settled,
        [[Settled::Applied]]
    );
    assert_eq!(available(&mut bench), 10);
    // Who holds it already tells of it: it is granted anew, and once it was told twice, it is somebody's.
    let requests = Requests::Held(vec![RequestTag(1)]);
    let group = AcquireGroup { lease, requests, ..bench.acquire(1, 1, 60_000) };
    for _ in 0..2 {
        assert_eq!(bench.commit(Vec::new(), vec![group.clone()]).decisions[0].granted, 1);
    }
    assert_eq!(
        bench.commit(vec![settle(lease, SettleKind::Unclaimed)], Vec::new()).settled,
        [[Settled::Already]]
    );
    assert_eq!(available(&mut bench), 9);
    assert_eq!(
        bench.commit(vec![settle(lease, SettleKind::NotSent)], Vec::new()).settled,
        [[Settled::Applied]]
    );
    assert_eq!(available(&mut bench), 10);
}

#[test]
fn a_forged_permit_or_index_changes_nothing() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    let (lease, _) = bench.ask();
    let forged = settle(bursar_quota::LeaseId(77), SettleKind::NotSent);
    let beyond = SettleGroup { indexes: vec![1, 1023], ..settle(lease, SettleKind::NotSent) };
    let reply = bench.commit(vec![forged, beyond], Vec::new());
    assert_eq!(reply.settled, [vec![Settled::Unknown], vec![Settled::Unknown, Settled::Unknown]]);
    assert_eq!(available(&mut bench), 9);
}

#[test]
fn a_new_declaration_keeps_what_weighs() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    let (lease, _) = bench.ask();
    bench.ask();
    bench.commit(vec![settle(lease, SettleKind::Accepted)], Vec::new());
    bench.put(&budget(vec![minute(20)]));
    assert_eq!(available(&mut bench), 18, "another capacity: the same account");
    let mut hour = minute(20);
    let window = Duration::from_secs(3600);
    hour.kind = LimitKind::Window { capacity: 20, window, aligned: false, on_clock: false };
    bench.put(&budget(vec![hour]));
    assert_eq!(available(&mut bench), 18, "another window: what weighed weighs for it");
    bench.now += 3_700_000;
    assert_eq!(available(&mut bench), 20);
}

#[test]
fn a_new_declaration_forgets_no_slot_no_level_and_no_reading() {
    // Another send_within: the slots stay where they are.
    let mut spec = budget(vec![minute(10)]);
    let mut bench = Bench::new(&spec);
    let group = bench.acquire(10, 1, 60_000);
    let lease = group.lease;
    bench.commit(Vec::new(), vec![group]);
    for send_within in [30, 1, 5] {
        spec.send_within = Duration::from_secs(send_within);
        bench.put(&spec);
        assert_eq!(available(&mut bench), 0);
    }
    let group = SettleGroup { indexes: (0..10).collect(), ..settle(lease, SettleKind::NotSent) };
    bench.commit(vec![group], Vec::new());
    assert_eq!(available(&mut bench), 10);

    // Another linger: calls under way stay under way, and what lingers lingers.
    let slots = |linger| {
        let kind = LimitKind::Concurrency { capacity: 2, linger: Duration::from_millis(linger) };
        budget(vec![LimitSpec::new(LimitName::new("slots").unwrap(), kind)])
    };
    let mut bench = Bench::new(&slots(1000));
    let (lease, _) = bench.ask();
    bench.ask();
    bench.commit(vec![settle(lease, SettleKind::Accepted)], Vec::new());
    bench.put(&slots(100));
    assert_eq!(available(&mut bench), 0);
    bench.now += 1100;
    assert_eq!(available(&mut bench), 1);

    // A bucket keeps its level; as a window it begins with what was taken.
    let bucket = |capacity| {
        let kind = LimitKind::Bucket { capacity, refill_per_second: 0.001 };
        budget(vec![LimitSpec::new(LimitName::new("requests").unwrap(), kind)])
    };
    let mut bench = Bench::new(&bucket(10));
    let group = bench.acquire(8, 1, 60_000);
    bench.commit(Vec::new(), vec![group]);
    bench.put(&bucket(20));
    assert_eq!(available(&mut bench), 2);
    bench.put(&budget(vec![minute(10)]));
    assert!(available(&mut bench) <= 2);

    // What an upstream said of a limit whose declaration did not change stands.
    let mut spec = budget(vec![aligned(10)]);
    let mut bench = Bench::new(&spec);
    let (lease, _) = bench.ask();
    let group = SettleGroup { readings: vec![reading(2, 30_000)], ..settle(lease, SettleKind::Accepted) };
    bench.commit(vec![group], Vec::new());
    spec.weights = [1, 1, 1];
    bench.put(&spec);
    assert_eq!(available(&mut bench), 2);
}

#[test]
fn a_response_is_not_older_than_its_grant() {
    let mut bench = Bench::new(&budget(vec![minute(5)]));
    let (lease, _) = bench.ask();
    bench.now += 50;
    let group = SettleGroup { age_ms: 600_000, ..settle(lease, SettleKind::Accepted) };
    bench.commit(vec![group], Vec::new());
    assert_eq!(available(&mut bench), 4);
}

#[test]
fn a_commit_that_is_sent_again_lets_nobody_overtake() {
    let mut bench = Bench::new(&budget(vec![minute(6)]));
    let mut groups = vec![bench.acquire(2, 4, 60_000), bench.acquire(1, 1, 60_000)];
    groups[0].costs = vec![4];
    let first = bench.commit(Vec::new(), groups.clone()).decisions;
    let again = bench.commit(Vec::new(), groups).decisions;
    let short = |all: &[bursar_quota::Decision]| -> Vec<_> {
        all.iter().map(|d| (d.granted, d.refusal.as_ref().map(|r| (r.reason, r.retry_after)))).collect()
    };
    assert_eq!(short(&first).iter().map(|d| d.0).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(short(&first), short(&again));
}

#[test]
fn a_bucket_names_the_time_of_those_far_behind_as_well() {
    let kind = LimitKind::Bucket { capacity: 5, refill_per_second: 1.0 };
    let mut bench = Bench::new(&budget(vec![LimitSpec::new(LimitName::new("b").unwrap(), kind)]));
    let group = bench.acquire(5, 1, 60_000);
    let lease = group.lease;
    bench.commit(Vec::new(), vec![group]);
    let group = SettleGroup { indexes: (0..5).collect(), ..settle(lease, SettleKind::Accepted) };
    bench.commit(vec![group], Vec::new());
    let groups: Vec<_> = (0..8).map(|_| bench.acquire(1, 1, 60_000)).collect();
    let decisions = bench.commit(Vec::new(), groups).decisions;
    let seconds: Vec<_> =
        decisions.iter().map(|d| d.refusal.as_ref().unwrap().retry_after.unwrap().as_secs()).collect();
    assert_eq!(seconds, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn an_adaptive_rate_is_cut_once_an_epoch_and_grows_back_while_callers_wait() {
    let kind = LimitKind::Adaptive { start_per_second: 100.0, min_per_second: 1.0, max_per_second: 1000.0 };
    let mut bench = Bench::new(&budget(vec![LimitSpec::new(LimitName::new("rate").unwrap(), kind)]));
    let rate = |bench: &mut Bench| bench.stored().snapshot.limits[0].capacity;
    assert_eq!(rate(&mut bench), 100);
    // Nobody waits: it stays.
    bench.now += 100_000;
    assert_eq!(bench.ask().1.granted, 1);
    bench.now += 10_000;
    assert_eq!(rate(&mut bench), 100);
    let leases: Vec<_> = (0..5).map(|_| bench.ask().0).collect();
    bench.now += 5;
    let groups = leases.iter().map(|lease| settle(*lease, SettleKind::Refused { counted: false })).collect();
    bench.commit(groups, Vec::new());
    assert_eq!(rate(&mut bench), 70, "five refusals of one epoch are one cut");
    let mut last = 70;
    for second in 1..=30 {
        for _ in 0..10 {
            bench.now += 100;
            let group = bench.acquire(1000, 1, 60_000);
            bench.commit(Vec::new(), vec![group]);
        }
        let now = rate(&mut bench);
        assert!(now >= last, "it grows");
        if second == 10 {
            assert!((99..=101).contains(&now), "back at its peak after ten seconds: {now}");
        }
        last = now;
    }
    assert!(last > 300, "and beyond: {last}");
}

#[test]
fn in_an_aligned_window_a_remaining_without_its_end_still_shows_foreign_use() {
    let mut bench = Bench::new(&budget(vec![aligned(600)]));
    let (lease, _) = bench.ask();
    let said = LimitReading { reset: None, ..reading(450, 0) };
    let group = SettleGroup { readings: vec![said], ..settle(lease, SettleKind::Accepted) };
    bench.commit(vec![group], Vec::new());
    assert_eq!(available(&mut bench), 450);
}

#[test]
fn every_operation_is_announced_for_its_budget() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    bench.pause_and_resume();
    let kinds: Vec<_> = bench.announced.iter().map(|event| event.kind.clone()).collect();
    let scope = "operator".to_owned();
    assert_eq!(
        kinds,
        [
            EventKind::SpecChanged { version: 1 },
            EventKind::Paused { scope: scope.clone(), for_ms: Some(5000) },
            EventKind::Resumed { scope },
            EventKind::Wake,
            EventKind::Deleted,
        ]
    );
}

#[test]
fn what_others_use_is_forecast_until_an_answers_time_from_now() {
    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let (lease, _) = bench.ask();
    bench.now += 2000;
    // Others used 375, in a sixteenth of the window at the least: 100 a second.
    let group = SettleGroup { readings: vec![reading(624, 30_000)], ..settle(lease, SettleKind::Accepted) };
    bench.commit(vec![group], Vec::new());
    // Four seconds of theirs since it was granted and until the next may be counted, and as much as that may deviate.
    assert_eq!(bench.stored().snapshot.limits[0].reserved, 400 + 80);
    assert_eq!(available(&mut bench), 624 - 480);
}

#[test]
fn others_who_pause_are_expected_as_fast_as_they_were() {
    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let heard = |bench: &mut Bench, remaining| {
        let (lease, _) = bench.ask();
        let readings = vec![reading(remaining, 30_000)];
        bench.commit(vec![SettleGroup { readings, ..settle(lease, SettleKind::Accepted) }], Vec::new());
    };
    heard(&mut bench, 599);
    bench.now += 60_000;
    bench.commit(Vec::new(), Vec::new());
    // Of the 400 a window that they used half is expected; since then they used one, in half a minute.
    bench.now += 31_000;
    heard(&mut bench, 998);
    bench.now += 7500;
    let limit = bench.stored().snapshot.limits.remove(0);
    assert_eq!((limit.foreign_per_window, limit.reserved), (200, 25 + 20));
    assert_eq!(limit.available, 998 - 45);
}
