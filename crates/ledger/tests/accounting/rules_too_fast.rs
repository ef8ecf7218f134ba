//! Single rules of refusals with something left: which of them show that calls went too fast, and which are chance.

use bursar_quota::{LeaseId, LimitSpec, PauseOrder, Reason, Scope, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, budget, minute, settle},
    words::{aligned, all_of, names, read, rung, says, slots, until},
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::unproven(&budget(vec![limit]))
}

fn refused(bench: &mut Bench, lease: LeaseId) {
    bench.settled(settle(lease, SettleKind::Refused { counted: false }));
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
fn where_refusals_come_after_many_calls_as_well_it_takes_more_at_once() {
    for (scattered, at_once, expected) in
        [(0, 1, "sliding"), (0, 2, "paced"), (1, 2, "sliding"), (1, 3, "paced")]
    {
        let mut bench = bench(minute(1000));
        let mut refused_of = |calls: u16, count: u16| {
            let leases: Vec<_> = (0..count).map(|_| bench.take(1)).collect();
            let lease = bench.take(calls);
            bench.now += 10;
            bench.settled(all_of(calls, settle(lease, SettleKind::Accepted)));
            leases.into_iter().for_each(|lease| refused(&mut bench, lease));
            bench.now += 5000;
            rung(&mut bench)
        };
        for _ in 0..scattered {
            assert_eq!(refused_of(70, 1), "sliding");
        }
        assert_eq!(refused_of(70, at_once), "sliding");
        assert_eq!(refused_of(1, 1), expected, "{scattered} after many, {at_once} at once");
    }
}

#[test]
fn many_that_are_refused_at_once_are_not_scattered() {
    let mut bench = bench(minute(1000));
    // The last after so many calls that it is no part of a window.
    for (at_once, calls, apart) in [(2, 70, 20_000), (2, 70, 5000), (1, 150, 5000)] {
        assert_eq!(rung(&mut bench), "sliding");
        let leases: Vec<_> = (0..at_once).map(|_| bench.take(1)).collect();
        let lease = bench.take(calls);
        bench.now += 10;
        bench.settled(all_of(calls, settle(lease, SettleKind::Accepted)));
        leases.into_iter().for_each(|lease| refused(&mut bench, lease));
        bench.now += apart;
    }
    assert_eq!(rung(&mut bench), "paced");
}

#[test]
fn who_was_refused_again_alone_was_not_one_of_too_many() {
    for (probes, left, expected) in [(1, Some(100), "paced"), (2, Some(100), "sliding"), (2, None, "paced")] {
        let mut bench = bench(minute(100));
        let refusal = |lease, left: Option<u64>| SettleGroup {
            pause: Some(PauseOrder { scope: Scope::Budget, retry_after_ms: None }),
            readings: vec![names(left, 100)],
            ..settle(lease, SettleKind::Refused { counted: false })
        };
        let leases: Vec<_> = (0..5).map(|_| bench.take(1)).collect();
        bench.now += 10;
        for lease in leases {
            bench.settled(refusal(lease, Some(100)));
        }
        for _ in 0..probes {
            bench.now += 2000;
            let lease = bench.take(1);
            bench.now += 10;
            bench.settled(refusal(lease, left));
        }
        bench.now += 2100;
        let probe = bench.take(1);
        bench.now += 10;
        bench.settled(read(probe, says(99, None)));
        bench.now += 1100;
        let lease = bench.take(1);
        bench.now += 10;
        bench.settled(refusal(lease, Some(99)));
        assert_eq!(rung(&mut bench), expected, "{probes} probes were refused, {left:?} left");
    }
}

#[test]
fn a_limit_that_is_paced_lets_the_next_one_out_when_its_time_has_come() {
    let mut bench = struck(vec![minute(100)]);
    // 97 % of 100 a minute, 10 ms after the last refusal.
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((608..=609).contains(&wait), "{wait}");
}

#[test]
fn refusals_that_come_again_and_again_take_a_window_down_however_few_at_once() {
    for (apart, times, expected) in [
        (5000, 3, "paced"),
        (5000, 2, "sliding"),
        (911_000, 3, "paced"),
        (911_000, 2, "sliding"),
        (960_000, 8, "sliding"),
    ] {
        let mut bench = bench(minute(100));
        for _ in 0..times {
            let lease = bench.take(4);
            bench.settled(all_of(4, settle(lease, SettleKind::Accepted)));
            let lease = bench.take(1);
            bench.now += 10;
            refused(&mut bench, lease);
            bench.now += apart;
        }
        assert_eq!(rung(&mut bench), expected, "{times} times, {apart} ms between");
    }
}

#[test]
fn refusals_that_come_after_many_calls_each_take_no_window_down() {
    for (calls, times, expected) in [(8, 3, "paced"), (9, 8, "sliding")] {
        let mut bench = bench(minute(100));
        for _ in 0..times {
            for _ in 1..calls {
                let lease = bench.take(1);
                bench.settled(settle(lease, SettleKind::Accepted));
            }
            let lease = bench.take(1);
            bench.now += 10;
            refused(&mut bench, lease);
            bench.now += 30_000;
        }
        assert_eq!(rung(&mut bench), expected, "one in {calls}");
    }
}

#[test]
fn where_refusals_come_after_many_calls_as_well_more_that_come_soon_take_a_window_down() {
    // One after so many calls each; the first of them after none that is known of.
    for (calls, expected) in [
        (vec![1, 1, 1], "paced"),
        (vec![1, 30, 1, 1], "sliding"),
        (vec![1, 30, 1, 1, 1], "paced"),
        (vec![1, 30, 30, 1, 1, 1], "sliding"),
        (vec![1, 30, 30, 30, 30, 30, 1, 1, 1, 1], "sliding"),
        (vec![1, 30, 30, 30, 30, 30, 1, 1, 1, 1, 1], "paced"),
        // With zero, sixteen windows pass.
        (vec![1, 30, 30, 30, 0, 1, 1], "sliding"),
        (vec![1, 30, 30, 30, 0, 1, 1, 1], "paced"),
    ] {
        let mut bench = bench(minute(100));
        for count in &calls {
            if *count == 0 {
                bench.now += 960_000;
                continue;
            }
            let lease = bench.take(*count);
            bench.now += 10;
            bench.settled(all_of(count - 1, settle(lease, SettleKind::Accepted)));
            let refusal = settle(lease, SettleKind::Refused { counted: false });
            bench.settled(SettleGroup { indexes: vec![count - 1], ..refusal });
            bench.now += 61_000;
        }
        assert_eq!(rung(&mut bench), expected, "after {calls:?} calls");
    }
}

#[test]
fn where_too_many_may_have_been_at_once_a_refusal_takes_no_window_down() {
    assert_eq!(rung(&mut struck(vec![minute(100), slots(60, 0)])), "sliding");
}

/// So many at once are refused with `left`, twice within a sixth of a window; the rung then.
fn refused_twice(bench: &mut Bench, at_once: u16, left: Option<u64>) -> String {
    for _ in 0..2 {
        let leases: Vec<_> = (0..at_once).map(|_| bench.take(1)).collect();
        bench.now += 10;
        for lease in leases {
            let readings = left.map(|left| says(left, None)).into_iter().collect();
            bench.settled(SettleGroup { readings, ..settle(lease, SettleKind::Refused { counted: false }) });
        }
        bench.now += 2000;
    }
    rung(bench)
}

#[test]
fn what_a_crowd_took_down_is_not_given_up_for_one_now_and_then() {
    for (at_once, expected) in [(7, "sliding"), (8, "paced")] {
        let mut bench = bench(minute(600));
        assert_eq!(refused_twice(&mut bench, at_once, Some(590)), "paced");
        // In one window, and in windows that are further apart.
        for rest in [1000, 1000, 1000, 1000, 70_000, 70_000, 70_000, 70_000] {
            bench.now += rest;
            for _ in 0..40 {
                bench.now += 110;
                let lease = bench.take(1);
                bench.settled(read(lease, says(599, None)));
            }
            bench.now += 110;
            let lease = bench.take(1);
            bench.now += 10;
            bench.settled(SettleGroup {
                readings: vec![says(599, None)],
                ..settle(lease, SettleKind::Refused { counted: false })
            });
        }
        assert_eq!(rung(&mut bench), expected, "{at_once} at once");
    }
}

#[test]
fn what_a_crowd_took_down_is_given_up_where_refusals_come_as_rarely_and_after_few_calls() {
    let mut bench = bench(minute(600));
    assert_eq!(refused_twice(&mut bench, 8, Some(590)), "paced");
    for expected in ["paced", "paced", "sliding"] {
        bench.now += 70_000;
        let lease = bench.take(1);
        bench.now += 10;
        bench.settled(SettleGroup {
            readings: vec![says(599, None)],
            ..settle(lease, SettleKind::Refused { counted: false })
        });
        assert_eq!(rung(&mut bench), expected);
    }
}

#[test]
fn what_is_refused_with_something_left_was_not_used_up_by_others() {
    for (left, expected) in [(Some(40), "paced"), (None, "aligned")] {
        let mut bench = Bench::new(&budget(vec![aligned(100)]));
        let lease = bench.take(50);
        let reading = until(&bench, 40, 50_000);
        bench.settled(all_of(50, read(lease, reading)));
        assert_eq!(bench.stand().foreign, 10);
        assert_eq!(refused_twice(&mut bench, 3, left), expected);
    }
}

#[test]
fn what_is_refused_with_something_left_was_not_used_up_before_a_loss() {
    for (left, expected) in [(Some(80), "paced"), (None, "sliding")] {
        let spec = budget(vec![LimitSpec { readings: true, ..minute(100) }]);
        let mut bench = Bench::new(&spec);
        bench.remembers = true;
        let lease = bench.take(1);
        bench.settled(read(lease, says(99, None)));
        bench.come_back(None, &spec);
        assert_eq!(bench.try_take(1).1.granted, 0);
        bench.now += 5002;
        let probe = bench.take(1);
        bench.settled(read(probe, says(90, None)));
        assert!(bench.stand().recovering_ms.is_some());
        assert_eq!(refused_twice(&mut bench, 3, left), expected);
    }
}
