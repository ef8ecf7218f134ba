//! Single rules of ends that give little back: of who counts two windows and weighs one against the other.

use std::time::Duration;

use bursar_quota::{LeaseId, LimitSpec, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, read, rung, says, until, window},
};

/// A window that ends 30 s from the start, of which so many were used; its end has passed.
fn used(limit: LimitSpec, capacity: u64, count: u64, is_proven: bool) -> Bench {
    let spec = budget(vec![limit]);
    let mut bench = if is_proven { Bench::new(&spec) } else { Bench::unproven(&spec) };
    for remaining in (capacity - count..capacity).rev() {
        let lease = bench.take(1);
        let reading = until(&bench, remaining, 30_000);
        bench.settled(read(lease, reading));
    }
    bench.now = START + 30_001;
    bench
}

fn reads(bench: &mut Bench, lease: LeaseId, remaining: u64) {
    let reading = until(bench, remaining, 90_000);
    bench.settled(read(lease, reading));
}

/// One is taken and settled at once, and says that so much remains of the window that ends at 90 s.
fn one_reads(bench: &mut Bench, remaining: u64) {
    let lease = bench.take(1);
    reads(bench, lease, remaining);
}

#[test]
fn an_end_that_gave_little_back_was_none_whatever_was_believed_of_it() {
    for (limit, is_proven) in [
        (aligned(8), false),
        (aligned(8), true),
        (window(8, true, true), false),
        (window(8, true, true), true),
    ] {
        let mut bench = used(limit, 8, 8, is_proven);
        // Of the eight seven are used still, and this one.
        one_reads(&mut bench, 0);
        assert_eq!(rung(&mut bench), "sliding");
        assert!(bench.available() <= 0, "{:?}", bench.stand());
    }
}

#[test]
fn a_refused_probe_shows_it_as_well() {
    let mut bench = used(aligned(8), 8, 8, false);
    let probe = bench.take(1);
    let reading = until(&bench, 0, 90_000);
    let refused =
        SettleGroup { readings: vec![reading], ..settle(probe, SettleKind::Refused { counted: false }) };
    bench.settled(refused);
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn what_others_and_our_own_calls_use_after_an_end_tells_nothing_of_it() {
    // So many of sixteen are used before the end, and then so many ms after it a reading says that so many remain.
    for (what, count, later, remaining) in [
        ("long after it", 16, 7600, 1),
        ("less than was used before", 16, 100, 6),
        ("little was used before", 6, 100, 9),
    ] {
        let mut bench = used(aligned(16), 16, count, true);
        bench.now += later;
        one_reads(&mut bench, remaining);
        assert_eq!(rung(&mut bench), "aligned", "{what}");
    }
    // All that is used is our own.
    let mut bench = used(aligned(16), 16, 16, true);
    let lease = bench.take(14);
    bench.settled(all_of(14, read(lease, until(&bench, 2, 90_000))));
    assert_eq!(rung(&mut bench), "aligned");
}

#[test]
fn what_was_out_at_an_end_may_be_used_after_it() {
    let mut bench = used(aligned(16), 16, 8, true);
    bench.now = START + 29_000;
    bench.take(8);
    bench.now = START + 30_001;
    one_reads(&mut bench, 7);
    assert_eq!(rung(&mut bench), "aligned");
    // Nor does what was granted before an end show what that gave back.
    let mut bench = used(aligned(16), 16, 15, true);
    bench.now = START + 29_999;
    let early = bench.take(1);
    bench.now = START + 30_001;
    one_reads(&mut bench, 15);
    reads(&mut bench, early, 0);
    assert_eq!(rung(&mut bench), "aligned");
}

#[test]
fn much_that_is_used_still_proves_no_end_however_fast_it_is_forgotten() {
    // A rolling window would hold all eight until 60 s.
    for (remaining, expected) in [(3, "sliding"), (4, "sliding"), (5, "aligned"), (7, "aligned")] {
        let mut bench = used(minute(8), 8, 8, false);
        bench.now = START + 50_000;
        let lease = bench.try_take(1).0;
        reads(&mut bench, lease, remaining);
        assert_eq!(rung(&mut bench), expected, "{remaining} remain");
    }
}

#[test]
fn what_was_settled_before_ends_were_believed_is_over_with_the_one_that_proves_them() {
    let mut bench = used(minute(8), 8, 4, false);
    assert_eq!(bench.stand().paid, 4);
    one_reads(&mut bench, 7);
    assert_eq!((rung(&mut bench), bench.stand().paid, bench.available()), ("aligned".to_owned(), 1, 7));
    // What is settled blind while no end is known weighs on until one is.
    bench.now = START + 90_001;
    let blind = bench.take(3);
    bench.settled(all_of(3, settle(blind, SettleKind::Accepted)));
    assert_eq!(bench.stand().paid, 3);
    assert_eq!(bench.available(), 5);
}

#[test]
fn a_refusals_time_counts_what_ends_with_the_window_though_it_was_settled_before_that_was_known() {
    let mut bench = Bench::new(&budget(vec![aligned(8)]));
    let blind = bench.take(4);
    bench.settled(all_of(4, settle(blind, SettleKind::Accepted)));
    bench.now += 1000;
    let lease = bench.take(1);
    let reading = until(&bench, 3, 30_000);
    bench.settled(read(lease, reading));
    let costly = bench.acquire(1, 8, 60_000);
    let ask = |bench: &mut Bench, lease: u128| {
        let group = bursar_quota::AcquireGroup { lease: LeaseId(lease), ..costly.clone() };
        bench.commit(Vec::new(), vec![group]).decisions.remove(0)
    };
    let wait = ask(&mut bench, 1001).refusal.and_then(|refusal| refusal.retry_after);
    assert_eq!(wait, Some(Duration::from_millis(29_001)), "the window ends then");
    bench.now += 29_000;
    assert_eq!(ask(&mut bench, 1002).granted, 0);
    bench.now += 1;
    assert_eq!(ask(&mut bench, 1003).granted, 1);
}

#[test]
fn so_it_does_where_a_reading_is_believed_no_longer_than_that() {
    let mut bench = used(minute(8), 8, 4, false);
    let lease = bench.take(1);
    bench.settled(read(lease, says(7, Some((58_000, 61_000)))));
    assert_eq!(rung(&mut bench), "aligned");
    let costly = bench.acquire(1, 8, 60_000);
    let refusal = bench.commit(Vec::new(), vec![costly]).decisions.remove(0).refusal;
    // No later than a window after the call.
    assert_eq!(refusal.and_then(|refusal| refusal.retry_after), Some(Duration::from_millis(60_001)));
}
