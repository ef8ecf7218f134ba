//! Single rules of limits whose ends are when a bucket would be full again: learned, and believed from then on.

use bursar_quota::{LimitReading, Reason, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, budget, minute, settle},
    words::{read, rung, says},
};

/// Takes one and settles it at once with what its answer says.
fn call(bench: &mut Bench, reading: LimitReading) {
    let lease = bench.take(1);
    bench.settled(read(lease, reading));
}

/// Of a bucket of 64 that refills in a minute so much is used: when it is full again, `off` ms from then, to so many ms.
fn full(used: u64, off: i64, vague: i64) -> LimitReading {
    let full = i64::try_from(used).unwrap() * 60_000 / 64 + off;
    says(64 - used, Some((full - vague, full + vague)))
}

/// So many calls at once, each of which names when a bucket would be full.
fn ends_with_use(calls: u64, vague: i64) -> Bench {
    let mut bench = Bench::unproven(&budget(vec![minute(64)]));
    for used in 1..=calls {
        call(&mut bench, full(used, 0, vague));
    }
    bench
}

#[test]
fn ends_that_move_with_the_use_show_a_bucket_once_a_quarter_was_used() {
    // Sixteen apart: seventeen calls.
    let mut bench = ends_with_use(17, 1);
    assert_eq!(rung(&mut bench), "bucket");
    bench.now += 8000;
    assert_eq!(bench.available(), 64 - 17 + 8, "a little more than one a second");
    let mut bench = ends_with_use(16, 1);
    assert_eq!(rung(&mut bench), "sliding", "a few may agree by chance");
    bench.now += 8000;
    assert_eq!(bench.available(), 64 - 16);
}

#[test]
fn ends_told_vaguely_show_no_bucket() {
    let mut bench = ends_with_use(40, 2000);
    assert_eq!(rung(&mut bench), "sliding");
    bench.now += 20_000;
    assert_eq!(bench.available(), 64 - 40);
    // Within a sixteenth of the window they do.
    assert_eq!(rung(&mut ends_with_use(40, 1800)), "bucket");
}

#[test]
fn a_refusal_ends_the_belief_in_a_bucket() {
    let mut bench = ends_with_use(17, 1);
    let lease = bench.take(1);
    bench.settled(settle(lease, SettleKind::Refused { counted: false }));
    assert_eq!(rung(&mut bench), "sliding");
    bench.now += 8000;
    assert_eq!(bench.available(), 64 - 17);
    // Nor is it learned again.
    for used in 18..=40 {
        call(&mut bench, full(used, 0, 1));
    }
    assert_eq!(rung(&mut bench), "sliding");
}

#[test]
fn an_end_that_no_bucket_would_have_named_shows_that_it_is_none() {
    for off in [-3000, 3000] {
        let mut bench = ends_with_use(10, 1);
        call(&mut bench, full(11, off, 1));
        for used in 12..=40 {
            call(&mut bench, full(used, 0, 1));
        }
        assert_eq!(rung(&mut bench), "sliding", "{off} ms from when it would be full");
    }
    // Where nothing is used any end may be named.
    let mut bench = Bench::unproven(&budget(vec![minute(64)]));
    call(&mut bench, says(64, Some((30_000, 30_000))));
    for used in 1..=17 {
        call(&mut bench, full(used, 0, 1));
    }
    assert_eq!(rung(&mut bench), "bucket");
}

#[test]
fn an_answer_that_took_long_tells_its_end_as_vaguely() {
    for (took, expected) in [(1500, "bucket"), (2500, "sliding")] {
        let mut bench = Bench::unproven(&budget(vec![minute(64)]));
        let leases: Vec<_> = (1..=20).map(|used| (used, bench.take(1))).collect();
        bench.now += took;
        for (used, lease) in leases {
            bench.settled(read(lease, full(used, 0, 1)));
        }
        assert_eq!(rung(&mut bench), expected, "{took} ms");
    }
}

#[test]
fn a_learned_bucket_refills_to_its_capacity_whoever_asks_in_between() {
    let mut bench = ends_with_use(17, 1);
    for _ in 0..16 {
        bench.now += 500;
        bench.commit(Vec::new(), Vec::new());
    }
    assert_eq!(bench.available(), 64 - 17 + 8);
    bench.now += 120_000;
    assert_eq!(bench.available(), 64);
}

#[test]
fn a_learned_bucket_names_exactly_when_the_next_is_there() {
    let mut bench = ends_with_use(17, 1);
    let lease = bench.take(47);
    bench.settled(SettleGroup { indexes: (0..47).collect(), ..settle(lease, SettleKind::Accepted) });
    // One in 937.5 ms, since the last reading.
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((937..=939).contains(&wait), "{wait}");
}
