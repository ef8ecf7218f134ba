//! Single rules of how far ends are believed: earned by evidence, lost by contradiction, learned, and paced.

use bursar_quota::{LeaseId, LimitKind, LimitName, LimitReading, LimitSpec, Reason, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, lost, read, says, slots, window},
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::unproven(&budget(vec![limit]))
}

fn rung(bench: &mut Bench) -> String {
    bench.stand().rung
}

/// So much remains of a window that ends at `end` ms from the start.
fn until(bench: &Bench, remaining: u64, end: u64) -> LimitReading {
    let left = i64::try_from(START + end).unwrap() - i64::try_from(bench.now).unwrap();
    says(remaining, Some((left, left)))
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
fn what_a_rolling_window_could_have_said_proves_nothing() {
    let mut bench = four_of_eight(minute(8), 30_000);
    bench.now = START + 30_001;
    let reading = until(&bench, 3, 90_000);
    call(&mut bench, reading);
    assert_eq!(rung(&mut bench), "sliding");
    // Nor does it once the first calls are nearly forgotten by any.
    let mut bench = four_of_eight(minute(8), 58_000);
    bench.now = START + 58_001;
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
    for remaining in [7, 6, 5] {
        let reading = until(&bench, remaining, 30_000);
        call(&mut bench, reading);
    }
    let lease = bench.take(2);
    bench.settled(all_of(2, lost(lease)));
    bench.now = START + 30_001;
    // A rolling window counts the three and itself.
    let reading = until(&bench, 4, 90_000);
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

// === refusals, and the pace ===

fn refused(bench: &mut Bench, lease: LeaseId) {
    bench.settled(settle(lease, SettleKind::Refused { counted: false }));
}

/// A limit that a refusal took down to paced, a window later: it lets two out at once.
fn paced(capacity: u16) -> Bench {
    let mut bench = bench(minute(u64::from(capacity)));
    let lease = bench.take(capacity);
    bench.settled(all_of(capacity - 1, read(lease, says(1, None))));
    bench.settled(SettleGroup {
        indexes: vec![capacity - 1],
        readings: vec![says(0, None)],
        ..settle(lease, SettleKind::Refused { counted: true })
    });
    assert_eq!(rung(&mut bench), "paced");
    bench.now += 66_000;
    bench.commit(Vec::new(), Vec::new());
    bench
}

#[test]
fn refusals_of_one_event_count_once() {
    let mut bench = bench(minute(100));
    let (one, two, three) = (bench.take(1), bench.take(1), bench.take(1));
    bench.now += 1;
    for lease in [one, two, three] {
        refused(&mut bench, lease);
    }
    assert_eq!(rung(&mut bench), "sliding");
    // Nor one that comes much later.
    bench.now += 11_000;
    let lease = bench.take(1);
    refused(&mut bench, lease);
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn a_refusal_with_nothing_left_takes_a_limit_down_a_rung() {
    for (limit, before, after) in [(aligned(8), "aligned", "sliding"), (minute(8), "sliding", "paced")] {
        let mut bench = bench(limit);
        let leases: Vec<_> = (0..8).map(|_| bench.take(1)).collect();
        for (lease, remaining) in leases[..7].iter().zip([7, 6, 5, 4, 3, 2, 1]) {
            let reading = until(&bench, remaining, 30_000);
            bench.settled(read(*lease, reading));
        }
        assert_eq!(rung(&mut bench), before);
        let reading = until(&bench, 0, 30_000);
        bench.settled(SettleGroup {
            readings: vec![reading],
            ..settle(leases[7], SettleKind::Refused { counted: true })
        });
        assert_eq!(rung(&mut bench), after);
    }
}

#[test]
fn a_refusal_that_others_use_explains_takes_no_limit_down() {
    let mut bench = bench(minute(8));
    let lease = bench.take(1);
    let reading = until(&bench, 0, 30_000);
    bench.settled(SettleGroup {
        readings: vec![reading],
        ..settle(lease, SettleKind::Refused { counted: true })
    });
    assert_eq!(rung(&mut bench), "sliding");
}

/// Half of a hundred calls are refused though something is left, and soon after one more.
fn struck(limits: Vec<LimitSpec>) -> Bench {
    let costs = vec![1; limits.len()];
    let mut bench = Bench::unproven(&budget(limits));
    for count in [50, 1] {
        let groups: Vec<_> = (0..count)
            .map(|_| {
                let mut group = bench.acquire(1, 1, 60_000);
                group.costs.clone_from(&costs);
                group
            })
            .collect();
        let leases: Vec<_> = groups.iter().map(|group| group.lease).collect();
        assert!(bench.commit(Vec::new(), groups).decisions.iter().all(|decision| decision.granted == 1));
        bench.now += 10;
        for lease in leases {
            refused(&mut bench, lease);
        }
        bench.now += 10;
    }
    bench
}

#[test]
fn many_refusals_of_one_event_and_soon_another_take_a_window_down() {
    assert_eq!(rung(&mut struck(vec![minute(100)])), "paced");
}

#[test]
fn where_too_many_may_have_been_at_once_a_refusal_takes_no_window_down() {
    assert_eq!(rung(&mut struck(vec![minute(100), slots(60, 0)])), "sliding");
}

#[test]
fn a_paced_limit_spreads_its_grants_and_names_their_times() {
    // 96 % of 600 a minute: one in 104 1/6 ms.
    let mut bench = paced(600);
    bench.now += 10_000;
    assert_eq!(bench.try_take(5).1.granted, 2, "its burst");
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((104..=105).contains(&wait), "{wait}");
    bench.now += 10_000;
    let lease = bench.take(1);
    bench.settled(settle(lease, SettleKind::NotSent));
    assert_eq!(bench.try_take(5).1.granted, 2, "what was not sent is given back");
}

#[test]
fn a_paced_limits_burst_doubles_while_it_does_no_harm_and_halves_when_it_does() {
    let mut bench = paced(600);
    let burst = |bench: &mut Bench| {
        bench.now += 5000;
        let (lease, decision) = bench.try_take(500);
        let all = all_of(decision.granted, settle(lease, SettleKind::Accepted));
        bench.settled(all);
        decision.granted
    };
    for expected in [2, 4, 8] {
        assert_eq!(burst(&mut bench), expected);
        bench.now += 60_000;
        bench.commit(Vec::new(), Vec::new());
    }
    // 16 is too much.
    bench.now += 5000;
    let (lease, decision) = bench.try_take(500);
    assert_eq!(decision.granted, 16);
    bench.now += 1;
    bench.settled(all_of(16, settle(lease, SettleKind::Refused { counted: false })));
    for _ in 0..4 {
        assert_eq!(burst(&mut bench), 8, "what was refused once is not tried again");
        bench.now += 60_000;
        bench.commit(Vec::new(), Vec::new());
    }
}

#[test]
fn a_refusal_that_no_smaller_burst_explains_slows_the_pace() {
    let mut bench = paced(600);
    for _ in 0..2 {
        bench.now += 10_000;
        let lease = bench.take(1);
        bench.now += 1;
        refused(&mut bench, lease);
    }
    // From nothing: 90 % of 96 %, one in 115.7 ms.
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((115..=116).contains(&wait), "{wait}");
}

/// A paced call is refused, so long after the one before. Answers the rung.
fn refused_after(bench: &mut Bench, ms: u64, readings: Vec<LimitReading>) -> String {
    bench.now += ms;
    let lease = bench.take(1);
    bench.settled(SettleGroup { readings, ..settle(lease, SettleKind::Refused { counted: true }) });
    rung(bench)
}

#[test]
fn a_pace_that_is_slowed_in_vain_is_given_up_where_something_is_left() {
    let mut bench = paced(600);
    for _ in 0..4 {
        assert_eq!(refused_after(&mut bench, 11_000, vec![says(599, None)]), "paced");
    }
    assert_eq!(refused_after(&mut bench, 11_000, vec![says(599, None)]), "sliding");
}

#[test]
fn a_pace_that_is_slowed_in_vain_is_kept_where_nothing_is_read_or_a_window_was_free_of_refusals() {
    let mut bench = paced(600);
    for _ in 0..8 {
        assert_eq!(refused_after(&mut bench, 11_000, Vec::new()), "paced");
    }
    let mut bench = paced(600);
    for _ in 0..8 {
        assert_eq!(refused_after(&mut bench, 61_000, vec![says(599, None)]), "paced");
    }
    assert_eq!(refused_after(&mut bench, 11_000, vec![says(599, None)]), "paced");
}

/// How long the next of a paced limit's permits takes, one having been taken just now, in ms.
fn spacing(bench: &mut Bench) -> u64 {
    bench.now += 10_000;
    while bench.try_take(1).1.granted > 0 {}
    bench.refused_until_exactly(Reason::QuotaExhausted)
}

/// Calls go on for so many windows, one in each, and none is refused.
fn clean_windows(bench: &mut Bench, windows: u64) {
    for _ in 0..windows {
        bench.now += 60_000;
        let lease = bench.take(1);
        bench.settled(settle(lease, SettleKind::Accepted));
    }
}

#[test]
fn a_slowed_pace_is_tried_faster_after_long_and_then_every_window() {
    let mut bench = paced(600);
    for _ in 0..12 {
        assert_eq!(refused_after(&mut bench, 11_000, Vec::new()), "paced");
    }
    // The first halves the burst; each of the others takes a tenth off 97 % of 600 a minute.
    let slowed = spacing(&mut bench);
    assert!((325..=335).contains(&slowed), "{slowed}");
    clean_windows(&mut bench, 29);
    assert_eq!(spacing(&mut bench), slowed, "not yet");
    clean_windows(&mut bench, 3);
    let faster = spacing(&mut bench);
    assert!((slowed * 79 / 100..=slowed * 81 / 100).contains(&faster), "{slowed}, then {faster}");
    // A refusal ends that, and the next trial takes twice as long.
    refused_after(&mut bench, 11_000, Vec::new());
    let again = spacing(&mut bench);
    clean_windows(&mut bench, 60);
    assert_eq!(spacing(&mut bench), again, "not yet");
    clean_windows(&mut bench, 16);
    let all = spacing(&mut bench);
    assert!((103..=104).contains(&all), "{all}: what refused is long over, all of it is let out again");
}

#[test]
fn a_limit_by_another_name_begins_as_it_is_declared() {
    let mut bench = paced(600);
    let hour = LimitKind::Window {
        capacity: 600,
        window: std::time::Duration::from_secs(3600),
        aligned: false,
        on_clock: false,
    };
    bench.put(&budget(vec![LimitSpec::new(LimitName::new("hour").unwrap(), hour)]));
    assert_eq!(rung(&mut bench), "sliding");
}
