//! Single rules of a state that was lost, beyond what `lost` tells as a story.

use std::time::Duration;

use bursar_quota::{
    BudgetSpec, Cap, Commit, CountedAt, LimitKind, LimitSpec, PauseOrder, Reason, RenewGroup, Renewal, Scope,
    SettleGroup, SettleKind, Settled,
};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, bucket, limit, rate, read, says, slots},
};

/// A bench whose replica remembers what it is told.
fn remembering(limit: LimitSpec) -> (Bench, BudgetSpec) {
    let spec = budget(vec![limit]);
    let mut bench = Bench::new(&spec);
    bench.remembers = true;
    (bench, spec)
}

fn reads(limit: LimitSpec) -> LimitSpec {
    LimitSpec { readings: true, ..limit }
}

#[test]
fn what_was_forgotten_is_not_taken_for_others_use() {
    let (mut bench, spec) = remembering(reads(minute(10)));
    let probe = bench.take(1);
    bench.settled(read(probe, says(9, None)));
    bench.take(4);
    bench.now += 1000;
    bench.come_back(None, &spec);
    bench.commit(Vec::new(), Vec::new());
    bench.now += 6000;
    let probe = bench.take(1);
    bench.settled(read(probe, says(4, None)));
    assert_eq!((bench.stand().foreign, bench.available()), (0, 4));
}

#[test]
fn what_was_forgotten_is_not_taken_for_others_use_in_an_aligned_window_either() {
    let (mut bench, spec) = remembering(reads(aligned(10)));
    let probe = bench.take(1);
    bench.settled(read(probe, says(9, Some((30_000, 30_000)))));
    bench.take(4);
    bench.now += 1000;
    bench.come_back(None, &spec);
    bench.prove(&spec);
    bench.commit(Vec::new(), Vec::new());
    bench.now += 6000;
    let probe = bench.take(1);
    bench.settled(read(probe, says(4, Some((23_000, 23_000)))));
    assert_eq!((bench.stand().foreign, bench.available()), (0, 4));
}

#[test]
fn another_life_is_found_out_however_long_it_has_lasted() {
    let (mut bench, spec) = remembering(minute(10));
    bench.take(1);
    let (witness, told) = (bench.witness.clone(), bench.told.clone());
    bench.now += 1000;
    bench.come_back(None, &spec);
    // Somebody who remembers nothing has begun anew, and gone on for longer.
    (bench.witness, bench.told) = Default::default();
    for _ in 0..9 {
        bench.take(1);
    }
    assert!(bench.told.seq > told.seq);
    (bench.witness, bench.told) = (witness, told);
    assert!(bench.try_send(&bench.empty()).is_none());
    assert_eq!(bench.try_take(1).1.granted, 0);
}

#[test]
fn time_goes_on_from_what_the_replica_saw() {
    let (mut bench, spec) = remembering(minute(10));
    bench.take(1);
    let seen = bench.told.now_ms;
    bench.now -= 30_000;
    bench.come_back(None, &spec);
    bench.commit(Vec::new(), Vec::new());
    assert!(bench.told.now_ms >= seen);
}

#[test]
fn a_time_that_cannot_be_is_not_gone_on_from() {
    let (mut bench, spec) = remembering(minute(10));
    bench.take(1);
    // The store's clock was far ahead for a while, and nobody could tell.
    bench.now += 600_000;
    bench.take(1);
    bench.now -= 600_000;
    bench.come_back(None, &spec);
    let latest = bench.now + 2000;
    bench.witness.latest_ms = Some(latest);
    bench.commit(Vec::new(), Vec::new());
    assert!(bench.told.now_ms <= latest);
}

#[test]
fn a_replicas_clock_does_not_turn_the_stores_time_back() {
    let (mut bench, _) = remembering(minute(10));
    bench.take(1);
    let seen = bench.told.now_ms;
    bench.witness.latest_ms = Some(seen - 10_000);
    bench.commit(Vec::new(), Vec::new());
    assert!(bench.told.now_ms >= seen);
}

