//! What is out though its time to be sent is over: a later permit's reading counts it already, if it was sent at all.

use std::time::Duration;

use bursar_quota::{LimitSpec, Reason, SettleGroup, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, lost, read, rung, says, until},
};

/// After how many ms a permit may be sent no more, and a permit that is granted then counts it for certain.
const SENT: u64 = 5_500;
const END: u64 = 30_000;

/// 10 a minute; a window ends half a minute after the start, where windows are aligned.
fn bench(limit: LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

#[test]
fn what_was_to_be_sent_before_a_permit_was_granted_is_not_taken_off_its_reading_once_more() {
    let mut bench = bench(aligned(10));
    let slow = bench.take(4);
    bench.now += SENT;
    let next = bench.take(1);
    let left = until(&bench, 5, END);
    bench.settled(read(next, left));
    assert_eq!(bench.available(), 5);
    bench.now += 9_000;
    let left = until(&bench, 6, END);
    bench.settled(all_of(4, read(slow, left)));
    assert_eq!(bench.available(), 5);
}

#[test]
fn what_may_still_have_been_sent_after_it_is() {
    let mut bench = bench(aligned(10));
    bench.take(4);
    bench.now += 4_000;
    let next = bench.take(1);
    let left = until(&bench, 5, END);
    bench.settled(read(next, left));
    assert_eq!(bench.available(), 1);
}

#[test]
fn what_dead_workers_never_sent_comes_back_with_the_next_reading() {
    for limit in [aligned(10), minute(10)] {
        let mut bench = bench(limit);
        let dead = bench.take(4);
        bench.now += SENT;
        let next = bench.take(1);
        let left = until(&bench, 9, END);
        bench.settled(read(next, left));
        assert_eq!(bench.available(), 9);
        // Nor is it used up once it is known that nothing was heard of it.
        bench.settled(all_of(2, lost(dead)));
        assert_eq!(bench.available(), 9);
        bench.settled(SettleGroup { indexes: vec![2, 3], ..settle(dead, SettleKind::NotSent) });
        assert_eq!(bench.available(), 9);
    }
}

#[test]
fn what_was_free_and_is_answered_late_uses_nothing_up() {
    let mut bench = bench(minute(10));
    let (slow, first) = (bench.take(4), bench.take(1));
    bench.settled(read(first, says(9, None)));
    bench.now += SENT;
    let next = bench.take(1);
    bench.settled(read(next, says(8, None)));
    assert_eq!(bench.available(), 8);
    bench.settled(all_of(4, read(slow, says(9, None))));
    assert_eq!(bench.available(), 8);
}

#[test]
fn a_reading_counts_only_what_was_to_be_sent_before_its_own_permit_was_granted() {
    let mut bench = bench(aligned(10));
    let old = bench.take(1);
    bench.take(3);
    bench.now += SENT;
    let next = bench.take(1);
    let left = until(&bench, 5, END);
    bench.settled(read(next, left));
    assert_eq!(bench.available(), 5);
    // Of the two as much was settled when they were granted; the old one may have executed before the three.
    let left = until(&bench, 9, END);
    bench.settled(read(old, left));
    assert_eq!(bench.available(), 5, "8 less the three, or the cap without them");
}

#[test]
fn what_weighs_no_more_is_not_overdue_either() {
    let mut bench = bench(minute(10));
    bench.take(4);
    bench.now += SENT;
    let next = bench.take(1);
    bench.settled(read(next, says(9, None)));
    bench.now = START + 65_400;
    assert_eq!(bench.available(), 9);
}

#[test]
fn of_several_slots_each_is_counted_once() {
    let mut bench = bench(minute(20));
    for _ in 0..3 {
        bench.take(2);
        bench.now += 1_000;
    }
    for remaining in [13, 12, 11] {
        bench.now += 1_000;
        let next = bench.take(1);
        bench.settled(read(next, says(remaining, None)));
    }
    bench.now += 1_000;
    let next = bench.take(1);
    bench.settled(read(next, says(19, None)));
    // Granted after 7 s: of the six that nobody sent, four were to be sent before.
    assert_eq!(bench.available(), 19 - 2);
    // The first of them weigh no more: what is left of the six is half of what was overdue.
    bench.now = START + 65_500;
    assert_eq!(bench.available(), 19 - 2);
}

#[test]
fn a_lost_state_has_nothing_overdue() {
    let limit = LimitSpec { readings: true, ..minute(10) };
    let spec = budget(vec![limit]);
    let mut bench = Bench::new(&spec);
    bench.remembers = true;
    bench.come_back(None, &spec);
    let probe = bench.take(1);
    bench.settled(read(probe, says(9, None)));
    bench.take(4);
    bench.now += SENT;
    let next = bench.take(1);
    bench.settled(read(next, says(8, None)));
    assert_eq!(bench.available(), 8);
    let copy = bench.copy();
    bench.take(1);
    bench.come_back(Some(&copy), &spec);
    bench.commit(Vec::new(), Vec::new());
    bench.now += 6_000;
    let probe = bench.take(1);
    bench.settled(read(probe, says(3, None)));
    assert_eq!(bench.available(), 3);
}

#[test]
fn who_stands_behind_others_is_told_when_there_is_enough_with_what_is_overdue() {
    let mut bench = bench(minute(10));
    bench.take(9);
    bench.now += SENT;
    let next = bench.take(1);
    bench.settled(read(next, says(9, None)));
    let late = bench.acquire(1, 1, 60_000);
    bench.commit(vec![settle(late.lease, SettleKind::Unclaimed)], Vec::new());
    // What was given up is not granted, and asked for anew at once: there is enough for both.
    let behind = bench.acquire(1, 1, 60_000);
    let decisions = bench.commit(Vec::new(), vec![late, behind]).decisions;
    let told = |at: usize| decisions[at].refusal.as_ref().map(|told| (told.reason, told.retry_after));
    assert_eq!([told(0), told(1)], [Some((Reason::QuotaExhausted, Some(Duration::ZERO))); 2]);
}

#[test]
fn where_nothing_may_be_sent_any_more_one_goes_and_reads() {
    let mut bench = bench(aligned(10));
    let (slow, read_soon) = (bench.take(5), bench.take(5));
    let left = until(&bench, 1, END);
    bench.settled(all_of(5, read(read_soon, left)));
    bench.settled(SettleGroup { indexes: vec![4], ..settle(slow, SettleKind::NotSent) });
    // The reading leaves 1, which the four may use up that are out; it has counted them, but nobody knows.
    bench.now += 1_000;
    let waited = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((4_000..4_500).contains(&waited), "{waited}");
    assert_eq!(bench.try_take(1).1.granted, 0, "one");
}

#[test]
fn where_one_that_goes_and_reads_is_refused_without_a_word_none_goes_until_the_end() {
    let mut bench = bench(aligned(10));
    bench.take(4);
    let seen = bench.take(3);
    // The four were never sent, and others used as much.
    let left = until(&bench, 3, END);
    bench.settled(all_of(3, read(seen, left)));
    bench.now += SENT;
    let goes = bench.take(1);
    bench.settled(settle(goes, SettleKind::Refused { counted: false }));
    let waited = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((END - SENT..=END - SENT + 1).contains(&waited), "{waited}");
    assert_eq!(bench.available(), 9, "the window is another one");
    bench.now += END + SENT;
    assert_eq!(bench.try_take(1).1.granted, 1);
}

#[test]
fn after_a_window_without_a_word_one_goes_and_reads_again() {
    let mut bench = bench(aligned(10));
    for window in [0, 60_000] {
        bench.now = START + window;
        bench.take(4);
        let seen = bench.take(3);
        let left = until(&bench, 3, window + END);
        bench.settled(all_of(3, read(seen, left)));
        bench.now += SENT;
        let goes = bench.take(1);
        bench.settled(settle(goes, SettleKind::Refused { counted: false }));
        assert_eq!(bench.try_take(1).1.granted, 0);
    }
}

#[test]
fn others_use_that_what_is_overdue_hides_explains_a_refusal() {
    for limit in [minute(100), aligned(100)] {
        let mut bench = bench(limit);
        bench.take(50);
        bench.now += SENT;
        let next = bench.take(1);
        // The fifty were never sent, and others used forty.
        let left = until(&bench, 59, END);
        bench.settled(read(next, left));
        let before = rung(&mut bench);
        let rest = bench.take(59);
        // And one more: the last is refused.
        let left = until(&bench, 0, END);
        let refused =
            SettleGroup { readings: vec![left], ..settle(rest, SettleKind::Refused { counted: false }) };
        bench.settled(refused);
        assert_eq!(rung(&mut bench), before);
        bench.now = START + 65_500;
        let next = bench.take(1);
        let left = until(&bench, 99, 90_000);
        bench.settled(read(next, left));
        assert_eq!(bench.available(), 99, "readings are believed as before");
    }
}
