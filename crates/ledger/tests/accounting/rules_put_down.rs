//! Single rules of what a refusal is put down to, and of what explains it.

use bursar_quota::{
    Commit, CountedAt, LimitName, LimitReading, LimitSpec, RenewGroup, SettleGroup, SettleKind,
};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, read, rung, says, until},
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::unproven(&budget(vec![limit]))
}

#[test]
fn others_use_explains_every_refusal_where_the_end_is_proven() {
    let mut bench = Bench::new(&budget(vec![aligned(100)]));
    let lease = bench.take(50);
    let reading = until(&bench, 49, 50_000);
    bench.settled(all_of(50, read(lease, reading)));
    // Somebody else has used up this window just before its end, and then the next.
    for (at, end) in [(45_000, 50_000), (52_000, 110_000)] {
        bench.now = START + at;
        let lease = bench.take(1);
        let reading = until(&bench, 0, end);
        bench.settled(SettleGroup {
            readings: vec![reading],
            ..settle(lease, SettleKind::Refused { counted: false })
        });
        assert_eq!(rung(&mut bench), "aligned");
    }
    bench.now = START + 110_001;
    assert_eq!(bench.stand().paid, 0, "all is given back at its end");
}

#[test]
fn a_refusal_of_a_probe_takes_no_limit_down() {
    let mut bench = bench(LimitSpec { readings: true, ..minute(100) });
    // Nothing is known of what was used before: not even that it refuses with something left.
    for _ in 0..3 {
        let lease = bench.take(1);
        bench.now += 10;
        bench.settled(settle(lease, SettleKind::Refused { counted: false }));
    }
    assert_eq!((rung(&mut bench), bench.try_take(5).1.granted), ("sliding".to_owned(), 5));
}

#[test]
fn a_refusal_while_it_is_not_known_what_was_lost_takes_no_limit_down() {
    let spec = budget(vec![LimitSpec { readings: true, ..minute(10) }]);
    let mut bench = Bench::new(&spec);
    bench.remembers = true;
    let lease = bench.take(1);
    bench.settled(read(lease, says(9, None)));
    bench.take(3);
    bench.come_back(None, &spec);
    assert_eq!(bench.try_take(1).1.granted, 0);
    bench.now += 5002;
    let probe = bench.take(1);
    bench.settled(read(probe, says(5, None)));
    // What others use cannot be told from what was forgotten.
    let lease = bench.take(1);
    let reading = says(0, None);
    bench.settled(SettleGroup {
        readings: vec![reading],
        ..settle(lease, SettleKind::Refused { counted: true })
    });
    assert_eq!(rung(&mut bench), "sliding");
    bench.now += 66_000;
    assert_eq!(bench.try_take(10).1.granted, 10);
}

#[test]
fn a_refusal_that_is_told_when_its_call_weighs_no_more_takes_no_limit_down() {
    let mut bench = bench(minute(10));
    let lease = bench.take(1);
    bench.now += 66_000;
    bench.settled(SettleGroup {
        readings: vec![says(0, None)],
        ..settle(lease, SettleKind::Refused { counted: true })
    });
    assert_eq!((rung(&mut bench), bench.try_take(10).1.granted), ("sliding".to_owned(), 10));
}

#[test]
fn a_refusal_of_what_is_counted_at_completion_counts_while_that_weighs() {
    let mut bench = bench(LimitSpec { counted_at: CountedAt::Completion, ..minute(1) });
    let lease = bench.take(1);
    // It weighs for a window after its deadline.
    bench.now += 100_000;
    bench.settled(SettleGroup {
        readings: vec![says(0, None)],
        ..settle(lease, SettleKind::Refused { counted: true })
    });
    assert_eq!(rung(&mut bench), "paced");
}

#[test]
fn a_refusal_is_put_down_to_what_it_names_and_else_to_the_first_window() {
    // Others' use explains one refusal in many windows, and no more.
    for (named, expected) in [(true, ["sliding", "paced"]), (false, ["paced", "sliding"])] {
        let mut other = minute(1000);
        other.name = LimitName::new("other").unwrap();
        let mut bench = Bench::unproven(&budget(vec![minute(1000), other]));
        for _ in 0..3 {
            let mut group = bench.acquire(1, 1, 60_000);
            group.costs = vec![1, 1];
            let lease = group.lease;
            assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 1);
            bench.now += 10;
            // Others have used that one up.
            let reading = LimitReading { limit: 1, ..says(0, None) };
            let readings = if named { vec![reading] } else { Vec::new() };
            bench.settled(SettleGroup { readings, ..settle(lease, SettleKind::Refused { counted: false }) });
            bench.now += 70_000;
        }
        let rungs = bench.stored().snapshot.limits.into_iter().map(|limit| limit.rung);
        assert_eq!(rungs.collect::<Vec<_>>(), expected, "named: {named}");
    }
}

#[test]
fn a_refusal_of_a_renewed_call_that_still_weighs_takes_a_limit_down() {
    for renewed in [false, true] {
        let mut limit = minute(1);
        limit.counted_at = CountedAt::Completion;
        let mut bench = bench(limit);
        let lease = bench.take(1);
        if renewed {
            let renews = vec![RenewGroup { lease, index: 0, ttl_ms: 300_000 }];
            bench.send(Commit { renews, ..bench.empty() });
            bench.now += 80_000;
        }
        bench.now += 50_000;
        assert_eq!(bench.stand().out, 1);
        let refused = settle(lease, SettleKind::Refused { counted: true });
        bench.settled(SettleGroup { readings: vec![says(0, None)], ..refused });
        assert_eq!(rung(&mut bench), "paced", "renewed: {renewed}");
    }
}

#[test]
fn two_slow_probes_count_as_two_in_whatever_order_they_are_heard_of() {
    for older_first in [true, false] {
        let mut bench = bench(LimitSpec { readings: true, ..minute(10) });
        let first = bench.take(1);
        bench.now += 10_002;
        let second = bench.take(1);
        let (one, other) = if older_first { (first, second) } else { (second, first) };
        bench.settled(settle(one, SettleKind::Lost));
        if older_first {
            assert_eq!(bench.try_take(1).1.granted, 0, "the second is out");
        }
        bench.settled(settle(other, SettleKind::Lost));
        assert_eq!(bench.try_take(5).1.granted, 1, "two probes");
    }
}
