//! Single rules of windows: what weighs, until when, and what readings tell.

use bursar_quota::{Cap, EventKind, LimitReading, Reason, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, lost, read, says, until, window},
};

/// An end half a minute away.
const LATER: Option<(i64, i64)> = Some((30_000, 30_000));

fn bench(limit: bursar_quota::LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

/// An aligned limit of 10 a minute whose window ends between these ms from now; one call was made in it.
fn ends(earliest: i64, latest: i64) -> Bench {
    let mut bench = bench(aligned(10));
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, Some((earliest, latest)))));
    bench
}

// === readings ===

#[test]
fn of_the_readings_of_a_window_the_least_counts_in_whatever_order_they_come() {
    let mut bench = bench(aligned(10));
    let (first, older) = (bench.take(1), bench.take(1));
    bench.settled(read(first, says(9, LATER)));
    let newer = bench.take(1);
    // Somebody else used 4 between the calls of the two.
    bench.settled(read(newer, says(3, LATER)));
    bench.settled(read(older, says(8, LATER)));
    assert_eq!(bench.available(), 3);
}

#[test]
fn of_readings_that_were_folded_the_least_is_the_cap_and_the_last_is_fresh() {
    let mut bench = bench(aligned(10));
    let lease = bench.take(2);
    let folded = LimitReading { remaining_last: Some(6), ..says(4, LATER) };
    bench.settled(all_of(2, read(lease, folded)));
    // The cap is 4; 6 less the other one that settled since their grant is 5.
    assert_eq!(bench.available(), 5);
    let lease = bench.take(3);
    let folded = LimitReading { remaining_last: Some(3), ..says(3, LATER) };
    bench.settled(all_of(3, read(lease, folded)));
    assert_eq!(bench.available(), 3, "the cap is 3, fresh is 3 less the two others");
}

#[test]
fn what_settles_blind_is_taken_off_every_reading() {
    let mut bench = bench(aligned(10));
    let (known, blind) = (bench.take(1), bench.take(1));
    bench.settled(read(known, says(4, LATER)));
    bench.settled(lost(blind));
    assert_eq!(bench.available(), 3);
}

#[test]
fn what_settled_blind_since_a_permit_was_granted_is_taken_off_its_reading() {
    let mut bench = bench(aligned(10));
    let (known, blind) = (bench.take(1), bench.take(2));
    bench.settled(all_of(2, lost(blind)));
    bench.settled(read(known, says(4, LATER)));
    assert_eq!(bench.available(), 2);
}

#[test]
fn what_settled_blind_before_a_permit_was_granted_is_in_its_reading_already() {
    let mut bench = bench(aligned(10));
    let blind = bench.take(2);
    bench.settled(all_of(2, lost(blind)));
    let (one, two) = (bench.take(1), bench.take(1));
    bench.settled(read(one, says(7, LATER)));
    let three = bench.take(1);
    bench.settled(read(three, says(5, LATER)));
    bench.settled(read(two, says(6, LATER)));
    assert_eq!(bench.available(), 5);
}

#[test]
fn a_call_that_was_free_shows_in_the_next_reading() {
    for limit in [aligned(10), minute(10)] {
        let mut bench = bench(limit);
        let lease = bench.take(1);
        bench.settled(read(lease, says(10, LATER)));
        assert_eq!(bench.available(), 10);
    }
}

#[test]
fn an_older_permits_reading_does_not_replace_a_later_ones() {
    let mut bench = bench(minute(10));
    let (first, older) = (bench.take(1), bench.take(1));
    bench.settled(lost(first));
    let newer = bench.take(1);
    bench.settled(read(newer, says(9, None)));
    assert_eq!(bench.available(), 9 - 1, "two calls were free; one is out");
    bench.settled(read(older, says(10, None)));
    assert_eq!(bench.available(), 9 - 1, "it may have executed after the newer one's reading");
    let newest = bench.take(1);
    bench.settled(read(newest, says(9, None)));
    assert_eq!(bench.available(), 9, "a later one's does");
}

#[test]
fn in_a_sliding_window_a_reading_is_believed_for_a_window() {
    let mut bench = bench(minute(10));
    let (blind, older) = (bench.take(1), bench.take(1));
    bench.settled(lost(blind));
    bench.now += 1000;
    let newer = bench.take(1);
    bench.settled(read(newer, says(8, None)));
    bench.now += 39_000;
    // It was sent after the newer one, and somebody else had used 4 meanwhile: they weigh for a window from now.
    bench.settled(read(older, says(3, None)));
    bench.now = START + 99_000;
    assert_eq!(
        bench.available(),
        3,
        "10 less 4, less 3 that are kept for them: the reading before them is believed no more"
    );
}

