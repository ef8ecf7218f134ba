//! Single rules of replicas that wait for the same limit: who has waited longer comes first.

use std::time::Duration;

use bursar_quota::{Commit, Decision, EventKind, LeaseId, LimitSpec, Reason, ReplicaName, SettleKind};

use crate::{
    bench::{Bench, budget, minute, settle},
    words::{all_of, bucket, slots},
};

fn bench(limits: Vec<LimitSpec>) -> Bench {
    Bench::new(&budget(limits))
}

/// A replica asks for `count` permits that cost so much in each limit, while `waiting` callers wait there.
fn ask(bench: &mut Bench, replica: &str, waiting: u64, count: u16, costs: &[u64]) -> (LeaseId, Decision) {
    let mut group = bench.acquire(count, 1, 60_000);
    group.costs = costs.to_vec();
    let lease = group.lease;
    let replica = ReplicaName::new(replica).unwrap();
    let commit = Commit { replica, waiting, acquires: vec![group], ..bench.empty() };
    (lease, bench.send(commit).decisions.remove(0))
}

/// One caller waits at a replica and asks for a slot: its lease, if it gets it.
fn wants(bench: &mut Bench, replica: &str) -> Result<LeaseId, Reason> {
    let (lease, decision) = ask(bench, replica, 1, 1, &[1]);
    decision.refusal.map_or(Ok(lease), |refusal| Err(refusal.reason))
}

/// Both slots are taken, then so long after each other two replicas begin to wait.
fn two_wait(apart: u64) -> (Bench, [LeaseId; 2]) {
    let mut bench = bench(vec![slots(2, 0)]);
    let taken = [bench.take(1), bench.take(1)];
    for replica in ["older", "younger"] {
        assert_eq!(wants(&mut bench, replica), Err(Reason::ConcurrencyExhausted));
        bench.now += apart;
    }
    (bench, taken)
}

fn free(bench: &mut Bench, lease: LeaseId) {
    bench.settled(settle(lease, SettleKind::Accepted));
}

#[test]
fn who_has_waited_longer_finds_one_call_left_whoever_asks_first() {
    let (mut bench, taken) = two_wait(2000);
    free(&mut bench, taken[0]);
    assert_eq!(wants(&mut bench, "younger"), Err(Reason::Reserved));
    assert!(wants(&mut bench, "older").is_ok());
    // That has been served; now the other has waited longer.
    bench.now += 2000;
    assert_eq!(wants(&mut bench, "older"), Err(Reason::ConcurrencyExhausted));
    free(&mut bench, taken[1]);
    assert_eq!(wants(&mut bench, "older"), Err(Reason::Reserved));
    assert!(wants(&mut bench, "younger").is_ok());
}

#[test]
fn who_got_some_of_what_it_asked_for_has_waited_no_longer() {
    let (mut bench, taken) = two_wait(2000);
    free(&mut bench, taken[0]);
    assert_eq!(ask(&mut bench, "older", 2, 2, &[1]).1.granted, 1);
    free(&mut bench, taken[1]);
    assert_eq!(wants(&mut bench, "older"), Err(Reason::Reserved));
    assert!(wants(&mut bench, "younger").is_ok());
}

#[test]
fn who_has_waited_about_as_long_is_not_waited_for() {
    let (mut bench, taken) = two_wait(1000);
    free(&mut bench, taken[0]);
    assert!(wants(&mut bench, "younger").is_ok());
}

#[test]
fn who_does_not_wait_is_left_nothing() {
    let mut bench = bench(vec![slots(1, 0)]);
    let taken = bench.take(1);
    assert_eq!(ask(&mut bench, "passer-by", 0, 1, &[1]).1.granted, 0);
    bench.now += 2000;
    free(&mut bench, taken);
    assert!(wants(&mut bench, "younger").is_ok());
}

#[test]
fn what_is_left_to_one_that_does_not_come_is_free_again_when_that_was_told() {
    let (mut bench, taken) = two_wait(2000);
    free(&mut bench, taken[0]);
    bench.now += 300;
    let refusal = ask(&mut bench, "younger", 1, 1, &[1]).1.refusal.unwrap();
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::Reserved, Some(Duration::from_secs(1))));
    bench.now += 999;
    assert_eq!(wants(&mut bench, "younger"), Err(Reason::Reserved));
    bench.now += 1;
    assert!(wants(&mut bench, "younger").is_ok());
    // Nor is anything left to it afterwards, until it is heard of.
    bench.now += 500;
    free(&mut bench, taken[1]);
    assert!(wants(&mut bench, "younger").is_ok());
}

