//! Requests by id: each finds its own permit again, in whichever lease.

use bursar_quota::{
    AcquireGroup, Commit, Decision, LimitSpec, Place, RenewGroup, ReplicaName, RequestTag, Requests,
    SettleGroup, SettleKind, Settled,
};

use crate::bench::{Bench, budget, minute, settle};

fn bench(limit: LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

fn tags(from: u128, count: u16) -> Vec<RequestTag> {
    (0..u128::from(count)).map(|n| RequestTag(from + n)).collect()
}

/// A group of requests of these tags, with a lease of its own.
fn asked(bench: &mut Bench, tags: Vec<RequestTag>) -> AcquireGroup {
    let count = u16::try_from(tags.len()).unwrap();
    AcquireGroup { requests: Requests::Asked(tags), ..bench.acquire(count, 1, 60_000) }
}

/// The first of these requests asks for what it was granted before.
fn claim(bench: &mut Bench, group: &AcquireGroup, index: u16) -> Decision {
    let (Requests::Asked(tags) | Requests::Held(tags)) = &group.requests else { panic!("no requests") };
    let requests = Requests::Claim(tags[usize::from(index)], index);
    let again = AcquireGroup { requests, count: 1, ..group.clone() };
    one(bench, again)
}

fn one(bench: &mut Bench, group: AcquireGroup) -> Decision {
    bench.commit(Vec::new(), vec![group]).decisions.remove(0)
}

fn unclaimed(group: &AcquireGroup, indexes: &[u16]) -> SettleGroup {
    SettleGroup { indexes: indexes.to_vec(), ..settle(group.lease, SettleKind::Unclaimed) }
}

#[test]
fn a_request_finds_its_permit_in_the_lease_of_others() {
    let mut bench = bench(minute(10));
    let first = asked(&mut bench, tags(0, 3));
    let granted = one(&mut bench, first.clone());
    assert_eq!((granted.granted, granted.places), (3, Vec::new()));
    // Another replica, which knows nothing of that, asks for one of them and for one that is new.
    let second = asked(&mut bench, vec![RequestTag(1), RequestTag(7)]);
    let other = Commit { replica: ReplicaName::new("other").unwrap(), ..bench.empty() };
    let reply = bench.send(Commit { acquires: vec![second.clone()], ..other });
    assert_eq!(reply.decisions[0].places, [Place::Elsewhere(first.lease, 1), Place::Here(0)]);
    assert_eq!((reply.decisions[0].granted, bench.available()), (1, 6));
    let again = claim(&mut bench, &first, 1);
    assert_eq!((again.granted, again.places, bench.available()), (0, vec![Place::Here(1)], 6));
    assert!(again.deadline_ms > 50_000 && again.send_within_ms > 0);
    // Settled, it is still its permit.
    bench.settled(SettleGroup { indexes: vec![1], ..settle(first.lease, SettleKind::Accepted) });
    assert_eq!(claim(&mut bench, &first, 1).places, [Place::Here(1)]);
}

#[test]
fn a_request_that_asks_again_is_told_what_is_left_of_its_times() {
    let mut bench = bench(minute(10));
    let group = asked(&mut bench, tags(0, 1));
    one(&mut bench, group.clone());
    bench.now += 2000;
    let again = claim(&mut bench, &group, 0);
    assert_eq!((again.send_within_ms, again.deadline_ms), (3000, 58_000));
    let renews = vec![RenewGroup { lease: group.lease, index: 0, ttl_ms: 300_000 }];
    bench.send(Commit { renews, ..bench.empty() });
    bench.now += 1000;
    let again = claim(&mut bench, &group, 0);
    assert_eq!(again.send_within_ms, 2000);
    assert!((298_000..=299_000).contains(&again.deadline_ms), "{again:?}");
}

#[test]
fn a_request_that_waits_is_looked_up_and_gets_nothing() {
    let mut bench = bench(minute(3));
    let first = asked(&mut bench, tags(0, 2));
    one(&mut bench, first.clone());
    let looks = vec![RequestTag(9), RequestTag(1), RequestTag(7)];
    let group = asked(&mut bench, vec![RequestTag(7)]);
    let mut commit = Commit { acquires: vec![group.clone()], looks, ..bench.empty() };
    // What is granted by the same commit was not granted before.
    let reply = bench.send(commit.clone());
    assert_eq!(reply.found, [None, Some((first.lease, 1)), None]);
    assert_eq!((reply.decisions[0].granted, bench.available()), (1, 0));
    commit.acquires.clear();
    let reply = bench.send(commit.clone());
    assert_eq!(reply.found, [None, Some((first.lease, 1)), Some((group.lease, 0))]);
    assert_eq!(bench.available(), 0);
    // What was claimed in vain is known no more.
    bench.settled(unclaimed(&first, &[0, 1]));
    assert_eq!(claim(&mut bench, &first, 1).places, [Place::Nowhere]);
    assert_eq!(bench.send(commit).found[1], None);
}

#[test]
fn a_commit_of_requests_whose_reply_was_lost_grants_them_nothing_more() {
    let mut bench = bench(minute(10));
    let group = asked(&mut bench, tags(0, 2));
    assert_eq!(one(&mut bench, group.clone()).granted, 2);
    let again = one(&mut bench, group.clone());
    assert_eq!((again.granted, again.places), (2, vec![Place::Here(0), Place::Here(1)]));
    assert_eq!(bench.available(), 8);
    // Whoever sent it twice may give back what nobody took.
    let back = bench.commit(vec![unclaimed(&group, &[0, 1])], Vec::new());
    assert_eq!((back.settled, bench.available()), (vec![vec![Settled::Applied; 2]], 10));
}

#[test]
fn of_a_lease_only_what_was_claimed_again_is_not_given_back() {
    let mut bench = bench(minute(10));
    let group = asked(&mut bench, tags(0, 3));
    one(&mut bench, group.clone());
    claim(&mut bench, &group, 1);
    let back = bench.commit(vec![unclaimed(&group, &[0, 1, 2])], Vec::new());
    assert_eq!(back.settled, [[Settled::Applied, Settled::Already, Settled::Applied]]);
    assert_eq!(bench.available(), 9);
    // Its holder settles it.
    let settled = SettleGroup { indexes: vec![1], ..settle(group.lease, SettleKind::NotSent) };
    assert_eq!(bench.commit(vec![settled], Vec::new()).settled, [[Settled::Applied]]);
}

#[test]
fn a_request_whose_permit_was_given_back_is_granted_another() {
    let mut bench = bench(minute(10));
    let group = asked(&mut bench, tags(0, 2));
    one(&mut bench, group.clone());
    let back = unclaimed(&group, &[0]);
    // In one commit with what gives it back it is seen at once.
    let next = asked(&mut bench, vec![RequestTag(0)]);
    let reply = bench.commit(vec![back], vec![next.clone()]);
    assert_eq!((reply.decisions[0].granted, bench.available()), (1, 8));
    // Otherwise its claim finds out, and it asks anew.
    bench.commit(vec![unclaimed(&next, &[0])], Vec::new());
    let third = asked(&mut bench, vec![RequestTag(0)]);
    assert_eq!(one(&mut bench, third.clone()).places, [Place::Elsewhere(next.lease, 0)]);
    assert_eq!(claim(&mut bench, &next, 0).places, [Place::Nowhere]);
    assert_eq!((one(&mut bench, third).granted, bench.available()), (1, 8));
}

#[test]
fn what_a_request_holds_from_a_ration_is_charged_and_found() {
    let mut bench = bench(minute(10));
    let group = asked(&mut bench, tags(0, 1));
    one(&mut bench, group);
    let held = AcquireGroup { requests: Requests::Held(tags(0, 1)), ..bench.acquire(1, 1, 60_000) };
    assert_eq!((one(&mut bench, held.clone()).granted, bench.available()), (1, 8));
    let next = asked(&mut bench, tags(0, 1));
    assert_eq!(one(&mut bench, next).places, [Place::Elsewhere(held.lease, 0)]);
}

#[test]
fn a_request_is_known_until_a_minute_after_its_deadline() {
    let mut bench = bench(minute(1_000_000));
    let group = asked(&mut bench, tags(0, 1));
    let again = |bench: &mut Bench, from| {
        let group = asked(bench, tags(from, 1));
        one(bench, group).granted == 0
    };
    one(&mut bench, group);
    // Others come and go meanwhile: the hash that takes in changes as soon as nobody needs the other.
    for n in 0..7 {
        bench.now += 17_000;
        assert!(again(&mut bench, 0), "after {} s", 17 * (n + 1));
        assert!(!again(&mut bench, 100 + n));
    }
    // 60 s to its deadline and another 60; from then on the next change forgets it.
    bench.now += 400_000;
    assert!(!again(&mut bench, 200));
    bench.now += 400_000;
    assert!(!again(&mut bench, 300));
    assert!(!again(&mut bench, 0));
}

#[test]
fn no_more_requests_are_kept_than_fit() {
    const MOST: u128 = 524_288;
    let mut bench = bench(minute(100_000_000));
    for from in (0..2 * MOST + 2048).step_by(1024) {
        let group = asked(&mut bench, tags(from, 1024));
        assert_eq!(one(&mut bench, group).granted, 1024);
    }
    let mut is_known = |tag: u128| {
        let group = asked(&mut bench, tags(tag, 1));
        one(&mut bench, group).granted == 0
    };
    assert!(is_known(2 * MOST) && is_known(MOST + 5) && !is_known(5));
}
