//! Single rules of the other kinds of limit: calls at once, buckets, adaptive rates; and of what all keep their costs in.

use bursar_quota::{Cap, CountedAt, LimitReading, Reason, RenewGroup, Renewal, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{all_of, bucket, limit, lost, rate, read, says, slots},
};

fn bench(limit: bursar_quota::LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

// === calls at once ===

#[test]
fn a_slot_lingers_after_its_answer_and_no_longer() {
    let mut bench = bench(slots(1, 1000));
    let lease = bench.take(1);
    bench.now += 2000;
    // The answer came 600 ms ago.
    bench.settled(SettleGroup { age_ms: 600, ..settle(lease, SettleKind::Accepted) });
    let wait = bench.refused_until_exactly(Reason::ConcurrencyExhausted);
    assert!((401..401 + 32).contains(&wait), "rounded up to a slot: {wait}");
}

#[test]
fn the_slot_of_a_call_of_which_nothing_was_heard_lingers_as_well() {
    let mut bench = bench(slots(1, 1000));
    let lease = bench.take(1);
    bench.settled(lost(lease));
    let wait = bench.refused_until_exactly(Reason::ConcurrencyExhausted);
    assert!((1001..1001 + 32).contains(&wait), "rounded up to a slot: {wait}");
}

#[test]
fn a_slot_that_was_not_used_does_not_linger() {
    let mut bench = bench(slots(1, 1000));
    let lease = bench.take(1);
    bench.settled(settle(lease, SettleKind::NotSent));
    assert_eq!(bench.available(), 1);
    let lease = bench.take(1);
    bench.settled(settle(lease, SettleKind::Refused { counted: false }));
    assert_eq!(bench.available(), 1, "nor one whose call was refused");
}

#[test]
fn a_silent_holders_slot_is_kept_until_its_deadline() {
    let mut bench = bench(slots(1, 1000));
    bench.take(1);
    let wait = bench.refused_until_exactly(Reason::ConcurrencyExhausted);
    assert!((60_001..60_001 + 250).contains(&wait), "rounded up to a slot: {wait}");
    assert_eq!(bench.available(), 0, "the next one holds it now");
}

#[test]
fn the_first_slot_to_come_back_is_the_time_to_come_back() {
    let mut bench = bench(slots(2, 30_000));
    let lease = bench.take(1);
    bench.take(1);
    bench.now += 10_000;
    bench.settled(settle(lease, SettleKind::Accepted));
    let wait = bench.refused_until_exactly(Reason::ConcurrencyExhausted);
    assert!((30_001..31_000).contains(&wait), "a linger ends before the other's deadline: {wait}");
}

#[test]
fn a_slot_that_its_deadline_freed_is_not_freed_again() {
    let mut bench = bench(slots(2, 0));
    let lease = bench.take(1);
    bench.now += 61_000;
    bench.settled(settle(lease, SettleKind::Accepted));
    let stand = bench.stand();
    assert_eq!((stand.available, stand.out), (2, 0));
}

#[test]
fn a_slot_is_one_call_whatever_it_cost() {
    let mut bench = bench(slots(5, 1000));
    let lease = bench.take(1);
    bench.settled(SettleGroup { costs: vec![4], ..settle(lease, SettleKind::Accepted) });
    assert_eq!(bench.available(), 4);
}

// === renewals ===

fn renew(bench: &mut Bench, lease: bursar_quota::LeaseId, ttl_ms: u64) -> Renewal {
    let renews = vec![RenewGroup { lease, index: 0, ttl_ms }];
    bench.send(bursar_quota::Commit { renews, ..bench.empty() }).renewed.remove(0)
}

#[test]
fn a_renewal_never_shortens_a_deadline() {
    let mut bench = bench(slots(1, 0));
    let lease = bench.take(1);
    assert_eq!(renew(&mut bench, lease, 1000), Renewal::Renewed { deadline_ms: 60_001 });
    bench.now += 2000;
    assert_eq!(bench.available(), 0);
}

#[test]
fn a_renewal_moves_the_deadline_and_not_the_moment_by_which_to_send() {
    let mut bench = bench(minute(1));
    let lease = bench.take(1);
    assert_eq!(renew(&mut bench, lease, 300_000), Renewal::Renewed { deadline_ms: 300_000 });
    for after in [65_500, 60_000, 60_000] {
        bench.now += after;
        assert_eq!(bench.available(), 1);
    }
}

#[test]
fn what_is_counted_at_completion_weighs_from_the_renewed_deadline() {
    let mut limit = minute(1);
    limit.counted_at = CountedAt::Completion;
    let mut bench = bench(limit);
    let lease = bench.take(1);
    renew(&mut bench, lease, 300_000);
    bench.now = START + 355_000;
    assert_eq!(bench.available(), 0);
    bench.now = START + 360_500;
    assert_eq!(bench.available(), 1);
}

#[test]
fn permits_with_deadlines_of_their_own_are_settled_each_in_its_slot() {
    let mut bench = bench(slots(2, 0));
    let lease = bench.take(2);
    renew(&mut bench, lease, 300_000);
    bench.settled(all_of(2, settle(lease, SettleKind::Accepted)));
    let stand = bench.stand();
    assert_eq!((stand.available, stand.out), (2, 0));
    bench.now += 61_000;
    assert_eq!(bench.available(), 2);
    bench.now += 300_000;
    assert_eq!(bench.available(), 2);
}

#[test]
fn a_lost_call_that_is_counted_at_completion_weighs_from_its_settlement() {
    let mut limit = minute(1);
    limit.counted_at = CountedAt::Completion;
    let mut bench = bench(limit);
    let lease = bench.take(1);
    bench.now += 30_000;
    bench.settled(lost(lease));
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((60_001..60_001 + 235).contains(&wait), "{wait}");
}

// === buckets ===

/// So slow that nothing comes back while a test runs.
fn slow(capacity: u64) -> Bench {
    bench(bucket(capacity, 0.000_001))
}

#[test]
fn a_bucket_refills_to_its_capacity_in_whole_units() {
    let mut bench = bench(bucket(10, 1.0));
    let lease = bench.take(3);
    bench.settled(all_of(3, lost(lease)));
    assert_eq!(bench.available(), 7);
    for (after, expected) in [(999, 7), (1, 8), (500, 8), (1500, 10), (100_000, 10)] {
        bench.now += after;
        assert_eq!(bench.available(), expected);
    }
    // The same of a level that was read.
    let lease = bench.take(1);
    bench.settled(read(lease, says(5, None)));
    for (after, expected) in [(0, 5), (999, 5), (1, 6), (100_000, 10)] {
        bench.now += after;
        assert_eq!(bench.available(), expected);
    }
    assert_eq!(bench.try_take(11).1.granted, 10);
}

#[test]
fn what_is_out_of_a_bucket_is_charged_when_it_may_no_longer_be_sent() {
    let mut bench = bench(bucket(10, 1.0));
    bench.take(5);
    bench.now = START + 5000;
    assert_eq!((bench.available(), bench.stand().out), (5, 5), "full, and 5 are out");
    bench.now = START + 8100;
    assert_eq!((bench.available(), bench.stand().out), (8, 0), "full until 5.1 s, then 5 less, then 3 more");
}

#[test]
fn a_bucket_names_the_exact_time_though_all_is_out() {
    let mut bench = bench(bucket(2, 1.0));
    bench.take(2);
    assert_eq!(bench.refused_until_exactly(Reason::QuotaExhausted), 6100);
}

#[test]
fn a_late_settlement_does_not_charge_a_bucket_again() {
    let mut bench = slow(10);
    let lease = bench.take(1);
    bench.now += 6000;
    assert_eq!(bench.available(), 9);
    bench.settled(settle(lease, SettleKind::Accepted));
    let stand = bench.stand();
    assert_eq!((stand.available, stand.out), (9, 0));
}

#[test]
fn more_than_a_bucket_holds_says_nothing_of_what_is_left() {
    for (least, expected) in [(652, 4), (5, 4), (2, 2)] {
        let mut bench = slow(10);
        let lease = bench.take(5);
        bench.settled(all_of(5, lost(lease)));
        let lease = bench.take(1);
        bench.settled(read(lease, LimitReading { remaining_last: Some(652), ..says(least, None) }));
        assert_eq!(bench.available(), expected, "at least {least}");
    }
}

#[test]
fn what_was_not_sent_is_back_in_the_bucket() {
    let mut bench = slow(10);
    let lease = bench.take(3);
    bench.settled(all_of(2, settle(lease, SettleKind::NotSent)));
    assert_eq!((bench.available(), bench.stand().out), (9, 1));
}

#[test]
fn of_a_buckets_readings_the_least_counts_in_whatever_order_they_come() {
    let mut bench = slow(10);
    let (first, older) = (bench.take(1), bench.take(1));
    bench.settled(read(first, says(9, None)));
    let newer = bench.take(1);
    bench.settled(read(newer, says(3, None)));
    bench.settled(read(older, says(8, None)));
    assert_eq!(bench.available(), 3);
}

#[test]
fn what_settles_blind_is_taken_off_a_buckets_readings() {
    let mut bench = slow(10);
    let (known, blind) = (bench.take(1), bench.take(2));
    bench.settled(all_of(2, lost(blind)));
    bench.settled(read(known, says(4, None)));
    assert_eq!(bench.available(), 2, "they may have executed after it");
    // They never ran: the reading of a permit that was granted since shows it.
    let lease = bench.take(1);
    bench.settled(read(lease, says(4, None)));
    assert_eq!(bench.available(), 4);
    let lease = bench.take(1);
    bench.settled(lost(lease));
    assert_eq!(bench.available(), 3);
}

#[test]
fn what_settles_with_an_older_reading_is_taken_off_a_buckets_latest() {
    let mut bench = slow(10);
    let (older, blind) = (bench.take(1), bench.take(2));
    bench.settled(all_of(2, lost(blind)));
    let newer = bench.take(1);
    bench.settled(read(newer, says(10, None)));
    bench.settled(read(older, says(9, None)));
    assert_eq!(bench.available(), 9);
}

#[test]
fn what_is_out_is_taken_off_a_buckets_reading() {
    let mut bench = slow(10);
    let lease = bench.take(10);
    let next = bench.acquire(5, 1, 60_000);
    let reply = bench.commit(vec![read(lease, says(10, None))], vec![next]);
    assert_eq!(reply.decisions[0].granted, 1, "the one that was free");
}

#[test]
fn a_capped_tenant_holds_what_it_paid_of_a_bucket() {
    let mut spec = bucket(10, 0.01);
    spec.caps = vec![Cap { tenant: None, amount: 2 }];
    let mut bench = bench(spec);
    let lease = bench.take(2);
    bench.settled(all_of(2, lost(lease)));
    assert_eq!(bench.try_take(1).1.refusal.unwrap().reason, Reason::TenantCapped);
}

/// Asks for one permit of `cost`, which must be refused, and sees that the time that is named is exact: ms.
fn waits_exactly(bench: &mut Bench, cost: u64) -> u64 {
    let ask = |bench: &mut Bench| {
        let group = bench.acquire(1, cost, 60_000);
        bench.commit(Vec::new(), vec![group]).decisions.remove(0)
    };
    let refusal = ask(bench).refusal.expect("refused");
    let wait = u64::try_from(refusal.retry_after.expect("a time").as_millis()).unwrap();
    bench.now += wait - 1;
    assert_eq!(ask(bench).granted, 0, "a millisecond before the {wait} that were named");
    bench.now += 1;
    assert_eq!(ask(bench).granted, 1, "after the {wait} ms that were named");
    wait
}

#[test]
fn what_a_reading_left_in_a_bucket_refills_while_others_are_out() {
    let mut bench = bench(bucket(10, 0.5));
    let (older, newer) = (bench.take(1), bench.take(1));
    bench.settled(read(older, says(1, None)));
    bench.settled(read(newer, says(9, None)));
    let out = bench.available();
    assert_eq!(out, 8, "the newest, less what settled since its grant");
    bench.take(2);
    // Two are charged in 5 s; by then it is full, and two below that. The ninth is there 2 s later.
    let wait = waits_exactly(&mut bench, 9);
    assert!((7001..=7250).contains(&wait), "rounded up to a slot: {wait}");
}

#[test]
fn each_of_a_capped_tenants_calls_is_held_until_the_bucket_has_refilled() {
    let mut spec = bucket(10, 1.0);
    spec.caps = vec![Cap { tenant: None, amount: 2 }];
    let mut bench = bench(spec);
    for _ in 0..2 {
        let lease = bench.take(1);
        bench.settled(settle(lease, SettleKind::Accepted));
        bench.now += 3000;
    }
    let wait = waits_exactly(&mut bench, 2);
    assert!((7000..7100).contains(&wait), "the second was 3 s ago, and the bucket fills in 10: {wait}");
}

#[test]
fn a_refusal_that_is_not_counted_leaves_a_bucket_as_it_is() {
    let mut bench = slow(10);
    let lease = bench.take(3);
    bench.settled(all_of(3, settle(lease, SettleKind::Refused { counted: false })));
    let stand = bench.stand();
    assert_eq!((stand.available, stand.out), (10, 0));
}

#[test]
fn a_bucket_is_as_large_as_the_upstream_says() {
    let mut bench = slow(10);
    let lease = bench.take(1);
    // Nothing but the capacity is told.
    let reading = LimitReading { remaining_least: None, capacity: Some(4), ..says(0, None) };
    bench.settled(read(lease, reading));
    assert_eq!((bench.stand().capacity, bench.available()), (4, 3));
}

#[test]
fn a_capped_tenants_time_is_exact_in_a_bucket() {
    let mut spec = bucket(10, 1.0);
    spec.caps = vec![Cap { tenant: None, amount: 2 }];
    let mut bench = bench(spec);
    // One that was paid, and one that lapses, each held until the bucket could have refilled.
    let lease = bench.take(1);
    bench.settled(lost(lease));
    bench.now += 3000;
    bench.take(1);
    let wait = bench.refused_until_exactly(Reason::TenantCapped);
    assert!((7000..7200).contains(&wait), "{wait}");
    let wait = bench.refused_until_exactly(Reason::TenantCapped);
    assert!((8000..8200).contains(&wait), "15 s after the moment by which the second must be sent: {wait}");
}

// === adaptive rates ===

#[test]
fn an_adaptive_rate_stays_between_its_least_and_its_most() {
    let mut bench = bench(rate(10.0, 5.0, 20.0));
    for expected in [7, 5, 5] {
        let lease = bench.take(1);
        bench.now += 1;
        bench.settled(settle(lease, SettleKind::Refused { counted: false }));
        assert_eq!(bench.stand().capacity, expected);
        bench.now += 1000;
    }
    for _ in 0..600 {
        bench.now += 100;
        bench.try_take(1000);
    }
    assert_eq!(bench.stand().capacity, 20);
}

/// A hundred a second, of which a tenth of a second's worth gathers; all of it has.
fn gathered() -> Bench {
    let mut bench = bench(rate(100.0, 1.0, 1000.0));
    bench.commit(Vec::new(), Vec::new());
    bench.now += 100_000;
    bench
}

#[test]
fn no_more_gathers_than_a_burst_and_a_cut_takes_it_away() {
    let mut bench = gathered();
    assert_eq!(bench.try_take(1000).1.granted, 10);
    bench.now += 10_000;
    let lease = bench.take(1);
    bench.now += 1;
    bench.settled(settle(lease, SettleKind::Refused { counted: false }));
    assert_eq!(bench.try_take(5).1.granted, 0);
}

#[test]
fn what_an_adaptive_call_did_not_use_is_given_back_and_what_it_overdrew_is_taken() {
    let mut bench = gathered();
    let lease = bench.take(10);
    bench.settled(all_of(4, settle(lease, SettleKind::NotSent)));
    let lease = bench.take(4);
    bench.settled(SettleGroup { costs: vec![3], ..settle(lease, SettleKind::Accepted) });
    assert_eq!(bench.available(), -2);
}

#[test]
fn what_an_adaptive_call_gives_back_gathers_no_more_than_a_burst() {
    let mut bench = bench(rate(10.0, 1.0, 1000.0));
    let lease = bench.take(1);
    bench.now += 1000;
    let two = bench.acquire(2, 1, 60_000);
    let reply = bench.commit(vec![settle(lease, SettleKind::NotSent)], vec![two]);
    assert_eq!(reply.decisions[0].granted, 1);
}

#[test]
fn a_call_too_dear_to_gather_goes_when_all_has_gathered_one_at_a_time() {
    let mut bench = gathered();
    let group = bench.acquire(1, 100, 60_000);
    let lease = group.lease;
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 1);
    assert_eq!(bench.available(), -90);
    bench.now += 10_000;
    // More was reserved than was used: for a moment there is more than may gather.
    let less = SettleGroup { costs: vec![1], ..settle(lease, SettleKind::Accepted) };
    let group = bench.acquire(3, 25, 60_000);
    assert_eq!(bench.commit(vec![less], vec![group]).decisions[0].granted, 1);
}