#[test]
fn in_a_sliding_window_what_is_answered_late_weighs_from_then() {
    let mut bench = bench(minute(1));
    let lease = bench.take(1);
    bench.now += 3000;
    bench.settled(read(lease, says(0, None)));
    bench.now = START + 62_900;
    assert_eq!(bench.available(), 0, "it may have executed just before it was answered");
    bench.now = START + 63_400;
    assert_eq!(bench.available(), 1);
}

// === ends ===

#[test]
fn what_is_read_in_an_aligned_window_is_paid_until_its_end() {
    let mut bench = bench(aligned(10));
    let lease = bench.take(2);
    bench.settled(all_of(2, read(lease, says(8, LATER))));
    let stand = bench.stand();
    assert_eq!((stand.available, stand.out, stand.paid), (8, 0, 2));
    bench.now += 30_000;
    assert_eq!(bench.available(), 8, "the response may have been made a millisecond later");
    bench.now += 1;
    let stand = bench.stand();
    assert_eq!((stand.available, stand.paid, stand.window_end_ms), (10, 0, None));
}

#[test]
fn a_capped_tenant_holds_what_it_paid_until_the_windows_end() {
    let mut limit = aligned(10);
    limit.caps = vec![Cap { tenant: None, amount: 2 }];
    let mut bench = bench(limit);
    let lease = bench.take(2);
    bench.settled(all_of(2, read(lease, says(8, LATER))));
    assert_eq!(bench.refused_until_exactly(Reason::TenantCapped), 30_001);
    assert_eq!(bench.try_take(5).1.granted, 1, "one of its two is out again");
}

#[test]
fn an_end_is_where_all_readings_of_its_window_agree() {
    let mut bench = bench(aligned(10));
    let leases = [bench.take(1), bench.take(1), bench.take(1)];
    for (lease, end) in leases.into_iter().zip([(20_000, 30_000), (25_000, 40_000), (22_000, 28_000)]) {
        bench.settled(read(lease, says(9, Some(end))));
    }
    assert_eq!(bench.stand().window_end_ms, Some((25_000, 28_001)));
}

#[test]
fn an_end_too_vague_to_tell_windows_apart_counts_as_none() {
    let mut bench = ends(0, 40_000);
    assert_eq!((bench.stand().window_end_ms, bench.stand().paid), (None, 1));
    bench.now += 59_000;
    assert_eq!(bench.available(), 9);
}

#[test]
fn only_an_aligned_window_believes_in_ends() {
    let mut bench = ends(1000, 1000);
    bench.now += 2000;
    assert_eq!(bench.available(), 10);
    let mut bench = self::bench(minute(10));
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, Some((1000, 1000)))));
    bench.now += 2000;
    assert_eq!(bench.available(), 9);
}

#[test]
fn an_end_is_at_most_a_window_away_whatever_is_said() {
    let mut bench = ends(500_000, 500_000);
    bench.now += 60_000;
    assert_eq!(bench.available(), 9);
    bench.now += 1;
    assert_eq!(bench.available(), 10);
    let lease = bench.take(10);
    bench.now += 10_000;
    assert_eq!(bench.available(), 0, "what is out is not behind an end that never was");
    bench.settled(all_of(10, settle(lease, SettleKind::NotSent)));
    assert_eq!(bench.available(), 10);
}

#[test]
fn a_reading_of_a_window_that_is_over_charges_nothing() {
    let mut bench = bench(aligned(1));
    let lease = bench.take(1);
    bench.now += 50_000;
    // The answer came after 5 s, and the window ended a second later.
    let group = SettleGroup { age_ms: 45_000, ..read(lease, says(0, Some((1000, 1000)))) };
    let next = bench.acquire(1, 1, 60_000);
    assert_eq!(bench.commit(vec![group], vec![next]).decisions[0].granted, 1);
}

#[test]
fn a_late_reading_of_the_window_before_says_nothing_of_this_one() {
    let mut bench = bench(aligned(10));
    let older = bench.take(1);
    bench.now += 2500;
    let newer = bench.take(1);
    bench.now += 100;
    bench.settled(read(newer, says(9, Some((59_000, 59_500)))));
    bench.now += 400;
    // Its window ended 1.5 s to 4 s after it: it is certainly over, though the latest end is yet to come.
    bench.settled(SettleGroup { age_ms: 3000, ..read(older, says(9, Some((1500, 4000)))) });
    bench.now += 1100;
    let stand = bench.stand();
    assert_eq!((stand.available, stand.paid, stand.out), (9, 1, 0));
    // The same once the end has passed, of a window that it was in by all that is known.
    let mut bench = ends(2000, 2000);
    let older = bench.take(1);
    bench.now += 2001;
    bench.settled(SettleGroup { age_ms: 2001, ..read(older, says(3, Some((2000, 2400)))) });
    assert_eq!(bench.available(), 10);
}

