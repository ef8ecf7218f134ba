//! Single rules of ends that pass unseen, move, or are told too vaguely.

use bursar_quota::{LimitReading, LimitSpec, Reason, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, lost, read, rung, says, until},
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

#[test]
fn what_is_granted_once_a_later_end_was_named_is_of_its_window() {
    let mut bench = proven(aligned(10));
    call(&mut bench, says(9, Some((2000, 10_000))));
    bench.now = START + 2500;
    let reading = until(&bench, 9, 62_500);
    call(&mut bench, reading);
    // Before the latest end of the window that is known to be over.
    bench.now = START + 9000;
    let blind = bench.take(1);
    bench.settled(lost(blind));
    bench.now = START + 62_502;
    assert_eq!(bench.available(), 10, "it goes with the only window in which it can have executed");
}

#[test]
fn what_was_out_of_a_window_that_a_reading_ends_weighs_no_more_in_the_same_commit() {
    let mut bench = proven(aligned(10));
    call(&mut bench, says(9, Some((2000, 10_000))));
    let short = bench.acquire(1, 1, 500);
    assert_eq!(bench.commit(Vec::new(), vec![short]).decisions[0].granted, 1);
    bench.now = START + 5000;
    let lease = bench.take(1);
    let reading = until(&bench, 9, 65_000);
    let all = bench.acquire(10, 1, 60_000);
    assert_eq!(bench.commit(vec![read(lease, reading)], vec![all]).decisions[0].granted, 9);
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

// === ends that are when a bucket would be full ===

/// Of 64 a minute so many calls are made at once; each answer names when a bucket would be full again, to so many ms before
/// and after.
fn ends_with_use(calls: u64, before: i64, after: i64) -> Bench {
    let mut bench = unproven(minute(64));
    for used in 1..=calls {
        let full = i64::try_from(used).unwrap() * 60_000 / 64;
        call(&mut bench, says(64 - used, Some((full - before, full + after))));
    }
    bench
}

#[test]
fn ends_that_move_with_the_use_show_a_bucket_once_a_quarter_was_used() {
    // Sixteen apart: seventeen calls.
    let mut bench = ends_with_use(17, 1, 1);
    assert_eq!(rung(&mut bench), "bucket");
    bench.now += 8000;
    assert_eq!(bench.available(), 64 - 17 + 8, "a little more than one a second");
    let mut bench = ends_with_use(16, 1, 1);
    assert_eq!(rung(&mut bench), "sliding", "a few may agree by chance");
    bench.now += 8000;
    assert_eq!(bench.available(), 64 - 16);
}

#[test]
fn ends_told_vaguely_show_no_bucket() {
    let mut bench = ends_with_use(40, 2000, 2000);
    assert_eq!(rung(&mut bench), "sliding");
    bench.now += 20_000;
    assert_eq!(bench.available(), 64 - 40);
    // Within a sixteenth of the window they do.
    assert_eq!(rung(&mut ends_with_use(40, 1800, 1800)), "bucket");
}

#[test]
fn a_refusal_ends_the_belief_in_a_bucket() {
    let mut bench = ends_with_use(17, 1, 1);
    let lease = bench.take(1);
    bench.settled(settle(lease, SettleKind::Refused { counted: false }));
    assert_eq!(rung(&mut bench), "sliding");
    bench.now += 8000;
    assert_eq!(bench.available(), 64 - 17);
    // Nor is it learned again.
    for used in 18..=40 {
        let full = i64::try_from(used).unwrap() * 60_000 / 64;
        call(&mut bench, says(64 - used, Some((full - 1, full + 1))));
    }
    assert_eq!(rung(&mut bench), "sliding");
}
