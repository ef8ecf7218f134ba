//! Single rules of shares across replicas where something stands in the way: many who wait, what is kept, others of the same
//! replica, other versions.

use bursar_quota::{
    AcquireGroup, Commit, LimitSpec, MAX_CONTENDERS, Party, ReplicaName, Reservation, SettleKind, Tier,
};

use crate::{
    bench::{Bench, budget, minute, settle},
    rules_fair::{
        CLAIM, Replica, ask, come_one_behind_the_other, contender, empty_bucket, granted, group, serve,
    },
    words::slots,
};

#[test]
fn a_share_of_many_costs_as_much_as_many() {
    // Eight replicas that each name as many as they may.
    let mut bench = empty_bucket();
    let names: Vec<String> = (0..8 * MAX_CONTENDERS).map(|at| format!("tenant-{at}")).collect();
    let fleet: Vec<(String, Vec<&str>)> = (names.chunks(MAX_CONTENDERS).enumerate())
        .map(|(at, names)| (format!("r{at}"), names.iter().map(String::as_str).collect()))
        .collect();
    for _ in 0..3 {
        bench.now += 300;
        for (name, waits) in &fleet {
            let waits = waits.iter().map(|tenant| (Tier::Standard, *tenant, 9)).collect();
            ask(&mut bench, &(name.as_str(), waits), 2, &[1]);
        }
    }
    let fields = bench.waits();
    assert_eq!(fields.len(), 9, "eight replicas and the tags");
    for (name, text) in fields {
        // An entry is some 40 bytes of names and numbers.
        let most = if name == "=" { 8 * MAX_CONTENDERS * 60 } else { MAX_CONTENDERS * 80 };
        assert!(text.len() <= most, "{name}: {} bytes", text.len());
    }
}

/// Instructions of a commit that asks for a call 512 times, for 32 tenants by turns, where eight replicas name as many others.
fn most_instructions(limits: Vec<LimitSpec>) -> (u64, u64) {
    let mut bench = Bench::new(&budget(limits.clone()));
    let costs = vec![1; limits.len()];
    let names: Vec<String> = (0..9 * MAX_CONTENDERS).map(|at| format!("tenant-{at}")).collect();
    let mut fleet = names.chunks(MAX_CONTENDERS).map(|names| {
        names.iter().map(|name| contender(Tier::Standard, name, 99, &costs)).collect::<Vec<_>>()
    });
    let contenders = fleet.next().unwrap();
    for (at, contenders) in fleet.enumerate() {
        let replica = ReplicaName::new(&format!("other-{at}")).unwrap();
        bench.send(Commit { replica, waiting: 3168, contenders, ..bench.empty() });
    }
    let acquires: Vec<AcquireGroup> = (0..512)
        .map(|at| group(&mut bench, Tier::Standard, &names[at % MAX_CONTENDERS], 1, &costs))
        .collect();
    let replica = ReplicaName::new("r").unwrap();
    let reply = bench.send(Commit { replica, waiting: 3168, contenders, acquires, ..bench.empty() });
    (granted(&reply.decisions).iter().sum(), bench.instructions())
}

#[test]
fn what_others_can_take_is_not_counted_for_each_grant_from_the_start() {
    for capacity in [100_000, 700] {
        let limits = ["one", "two", "three"]
            .map(|name| LimitSpec { name: bursar_quota::LimitName::new(name).unwrap(), ..minute(capacity) });
        let (got, instructions) = most_instructions(limits.to_vec());
        println!("{got} granted of {capacity}: {instructions} instructions");
        assert!(got > 90 && instructions <= 15_000_000, "{got} granted, {instructions} instructions");
    }
}

#[test]
fn what_is_kept_for_others_is_no_room_for_those_who_come_before() {
    let mut limit: LimitSpec = slots(10, 0);
    limit.reservations = vec![Reservation { party: Party::Tier(Tier::Interactive), amount: 6 }];
    let mut bench = Bench::new(&budget(vec![limit]));
    // One holds all four that are not kept, and asks again with each settlement; the other waits for its first.
    let holds: Vec<AcquireGroup> =
        (0..4).map(|_| group(&mut bench, Tier::Standard, "holds", 1, &[1])).collect();
    let replica = ReplicaName::new("r0").unwrap();
    let mut held: Vec<_> = holds.iter().map(|group| group.lease).collect();
    let contenders = vec![contender(Tier::Standard, "holds", 5, &[1])];
    let commit = Commit { replica, waiting: 5, contenders, acquires: holds, ..bench.empty() };
    assert_eq!(granted(&bench.send(commit.clone()).decisions), [1, 1, 1, 1]);
    let waits: Replica<'_> = ("r1", vec![(Tier::Standard, "waits", 5)]);
    let mut got = [0, 0];
    for _ in 0..20 {
        got[1] += serve(&mut bench, &waits, 1)[0];
        if held.is_empty() {
            break;
        }
        bench.now += 100;
        let acquires = vec![group(&mut bench, Tier::Standard, "holds", 1, &[1])];
        let settles = vec![settle(held.remove(0), SettleKind::Accepted)];
        let lease = acquires[0].lease;
        let again = granted(&bench.send(Commit { settles, acquires, ..commit.clone() }).decisions)[0];
        got[0] += again;
        held.extend((again > 0).then_some(lease));
    }
    assert!(got[1] >= 5, "{got:?}");
}

#[test]
fn what_is_left_to_somebody_behind_another_of_its_replica_is_anybodys_in_time() {
    let mut bench = Bench::new(&budget(vec![minute(20)]));
    assert_eq!(bench.ask_for(11), 11);
    let third: Replica<'_> = ("r1", vec![(Tier::Standard, "third", 5)]);
    let contenders = vec![contender(Tier::Standard, "third", 5, &[1])];
    let replica = ReplicaName::new("r1").unwrap();
    bench.send(Commit { replica, waiting: 5, contenders, ..bench.empty() });
    // Then three are left, of which the third takes two: the second comes before it, and the first one behind it.
    assert_eq!(come_one_behind_the_other(&mut bench, "r0"), [1, 1]);
    for got in [1, 1, 0] {
        assert_eq!(granted(&ask(&mut bench, &third, 1, &[1])), [got]);
    }
    assert_eq!(come_one_behind_the_other(&mut bench, "r0"), [0, 0]);
    let mut got = 0;
    for _ in 0..(2 * CLAIM / 100) {
        bench.now += 100;
        got += granted(&ask(&mut bench, &third, 1, &[1]))[0];
        come_one_behind_the_other(&mut bench, "r0");
    }
    assert!(got >= 1, "what is there is used: {:?}", bench.waits());
}

#[test]
fn tags_are_read_as_the_version_before_wrote_them() {
    let mut bench = empty_bucket();
    for name in ["a", "b"] {
        let replica = (name, vec![(Tier::Standard, name, 5)]);
        assert_eq!(granted(&ask(&mut bench, &replica, 1, &[1])), [0]);
    }
    let ahead = format!("{} standard,a=0.1 standard,b=0", bench.now + 10_000);
    bench.put_wait("=", &ahead);
    bench.now += 100;
    let first: Replica<'_> = ("a", vec![(Tier::Standard, "a", 5)]);
    assert_eq!(granted(&ask(&mut bench, &first, 1, &[1])), [0], "it has had more: the other comes first");
}