#[test]
fn time_goes_on_as_the_replicas_clock_does_where_the_stores_stands_still() {
    let (mut bench, _) = remembering(minute(10));
    bench.take(1);
    let earliest = bench.told.now_ms + 5000;
    (bench.witness.latest_ms, bench.witness.earliest_ms) = (Some(earliest + 10), Some(earliest));
    bench.commit(Vec::new(), Vec::new());
    assert_eq!(bench.told.now_ms, earliest);
}

#[test]
fn a_pause_is_not_shortened_by_what_is_remembered_of_it() {
    let (mut bench, spec) = remembering(minute(10));
    let lease = bench.take(1);
    let pause = Some(PauseOrder { scope: Scope::Budget, retry_after_ms: Some(30_000) });
    bench.settled(SettleGroup { pause, ..settle(lease, SettleKind::Refused { counted: false }) });
    let older = bench.copy();
    bench.commit(Vec::new(), Vec::new());
    bench.come_back(Some(&older), &spec);
    bench.told.pauses = vec![("budget".to_owned(), Some(bench.now + 1000))];
    bench.recover();
    assert_eq!(bench.stored().snapshot.pauses[0].for_ms, Some(30_001));
}

#[test]
fn a_probe_says_what_an_older_store_has_forgotten() {
    let (mut bench, spec) = remembering(reads(minute(10)));
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, None)));
    let older = bench.copy();
    bench.take(2);
    bench.come_back(Some(&older), &spec);
    assert_eq!(bench.try_take(1).1.granted, 0);
    bench.now += 5001;
    let (probe, decision) = bench.try_take(5);
    assert_eq!((decision.granted, decision.refusal.unwrap().reason), (1, Reason::Probing));
    bench.settled(read(probe, says(4, None)));
    assert_eq!(bench.try_take(5).1.granted, 4);
}

#[test]
fn the_first_probe_of_a_bucket_that_was_lost_waits_for_what_refills() {
    let (mut bench, spec) = remembering(reads(bucket(10, 0.5)));
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, None)));
    bench.take(9);
    bench.come_back(None, &spec);
    // Empty when the last of the forgotten ones may have been sent; one refills in 2 s.
    assert_eq!(bench.refused_until_exactly(Reason::Probing), 7001);
}

#[test]
fn of_calls_at_once_none_is_free_until_the_forgotten_ones_are_over() {
    let (mut bench, spec) = remembering(slots(5, 0));
    bench.take(3);
    bench.come_back(None, &spec);
    assert_eq!(bench.try_take(1).1.granted, 0);
    assert_eq!(bench.available(), 0);
    bench.now += 60_001;
    assert_eq!(bench.available(), 5);
}

#[test]
fn only_a_permit_granted_after_all_forgotten_ones_places_them_in_its_window() {
    let (mut bench, spec) =
        remembering(LimitSpec { counted_at: CountedAt::Completion, ..reads(aligned(10)) });
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, Some((30_000, 30_000)))));
    // Another replica knows of a permit that lasts longer.
    let (witness, mut told) = (bench.witness.clone(), bench.told.clone());
    told.deadline_ms = bench.now + 300_000;
    bench.come_back(None, &spec);
    bench.try_take(1);
    bench.now += 60_002;
    let probe = bench.take(1);
    (bench.witness, bench.told) = (witness, told);
    bench.commit(Vec::new(), Vec::new());
    bench.settled(read(probe, says(9, Some((20_000, 20_000)))));
    bench.now += 20_001;
    bench.commit(Vec::new(), Vec::new());
    assert!(bench.stand().recovering_ms.is_some());
}

#[test]
fn what_the_upstream_asks_for_is_heard_though_the_permit_was_forgotten() {
    let (mut bench, spec) = remembering(minute(10));
    let lease = bench.take(1);
    bench.come_back(None, &spec);
    let pause = Some(PauseOrder { scope: Scope::Budget, retry_after_ms: Some(30_000) });
    let group = SettleGroup { pause, ..settle(lease, SettleKind::Refused { counted: false }) };
    assert_eq!(bench.commit(vec![group], Vec::new()).settled, [[Settled::Unknown]]);
    assert_eq!(bench.try_take(1).1.refusal.unwrap().reason, Reason::PausedByUpstream);
}

