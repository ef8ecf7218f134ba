//! Single rules of readings that tell what stood a while ago: what only they had room for is refused.

use bursar_quota::{LeaseId, LimitReading, LimitSpec, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, settle},
    words::{aligned, all_of, read, rung, says, slots, until, window},
};

const MINUTE: u64 = 60_000;

fn bench(limit: LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

/// Uses up the 10 that there are in the window that ends at `end`, of which the last reading says that `left` remain.
fn use_up(bench: &mut Bench, left: u64, end: u64) {
    let nine = bench.take(9);
    bench.settled(all_of(9, read(nine, until(bench, 9, end))));
    let last = bench.take(1);
    bench.settled(read(last, until(bench, left, end)));
}

fn refused(bench: &mut Bench, lease: LeaseId, readings: Vec<LimitReading>) {
    bench.now += 1;
    bench.settled(SettleGroup { readings, ..settle(lease, SettleKind::Refused { counted: false }) });
}

/// One call goes because a reading has room for it, and is refused.
fn contradict(bench: &mut Bench, end: u64) {
    use_up(bench, 4, end);
    let lease = bench.take(1);
    let reading = until(bench, 4, end);
    refused(bench, lease, vec![reading]);
}

#[test]
fn a_reading_that_was_contradicted_leaves_no_more_than_our_own_count_does() {
    for left in [4, 0] {
        let mut bench = bench(aligned(10));
        use_up(&mut bench, 4, MINUTE - 1000);
        assert_eq!(bench.available(), 4);
        let (one, two, three) = (bench.take(1), bench.take(1), bench.take(1));
        for (lease, out) in [(one, 2), (two, 1)] {
            let reading = until(&bench, left, MINUTE - 1000);
            refused(&mut bench, lease, vec![reading]);
            assert_eq!(bench.available(), -out, "nothing is left, and so much is out");
        }
        // Nor do those that are read later, in this window and the next; and all of one event explain each other.
        let reading = until(&bench, left, MINUTE - 1000);
        refused(&mut bench, three, vec![reading]);
        assert_eq!(bench.available(), 0);
        bench.now = START + MINUTE;
        use_up(&mut bench, 4, 2 * MINUTE - 1000);
        assert_eq!(bench.available(), 0);
        assert_eq!(rung(&mut bench), "aligned");
    }
}

#[test]
fn who_had_room_by_our_own_count_contradicts_no_reading() {
    let mut bench = bench(aligned(10));
    let free = bench.take(1);
    bench.settled(read(free, says(10, Some((30_000, 30_000)))));
    for count in [9, 10] {
        assert_eq!(bench.available(), 10, "the call was free");
        let lease = bench.take(count);
        bench.now += 1;
        let refusal = settle(lease, SettleKind::Refused { counted: false });
        bench.settled(all_of(count, refusal));
    }
    assert_eq!(bench.available(), 9, "of ten only a reading had room for one");
}

#[test]
fn readings_that_were_contradicted_are_believed_again_after_some_windows_and_then_after_twice_as_many() {
    let mut bench = bench(aligned(10));
    let mut at = 0;
    for windows in [32, 64, 128, 256, 512, 512] {
        contradict(&mut bench, at + MINUTE - 1000);
        for (later, expected) in [(windows - 1, 9), (windows + 1, 10)] {
            bench.now = START + at + later * MINUTE;
            let free = bench.take(1);
            let reading = until(&bench, 10, at + later * MINUTE + 30_000);
            bench.settled(read(free, reading));
            assert_eq!(bench.available(), expected, "{later} windows later");
        }
        at += (windows + 2) * MINUTE;
        bench.now = START + at;
    }
}

#[test]
fn under_another_declaration_readings_are_believed_again() {
    let mut bench = bench(aligned(10));
    contradict(&mut bench, MINUTE - 1000);
    bench.put(&budget(vec![aligned(11)]));
    bench.now += MINUTE + 1000;
    use_up(&mut bench, 4, 2 * MINUTE + 30_000);
    assert_eq!(bench.available(), 4, "our own count leaves one");
}

#[test]
fn a_refusal_contradicts_the_readings_of_the_limit_that_only_they_had_room_in() {
    let wide = || LimitSpec { name: bursar_quota::LimitName::new("wide").unwrap(), ..aligned(100) };
    // Though calls may have been too many at once, and another window comes first; but not where that one is named.
    for (first_left, expected) in [(90, 0), (0, 4)] {
        let mut bench = bench_of(vec![wide(), aligned(10), slots(50, 0)]);
        let end = Some((59_000, 59_000));
        let of =
            |wide: u64, narrow: u64| vec![says(wide, end), LimitReading { limit: 1, ..says(narrow, end) }];
        for (count, wide_left, left) in [(9, 91, 9), (1, 90, 4)] {
            let lease = take(&mut bench, count);
            let group = SettleGroup { readings: of(wide_left, left), ..settle(lease, SettleKind::Accepted) };
            bench.settled(all_of(count, group));
        }
        let lease = take(&mut bench, 1);
        refused(&mut bench, lease, of(first_left, 4));
        assert_eq!(bench.stored().snapshot.limits[1].available, expected, "{first_left}");
    }
}

fn bench_of(limits: Vec<LimitSpec>) -> Bench {
    Bench::new(&budget(limits))
}

/// Takes permits that cost 1 in each of three limits.
fn take(bench: &mut Bench, count: u16) -> LeaseId {
    let mut group = bench.acquire(count, 1, 60_000);
    group.costs = vec![1; 3];
    let lease = group.lease;
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, count);
    lease
}

