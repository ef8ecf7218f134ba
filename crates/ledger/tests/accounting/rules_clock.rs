//! Single rules of windows that are declared to end on a clock: where an end that was named puts the others.

use bursar_quota::LimitSpec;

use crate::{
    bench::{Bench, budget},
    words::{read, says, window},
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::unproven(&budget(vec![limit]))
}

#[test]
fn on_a_clock_an_end_that_passed_tells_the_next() {
    let mut bench = bench(window(8, true, true));
    let late = bench.take(1);
    bench.now += 66_000;
    // Executed between 0 and 5 s, 50 s before its window's end: so that was between 50 and 65 s.
    bench.settled(read(late, says(7, Some((50_000, 50_000)))));
    let (early, latest) = bench.stand().window_end_ms.unwrap();
    // A clock may drift a little in the window in between.
    assert!((43_990..=44_000).contains(&early) && (59_001..=59_012).contains(&latest), "{early} to {latest}");
    assert_eq!((bench.available(), bench.stand().paid), (8, 0));
    // Undeclared, windows may begin with any call: it tells nothing.
    let mut bench = self::bench(window(8, true, false));
    let late = bench.take(1);
    bench.now += 66_000;
    bench.settled(read(late, says(7, Some((50_000, 50_000)))));
    assert_eq!(bench.stand().window_end_ms, None);
}

#[test]
fn on_a_clock_what_passed_narrows_the_end_that_is_known() {
    let mut bench = bench(window(8, true, true));
    let (first, second) = (bench.take(1), bench.take(1));
    bench.now += 66_000;
    bench.settled(read(first, says(7, Some((50_000, 50_000)))));
    bench.settled(read(second, says(7, Some((58_000, 58_000)))));
    let (early, latest) = bench.stand().window_end_ms.unwrap();
    assert!((51_990..=52_000).contains(&early) && (59_001..=59_012).contains(&latest), "{early} to {latest}");
}

#[test]
fn on_a_clock_a_vague_end_that_can_only_be_the_known_one_is_that() {
    let mut bench = bench(window(8, true, true));
    let first = bench.take(1);
    bench.settled(read(first, says(7, Some((20_000, 22_000)))));
    bench.now += 16_000;
    let second = bench.take(1);
    bench.now += 5000;
    // Executed before the end or after its earliest moment, and what it says is too vague by itself.
    bench.settled(read(second, says(6, Some((0, 40_000)))));
    bench.now += 1001;
    assert_eq!((bench.available(), bench.stand().paid), (8, 0));
}

#[test]
fn a_vague_end_that_meets_the_last_one_as_well_is_the_known_one_if_it_can_be_no_other() {
    let mut bench = bench(window(8, true, true));
    let first = bench.take(1);
    bench.settled(read(first, says(7, Some((20_000, 22_000)))));
    bench.now += 21_400;
    let straddler = bench.take(1);
    bench.now += 1100;
    let third = bench.take(1);
    // The next end is known by half a second now, the last one by two.
    bench.settled(read(third, says(6, Some((57_500, 58_000)))));
    bench.now += 1500;
    bench.settled(read(straddler, says(6, Some((0, 60_000)))));
    assert_eq!((bench.stand().paid, bench.available()), (2, 6));
}