#[test]
fn an_end_within_the_current_window_is_none_and_its_call_is_charged() {
    let mut bench = ends(29_000, 30_000);
    bench.now += 5000;
    let lease = bench.take(1);
    // It may have passed already; but then the window's own end would be a minute after it.
    bench.settled(read(lease, says(8, Some((-200, 400)))));
    assert_eq!(bench.available(), 8);
}

#[test]
fn a_later_end_shows_that_the_window_is_over() {
    let mut bench = ends(2000, 10_000);
    bench.now += 5000;
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, Some((60_000, 60_000)))));
    assert_eq!((bench.available(), bench.stand().paid), (9, 1));
    bench.now += 5100;
    assert_eq!((bench.available(), bench.stand().paid), (9, 1));
}

#[test]
fn what_executed_before_the_end_is_not_taken_off_this_windows_readings() {
    let mut bench = ends(2000, 2000);
    let blind = bench.take(1);
    bench.now += 3000;
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, Some((59_500, 59_500)))));
    bench.settled(SettleGroup { age_ms: 2000, ..lost(blind) });
    assert_eq!(bench.available(), 9);
}

#[test]
fn the_last_windows_level_is_not_taken_for_this_ones() {
    let mut bench = bench(aligned(10));
    let (first, older) = (bench.take(1), bench.take(1));
    bench.settled(read(first, says(9, Some((2000, 2000)))));
    let newer = bench.take(1);
    bench.settled(read(newer, says(10, Some((2000, 2000)))));
    bench.now += 3000;
    // Sent after the end; somebody else has used 1 of the new window.
    bench.settled(read(older, says(8, Some((60_000, 60_000)))));
    // Of the 8 that are left, some are kept for somebody who is so quick.
    assert_eq!(bench.available(), 4);
}

#[test]
fn what_names_an_end_before_its_call_names_none_and_is_charged() {
    let mut bench = bench(aligned(8));
    let lease = bench.take(1);
    bench.now += 1000;
    bench.settled(read(lease, says(7, Some((-5000, -5000)))));
    assert_eq!((bench.stand().window_end_ms, bench.stand().paid), (None, 1));
}

#[test]
fn where_all_is_kept_for_others_and_nothing_is_out_one_goes_to_hear() {
    let mut bench = ends(1000, 1000);
    bench.now += 1002;
    let lease = bench.take(1);
    bench.now += 500;
    // Somebody else has used seven of this window in no time, and will use the two that are left.
    bench.settled(read(lease, says(2, Some((59_600, 59_600)))));
    assert_eq!(bench.available(), 1);
    assert_eq!((bench.try_take(2).1.granted, bench.try_take(1).1.granted), (1, 0));
}

// === what is out, and what settles blind ===

#[test]
fn what_is_out_is_dropped_by_an_end_only_if_it_was_sent_before_the_earliest() {
    let mut bench = ends(2000, 10_000);
    let short = bench.acquire(1, 1, 500);
    assert_eq!(bench.commit(Vec::new(), vec![short]).decisions[0].granted, 1);
    bench.now += 1000;
    bench.take(1);
    bench.now = START + 10_001;
    let stand = bench.stand();
    assert_eq!((stand.available, stand.out), (9, 1), "the one that may be sent until 6 s weighs on");
}

#[test]
fn what_is_out_weighs_for_a_window_after_it_must_be_sent() {
    for limit in [aligned(1), minute(1)] {
        let mut bench = bench(limit);
        bench.take(1);
        let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
        assert!((65_001..65_001 + 235).contains(&wait), "rounded up to a slot: {wait}");
    }
}

#[test]
fn what_settles_blind_weighs_for_a_window_from_the_latest_moment_at_which_it_executed() {
    for (settled_at, expected) in [(2000, 62_001), (9000, 65_001)] {
        let mut bench = bench(minute(1));
        let lease = bench.take(1);
        bench.now += settled_at;
        bench.settled(lost(lease));
        let wait = bench.refused_until_exactly(Reason::QuotaExhausted) + settled_at;
        assert!((expected..expected + 235).contains(&wait), "{wait}");
    }
}

#[test]
fn what_settles_weighs_for_a_window_to_the_millisecond() {
    // In whichever part of a slot.
    for after in 0..240 {
        for readings in [Vec::new(), vec![says(0, None)]] {
            let mut bench = bench(minute(1));
            bench.now += after;
            let lease = bench.take(1);
            bench.settled(SettleGroup { readings, ..settle(lease, SettleKind::Accepted) });
            bench.now += 60_000;
            assert_eq!(bench.available(), 0, "it may have executed later in its millisecond, {after}");
        }
    }
}

#[test]
fn a_settlement_that_took_its_time_counts_from_when_the_answer_came() {
    let mut bench = bench(minute(1));
    let lease = bench.take(1);
    bench.now += 4000;
    bench.settled(SettleGroup { age_ms: 3000, ..lost(lease) });
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted) + 4000;
    assert!((61_001..61_001 + 235).contains(&wait), "{wait}");
}