// === readings from before a raise ===

/// A limit of ten that calls at once, one of them yet to be settled, and later ones know to be of 20 since.
fn raised(limit: LimitSpec, end: Option<(i64, i64)>) -> (Bench, LeaseId) {
    let mut bench = bench(limit);
    let (claims, older) = (bench.take(1), bench.take(1));
    bench.now += 1;
    let newer = bench.take(1);
    for (lease, left, capacity) in [(claims, 9, 10), (newer, 17, 20)] {
        bench.settled(read(lease, LimitReading { capacity: Some(capacity), ..says(left, end) }));
    }
    let again = bench.take(1);
    bench.settled(read(again, LimitReading { capacity: Some(20), ..says(16, end) }));
    assert_eq!((bench.stand().capacity, bench.stand().foreign), (20, 0));
    (bench, older)
}

#[test]
fn what_a_response_from_before_a_raise_leaves_says_nothing_of_others() {
    let end = Some((59_000, 59_000));
    for (limit, left) in [(aligned(10), 15), (window(10, false, false), 16)] {
        let (mut bench, older) = raised(limit, end);
        bench.settled(read(older, LimitReading { capacity: Some(10), ..says(8, end) }));
        assert_eq!((bench.stand().foreign, bench.available()), (0, left));
        let after = bench.take(1);
        bench.settled(read(after, LimitReading { capacity: Some(20), ..says(11, end) }));
        assert_eq!((bench.stand().foreign, bench.available()), (4, 11), "those are others'");
    }
}

#[test]
fn a_refusal_that_names_less_than_there_is_says_nothing_of_others() {
    // What was cut in mid-window, or another limit's.
    let end = Some((59_000, 59_000));
    for limit in [aligned(10), window(10, false, false)] {
        let mut bench = bench(limit);
        let read_one = bench.take(1);
        bench.settled(read(read_one, LimitReading { capacity: Some(10), ..says(9, end) }));
        let lease = bench.take(4);
        bench.settled(all_of(4, settle(lease, SettleKind::Accepted)));
        let lease = bench.take(1);
        refused(&mut bench, lease, vec![LimitReading { capacity: Some(5), ..says(0, end) }]);
        assert_eq!((bench.stand().foreign, bench.available()), (0, 0));
    }
}