#[test]
fn parties_hold_nothing_of_what_was_forgotten() {
    let mut limit = minute(10);
    limit.caps = vec![Cap { tenant: None, amount: 2 }];
    let (mut bench, spec) = remembering(limit);
    bench.take(2);
    let older = bench.copy();
    bench.commit(Vec::new(), Vec::new());
    bench.come_back(Some(&older), &spec);
    bench.commit(Vec::new(), Vec::new());
    bench.resume();
    assert_eq!(bench.try_take(3).1.granted, 2);
}

#[test]
fn an_operators_pause_that_a_replica_remembers_goes_on_unless_its_time_has_passed() {
    for (till, expected) in [(None, true), (Some(5000), true), (Some(0), false)] {
        let (mut bench, spec) = remembering(minute(10));
        bench.take(1);
        let now = bench.now;
        bench.come_back(None, &spec);
        bench.told.pauses = vec![("operator".to_owned(), till.map(|ms| now + ms))];
        bench.recover();
        let pauses = bench.stored().snapshot.pauses;
        assert_eq!(pauses.iter().any(|pause| pause.scope == "operator"), expected, "{till:?}");
    }
}

#[test]
fn who_tells_what_is_known_changes_nothing() {
    let (mut bench, _) = remembering(minute(10));
    bench.take(3);
    let told = bench.told.clone();
    bench.recover();
    assert_eq!((bench.witness.incarnation.clone(), bench.witness.seq), (told.incarnation, told.seq));
    assert_eq!(bench.available(), 7);
}

#[test]
fn an_adaptive_rate_has_nothing_to_lose() {
    let (mut bench, spec) = remembering(rate(100.0, 1.0, 1000.0));
    bench.take(1);
    bench.come_back(None, &spec);
    assert_eq!(bench.try_take(1).1.granted, 1);
}

#[test]
fn a_permit_that_was_forgotten_is_not_renewed() {
    let (mut bench, spec) = remembering(slots(2, 0));
    let lease = bench.take(1);
    let older = bench.copy();
    bench.take(1);
    bench.come_back(Some(&older), &spec);
    bench.commit(Vec::new(), Vec::new());
    let renews = vec![RenewGroup { lease, index: 0, ttl_ms: 300_000 }];
    let reply = bench.send(Commit { renews, ..bench.empty() });
    assert_eq!(reply.renewed, [Renewal::Unknown]);
}

#[test]
fn of_calls_at_once_what_others_granted_lasts_as_long_as_is_usual() {
    let (mut bench, spec) = remembering(slots(5, 0));
    let short = bench.acquire(1, 1, 10_000);
    assert_eq!(bench.commit(Vec::new(), vec![short]).decisions[0].granted, 1);
    bench.now += 1000;
    bench.come_back(None, &spec);
    // Ten seconds were the longest that it was told of; of other replicas' permits it was told nothing.
    let refusal = bench.try_take(1).1.refusal.unwrap();
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(60)));
}

#[test]
fn of_calls_at_once_the_longest_of_another_life_is_waited_for_as_well() {
    let (mut bench, spec) = remembering(slots(5, 0));
    bench.take(1);
    let (witness, told) = (bench.witness.clone(), bench.told.clone());
    bench.now += 1000;
    bench.come_back(None, &spec);
    // Somebody who remembers nothing has begun anew.
    (bench.witness, bench.told) = Default::default();
    let long = bench.acquire(5, 1, 300_000);
    assert_eq!(bench.commit(Vec::new(), vec![long]).decisions[0].granted, 5);
    (bench.witness, bench.told) = (witness, told);
    let refusal = bench.try_take(1).1.refusal.unwrap();
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(300_001)));
}

