//! Single rules of refusals that the account cannot explain: what takes a limit down, how it is paced, and how it rises again.

use std::time::Duration;

use bursar_quota::{
    LeaseId, LimitKind, LimitName, LimitReading, LimitSpec, PauseOrder, Reason, Scope, SettleGroup,
    SettleKind,
};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, read, rung, says, until},
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::unproven(&budget(vec![limit]))
}

fn refused(bench: &mut Bench, lease: LeaseId) {
    bench.settled(settle(lease, SettleKind::Refused { counted: false }));
}

/// A limit that a refusal took down to paced, a window later: it lets one out at a time.
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

#[test]
fn others_use_explains_one_refusal_in_many_windows_where_nothing_is_proven() {
    let mut bench = bench(minute(100));
    let mut refused_at = |ms: u64| {
        bench.now = START + ms - 1000;
        let lease = bench.take(50);
        bench.now += 1000;
        // One was somebody else's.
        bench.settled(all_of(50, read(lease, says(49, None))));
        let leases = [bench.take(1), bench.take(1)];
        bench.now += 1;
        for lease in leases {
            let refusal = settle(lease, SettleKind::Refused { counted: false });
            bench.settled(SettleGroup { readings: vec![says(0, None)], ..refusal });
        }
        rung(&mut bench)
    };
    assert_eq!(refused_at(55_000), "sliding", "two of one event");
    assert_eq!(refused_at(1_015_001), "sliding", "and another, sixteen windows later");
    assert_eq!(refused_at(1_975_000), "paced", "and one that is not as late");
}

/// A limit that the last of ten calls took down to paced, whose refusal pauses `scope` and names this time.
fn taken_down(scope: Scope, retry_after_ms: Option<u64>) -> Bench {
    let mut bench = bench(minute(10));
    let lease = bench.take(10);
    bench.now += 1;
    bench.settled(all_of(9, read(lease, says(1, None))));
    bench.settled(SettleGroup {
        indexes: vec![9],
        readings: vec![says(0, None)],
        pause: Some(PauseOrder { scope, retry_after_ms }),
        ..settle(lease, SettleKind::Refused { counted: true })
    });
    assert_eq!(rung(&mut bench), "paced");
    bench
}

#[test]
fn who_is_told_when_finds_out_what_came_back_and_who_is_not_waits_for_the_rolling_window() {
    for (retry_after_ms, expected) in [(Some(1000), 1001), (None, 60_114)] {
        let mut bench = taken_down(Scope::Budget, retry_after_ms);
        let named = bench.try_take(1).1.refusal.and_then(|refusal| refusal.retry_after);
        assert_eq!(named, Some(Duration::from_millis(expected)), "{retry_after_ms:?}");
        bench.now += expected;
        // One goes, whose reading would say the rest.
        let probe = bench.take(1);
        bench.settled(settle(probe, SettleKind::Accepted));
        bench.now += 7000;
        assert_eq!(bench.try_take(1).1.granted, u16::from(retry_after_ms.is_none()));
    }
}

#[test]
fn nobody_finds_out_before_the_time_that_was_told() {
    // Of others: nothing but the limit keeps those of this class.
    let mut bench = taken_down(Scope::Class("other".parse().unwrap()), Some(5000));
    assert_eq!(bench.available(), 0);
    let named = bench.try_take(1).1.refusal.and_then(|refusal| refusal.retry_after);
    assert_eq!(named, Some(Duration::from_millis(5001)));
    bench.now += 5000;
    assert_eq!(bench.available(), 0);
    bench.now += 1;
    assert_eq!(bench.available(), 1);
}

