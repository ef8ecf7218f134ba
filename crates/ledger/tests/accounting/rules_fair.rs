//! Single rules of shares across replicas: equal tenants get equal parts of what is scarce wherever they wait, and tiers theirs.

use std::time::Duration;

use bursar_quota::{
    AcquireGroup, Cap, ClassName, Commit, Contender, Decision, LeaseId, LimitSpec, Party, Reason,
    ReplicaName, Reservation, SettleKind, TenantName, Tier,
};

use crate::{
    bench::{Bench, budget, minute, settle},
    words::{all_of, bucket, slots},
};

/// After so long what is left to somebody is anybody's: ms.
pub(crate) const CLAIM: u64 = 1000;

/// A replica, and who waits there: tier, tenant, calls.
pub(crate) type Replica<'a> = (&'a str, Vec<(Tier, &'a str, u64)>);

pub(crate) fn tenant(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

fn jain(got: &[f64]) -> f64 {
    let (sum, squares) = (got.iter().sum::<f64>(), got.iter().map(|n| n * n).sum::<f64>());
    sum * sum / (got.len() as f64 * squares)
}

pub(crate) fn contender(tier: Tier, name: &str, calls: u64, costs: &[u64]) -> Contender {
    let class = ClassName::new("default").unwrap();
    Contender { tier, tenant: Some(tenant(name)), tenants: 1, class, calls, costs: costs.to_vec() }
}

pub(crate) fn group(bench: &mut Bench, tier: Tier, name: &str, count: u16, costs: &[u64]) -> AcquireGroup {
    AcquireGroup { tier, tenant: tenant(name), costs: costs.to_vec(), ..bench.acquire(count, 1, 60_000) }
}

/// A replica where these wait asks for `most` calls of each of them.
pub(crate) fn ask(bench: &mut Bench, replica: &Replica<'_>, most: u64, costs: &[u64]) -> Vec<Decision> {
    asks(bench, replica, most, costs).1
}

/// The same, and what is granted is used at once.
pub(crate) fn serve(bench: &mut Bench, replica: &Replica<'_>, most: u64) -> Vec<u64> {
    let (leases, decisions) = asks(bench, replica, most, &[1]);
    let used = leases.iter().zip(&decisions).filter(|(_, decision)| decision.granted > 0);
    let used = used.map(|(lease, decision)| all_of(decision.granted, settle(*lease, SettleKind::Accepted)));
    bench.commit(used.collect(), Vec::new());
    granted(&decisions)
}

/// A replica asks for a call of 5 of one tenant, and behind it for one of 1 of another, which does not overtake it where there is
/// less than 5: who leaves the second something cannot see that.
pub(crate) fn come_one_behind_the_other(bench: &mut Bench, replica: &str) -> Vec<u64> {
    let acquires: Vec<_> = [("first", 5), ("second", 1)]
        .map(|(name, cost)| group(bench, Tier::Standard, name, 1, &[cost]))
        .into();
    let waits = |group: &AcquireGroup| contender(group.tier, group.tenant.as_str(), 9, &group.costs);
    let contenders = acquires.iter().map(waits).collect();
    let replica = ReplicaName::new(replica).unwrap();
    granted(&bench.send(Commit { replica, waiting: 18, contenders, acquires, ..bench.empty() }).decisions)
}

fn asks(bench: &mut Bench, replica: &Replica<'_>, most: u64, costs: &[u64]) -> (Vec<LeaseId>, Vec<Decision>) {
    let (name, waits) = replica;
    let acquires: Vec<_> = (waits.iter())
        .map(|(tier, tenant, calls)| {
            group(bench, *tier, tenant, u16::try_from(most.min(*calls)).unwrap(), costs)
        })
        .collect();
    let leases = acquires.iter().map(|group| group.lease).collect();
    let contenders: Vec<_> =
        waits.iter().map(|(tier, tenant, calls)| contender(*tier, tenant, *calls, costs)).collect();
    let waiting = waits.iter().map(|(.., calls)| calls).sum();
    let replica = ReplicaName::new(name).unwrap();
    (leases, bench.send(Commit { replica, waiting, contenders, acquires, ..bench.empty() }).decisions)
}

pub(crate) fn granted(decisions: &[Decision]) -> Vec<u64> {
    decisions.iter().map(|decision| u64::from(decision.granted)).collect()
}

/// Who waits always waits: what each of a replica's tenants got of a bucket that is empty, over so many refills of one call. At
/// every refill one replica comes first, the first one most often, and again whoever finds something left to it.
fn share_out(bench: &mut Bench, replicas: &[Replica<'_>], grants: u64) -> Vec<Vec<u64>> {
    let mut got: Vec<Vec<u64>> = replicas.iter().map(|(_, waits)| vec![0; waits.len()]).collect();
    let mut sum = 0;
    for turn in 0_usize.. {
        if sum >= grants {
            break;
        }
        bench.now += 100;
        assert!(turn as u64 <= grants + 100, "what is left is taken: {got:?}");
        let first = if turn % 4 == 0 { turn / 4 } else { 0 };
        for at in 0..replicas.len() {
            let at = (first + at) % replicas.len();
            for (sum_of, n) in got[at].iter_mut().zip(serve(bench, &replicas[at], 4)) {
                *sum_of += n;
                sum += n;
            }
        }
    }
    got
}

/// A bucket that refills a call in 100 ms, empty.
pub(crate) fn empty_bucket() -> Bench {
    let mut bench = Bench::new(&budget(vec![bucket(10, 10.0)]));
    let taken = bench.ask_for(10);
    assert_eq!(taken, 10);
    bench
}

#[test]
fn equal_tenants_get_equal_shares_wherever_they_wait() {
    let names = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"];
    for replicas in [2, 3, 8] {
        let mut bench = empty_bucket();
        // The first has nearly all of them; some tenants wait at several.
        let mut fleet: Vec<Replica<'_>> = vec![("r0", vec![])];
        fleet[0].1 = names[..6].iter().map(|name| (Tier::Standard, *name, 200)).collect();
        let others = ["r1", "r2", "r3", "r4", "r5", "r6", "r7"];
        for (at, name) in others.iter().enumerate().take(replicas - 1) {
            fleet.push((name, vec![(Tier::Standard, names[at % 4 + 5], 3)]));
        }
        let got = share_out(&mut bench, &fleet, 1000);
        let mut by_tenant = vec![0.0; names.len()];
        for ((_, waits), got) in fleet.iter().zip(&got) {
            for ((_, tenant, _), n) in waits.iter().zip(got) {
                by_tenant[names.iter().position(|name| name == tenant).unwrap()] += *n as f64;
            }
        }
        by_tenant.retain(|n| *n > 0.0);
        let jain = jain(&by_tenant);
        println!("{replicas} replicas: jain {jain:.5}, {by_tenant:?}");
        assert!(jain >= 0.99, "{replicas}: {by_tenant:?}");
    }
}

#[test]
fn tiers_get_their_weights_whatever_tenants_each_has() {
    let mut bench = empty_bucket();
    let fleet: Vec<Replica<'_>> = vec![
        ("r0", vec![(Tier::Batch, "a", 50), (Tier::Batch, "b", 50), (Tier::Batch, "c", 50)]),
        ("r1", vec![(Tier::Interactive, "a", 50), (Tier::Interactive, "d", 50)]),
        ("r2", vec![(Tier::Standard, "e", 50)]),
    ];
    let got = share_out(&mut bench, &fleet, 1300);
    let sums: Vec<u64> = got.iter().map(|got| got.iter().sum()).collect();
    println!("batch, interactive, standard: {sums:?}");
    for (sum, share) in sums.iter().zip([100, 800, 400]) {
        assert!(sum.abs_diff(share) <= 10, "{got:?}");
    }
    assert!(got[1][0].abs_diff(got[1][1]) <= 5 && got[0].iter().all(|n| n.abs_diff(33) <= 3), "{got:?}");
}

#[test]
fn who_waits_alone_is_served_beside_ten_thousand() {
    let mut bench = empty_bucket();
    let crowd: Replica<'_> = ("r0", vec![(Tier::Standard, "crowd", 10_000)]);
    let lone: Replica<'_> = ("r1", vec![(Tier::Standard, "lone", 1)]);
    let mut got = [0, 0];
    for _ in 0..100 {
        bench.now += 100;
        got[0] += serve(&mut bench, &crowd, 1000)[0];
        got[1] += serve(&mut bench, &lone, 1)[0];
    }
    assert_eq!((got[0] + got[1], got[1] >= 40), (100, true), "{got:?}");
}

#[test]
fn within_a_tenant_each_replica_is_served_though_others_are_served_there() {
    let mut bench = empty_bucket();
    let fleet: Vec<Replica<'_>> = vec![
        ("r0", vec![(Tier::Standard, "t", 1000)]),
        ("r1", vec![(Tier::Standard, "other", 50), (Tier::Standard, "t", 3)]),
    ];
    let got = share_out(&mut bench, &fleet, 400);
    assert!(got[1][0].abs_diff(200) <= 4, "{got:?}");
    // A call whenever it has got nothing for a second.
    assert!(got[1][1] >= 25, "{got:?}");
}

#[test]
fn all_there_is_is_shared_out_at_once() {
    let mut bench = Bench::new(&budget(vec![minute(60)]));
    let fleet = ["a", "b", "c"].map(|name| (name, vec![(Tier::Standard, name, 100)]));
    let taken = bench.ask_for(60);
    assert_eq!(taken, 60);
    bench.now += 59_000;
    for replica in &fleet {
        assert_eq!(granted(&ask(&mut bench, replica, 100, &[1])).iter().sum::<u64>(), 0);
    }
    bench.now += 5_000;
    // Each leaves the others their thirds, and they come for them.
    for replica in &fleet {
        assert_eq!(granted(&ask(&mut bench, replica, 100, &[1])), [20]);
    }
}

/// Two tenants at two replicas wait for one slot, which `a` had last; it has come free.
fn one_slot() -> (Bench, [Replica<'static>; 2]) {
    let mut bench = Bench::new(&budget(vec![slots(1, 0)]));
    let fleet = [("r0", vec![(Tier::Standard, "a", 5)]), ("r1", vec![(Tier::Standard, "b", 5)])];
    let (lease, _) = bench.ask();
    for replica in &fleet {
        assert_eq!(granted(&ask(&mut bench, replica, 1, &[1])), [0]);
    }
    bench.commit(vec![settle(lease, SettleKind::Accepted)], Vec::new());
    let mut group = group(&mut bench, Tier::Standard, "a", 1, &[1]);
    group.lease = LeaseId(77);
    let commit = Commit {
        replica: ReplicaName::new("r0").unwrap(),
        waiting: 5,
        contenders: vec![contender(Tier::Standard, "a", 5, &[1])],
        acquires: vec![group],
        ..bench.empty()
    };
    assert_eq!(bench.send(commit).decisions[0].granted, 1);
    bench.commit(vec![settle(LeaseId(77), SettleKind::Accepted)], Vec::new());
    (bench, fleet)
}

#[test]
fn what_is_left_and_not_claimed_is_anybodys_when_that_was_told() {
    let (mut bench, fleet) = one_slot();
    let refused = |bench: &mut Bench| {
        let refusal = ask(bench, &fleet[0], 1, &[1]).remove(0).refusal;
        refusal.map(|refusal| (refusal.reason, refusal.retry_after))
    };
    bench.announced.clear();
    assert_eq!(refused(&mut bench), Some((Reason::Reserved, Some(Duration::from_millis(CLAIM)))));
    assert_eq!(bench.announced.len(), 1, "whom it is left to is told: {:?}", bench.announced);
    bench.now += 400;
    assert_eq!(refused(&mut bench), Some((Reason::Reserved, Some(Duration::from_millis(CLAIM - 400)))));
    bench.now += CLAIM - 401;
    assert_eq!(refused(&mut bench), Some((Reason::Reserved, Some(Duration::from_millis(1)))));
    bench.now += 1;
    assert_eq!(refused(&mut bench), None);
}

#[test]
fn who_comes_for_what_is_left_gets_it_and_has_its_turn_again() {
    let (mut bench, fleet) = one_slot();
    assert_eq!(granted(&ask(&mut bench, &fleet[0], 1, &[1])), [0]);
    bench.now += 999;
    assert_eq!(granted(&ask(&mut bench, &fleet[1], 1, &[1])), [1]);
    assert_eq!(
        ask(&mut bench, &fleet[0], 1, &[1])[0].refusal.as_ref().unwrap().reason,
        Reason::ConcurrencyExhausted
    );
}

#[test]
fn a_commit_that_asks_for_nothing_claims_nothing() {
    let (mut bench, fleet) = one_slot();
    assert_eq!(granted(&ask(&mut bench, &fleet[0], 1, &[1])), [0]);
    for _ in 0..2 {
        bench.now += CLAIM / 2;
        let contenders = vec![contender(Tier::Standard, "b", 5, &[1])];
        bench.send(Commit {
            replica: ReplicaName::new("r1").unwrap(),
            waiting: 5,
            contenders,
            ..bench.empty()
        });
    }
    assert_eq!(granted(&ask(&mut bench, &fleet[0], 1, &[1])), [1]);
}

#[test]
fn who_waits_no_more_leaves_its_share_to_others_who_are_told() {
    let (mut bench, fleet) = one_slot();
    assert_eq!(granted(&ask(&mut bench, &fleet[0], 1, &[1])), [0]);
    bench.announced.clear();
    bench.send(Commit { replica: ReplicaName::new("r1").unwrap(), ..bench.empty() });
    assert_eq!(bench.announced.len(), 1, "{:?}", bench.announced);
    assert_eq!(granted(&ask(&mut bench, &fleet[0], 1, &[1])), [1]);
}

#[test]
fn idle_time_earns_nothing() {
    let mut bench = empty_bucket();
    let busy: Replica<'_> = ("r0", vec![(Tier::Standard, "busy", 50)]);
    let other: Replica<'_> = ("r1", vec![(Tier::Standard, "other", 50)]);
    share_out(&mut bench, &[busy.clone(), other.clone()], 50);
    // It was away for a minute; from then on they share equally.
    let late: Replica<'_> = ("r2", vec![(Tier::Standard, "late", 50)]);
    share_out(&mut bench, &[busy.clone(), other.clone()], 600);
    let got = share_out(&mut bench, &[busy, other, late], 90);
    assert!(got.iter().all(|got| got[0].abs_diff(30) <= 2), "{got:?}");
}

#[test]
fn who_does_not_come_for_its_share_saves_up_nothing() {
    let mut bench = empty_bucket();
    let busy: Replica<'_> = ("r0", vec![(Tier::Standard, "busy", 50)]);
    let other: Replica<'_> = ("r1", vec![(Tier::Standard, "other", 50)]);
    assert_eq!(serve(&mut bench, &other, 1), [0]);
    for _ in 0..60 {
        bench.now += 100;
        serve(&mut bench, &busy, 20);
        // It waits, and does not ask.
        let contenders = vec![contender(Tier::Standard, "other", 50, &[1])];
        let replica = ReplicaName::new("r1").unwrap();
        bench.send(Commit { replica, waiting: 50, contenders, ..bench.empty() });
    }
    let got = share_out(&mut bench, &[busy, other], 20);
    assert!(got.iter().all(|got| got[0].abs_diff(10) <= 3), "{got:?}");
}

#[test]
fn who_waits_for_another_limit_holds_nobody_back() {
    // All need a slot; the second also one of a window that is used up.
    let mut bench = Bench::new(&budget(vec![slots(1, 0), minute(1)]));
    let waits = |name| (name, vec![(Tier::Standard, name, 5)]);
    assert_eq!(granted(&ask(&mut bench, &waits("first"), 1, &[0, 1])), [1]);
    let both = waits("both");
    assert_eq!(granted(&ask(&mut bench, &both, 1, &[1, 1])), [0]);
    for _ in 0..3 {
        let lease = {
            let group = group(&mut bench, Tier::Standard, "one", 1, &[1, 0]);
            let lease = group.lease;
            let commit = Commit {
                replica: ReplicaName::new("one").unwrap(),
                waiting: 5,
                contenders: vec![contender(Tier::Standard, "one", 5, &[1, 0])],
                acquires: vec![group],
                ..bench.empty()
            };
            assert_eq!(bench.send(commit).decisions[0].granted, 1);
            lease
        };
        bench.commit(vec![settle(lease, SettleKind::Accepted)], Vec::new());
        assert_eq!(granted(&ask(&mut bench, &both, 1, &[1, 1])), [0]);
    }
}

#[test]
fn who_is_at_its_cap_holds_nobody_back() {
    let mut limit = slots(3, 0);
    limit.caps = vec![Cap { tenant: Some(tenant("capped")), amount: 1 }];
    let mut bench = Bench::new(&budget(vec![limit]));
    let capped: Replica<'_> = ("r0", vec![(Tier::Standard, "capped", 5)]);
    let free: Replica<'_> = ("r1", vec![(Tier::Standard, "free", 5)]);
    assert_eq!(granted(&ask(&mut bench, &capped, 1, &[1])), [1]);
    assert_eq!(granted(&ask(&mut bench, &capped, 1, &[1])), [0]);
    // The second time it has had one more, and the other would come first.
    for got in [1, 1, 0] {
        assert_eq!(granted(&ask(&mut bench, &free, 1, &[1])), [got]);
    }
}

#[test]
fn what_is_reserved_is_kept_beside_the_shares() {
    let mut limit: LimitSpec = bucket(10, 10.0);
    limit.reservations = vec![Reservation { party: Party::Tenant(tenant("kept")), amount: 2 }];
    let mut bench = Bench::new(&budget(vec![limit]));
    let fleet: Vec<Replica<'_>> = vec![
        ("r0", vec![(Tier::Standard, "a", 50), (Tier::Standard, "b", 50)]),
        ("r1", vec![(Tier::Standard, "c", 50)]),
    ];
    for replica in fleet.iter().rev() {
        ask(&mut bench, replica, 10, &[1]);
    }
    let kept: Replica<'_> = ("r2", vec![(Tier::Standard, "kept", 3)]);
    assert_eq!(granted(&ask(&mut bench, &kept, 3, &[1])), [2]);
}

#[test]
fn where_all_who_wait_are_one_tenant_replicas_take_turns() {
    let mut bench = empty_bucket();
    let crowd: Replica<'_> = ("r0", vec![(Tier::Standard, "t", 100)]);
    let lone: Replica<'_> = ("r1", vec![(Tier::Standard, "t", 1)]);
    assert_eq!(granted(&ask(&mut bench, &lone, 1, &[1])), [0]);
    bench.now += 1001;
    // It has waited longer: one is left there, and nothing is kept of shares.
    assert_eq!(granted(&ask(&mut bench, &crowd, 20, &[1])), [9]);
    assert_eq!(granted(&ask(&mut bench, &lone, 1, &[1])), [1]);
    let fields: Vec<String> = bench.waits().into_iter().map(|(name, _)| name).collect();
    assert!(!fields.contains(&"=".to_owned()), "{fields:?}");
}

#[test]
fn who_does_not_wait_finds_its_share_beside_one_tenant_that_does() {
    let mut bench = empty_bucket();
    for name in ["r0", "r1"] {
        assert_eq!(granted(&ask(&mut bench, &(name, vec![(Tier::Standard, "t", 5)]), 5, &[1])), [0]);
    }
    bench.now += 400;
    let acquires = vec![group(&mut bench, Tier::Standard, "other", 10, &[1])];
    let commit = Commit { replica: ReplicaName::new("r2").unwrap(), acquires, ..bench.empty() };
    assert_eq!(granted(&bench.send(commit).decisions), [2]);
}

#[test]
fn what_others_can_take_becomes_less_with_each_grant() {
    // Of the bucket there will be one, of the slots two; `a` needs one of each, and comes before `c`.
    let mut bench = Bench::new(&budget(vec![slots(3, 0), bucket(10, 10.0)]));
    let waits = |name| (name, vec![(Tier::Standard, name, 10)]);
    let (leases, _) = asks(&mut bench, &waits("x"), 10, &[0, 1]);
    bench.commit(vec![all_of(10, settle(leases[0], SettleKind::Accepted))], Vec::new());
    assert_eq!(granted(&ask(&mut bench, &waits("a"), 1, &[1, 1])), [0]);
    assert_eq!(granted(&ask(&mut bench, &waits("c"), 1, &[1, 0])), [1]);
    bench.now += 100;
    let acquires = [("b", [1, 1]), ("c", [1, 0])]
        .map(|(name, costs)| group(&mut bench, Tier::Standard, name, 1, &costs));
    let contenders = vec![contender(Tier::Standard, "c", 10, &[1, 0])];
    let replica = ReplicaName::new("c").unwrap();
    let commit = Commit { replica, waiting: 10, contenders, acquires: acquires.to_vec(), ..bench.empty() };
    // The bucket's one is `b`'s, so that `a` has no use for the slot.
    assert_eq!(granted(&bench.send(commit).decisions), [1, 1]);
}

#[test]
fn who_comes_in_vain_for_what_is_left_is_told_of_it_ever_more_rarely() {
    let mut bench = empty_bucket();
    let had_one: Replica<'_> = ("r0", vec![(Tier::Standard, "had-one", 5)]);
    assert_eq!(come_one_behind_the_other(&mut bench, "r1"), [0, 0]);
    bench.now += 100;
    assert_eq!(serve(&mut bench, &had_one, 1), [1]);
    bench.now += 101;
    bench.announced.clear();
    for _ in 0..90 {
        bench.now += 1;
        assert_eq!(granted(&ask(&mut bench, &had_one, 1, &[1])), [0]);
        assert_eq!(come_one_behind_the_other(&mut bench, "r1"), [0, 0]);
    }
    assert!((1..=8).contains(&bench.announced.len()), "{:?}", bench.announced);
}