#[test]
fn of_calls_at_once_the_longest_is_waited_for_though_shorter_ones_were_granted_since() {
    let (mut bench, spec) = remembering(slots(5, 0));
    for ttl in [300_000, 10_000] {
        let group = bench.acquire(1, 1, ttl);
        assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 1);
    }
    bench.come_back(None, &spec);
    let refusal = bench.try_take(1).1.refusal.unwrap();
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(300_001)));
}

#[test]
fn a_back_off_goes_on_doubling_though_its_pause_is_remembered_by_a_replica() {
    let (mut bench, spec) = remembering(minute(10));
    let refused = |bench: &mut Bench, retry_after_ms| {
        let lease = bench.take(1);
        let pause = Some(PauseOrder { scope: Scope::Budget, retry_after_ms });
        let group = SettleGroup { pause, ..settle(lease, SettleKind::Refused { counted: false }) };
        bench.commit(vec![group], Vec::new()).paused_ms[0]
    };
    for expected in [500, 1000, 2000] {
        assert_eq!(refused(&mut bench, None), expected, "half of what it may be, by its jitter");
        bench.now += expected + 1;
    }
    let older = bench.copy();
    refused(&mut bench, Some(30_000));
    bench.come_back(Some(&older), &spec);
    bench.commit(Vec::new(), Vec::new());
    assert_eq!(bench.try_take(1).1.refusal.unwrap().reason, Reason::PausedByUpstream);
    bench.now += 66_000;
    assert_eq!(refused(&mut bench, None), 4000);
}

#[test]
fn of_two_losses_the_one_that_is_to_be_waited_for_longer_counts() {
    let (mut bench, mut spec) = remembering(minute(10));
    spec.send_within = Duration::from_secs(30);
    bench.put(&spec);
    bench.take(1);
    bench.come_back(None, &spec);
    assert_eq!(bench.try_take(1).1.granted, 0);
    spec.send_within = Duration::from_secs(5);
    bench.put(&spec);
    let older = bench.copy();
    bench.commit(Vec::new(), Vec::new());
    bench.come_back(Some(&older), &spec);
    let refusal = bench.try_take(1).1.refusal.unwrap();
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(30_001 + 60_000)));
}

#[test]
fn a_life_before_the_last_one_is_known_to_be_over() {
    let (mut bench, spec) = remembering(minute(10));
    bench.take(1);
    let (witness, told) = (bench.witness.clone(), bench.told.clone());
    bench.come_back(None, &spec);
    bench.commit(Vec::new(), Vec::new());
    // A second loss, of a part.
    let older = bench.copy();
    bench.commit(Vec::new(), Vec::new());
    bench.come_back(Some(&older), &spec);
    bench.commit(Vec::new(), Vec::new());
    bench.resume();
    bench.take(1);
    // Somebody who was told of neither.
    (bench.witness, bench.told) = (witness, told);
    bench.take(9);
}

#[test]
fn more_than_can_be_forgotten_at_once_is_over_with_its_time() {
    let kind = LimitKind::Window {
        capacity: 10_000,
        window: Duration::from_secs(1),
        aligned: false,
        on_clock: false,
    };
    let (mut bench, spec) =
        remembering(LimitSpec { counted_at: CountedAt::Completion, ..limit("requests", kind) });
    // 4,200 deadlines, a slot each.
    for hundred in 0..42 {
        let groups = (0..100).map(|i| bench.acquire(1, 1, 10_000 + 4 * (hundred * 100 + i))).collect();
        bench.commit(Vec::new(), groups);
    }
    let older = bench.copy();
    bench.commit(Vec::new(), Vec::new());
    bench.come_back(Some(&older), &spec);
    assert_eq!(bench.try_take(1).1.granted, 0);
    bench.now += 100_000;
    bench.commit(Vec::new(), Vec::new());
    assert_eq!(bench.available(), 10_000);
}