#[test]
fn pacing_is_given_up_where_refusals_come_after_many_calls_each_all_the_same() {
    let many_calls = |bench: &mut Bench| {
        for _ in 0..40 {
            bench.now += 110;
            let lease = bench.take(1);
            bench.settled(read(lease, says(599, None)));
        }
        refused_after(bench, 110, vec![says(599, None)])
    };
    let mut bench = paced(600);
    assert_eq!(many_calls(&mut bench), "paced");
    // Nor is it slowed: one in 103.1 ms.
    bench.now += 1200;
    bench.take(1);
    assert!(bench.refused_until_exactly(Reason::QuotaExhausted) <= 104);
    assert_eq!(many_calls(&mut bench), "sliding");
    // Where few come before each it is slowed.
    let mut bench = paced(600);
    for _ in 0..2 {
        assert_eq!(refused_after(&mut bench, 2000, vec![says(599, None)]), "paced");
    }
    bench.now += 10_000;
    bench.take(1);
    assert!(bench.refused_until_exactly(Reason::QuotaExhausted) > 104);
}

#[test]
fn a_paced_limit_spreads_its_grants_and_names_their_times() {
    // 96 % of 600 a minute: one in 104 1/6 ms.
    let mut bench = paced(600);
    bench.now += 10_000;
    assert_eq!(bench.try_take(5).1.granted, 1, "its burst");
    // An eighth of a call was there beside it.
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((90..=91).contains(&wait), "{wait}");
    bench.now += 10_000;
    let lease = bench.take(1);
    bench.settled(settle(lease, SettleKind::NotSent));
    assert_eq!(bench.try_take(5).1.granted, 1, "what was not sent is given back");
}

#[test]
fn a_call_that_costs_more_than_a_paced_limit_lets_out_at_once_goes_and_is_paid_for_afterwards() {
    let mut bench = paced(600);
    bench.now += 10_000;
    let heavy = |bench: &mut Bench| {
        let group = bench.acquire(2, 40, 60_000);
        bench.commit(Vec::new(), vec![group]).decisions.remove(0)
    };
    // What it lets out is there; 40 more than an eighth of a call come in 4 s.
    let decision = heavy(&mut bench);
    assert_eq!(decision.granted, 1);
    let wait = u64::try_from(decision.refusal.unwrap().retry_after.unwrap().as_millis()).unwrap();
    assert!((4090..=4130).contains(&wait), "{wait}");
    bench.now += wait - 1;
    assert_eq!((heavy(&mut bench).granted, bench.try_take(1).1.granted), (0, 0));
    bench.now += 1;
    assert_eq!(heavy(&mut bench).granted, 1);
    // The account binds it as well.
    bench.now += 10_000;
    let first = bench.take(1);
    bench.settled(read(first, says(39, None)));
    bench.now += 10_000;
    assert_eq!(heavy(&mut bench).granted, 0);
}

#[test]
fn who_comes_a_little_late_for_what_is_paced_loses_nothing_by_it() {
    let mut bench = paced(600);
    bench.now += 10_000;
    bench.take(1);
    let begun = bench.now;
    for _ in 0..100 {
        let refusal = bench.try_take(1).1.refusal.unwrap();
        bench.now += u64::try_from(refusal.retry_after.unwrap().as_millis()).unwrap() + 10;
        bench.take(1);
    }
    // 97 % of 600 a minute, less the eighth that was there.
    let each = (bench.now - begun) / 100;
    assert!((102..=103).contains(&each), "{each}");
}

#[test]
fn what_a_paced_limit_waits_for_is_named_exactly_when_the_pace_would_let_it_out_before() {
    let mut bench = paced(600);
    bench.now += 10_000;
    let first = bench.take(1);
    // Others have used half, and then the rest: it weighs for a window.
    bench.settled(read(first, says(300, None)));
    bench.now += 5000;
    // All that its burst lets out.
    let (both, decision) = bench.try_take(5);
    bench.settled(all_of(decision.granted, read(both, says(0, None))));
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((55_000..=55_235).contains(&wait), "{wait}");
}

