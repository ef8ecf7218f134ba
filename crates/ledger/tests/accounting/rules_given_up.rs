//! Leases that are given back by who heard no answer: once for each time that they may have been granted.

use bursar_quota::{
    AcquireGroup, Decision, LimitSpec, Place, Reason, RequestTag, Requests, SettleGroup, SettleKind, Settled,
};

use crate::{
    bench::{Bench, budget, minute, settle},
    words::slots,
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

fn one(bench: &mut Bench, group: &AcquireGroup) -> Decision {
    bench.commit(Vec::new(), vec![group.clone()]).decisions.remove(0)
}

fn give_up(bench: &mut Bench, group: &AcquireGroup) -> Vec<Settled> {
    let back =
        SettleGroup { indexes: (0..group.count).collect(), ..settle(group.lease, SettleKind::Unclaimed) };
    bench.commit(vec![back], Vec::new()).settled.remove(0)
}

fn held(bench: &mut Bench) -> AcquireGroup {
    AcquireGroup { requests: Requests::Held(vec![RequestTag(1)]), ..bench.acquire(1, 1, 60_000) }
}

/// With requests by id and without.
fn kinds(bench: &mut Bench) -> [AcquireGroup; 2] {
    let requests = Requests::Asked(vec![RequestTag(1), RequestTag(2)]);
    let asked = AcquireGroup { requests, ..bench.acquire(2, 1, 60_000) };
    [bench.acquire(2, 1, 60_000), asked]
}

#[test]
fn what_was_given_up_is_not_granted_to_a_commit_that_comes_late() {
    for at in 0..2 {
        let mut bench = bench(minute(3));
        let group = kinds(&mut bench)[at].clone();
        assert_eq!(give_up(&mut bench, &group), [Settled::Unknown, Settled::Unknown]);
        bench.now += 59_000;
        let late = one(&mut bench, &group);
        let refusal = late.refusal.unwrap();
        assert_eq!((late.granted, refusal.reason), (0, Reason::QuotaExhausted));
        assert_eq!((refusal.retry_after, bench.available()), (Some(std::time::Duration::ZERO), 3));
        // Whoever waits asks in a lease of its own.
        let anew = AcquireGroup { lease: bench.acquire(1, 1, 60_000).lease, ..group.clone() };
        assert_eq!((one(&mut bench, &anew).granted, bench.available()), (2, 1));
        // Of that the late commit tells, and is granted nothing more.
        let places = one(&mut bench, &group).places;
        let told = [Place::Elsewhere(anew.lease, 0), Place::Elsewhere(anew.lease, 1)];
        assert_eq!((&places[..], bench.available()), (&told[..2 * at], 1));
    }
}

#[test]
fn what_was_given_back_is_granted_no_second_time() {
    for at in 0..2 {
        let mut bench = bench(minute(3));
        let group = kinds(&mut bench)[at].clone();
        assert_eq!((one(&mut bench, &group).granted, bench.available()), (2, 1));
        assert_eq!(give_up(&mut bench, &group), [Settled::Applied, Settled::Applied]);
        assert_eq!((one(&mut bench, &group).granted, bench.available()), (0, 3));
    }
}

#[test]
fn those_behind_a_late_commit_get_what_it_does_not_take() {
    let mut bench = bench(slots(2, 0));
    let late = bench.acquire(2, 1, 60_000);
    give_up(&mut bench, &late);
    let other = bench.acquire(1, 1, 60_000);
    // In the same commit they stand behind it, and are told to ask at once.
    let decisions = bench.commit(Vec::new(), vec![late, other]).decisions;
    let told: Vec<_> =
        decisions.iter().map(|d| (d.granted, d.refusal.as_ref().unwrap().retry_after)).collect();
    assert_eq!(told[0], (0, Some(std::time::Duration::ZERO)));
    assert_eq!(told[1].0, 0);
    bench.take(2);
    assert_eq!(bench.available(), 0);
}

#[test]
fn what_is_sent_again_and_not_given_up_is_given_back_once_nobody_waits() {
    let mut bench = bench(minute(10));
    let group = bench.acquire(1, 1, 60_000);
    for _ in 0..2 {
        assert_eq!(one(&mut bench, &group).granted, 1);
    }
    assert_eq!((give_up(&mut bench, &group), bench.available()), (vec![Settled::Applied], 10));
}

#[test]
fn what_a_ration_granted_and_told_of_twice_is_not_given_back() {
    let mut bench = bench(minute(10));
    let group = held(&mut bench);
    for _ in 0..2 {
        assert_eq!(one(&mut bench, &group).granted, 1);
    }
    assert_eq!((give_up(&mut bench, &group), bench.available()), (vec![Settled::Already], 9));
}

#[test]
fn a_give_back_told_twice_takes_nothing_from_who_told_of_its_lease_in_between() {
    let mut bench = bench(minute(1));
    let group = held(&mut bench);
    one(&mut bench, &group);
    give_up(&mut bench, &group);
    assert_eq!(one(&mut bench, &group).granted, 1);
    give_up(&mut bench, &group);
    assert_eq!(bench.available(), 0);
}

#[test]
fn a_give_back_told_before_its_grant_takes_nothing_from_who_tells_of_it_afterwards() {
    let mut bench = bench(minute(1));
    let group = held(&mut bench);
    let back = SettleGroup { indexes: vec![2, 0], ..settle(group.lease, SettleKind::Unclaimed) };
    let unknown = bench.commit(vec![back.clone()], Vec::new());
    assert_eq!(unknown.settled, [[Settled::Unknown, Settled::Unknown]]);
    assert_eq!(one(&mut bench, &group).granted, 1);
    let again = bench.commit(vec![back], Vec::new());
    assert_eq!((again.settled[0][1], bench.available()), (Settled::Already, 0));
}