/// An aligned limit of which a store that came back older believes two paid until an end; what else was granted is lost.
fn lost_with_two_paid(limit: LimitSpec) -> Bench {
    let (mut bench, spec) = remembering(limit);
    for remaining in [9, 8] {
        let lease = bench.take(1);
        bench.settled(read(lease, says(remaining, Some((30_000, 30_000)))));
    }
    let older = bench.copy();
    bench.commit(Vec::new(), Vec::new());
    bench.come_back(Some(&older), &spec);
    bench.commit(Vec::new(), Vec::new());
    bench
}

#[test]
fn what_was_read_and_paid_before_a_loss_is_forgotten_with_the_rest() {
    let caps = vec![Cap { tenant: None, amount: 2 }];
    let mut bench = lost_with_two_paid(LimitSpec { caps, ..aligned(10) });
    bench.now += 5002;
    assert_eq!(bench.try_take(1).1.granted, 0, "a reading from before it leaves nothing");
    bench.now += 60_000;
    assert_eq!(bench.available(), 10);
    assert_eq!(bench.try_take(3).1.granted, 2, "nor does its tenant hold anything");
}

#[test]
fn after_a_loss_all_is_known_at_the_end_of_the_window_that_a_probe_read() {
    let mut bench = lost_with_two_paid(reads(aligned(10)));
    bench.now += 5002;
    let probe = bench.take(1);
    bench.settled(read(probe, says(4, Some((20_000, 20_000)))));
    bench.now += 20_001;
    assert_eq!((bench.stand().recovering_ms, bench.try_take(10).1.granted), (None, 10));
}

#[test]
fn what_an_end_gave_back_before_a_loss_lets_nobody_out() {
    let (mut bench, spec) = remembering(minute(2));
    for remaining in [1, 0] {
        let lease = bench.take(1);
        let left = 30_000 - i64::try_from(bench.now - START).unwrap();
        bench.settled(read(lease, says(remaining, Some((left, left)))));
    }
    bench.now += 30_002;
    bench.commit(Vec::new(), Vec::new());
    let older = bench.copy();
    bench.commit(Vec::new(), Vec::new());
    bench.come_back(Some(&older), &spec);
    bench.commit(Vec::new(), Vec::new());
    bench.now += 5002;
    assert_eq!(bench.try_take(1).1.granted, 0);
}

#[test]
fn of_what_a_replica_remembers_of_pauses_only_what_goes_on_and_is_not_known_better_counts() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    bench.take(1);
    let now = bench.now;
    bench.told.pauses = vec![("budget".to_owned(), Some(now))];
    bench.recover();
    assert_eq!(bench.try_take(5).1.granted, 5, "that one is over, and needs no probe");
    for till in [30_000, 5000] {
        bench.told.pauses = vec![("operator".to_owned(), Some(now + till))];
        bench.recover();
    }
    assert_eq!(bench.stored().snapshot.pauses[0].for_ms, Some(30_000));
}

#[test]
fn what_a_probe_says_when_its_time_has_passed_is_not_taken_for_others_use() {
    let (mut bench, spec) = remembering(reads(minute(10)));
    let probe = bench.take(1);
    bench.settled(read(probe, says(9, None)));
    bench.take(4);
    bench.come_back(None, &spec);
    bench.commit(Vec::new(), Vec::new());
    bench.now += 6000;
    let probe = bench.take(1);
    bench.now += 60_000;
    assert_eq!(bench.stand().recovering_ms, None);
    bench.settled(read(probe, says(4, None)));
    assert_eq!(bench.stand().foreign, 0);
}

#[test]
fn what_was_read_of_a_bucket_is_forgotten_with_the_rest() {
    let (mut bench, spec) = remembering(bucket(10, 0.5));
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, None)));
    let older = bench.copy();
    bench.take(9);
    bench.come_back(Some(&older), &spec);
    bench.commit(Vec::new(), Vec::new());
    bench.now += 5002;
    assert_eq!(bench.try_take(1).1.granted, 0);
    bench.now += 2000;
    assert_eq!(bench.try_take(2).1.granted, 1);
}
