//! Single rules of a state that is lost again, or by somebody who remembers another life.

use std::time::Duration;

use bursar_quota::{CountedAt, LimitSpec};

use crate::{
    bench::{Bench, START, budget, minute},
    words::{read, slots, until},
};

#[test]
fn what_was_told_of_the_first_loss_is_told_of_the_second() {
    let spec = budget(vec![slots(5, 0)]);
    let mut bench = Bench::new(&spec);
    bench.remembers = true;
    let long = bench.acquire(1, 1, 300_000);
    assert_eq!(bench.commit(Vec::new(), vec![long]).decisions[0].granted, 1);
    for _ in 0..2 {
        bench.come_back(None, &spec);
        let refusal = bench.try_take(1).1.refusal.unwrap();
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(300_001)));
    }
}

#[test]
fn who_began_anew_unknowingly_is_known_to_whoever_tells_of_the_loss() {
    let spec = budget(vec![minute(10)]);
    let mut bench = Bench::new(&spec);
    bench.remembers = true;
    bench.take(1);
    let first = (bench.witness.clone(), bench.told.clone());
    bench.now += 1000;
    bench.come_back(None, &spec);
    (bench.witness, bench.told) = Default::default();
    bench.take(1);
    let unknowing = (bench.witness.clone(), bench.told.clone());
    (bench.witness, bench.told) = first;
    assert_eq!(bench.try_take(1).1.granted, 0);
    bench.resume();
    bench.take(1);
    (bench.witness, bench.told) = unknowing;
    bench.take(9);
}

#[test]
fn a_permit_of_another_replica_weighs_a_window_after_its_deadline() {
    let spec = budget(vec![LimitSpec { counted_at: CountedAt::Completion, ..minute(10) }]);
    let mut bench = Bench::new(&spec);
    bench.remembers = true;
    bench.take(1);
    let first = (bench.witness.clone(), bench.told.clone());
    let long = bench.acquire(1, 1, 100_000);
    assert_eq!(bench.commit(Vec::new(), vec![long]).decisions[0].granted, 1);
    let second = (bench.witness.clone(), bench.told.clone());
    bench.come_back(None, &spec);
    (bench.witness, bench.told) = first;
    bench.commit(Vec::new(), Vec::new());
    // The second replica comes when the longest that the first one knew of is over: the long one is counted by 100 s.
    bench.now += 130_000;
    (bench.witness, bench.told) = second;
    assert_eq!(bench.try_take(10).1.granted, 0, "it weighs until 160 s");
}

#[test]
fn an_end_that_a_sliding_limit_followed_before_a_loss_is_followed_no_more() {
    let spec = budget(vec![minute(10)]);
    let mut bench = Bench::unproven(&spec);
    bench.remembers = true;
    for remaining in [9, 8] {
        let lease = bench.take(1);
        let reading = until(&bench, remaining, 30_000);
        bench.settled(read(lease, reading));
    }
    let older = bench.copy();
    bench.take(1);
    bench.come_back(Some(&older), &spec);
    for after in [0, 5_001, 30_002] {
        bench.now = START + after;
        let refusal = bench.try_take(1).1.refusal.unwrap();
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(65_001 - after)), "at {after}");
    }
    bench.now = START + 65_001;
    assert_eq!(bench.try_take(11).1.granted, 10);
}
