//! Single rules of how far ends are believed: earned by evidence, lost by contradiction, learned, and paced.

use bursar_quota::{LimitReading, LimitSpec, Reason, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, lost, read, rung, says, until, window},
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::unproven(&budget(vec![limit]))
}

/// Takes one and settles it at once with what its answer says.
fn call(bench: &mut Bench, reading: LimitReading) {
    let lease = bench.take(1);
    bench.settled(read(lease, reading));
}

/// Four of eight calls, made at the start; all that is said of the window is that it ends at `end`.
fn four_of_eight(limit: LimitSpec, end: u64) -> Bench {
    let mut bench = bench(limit);
    for remaining in [7, 6, 5, 4] {
        let reading = until(&bench, remaining, end);
        call(&mut bench, reading);
    }
    bench
}

// === declared and doubted ===

#[test]
fn after_a_declared_end_one_goes_and_its_reading_says_the_rest() {
    let mut bench = four_of_eight(aligned(8), 30_000);
    bench.now = START + 30_001;
    let (probe, decision) = bench.try_take(5);
    assert_eq!((decision.granted, decision.refusal.unwrap().reason), (1, Reason::Probing));
    assert_eq!(bench.try_take(1).1.granted, 0);
    let reading = until(&bench, 7, 90_000);
    bench.settled(read(probe, reading));
    assert_eq!((bench.try_take(9).1.granted, rung(&mut bench)), (7, "aligned".to_owned()));
}

#[test]
fn an_end_on_a_clock_needs_no_proof() {
    let mut bench = four_of_eight(window(8, true, true), 30_000);
    bench.take(1);
    bench.now = START + 30_001;
    assert_eq!((bench.try_take(9).1.granted, rung(&mut bench)), (8, "aligned".to_owned()));
}

#[test]
fn an_end_that_moves_by_less_than_a_window_was_none_and_what_it_gave_back_weighs_again() {
    let mut bench = four_of_eight(aligned(8), 2000);
    bench.now = START + 2001;
    let probe = bench.take(1);
    let reading = until(&bench, 3, 7000);
    bench.settled(read(probe, reading));
    assert_eq!(rung(&mut bench), "sliding");
    assert!(bench.available() <= 3 && bench.stand().paid >= 5, "{:?}", bench.stand());
    bench.now = START + 7100;
    assert!(bench.available() <= 4, "its end is believed no more");
    // The same where what is left shows nobody else.
    let mut bench = four_of_eight(aligned(8), 2000);
    bench.now = START + 2001;
    let reading = until(&bench, 7, 7000);
    call(&mut bench, reading);
    assert_eq!((rung(&mut bench), bench.stand().paid, bench.stand().foreign), ("sliding".to_owned(), 5, 0));
}

#[test]
fn only_a_proven_end_drops_what_was_out_before_it() {
    let mut bench = four_of_eight(aligned(8), 20_000);
    bench.take(1);
    bench.now = START + 20_001;
    assert_eq!(bench.stand().out, 1);
    bench.now = START + 65_500;
    assert_eq!(bench.stand().out, 0);
}

#[test]
fn what_a_reading_proves_counts_in_the_commit_that_brings_it() {
    for limit in [aligned(8), minute(8)] {
        let mut bench = four_of_eight(limit, 30_000);
        bench.take(1);
        bench.now = START + 30_001;
        let probe = bench.take(1);
        let reading = until(&bench, 7, 90_000);
        let reply = bench.commit(vec![read(probe, reading)], Vec::new());
        assert_eq!(reply.limits[0].1, 0, "what was out before is over");
        assert_eq!(reply.limits, bench.commit(Vec::new(), Vec::new()).limits);
    }
}

#[test]
fn a_proven_limit_that_slides_takes_its_window_for_used() {
    let mut bench = proven();
    let reading = until(&bench, 6, 90_000);
    call(&mut bench, reading);
    bench.now = START + 80_000;
    // It ended at 90 s.
    let reading = until(&bench, 5, 100_000);
    call(&mut bench, reading);
    assert_eq!(rung(&mut bench), "sliding");
    assert!(bench.stand().paid >= 8);
    assert!(bench.available() <= 5);
    bench.now += 59_000;
    assert!(bench.stand().paid >= 8, "for a window");
    bench.now += 70_000;
    assert_eq!(bench.stand().paid, 0);
    assert_eq!(bench.available(), 8, "nor does a reading of a window bind it");
}

// === proven ===