// === what all kinds keep their costs in ===

#[test]
fn a_commit_sweeps_a_bounded_number_of_slots_and_the_next_goes_on() {
    let mut bench = bench(limit(
        "slots",
        bursar_quota::LimitKind::Concurrency { capacity: 10_000, linger: std::time::Duration::ZERO },
    ));
    // 4,200 deadlines, a slot each.
    for hundred in 0..42 {
        let groups = (0..100).map(|i| bench.acquire(1, 1, 10_000 + 250 * (hundred * 100 + i))).collect();
        bench.commit(Vec::new(), groups);
    }
    assert_eq!(bench.stand().out, 4200);
    bench.now += 10_000 + 250 * 4300;
    let out = |bench: &mut Bench| bench.commit(Vec::new(), Vec::new()).limits[0].1;
    assert_eq!(out(&mut bench), 4200 - 4096);
    assert_eq!(out(&mut bench), 0);
    assert_eq!(bench.available(), 10_000);
}

#[test]
fn hundreds_of_names_in_one_commit_are_all_kept() {
    let mut bench = bench(minute(10_000));
    let groups: Vec<_> = (0..300)
        .map(|i| {
            let mut group = bench.acquire(1, 1, 60_000);
            group.tenant = bursar_quota::TenantName::new(&format!("t{i}")).unwrap();
            group.class = bursar_quota::ClassName::new(&format!("c{i}")).unwrap();
            group
        })
        .collect();
    bench.commit(Vec::new(), groups);
    let usage = bench.stored().snapshot.usage;
    for dimension in ["tenant", "class", "tier"] {
        let sum: u64 = usage.iter().filter(|u| u.dimension == dimension).map(|u| u.cost).sum();
        assert_eq!(sum, 300, "{dimension}");
    }
}