#[test]
fn a_paced_limits_burst_doubles_after_long_and_then_every_window_and_halves_when_it_does_harm() {
    let mut bench = paced(600);
    let burst = |bench: &mut Bench| {
        bench.now += 5000;
        let (lease, decision) = bench.try_take(500);
        let all = all_of(decision.granted, settle(lease, SettleKind::Accepted));
        bench.settled(all);
        decision.granted
    };
    clean_windows(&mut bench, 30);
    assert_eq!(burst(&mut bench), 1, "not yet");
    for expected in [2, 4, 8] {
        clean_windows(&mut bench, 1);
        assert_eq!(burst(&mut bench), expected);
    }
    // 16 is too much.
    clean_windows(&mut bench, 1);
    bench.now += 5000;
    let (lease, decision) = bench.try_take(500);
    assert_eq!(decision.granted, 16);
    bench.now += 1;
    bench.settled(all_of(16, settle(lease, SettleKind::Refused { counted: false })));
    for _ in 0..70 {
        assert_eq!(burst(&mut bench), 8, "what was refused once is not tried again");
        clean_windows(&mut bench, 1);
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
    // From nothing: 81 % of 97 %, one in 127.3 ms.
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((127..=128).contains(&wait), "{wait}");
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
fn a_pace_that_is_slowed_in_vain_is_kept_where_nothing_is_read() {
    let mut bench = paced(600);
    for _ in 0..8 {
        assert_eq!(refused_after(&mut bench, 11_000, Vec::new()), "paced");
    }
}

#[test]
fn pacing_is_given_up_where_refusals_come_as_rarely_as_before() {
    for readings in [vec![says(599, None)], Vec::new()] {
        let mut bench = paced(600);
        for _ in 0..2 {
            assert_eq!(refused_after(&mut bench, 61_000, readings.clone()), "paced");
        }
        assert_eq!(refused_after(&mut bench, 61_000, readings), "sliding");
    }
    // What comes within a window shows that the pace is still too fast: counted anew.
    let mut bench = paced(600);
    for apart in [61_000, 61_000, 11_000, 61_000, 61_000] {
        assert_eq!(refused_after(&mut bench, apart, vec![says(599, None)]), "paced");
    }
    assert_eq!(refused_after(&mut bench, 61_000, vec![says(599, None)]), "sliding");
    // Nor is it where one comes after many windows without.
    let mut bench = paced(600);
    for _ in 0..4 {
        assert_eq!(refused_after(&mut bench, 16 * 60_000, vec![says(599, None)]), "paced");
    }
}

/// Paced again, it is slowed in vain once more. Answers its rung, once it is given up.
fn given_up(bench: &mut Bench) -> String {
    for _ in 0..4 {
        assert_eq!(refused_after(bench, 11_000, vec![says(599, None)]), "paced");
    }
    refused_after(bench, 11_000, vec![says(599, None)])
}

/// Refused three times, one at a time. Answers the rung.
fn refused_closely(bench: &mut Bench) -> String {
    for _ in 0..2 {
        refused_after(bench, 1000, vec![says(599, None)]);
    }
    refused_after(bench, 1000, vec![says(599, None)])
}

#[test]
fn pacing_that_was_given_up_is_tried_again_after_some_windows_and_then_after_twice_as_many() {
    let mut bench = paced(600);
    for windows in [32, 64] {
        assert_eq!(given_up(&mut bench), "sliding");
        bench.now += (windows - 1) * 60_000;
        assert_eq!(refused_closely(&mut bench), "sliding", "not yet");
        bench.now += 61_000;
        assert_eq!(refused_closely(&mut bench), "paced", "after {windows} windows");
        bench.now += 61_000;
        bench.commit(Vec::new(), Vec::new());
    }
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
    // Each takes a tenth off 97 % of 600 a minute; an eighth of a call is there already.
    let slowed = spacing(&mut bench);
    assert!((319..=320).contains(&slowed), "{slowed}");
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
    assert!((90..=91).contains(&all), "{all}: what refused is long over, all of it is let out again");
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