#[test]
fn a_blind_permit_goes_with_the_end_of_the_only_window_it_can_have_executed_in() {
    let mut bench = ends(30_000, 30_000);
    let blind = bench.take(1);
    bench.settled(lost(blind));
    bench.now += 30_000;
    assert_eq!(bench.available(), 8);
    bench.now += 1;
    assert_eq!(bench.available(), 10);
}

#[test]
fn a_blind_permit_that_may_have_executed_after_the_end_does_not_go_with_it() {
    let mut bench = ends(2000, 10_000);
    let blind = bench.take(1);
    bench.now += 4000;
    bench.settled(lost(blind));
    bench.now = START + 10_001;
    assert_eq!(bench.available(), 9);
    bench.now = START + 64_300;
    assert_eq!(bench.available(), 10);
}

#[test]
fn on_a_clock_the_ends_to_come_are_known_ever_more_vaguely() {
    let mut bench = bench(window(10, true, true));
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, LATER)));
    bench.now += 30_001;
    // 6 ms of drift a window, to either side.
    assert_eq!(bench.stand().window_end_ms, Some((59_993, 60_006)));
    bench.now += 3000 * 60_000;
    assert_eq!(bench.stand().window_end_ms, None, "too vague to tell windows apart");
    assert_eq!(ends_after(30_001), None, "it is not assumed where it is not declared");
}

fn ends_after(span: u64) -> Option<(u64, u64)> {
    let mut bench = ends(30_000, 30_000);
    bench.now += span;
    bench.stand().window_end_ms
}

#[test]
fn on_a_clock_a_blind_permit_weighs_until_the_end_of_the_last_window_it_can_have_executed_in() {
    // Settled before the end, and after it though before it is certain.
    for (settled_at, weighs_till) in [(1000, 30_001), (29_998, 30_001), (29_999, 90_007)] {
        let mut bench = bench(window(10, true, true));
        let lease = bench.take(1);
        bench.settled(read(lease, says(9, LATER)));
        bench.now += 29_000.min(settled_at);
        let blind = bench.take(1);
        bench.now = START + settled_at;
        bench.settled(lost(blind));
        bench.now = START + weighs_till - 1;
        assert!(bench.available() < 10, "settled after {settled_at} ms");
        bench.now = START + weighs_till + 235;
        assert_eq!(bench.available(), 10, "settled after {settled_at} ms");
    }
}

#[test]
fn on_a_clock_the_end_after_the_next_is_named_exactly() {
    let mut bench = bench(window(1, true, true));
    let free = bench.take(1);
    bench.settled(read(free, says(1, LATER)));
    bench.now += 29_000;
    bench.take(1);
    // It may be sent after the next end, and is over with the one that follows.
    assert_eq!(bench.refused_until_exactly(Reason::QuotaExhausted), 90_007 - 29_000);
}

// === foreign use ===

#[test]
fn foreign_use_is_charged_once_and_for_a_window() {
    let mut bench = bench(minute(10));
    let (one, two) = (bench.take(1), bench.take(1));
    bench.settled(read(one, says(5, None)));
    bench.settled(read(two, says(5, None)));
    assert_eq!((bench.available(), bench.stand().foreign), (5, 3));
    let told = bench.announced.iter().filter(|e| matches!(e.kind, EventKind::ForeignUse { cost: 3, .. }));
    assert_eq!(told.count(), 1);
    bench.now += 59_999;
    // Two are kept for what they may have used since.
    assert_eq!(bench.available(), 3);
    bench.now += 400;
    assert_eq!(bench.available(), 9);
}

#[test]
fn what_we_granted_since_may_be_ours() {
    let mut bench = bench(minute(10));
    let one = bench.take(1);
    bench.take(4);
    bench.settled(read(one, says(5, None)));
    assert_eq!((bench.available(), bench.stand().foreign), (5, 0));
}

#[test]
fn an_aligned_window_charges_foreign_use_where_the_end_is_not_told() {
    let mut bench = bench(aligned(10));
    let lease = bench.take(1);
    bench.settled(read(lease, says(6, None)));
    assert_eq!((bench.available(), bench.stand().foreign), (6, 3));
}

#[test]
fn more_than_a_window_holds_gives_nothing_back() {
    for limit in [aligned(10), minute(10)] {
        let mut bench = Bench::new(&budget(vec![limit]));
        let lease = bench.take(5);
        bench.settled(all_of(5, settle(lease, SettleKind::Accepted)));
        let lease = bench.take(1);
        let reading = until(&bench, 652, 30_000);
        bench.settled(read(lease, reading));
        assert_eq!(bench.available(), 4);
    }
}
