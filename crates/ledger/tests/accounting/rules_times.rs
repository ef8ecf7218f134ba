//! Single rules of the times that refusals name: each is exact, whatever it waits for.

use bursar_quota::{CountedAt, LimitSpec, Reason};

use crate::{
    bench::{Bench, START, budget, minute},
    words::{aligned, read, says},
};

/// An aligned limit of which one call said so much is left until 30 s.
fn one_read(bench: &mut Bench, remaining: u64) {
    let lease = bench.take(1);
    bench.settled(read(lease, says(remaining, Some((30_000, 30_000)))));
}

fn proven(limit: LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

#[test]
fn what_is_kept_for_others_is_kept_until_the_windows_end() {
    // What is out then may be counted after the end.
    let mut bench = proven(LimitSpec { counted_at: CountedAt::Completion, ..aligned(10) });
    one_read(&mut bench, 9);
    bench.now = START + 30_001;
    let lease = bench.take(1);
    bench.now += 500;
    // Others have used seven in no time: one goes to hear, for all that is left is theirs.
    bench.settled(read(lease, says(2, Some((59_500, 59_500)))));
    bench.take(1);
    bench.now += 6000;
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((53_001..=53_501).contains(&wait), "{wait}");
}

#[test]
fn the_least_reading_is_in_nobodys_way_after_the_windows_end() {
    let mut bench = proven(aligned(2));
    one_read(&mut bench, 1);
    // It may be sent after the end.
    bench.now = START + 27_000;
    bench.take(1);
    assert_eq!(bench.refused_until_exactly(Reason::QuotaExhausted), 3001);
}

#[test]
fn what_is_out_is_waited_for_beyond_an_end_that_is_doubted() {
    let mut bench = Bench::unproven(&budget(vec![aligned(1)]));
    one_read(&mut bench, 1);
    bench.take(1);
    let wait = bench.refused_until_exactly(Reason::QuotaExhausted);
    assert!((65_001..65_001 + 235).contains(&wait), "{wait}");
}

#[test]
fn after_a_loss_the_end_of_the_window_that_a_probe_read_is_waited_for() {
    let spec = budget(vec![LimitSpec { readings: true, ..aligned(10) }]);
    let mut bench = proven(spec.limits[0].clone());
    bench.remembers = true;
    bench.take(1);
    bench.come_back(None, &spec);
    bench.prove(&spec);
    bench.commit(Vec::new(), Vec::new());
    bench.now += 5002;
    one_read(&mut bench, 0);
    assert_eq!(bench.refused_until_exactly(Reason::QuotaExhausted), 30_001);
}

#[test]
fn who_is_far_behind_is_told_a_windows_worth_a_window() {
    let mut bench = proven(minute(2));
    bench.take(2);
    let groups: Vec<_> = (0..5).map(|_| bench.acquire(1, 1, 60_000)).collect();
    let decisions = bench.commit(Vec::new(), groups).decisions;
    let seconds = decisions.iter().map(|d| d.refusal.as_ref().unwrap().retry_after.unwrap().as_secs());
    assert_eq!(seconds.collect::<Vec<_>>(), [65, 65, 125, 125, 185]);
}

#[test]
fn where_one_reason_has_no_time_none_is_named() {
    let mut bench = proven(minute(1));
    bench.take(1);
    bench.told.pauses = vec![("operator".to_owned(), None)];
    bench.recover();
    let refusal = bench.try_take(1).1.refusal.unwrap();
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::PausedByOperator, None));
}

#[test]
fn a_probe_that_must_be_settled_sooner_is_followed_by_another_sooner() {
    let mut bench = proven(LimitSpec { readings: true, ..minute(10) });
    let short = bench.acquire(1, 1, 1000);
    assert_eq!(bench.commit(Vec::new(), vec![short]).decisions[0].granted, 1);
    assert_eq!(bench.refused_until_exactly(Reason::Probing), 1001);
}
