//! Single rules of ends that pass unseen, move, or are told too vaguely.

use bursar_quota::{Cap, LeaseId, LimitReading, LimitSpec, Reason, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, lost, read, rung, says, until, window},
};

fn proven(limit: LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

fn unproven(limit: LimitSpec) -> Bench {
    Bench::unproven(&budget(vec![limit]))
}

/// Takes one and settles it at once with what its answer says.
fn call(bench: &mut Bench, reading: LimitReading) {
    let lease = bench.take(1);
    bench.settled(read(lease, reading));
}

// === a later end shows that the window is over ===

/// One was taken before the latest end of a window that a later end shows to be over.
fn taken_after_a_later_end(bench: &mut Bench) -> LeaseId {
    call(bench, says(9, Some((2000, 10_000))));
    bench.now = START + 2500;
    let reading = until(bench, 9, 62_500);
    call(bench, reading);
    bench.now = START + 9000;
    bench.take(1)
}

#[test]
fn what_is_granted_once_a_later_end_was_named_is_of_its_window() {
    let mut bench = proven(aligned(10));
    let blind = taken_after_a_later_end(&mut bench);
    bench.settled(lost(blind));
    bench.now = START + 62_502;
    assert_eq!(bench.available(), 10, "it goes with the only window in which it can have executed");
}

#[test]
fn so_it_is_where_its_end_is_doubted() {
    let mut bench = unproven(aligned(10));
    let blind = taken_after_a_later_end(&mut bench);
    bench.settled(settle(blind, SettleKind::Accepted));
    assert_eq!(bench.stand().paid, 2);
    bench.now = START + 62_502;
    assert_eq!(bench.stand().paid, 0);
}

#[test]
fn what_was_out_of_a_window_that_a_reading_ends_weighs_no_more_in_the_same_commit() {
    let mut bench = proven(aligned(10));
    call(&mut bench, says(9, Some((2000, 10_000))));
    let short = bench.acquire(1, 1, 500);
    assert_eq!(bench.commit(Vec::new(), vec![short]).decisions[0].granted, 1);
    bench.now = START + 5000;
    let lease = bench.take(1);
    // Others have used four of the new one: none of these was what was out.
    let reading = until(&bench, 5, 65_000);
    let all = bench.acquire(10, 1, 60_000);
    assert_eq!(bench.commit(vec![read(lease, reading)], vec![all]).decisions[0].granted, 5);
    assert_eq!(bench.stand().foreign, 4);
}

#[test]
fn what_a_window_that_is_perhaps_over_had_used_is_not_taken_for_others_use() {
    let mut bench = proven(aligned(10));
    // Four of which nothing was heard weigh for a minute: until about when the window that began with them is over.
    let blind = bench.take(4);
    bench.settled(all_of(4, lost(blind)));
    bench.now = START + 59_000;
    let slow = bench.take(1);
    bench.now = START + 60_500;
    // It executed before the end, which it tells to a second only: that may have passed, or is yet to come.
    bench.settled(SettleGroup { age_ms: 600, ..read(slow, says(5, Some((500, 1500)))) });
    assert_eq!(bench.stand().foreign, 0);
    bench.now = START + 61_402;
    assert_eq!(bench.try_take(11).1.granted, 10, "nothing is kept for anybody");
}

#[test]
fn what_others_have_used_up_is_left_alone_until_its_end() {
    let mut bench = proven(aligned(10));
    call(&mut bench, says(0, Some((30_000, 30_000))));
    assert_eq!(bench.refused_until_exactly(Reason::QuotaExhausted), 30_001);
    // Where nobody else was seen, what settled blind may have been counted: one goes and reads.
    let mut bench = proven(aligned(10));
    let (first, blind) = (bench.take(1), bench.take(5));
    bench.settled(all_of(5, lost(blind)));
    bench.settled(read(first, says(4, Some((30_000, 30_000)))));
    assert_eq!((bench.try_take(2).1.granted, bench.try_take(1).1.granted), (1, 0));
}

// === ends that turn out to be none ===

#[test]
fn what_an_end_that_was_none_gave_back_is_not_taken_for_others_use() {
    let mut bench = unproven(aligned(8));
    for remaining in [7, 6, 5, 4] {
        call(&mut bench, says(remaining, Some((2000, 2000))));
    }
    bench.now = START + 2002;
    // It counts the four as well.
    let reading = until(&bench, 3, 7000);
    call(&mut bench, reading);
    assert_eq!((rung(&mut bench), bench.stand().foreign), ("sliding".to_owned(), 0));
    assert_eq!(bench.try_take(8).1.granted, 3);
}

#[test]
fn a_lost_call_weighs_beyond_an_end_that_is_doubted() {
    let mut bench = unproven(aligned(8));
    for remaining in [7, 6, 5] {
        call(&mut bench, says(remaining, Some((2000, 2000))));
    }
    let blind = bench.take(1);
    bench.settled(lost(blind));
    bench.now = START + 2002;
    // The end was none: three, the lost one and this one are in the last minute.
    let reading = until(&bench, 3, 7000);
    call(&mut bench, reading);
    assert_eq!(bench.try_take(8).1.granted, 3);
}

#[test]
fn what_an_end_that_was_none_gave_back_long_ago_does_not_weigh_again() {
    let mut bench = unproven(aligned(8));
    for remaining in [7, 6, 5, 4] {
        call(&mut bench, says(remaining, Some((2000, 2000))));
    }
    bench.now = START + 100_000;
    let reading = until(&bench, 7, 130_000);
    call(&mut bench, reading);
    bench.now = START + 101_000;
    let reading = until(&bench, 6, 135_000);
    call(&mut bench, reading);
    assert_eq!((rung(&mut bench), bench.stand().paid, bench.available()), ("sliding".to_owned(), 2, 6));
}

#[test]
fn a_limit_whose_end_turned_out_to_be_none_is_not_proven_by_what_was_seen_before() {
    let mut bench = unproven(minute(8));
    for remaining in [7, 6, 5, 4] {
        let reading = until(&bench, remaining, 30_000);
        call(&mut bench, reading);
    }
    for (at, remaining, end, expected) in [(30_001, 7, 90_000, "aligned"), (31_000, 6, 95_000, "sliding")] {
        bench.now = START + at;
        let reading = until(&bench, remaining, end);
        call(&mut bench, reading);
        assert_eq!(rung(&mut bench), expected);
    }
    // When all that is over it reads as a bucket does.
    bench.now = START + 96_000;
    let lease = bench.take(4);
    bench.settled(SettleGroup { indexes: vec![0], ..read(lease, says(7, Some((7500, 7500)))) });
    bench.settled(SettleGroup { indexes: vec![1, 2, 3], ..settle(lease, SettleKind::Accepted) });
    bench.now += 30_001;
    call(&mut bench, says(7, Some((7500, 7500))));
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn a_capped_tenant_holds_what_it_paid_for_a_window_though_its_end_was_none() {
    let mut limit = aligned(8);
    limit.caps = vec![Cap { tenant: None, amount: 2 }];
    let mut bench = unproven(limit);
    for (remaining, end) in [(7, 30_000), (6, 35_000)] {
        let reading = until(&bench, remaining, end);
        call(&mut bench, reading);
    }
    assert_eq!((rung(&mut bench), bench.stand().paid), ("sliding".to_owned(), 2));
    bench.now += 61_000;
    assert_eq!(bench.try_take(3).1.granted, 2);
}

#[test]
fn a_limit_that_a_refusal_slides_follows_no_end_that_was_named_before() {
    let mut bench = proven(aligned(3));
    let [first, second, third] = [bench.take(1), bench.take(1), bench.take(1)];
    bench.settled(read(first, says(2, Some((30_000, 30_000)))));
    bench.settled(SettleGroup {
        readings: vec![says(0, Some((30_000, 30_000)))],
        ..settle(second, SettleKind::Refused { counted: true })
    });
    assert_eq!(rung(&mut bench), "sliding");
    bench.settled(read(third, says(0, Some((30_000, 30_000)))));
    bench.now += 30_002;
    assert_eq!(bench.try_take(1).1.granted, 0, "one reading has named it since");
}

#[test]
fn an_end_that_moves_on_before_it_is_reached_has_not_stayed_while_much_was_used() {
    for (ends, expected) in [([30_000, 30_000, 30_000], "aligned"), ([20_000, 25_000, 30_000], "sliding")] {
        let mut bench = unproven(minute(8));
        for (remaining, end) in [7, 6, 5].into_iter().zip(ends) {
            call(&mut bench, says(remaining, Some((end, end))));
        }
        bench.now = START + 30_002;
        let reading = until(&bench, 7, 90_000);
        call(&mut bench, reading);
        assert_eq!(rung(&mut bench), expected, "{ends:?}");
    }
}

#[test]
fn an_end_too_vague_to_be_told_from_another_gives_no_turn() {
    for (width, expected) in [(29_000, 1), (31_000, 0)] {
        let mut bench = unproven(minute(2));
        for remaining in [1, 0] {
            call(&mut bench, says(remaining, Some((1000, 1000 + width))));
        }
        bench.now += 40_000;
        assert_eq!(bench.try_take(1).1.granted, expected, "{width} ms wide");
    }
}

#[test]
fn an_end_that_may_be_the_one_that_passed_gives_no_second_turn() {
    let mut bench = unproven(minute(4));
    for remaining in [3, 2] {
        call(&mut bench, says(remaining, Some((30_000, 30_000))));
    }
    bench.now = START + 30_002;
    // Both tell the end that has passed, to some seconds.
    let leases = [bench.take(1), bench.take(1)];
    for lease in leases {
        bench.settled(read(lease, says(0, Some((-500, 5000)))));
    }
    bench.now = START + 35_100;
    assert_eq!(bench.try_take(1).1.granted, 0);
}

#[test]
fn a_turn_waits_for_what_is_out() {
    for (is_out, expected) in [(true, 0), (false, 1)] {
        let mut bench = unproven(minute(3));
        let [first, second, third] = [bench.take(1), bench.take(1), bench.take(1)];
        for (lease, remaining) in [(first, 1), (second, 0)] {
            bench.settled(read(lease, says(remaining, Some((30_000, 30_000)))));
        }
        bench.now += 30_002;
        if !is_out {
            bench.settled(settle(third, SettleKind::NotSent));
        }
        assert_eq!(bench.try_take(1).1.granted, expected, "out: {is_out}");
    }
}

#[test]
fn an_end_within_a_window_whose_end_is_known_slides_nothing() {
    let mut bench = proven(aligned(10));
    call(&mut bench, says(9, Some((2000, 2000))));
    bench.now += 2002;
    call(&mut bench, says(9, Some((60_000, 60_000))));
    call(&mut bench, says(8, Some((20_000, 20_000))));
    assert_eq!((rung(&mut bench), bench.available()), ("aligned".to_owned(), 8));
    bench.now += 60_002;
    assert_eq!(bench.try_take(10).1.granted, 10);
}

#[test]
fn what_was_read_late_of_a_window_that_is_over_weighs_again_when_its_end_was_none() {
    let mut bench = unproven(aligned(8));
    call(&mut bench, says(7, Some((2000, 2000))));
    let late = bench.take(1);
    bench.now = START + 2002;
    let reading = until(&bench, 7, 62_000);
    call(&mut bench, reading);
    bench.settled(SettleGroup { age_ms: 1500, ..read(late, says(6, Some((2000, 2000)))) });
    assert_eq!(bench.stand().paid, 1, "it goes with its window");
    bench.now = START + 3000;
    let reading = until(&bench, 4, 67_000);
    call(&mut bench, reading);
    assert_eq!((rung(&mut bench), bench.stand().paid), ("sliding".to_owned(), 4));
    assert_eq!(bench.try_take(8).1.granted, 4);
}

// === on a clock ===

#[test]
fn on_a_clock_an_end_that_passed_long_ago_tells_the_next_as_vaguely_as_clocks_drift() {
    let mut bench = proven(window(8, true, true));
    let late = bench.take(1);
    bench.now += 640_000;
    // Executed between 0 and 5 s; its window ended between 50 and 65 s, ten windows before the next.
    bench.settled(read(late, says(7, Some((50_000, 50_000)))));
    let (early, latest) = bench.stand().window_end_ms.unwrap();
    assert_eq!((early, latest), (10_000 - 60, 25_001 + 60));
}

#[test]
fn on_a_clock_what_contradicts_the_end_that_is_known_changes_nothing() {
    let mut bench = proven(window(8, true, true));
    let late = bench.take(1);
    bench.now += 66_000;
    call(&mut bench, says(7, Some((20_000, 20_000))));
    let known = bench.stand().window_end_ms;
    // Between 110 and 125 s, it says.
    bench.settled(read(late, says(7, Some((50_000, 50_000)))));
    assert_eq!(bench.stand().window_end_ms, known);
}