#[test]
fn whom_something_is_left_to_is_told_of_it_once() {
    let (mut bench, taken) = two_wait(2000);
    free(&mut bench, taken[0]);
    bench.announced.clear();
    for expected in [1, 1] {
        assert_eq!(wants(&mut bench, "younger"), Err(Reason::Reserved));
        let wakes = bench.announced.iter().filter(|event| event.kind == EventKind::Wake).count();
        assert_eq!(wakes, expected);
    }
    assert!(wants(&mut bench, "older").is_ok());
}

#[test]
fn who_comes_in_vain_for_what_is_left_is_told_ever_more_rarely() {
    let mut bench = bench(vec![slots(2, 0)]);
    bench.take(1);
    let dear = |bench: &mut Bench| ask(bench, "older", 1, 1, &[2]).1.granted;
    assert_eq!(dear(&mut bench), 0);
    bench.now += 2000;
    bench.announced.clear();
    // One slot is free: one call of the other's does not fit, and is left it all the same.
    for _ in 0..100 {
        bench.now += 1;
        assert_eq!((wants(&mut bench, "younger"), dear(&mut bench)), (Err(Reason::Reserved), 0));
    }
    let wakes = bench.announced.iter().filter(|event| event.kind == EventKind::Wake).count();
    assert!((1..=7).contains(&wakes), "{wakes}");
}

#[test]
fn a_mark_as_the_version_before_writes_it_is_read() {
    let (mut bench, taken) = two_wait(2000);
    let (_, text) = bench.waits().into_iter().find(|(field, _)| field == "older").unwrap();
    let (before, _) = text.rsplit_once(',').unwrap();
    bench.put_wait("older", before);
    free(&mut bench, taken[0]);
    assert_eq!(wants(&mut bench, "younger"), Err(Reason::Reserved));
    bench.now += 1000;
    assert!(wants(&mut bench, "younger").is_ok());
}

#[test]
fn who_goes_on_asking_keeps_its_turn() {
    let (mut bench, taken) = two_wait(2000);
    for _ in 0..3 {
        bench.now += 1500;
        assert_eq!(wants(&mut bench, "older"), Err(Reason::ConcurrencyExhausted));
        assert_eq!(wants(&mut bench, "younger"), Err(Reason::ConcurrencyExhausted));
    }
    // A commit that asks for nothing changes nothing of it.
    let replica = ReplicaName::new("older").unwrap();
    let idle = Commit { replica, waiting: 1, ..bench.empty() };
    bench.send(idle);
    free(&mut bench, taken[0]);
    assert_eq!(wants(&mut bench, "younger"), Err(Reason::Reserved));
}

#[test]
fn what_one_of_its_calls_weighs_is_left_and_no_more() {
    let mut bench = bench(vec![minute(10)]);
    let taken = bench.take(10);
    assert_eq!(ask(&mut bench, "older", 1, 2, &[3]).1.granted, 0);
    bench.now += 2000;
    let group = all_of(10, settle(taken, SettleKind::NotSent));
    bench.settled(group);
    let (_, decision) = ask(&mut bench, "younger", 1, 10, &[1]);
    assert_eq!((decision.granted, decision.refusal.unwrap().reason), (7, Reason::Reserved));
    // One call of its own would fit.
    assert_eq!(ask(&mut bench, "older", 1, 2, &[3]).1.granted, 1);
}

#[test]
fn who_waits_for_another_limit_leaves_this_one_to_others() {
    let mut bench = bench(vec![slots(1, 0), minute(1)]);
    let (slot, decision) = ask(&mut bench, "first", 0, 1, &[1, 0]);
    assert_eq!(decision.granted, 1);
    assert_eq!(ask(&mut bench, "older", 1, 1, &[1, 1]).1.granted, 0);
    // It asks again, and now lacks the other one as well, and then that alone.
    assert_eq!(ask(&mut bench, "first", 0, 1, &[0, 1]).1.granted, 1);
    bench.now += 2000;
    free(&mut bench, slot);
    assert_eq!(ask(&mut bench, "older", 1, 1, &[1, 1]).1.granted, 0);
    bench.now += 2000;
    assert_eq!(ask(&mut bench, "younger", 1, 1, &[1, 0]).1.granted, 1);
}

#[test]
fn behind_others_the_time_is_when_there_is_enough_for_both() {
    let mut bench = bench(vec![bucket(2, 1.0)]);
    let taken = bench.take(2);
    bench.settled(all_of(2, settle(taken, SettleKind::Accepted)));
    let wait = |bench: &mut Bench, replica: &str| {
        let (_, decision) = ask(bench, replica, 1, 1, &[1]);
        decision.refusal.map(|refusal| (refusal.reason, refusal.retry_after.unwrap().as_millis()))
    };
    assert_eq!(wait(&mut bench, "older"), Some((Reason::QuotaExhausted, 1000)));
    bench.now += 1001;
    assert_eq!(wait(&mut bench, "younger"), Some((Reason::Reserved, 999)));
}