/// A limit that is declared as sliding, and that was proven to be aligned just after its first end.
fn proven() -> Bench {
    let mut bench = four_of_eight(minute(8), 30_000);
    bench.now = START + 30_001;
    let reading = until(&bench, 7, 90_000);
    call(&mut bench, reading);
    assert_eq!(rung(&mut bench), "aligned");
    bench
}

#[test]
fn a_window_that_forgets_faster_than_a_rolling_one_is_proven() {
    let mut bench = proven();
    assert_eq!(bench.available(), 7);
    call(&mut bench, says(6, None));
    let reading = until(&bench, 5, 90_000);
    call(&mut bench, reading);
    // What was made before it was proven weighs a little longer.
    bench.now = START + 90_400;
    assert_eq!(bench.try_take(9).1.granted, 8, "a proven end needs no probe");
}

#[test]
fn once_it_is_proven_a_reading_is_believed_until_its_windows_end() {
    let mut bench = four_of_eight(minute(8), 30_000);
    bench.now = START + 50_000;
    let reading = until(&bench, 7, 90_000);
    call(&mut bench, reading);
    assert_eq!(rung(&mut bench), "aligned");
    bench.now = START + 91_000;
    let free = bench.take(1);
    bench.settled(settle(free, SettleKind::Accepted));
    let reading = until(&bench, 7, 150_000);
    call(&mut bench, reading);
    // Of the rolling window that it was taken for, the last reading would be too old from 110 s on.
    for later in [100_000, 111_000, 149_999] {
        bench.now = START + later;
        assert_eq!(bench.available(), 7, "after {later} ms");
    }
}

#[test]
fn what_a_rolling_window_could_have_said_proves_nothing() {
    let mut bench = four_of_eight(minute(8), 30_000);
    bench.now = START + 30_001;
    let reading = until(&bench, 3, 90_000);
    call(&mut bench, reading);
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn more_than_there_can_be_proves_nothing() {
    let mut bench = four_of_eight(minute(8), 30_000);
    // All that is remembered a rolling window has forgotten as well.
    bench.now = START + 61_000;
    let reading = until(&bench, 10, 90_000);
    call(&mut bench, reading);
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn what_may_have_executed_as_early_as_its_grant_is_no_evidence_a_window_later() {
    // Answered at once, and after 3 s: then all four may be forgotten a window after their grant.
    for (slow, later, expected) in
        [(0, 59_000, "aligned"), (3000, 60_100, "sliding"), (3000, 59_000, "aligned")]
    {
        let mut bench = bench(minute(8));
        let leases = [7, 6, 5, 4].map(|remaining| (remaining, bench.take(1)));
        bench.now += slow;
        for (remaining, lease) in leases {
            let reading = until(&bench, remaining, 58_000);
            bench.settled(read(lease, reading));
        }
        bench.now = START + later;
        let reading = until(&bench, 7, 118_000);
        call(&mut bench, reading);
        assert_eq!(rung(&mut bench), expected, "answered after {slow} ms, looked at after {later} ms");
    }
}

#[test]
fn how_late_an_answer_was_is_remembered_for_as_long_as_its_call() {
    let mut bench = bench(minute(8));
    let reading = until(&bench, 7, 58_000);
    call(&mut bench, reading);
    bench.now += 26_000;
    let slow = [6, 5, 4].map(|remaining| (remaining, bench.take(1)));
    bench.now += 4000;
    for (remaining, lease) in slow {
        let reading = until(&bench, remaining, 58_000);
        bench.settled(read(lease, reading));
    }
    // A window after the first call, another came at once; and a window after the slow ones may have executed.
    bench.now = START + 60_500;
    call(&mut bench, says(4, None));
    bench.now = START + 86_100;
    let reading = until(&bench, 7, 118_000);
    call(&mut bench, reading);
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn what_settled_since_a_permits_grant_is_no_evidence() {
    let mut bench = four_of_eight(minute(8), 30_000);
    bench.now = START + 30_001;
    let (one, others) = (bench.take(1), bench.take(2));
    bench.settled(all_of(2, settle(others, SettleKind::Accepted)));
    // It may have gone before the two.
    let reading = until(&bench, 3, 90_000);
    bench.settled(read(one, reading));
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn what_was_perhaps_never_sent_is_no_evidence() {
    let mut bench = bench(minute(8));
    // Somebody else has called once.
    for remaining in [7, 5] {
        let reading = until(&bench, remaining, 30_000);
        call(&mut bench, reading);
    }
    let lease = bench.take(2);
    bench.settled(all_of(2, lost(lease)));
    bench.now = START + 30_001;
    // A rolling window may count as many: what else was called before it, and itself.
    let reading = until(&bench, 6, 90_000);
    call(&mut bench, reading);
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn an_end_that_moves_while_calls_are_made_is_a_buckets() {
    let mut bench = bench(minute(8));
    let lease = bench.take(4);
    bench.settled(SettleGroup { indexes: vec![0], ..read(lease, says(7, Some((7500, 7500)))) });
    bench.settled(SettleGroup { indexes: vec![1, 2, 3], ..settle(lease, SettleKind::Accepted) });
    bench.now = START + 30_001;
    call(&mut bench, says(7, Some((7500, 7500))));
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn vague_ends_that_a_bucket_could_have_named_are_not_one_that_stayed() {
    let mut bench = bench(minute(8));
    // Full again after 7.5 s for each call; told 28 s sharp, in a clock that is up to 20 s ahead.
    for (remaining, early) in [(7, 5_000), (6, 12_000), (5, 20_000), (4, 27_000)] {
        call(&mut bench, says(remaining, Some((early, early + 28_000))));
    }
    bench.now = START + 33_002;
    call(&mut bench, says(7, Some((5_000, 33_000))));
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn a_permit_from_before_an_end_does_not_prove_it() {
    let mut bench = four_of_eight(minute(8), 30_000);
    bench.now = START + 29_000;
    let early = bench.take(1);
    bench.now = START + 30_001;
    // Its answer is of the window before, and perhaps it was free.
    let reading = until(&bench, 7, 90_000);
    bench.settled(read(early, reading));
    assert_eq!(rung(&mut bench), "sliding");
}

// === turns ===

#[test]
fn a_followed_end_lets_one_find_out() {
    for (readings, expected) in [(2, 1), (1, 0)] {
        let mut bench = bench(minute(2));
        for remaining in [1, 0] {
            let reading = if readings == 2 || remaining == 1 {
                until(&bench, remaining, 30_000)
            } else {
                says(remaining, None)
            };
            call(&mut bench, reading);
        }
        bench.now = START + 29_999;
        assert_eq!(bench.try_take(1).1.granted, 0);
        bench.now = START + 30_002;
        assert_eq!(bench.try_take(2).1.granted, expected, "an end that {readings} readings named");
        assert_eq!(bench.try_take(1).1.granted, 0, "one");
    }
}

#[test]
fn a_turn_is_one_permit_though_it_was_not_sent() {
    let mut bench = bench(minute(2));
    for remaining in [1, 0] {
        let reading = until(&bench, remaining, 30_000);
        call(&mut bench, reading);
    }
    bench.now = START + 30_002;
    let lease = bench.take(1);
    bench.settled(settle(lease, SettleKind::NotSent));
    assert_eq!(bench.try_take(1).1.granted, 0);
}

#[test]
fn where_ends_move_the_newest_readings_is_followed() {
    for is_in_order in [true, false] {
        let mut bench = bench(minute(3));
        let first = bench.take(1);
        call(&mut bench, says(2, None));
        let mut readings = vec![
            read(first, says(1, Some((27_000, 29_000)))),
            read(bench.take(1), says(0, Some((28_000, 30_000)))),
        ];
        if !is_in_order {
            readings.reverse();
        }
        for reading in readings {
            bench.settled(reading);
        }
        bench.now = START + 29_500;
        // What the first to be named gave back may have been in a reading since.
        assert_eq!(bench.try_take(1).1.granted, 0, "in order: {is_in_order}");
        bench.now = START + 30_002;
        assert_eq!(bench.try_take(1).1.granted, 1, "in order: {is_in_order}");
    }
}

#[test]
fn a_newest_end_too_vague_to_follow_is_no_earlier_than_it_may_be_and_one_that_passed_gives_no_turn() {
    for (newest, at_first, at_last) in [((9_000, 59_000), 0, 1), ((-9_000, -5_000), 0, 0)] {
        let mut bench = bench(minute(4));
        for remaining in [3, 2] {
            let reading = until(&bench, remaining, 30_000);
            call(&mut bench, reading);
        }
        let (one, other) = (bench.take(1), bench.take(1));
        bench.settled(read(one, says(1, Some((29_000, 30_000)))));
        bench.settled(read(other, says(0, Some(newest))));
        bench.now = START + 30_002;
        assert_eq!(bench.try_take(1).1.granted, at_first, "{newest:?}");
        bench.now = START + 59_002;
        assert_eq!(bench.try_take(1).1.granted, at_last, "{newest:?}");
    }
}

#[test]
fn a_reading_after_a_followed_end_counts_what_it_gave_back() {
    for (since, expected) in [(None, 1), (Some(says(0, Some((20_000, 20_001)))), 0), (Some(says(0, None)), 0)]
    {
        let mut bench = bench(minute(4));
        let first = bench.take(1);
        call(&mut bench, says(3, None));
        let second = bench.take(1);
        bench.settled(read(second, says(2, Some((28_000, 30_000)))));
        let third = bench.take(1);
        bench.settled(read(first, says(1, Some((27_000, 29_000)))));
        bench.now = START + 29_500;
        let not_sent = settle(third, SettleKind::NotSent);
        bench.settled(since.clone().map_or(not_sent, |reading| read(third, reading)));
        bench.now = START + 30_002;
        assert_eq!(bench.try_take(1).1.granted, expected, "read since: {since:?}");
    }
}

#[test]
fn what_was_sent_since_an_end_was_named_may_have_used_up_what_it_gives_back() {
    let beyond = says(9, Some((50_000, 50_001)));
    for (what, expected) in [("not sent", 1), ("lost", 0), ("unread", 0), ("no end", 0), ("beyond", 0)] {
        for is_known_late in [false, true] {
            let mut bench = bench(minute(3));
            let leases = [bench.take(1), bench.take(1), bench.take(1)];
            for (lease, remaining) in leases.into_iter().zip([1, 0]) {
                let reading = until(&bench, remaining, 30_000);
                bench.settled(read(lease, reading));
            }
            if is_known_late {
                bench.now = START + 30_002;
                bench.commit(Vec::new(), Vec::new());
            }
            bench.settled(match what {
                "not sent" => settle(leases[2], SettleKind::NotSent),
                "lost" => lost(leases[2]),
                "unread" => settle(leases[2], SettleKind::Accepted),
                "no end" => read(leases[2], says(0, None)),
                _ => read(leases[2], beyond.clone()),
            });
            bench.now = START + 30_002;
            assert_eq!(bench.try_take(1).1.granted, expected, "{what}, {is_known_late}");
        }
    }
}

// === learned ===

/// Six of eight calls at the start, of which is said what remains and no end.
fn six_of_eight() -> Bench {
    let mut bench = bench(minute(8));
    for remaining in [7, 6, 5, 4, 3, 2] {
        call(&mut bench, says(remaining, None));
    }
    bench
}

#[test]
fn a_remaining_that_rose_too_far_shows_an_end() {
    let mut bench = six_of_eight();
    bench.now += 10_000;
    call(&mut bench, says(7, None));
    let (early, late) = bench.stand().window_end_ms.expect("it is known when the next window ends");
    assert!(early <= 60_000 && late >= 50_000 && late - early <= 10_002, "{early} to {late}");
}

#[test]
fn a_remaining_that_a_bucket_or_a_rolling_window_could_have_given_back_shows_none() {
    let mut bench = six_of_eight();
    bench.now += 10_000;
    call(&mut bench, says(3, None));
    assert_eq!(bench.stand().window_end_ms, None, "a bucket refills one in 7.5 s");
    // A rolling window has forgotten the six.
    let mut bench = six_of_eight();
    bench.now += 55_000;
    call(&mut bench, says(1, None));
    bench.now += 6000;
    call(&mut bench, says(6, None));
    assert_eq!(bench.stand().window_end_ms, None);
}

#[test]
fn calls_that_overlap_show_no_end() {
    let mut bench = bench(minute(8));
    for remaining in [7, 6, 5, 4] {
        call(&mut bench, says(remaining, None));
    }
    bench.now += 1000;
    let (one, two) = (bench.take(1), bench.take(1));
    bench.now += 100;
    bench.settled(read(one, says(2, None)));
    bench.now += 100;
    bench.settled(read(two, says(7, None)));
    assert_eq!(bench.stand().window_end_ms, None);
}

#[test]
fn a_learned_end_that_is_contradicted_is_dropped() {
    let mut bench = six_of_eight();
    bench.now += 10_000;
    call(&mut bench, says(7, None));
    assert!(bench.stand().window_end_ms.is_some());
    bench.now = START + 71_000;
    // All but nothing is left, though little was called since.
    call(&mut bench, says(1, None));
    assert_eq!(bench.stand().window_end_ms, None);
}
