//! Single rules of deciding, of leases, of capacities that responses name, of time and of use.

use std::time::Duration;

use bursar_quota::{
    Cap, CountedAt, EventKind, LimitKind, LimitName, LimitSpec, Party, Reason, Reservation, SettleGroup,
    SettleKind, Settled, TenantName, Tier, UnitName,
};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, lost, names, read, says, slots},
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

/// Asks for `count` permits of `cost` as somebody: how many were granted, and why not more.
fn ask(bench: &mut Bench, who: &str, tier: Tier, count: u16, cost: u64) -> (u16, Option<Reason>) {
    let mut group = bench.acquire(count, cost, 60_000);
    group.tenant = tenant(who);
    group.tier = tier;
    let decision = bench.commit(Vec::new(), vec![group]).decisions.remove(0);
    (decision.granted, decision.refusal.map(|refusal| refusal.reason))
}

fn reserved(capacity: u64, amount: u64) -> LimitSpec {
    let reservations = vec![Reservation { party: Party::Tier(Tier::Interactive), amount }];
    LimitSpec { reservations, ..minute(capacity) }
}

// === reservations and caps ===

#[test]
fn who_uses_more_than_its_reservation_makes_no_room_for_others() {
    let mut bench = bench(reserved(10, 4));
    assert_eq!(ask(&mut bench, "a", Tier::Interactive, 6, 1), (6, None));
    assert_eq!(ask(&mut bench, "b", Tier::Batch, 10, 1), (4, Some(Reason::QuotaExhausted)));
}

#[test]
fn what_is_reserved_for_others_can_never_be_had() {
    let mut bench = bench(reserved(10, 4));
    assert_eq!(ask(&mut bench, "a", Tier::Batch, 1, 7), (0, Some(Reason::CostAboveCapacity)));
    assert_eq!(ask(&mut bench, "a", Tier::Batch, 1, 6), (1, None));
    assert_eq!(ask(&mut bench, "a", Tier::Interactive, 1, 7), (0, Some(Reason::QuotaExhausted)));
}

#[test]
fn who_waits_for_what_is_reserved_holds_back_nobody_for_whom_it_is() {
    let mut bench = bench(reserved(10, 4));
    assert_eq!(ask(&mut bench, "a", Tier::Batch, 6, 1), (6, None));
    let mut groups = vec![bench.acquire(1, 1, 60_000), bench.acquire(1, 1, 60_000)];
    groups[0].tier = Tier::Batch;
    groups[1].tier = Tier::Interactive;
    let granted: Vec<_> = bench.commit(Vec::new(), groups).decisions.iter().map(|d| d.granted).collect();
    assert_eq!(granted, [0, 1]);
}

#[test]
fn when_to_come_back_depends_on_who_asks() {
    let mut limit = reserved(2, 1);
    limit.caps = vec![Cap { tenant: Some(tenant("capped")), amount: 1 }];
    let mut bench = bench(limit);
    // The capped one's permit, then the interactive ones'.
    assert_eq!(ask(&mut bench, "capped", Tier::Batch, 1, 1), (1, None));
    bench.now += 10_000;
    assert_eq!(ask(&mut bench, "a", Tier::Interactive, 1, 1), (1, None));
    let mut groups: Vec<_> = (0..2).map(|_| bench.acquire(1, 1, 60_000)).collect();
    (groups[0].tier, groups[0].tenant) = (Tier::Interactive, tenant("a"));
    (groups[1].tier, groups[1].tenant) = (Tier::Batch, tenant("b"));
    let after = |groups: &[bursar_quota::AcquireGroup], bench: &mut Bench| -> Vec<u64> {
        let decisions = bench.commit(Vec::new(), groups.to_vec()).decisions;
        let seconds = |d: &bursar_quota::Decision| d.refusal.as_ref().unwrap().retry_after.unwrap().as_secs();
        decisions.iter().map(seconds).collect()
    };
    assert_eq!(after(&groups[..1], &mut bench), [55]);
    // One behind it, to whom what is reserved is closed, waits for the second to come back.
    assert_eq!(after(&groups, &mut bench), [55, 65]);
}

#[test]
fn one_callers_look_ahead_is_not_taken_for_anothers() {
    let mut bench = bench(reserved(3, 2));
    assert_eq!(ask(&mut bench, "a", Tier::Interactive, 1, 1), (1, None));
    bench.now += 10_000;
    assert_eq!(ask(&mut bench, "b", Tier::Batch, 1, 1), (1, None));
    bench.now += 10_000;
    // The first waits for its own tier's permit, the second only for the one before.
    let mut groups = vec![bench.acquire(1, 1, 60_000), bench.acquire(1, 2, 60_000)];
    groups[0].tier = Tier::Batch;
    groups[1].tier = Tier::Interactive;
    assert_eq!(waits(&mut bench, groups), [Some(55), Some(45)]);
}

#[test]
fn a_grant_makes_looks_ahead_void() {
    let mut limit = minute(4);
    limit.caps = vec![Cap { tenant: Some(tenant("a")), amount: 2 }];
    let mut bench = bench(limit);
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 1, 1), (1, None));
    bench.now += 10_000;
    let mut groups =
        vec![bench.acquire(1, 2, 60_000), bench.acquire(1, 3, 60_000), bench.acquire(1, 2, 60_000)];
    for (group, who) in groups.iter_mut().zip(["a", "b", "a"]) {
        group.tenant = tenant(who);
    }
    // What the second took is in the third's way when its own cap no longer is.
    assert_eq!(waits(&mut bench, groups), [Some(55), None, Some(65)]);
}

#[test]
fn a_capped_tenants_time_is_that_of_its_own_permits() {
    let mut limit = minute(10);
    limit.caps = vec![Cap { tenant: Some(tenant("a")), amount: 1 }];
    let mut bench = bench(limit);
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 1, 1), (1, None));
    bench.now += 10_000;
    assert_eq!(ask(&mut bench, "b", Tier::Standard, 1, 1), (1, None));
    let mut group = bench.acquire(1, 1, 60_000);
    group.tenant = tenant("a");
    assert_eq!(waits(&mut bench, vec![group]), [Some(55)]);
}

/// Of each group how many whole seconds it is told to wait; nothing where it is granted.
fn waits(bench: &mut Bench, groups: Vec<bursar_quota::AcquireGroup>) -> Vec<Option<u64>> {
    let decisions = bench.commit(Vec::new(), groups).decisions;
    decisions.into_iter().map(|d| d.refusal.map(|refusal| refusal.retry_after.unwrap().as_secs())).collect()
}

#[test]
fn a_cap_counts_cost() {
    let mut limit = minute(100);
    limit.caps = vec![Cap { tenant: None, amount: 5 }];
    let mut bench = bench(limit);
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 3, 2), (2, Some(Reason::TenantCapped)));
    assert_eq!(ask(&mut bench, "b", Tier::Standard, 1, 6), (0, Some(Reason::CostAboveCapacity)));
}

#[test]
fn what_a_party_held_and_lets_lapse_it_holds_no_more() {
    let mut limit = minute(100);
    limit.caps = vec![Cap { tenant: None, amount: 5 }];
    let mut bench = bench(limit);
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 5, 1), (5, None));
    bench.now += 65_500;
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 9, 1), (5, Some(Reason::TenantCapped)));
}

// === which reason, which time ===

#[test]
fn a_refusal_names_the_first_reason_and_the_limit_that_binds_longest() {
    let mut hour = minute(1);
    hour.name = LimitName::new("hour").unwrap();
    hour.kind =
        LimitKind::Window { capacity: 1, window: Duration::from_secs(3600), aligned: false, on_clock: false };
    let mut bench = Bench::new(&budget(vec![slots(1, 0), hour, minute(1)]));
    let ask = |bench: &mut Bench| {
        let mut group = bench.acquire(1, 1, 60_000);
        group.costs = vec![1, 1, 1];
        bench.commit(Vec::new(), vec![group]).decisions.remove(0)
    };
    assert_eq!(ask(&mut bench).granted, 1);
    let refusal = ask(&mut bench).refusal.unwrap();
    assert_eq!((refusal.reason, refusal.limit.unwrap().as_str()), (Reason::QuotaExhausted, "hour"));
    assert!(refusal.retry_after.unwrap() >= Duration::from_secs(3605));
}

#[test]
fn who_waits_for_one_limit_holds_back_nobody_in_another() {
    let mut other = minute(5);
    other.name = LimitName::new("other").unwrap();
    let mut bench = Bench::new(&budget(vec![minute(1), other]));
    let mut both = bench.acquire(3, 1, 60_000);
    both.costs = vec![1, 1];
    let mut alone = bench.acquire(4, 1, 60_000);
    alone.costs = vec![0, 1];
    let granted: Vec<_> =
        bench.commit(Vec::new(), vec![both, alone]).decisions.iter().map(|d| d.granted).collect();
    assert_eq!(granted, [1, 4]);
}

#[test]
fn who_can_never_go_holds_back_nobody() {
    let mut other = minute(5);
    other.name = LimitName::new("other").unwrap();
    let mut bench = Bench::new(&budget(vec![minute(2), other]));
    let mut first = bench.acquire(1, 1, 60_000);
    first.costs = vec![0, 3];
    let mut last = bench.acquire(1, 1, 60_000);
    last.costs = vec![0, 2];
    let mut never = bench.acquire(1, 1, 60_000);
    never.costs = vec![3, 4];
    // Of the other limit two are left.
    let decisions = bench.commit(Vec::new(), vec![first, never, last]).decisions;
    assert_eq!(decisions[1].refusal.as_ref().unwrap().reason, Reason::CostAboveCapacity);
    assert_eq!(decisions.iter().map(|d| d.granted).collect::<Vec<_>>(), [1, 0, 1]);
}

#[test]
fn a_grant_in_the_same_commit_is_seen_by_who_is_refused_after_it() {
    let mut bench = bench(minute(3));
    bench.take(1);
    bench.now += 30_000;
    // The first waits for the first permit; what is granted to the second moves the third on.
    let mut groups: Vec<_> = (0..3).map(|_| bench.acquire(1, 1, 60_000)).collect();
    for (group, cost) in groups.iter_mut().zip([2, 1, 2]) {
        group.costs = vec![cost];
    }
    let decisions = bench.commit(Vec::new(), groups).decisions;
    assert_eq!(decisions.iter().map(|d| d.granted).collect::<Vec<_>>(), [1, 0, 0]);
    let seconds: Vec<_> =
        decisions[1..].iter().map(|d| d.refusal.as_ref().unwrap().retry_after.unwrap().as_secs()).collect();
    assert_eq!(seconds, [35, 65]);
}

#[test]
fn a_tenants_reservation_is_kept_for_it_alone() {
    let reservations = vec![Reservation { party: Party::Tenant(tenant("vip")), amount: 4 }];
    let mut bench = bench(LimitSpec { reservations, ..minute(10) });
    assert_eq!(ask(&mut bench, "other", Tier::Interactive, 1, 7), (0, Some(Reason::CostAboveCapacity)));
    assert_eq!(ask(&mut bench, "other", Tier::Interactive, 10, 1), (6, Some(Reason::Reserved)));
    assert_eq!(ask(&mut bench, "vip", Tier::Batch, 1, 4), (1, None));
    // What it uses counts against it.
    let reservations = vec![Reservation { party: Party::Tenant(tenant("vip")), amount: 4 }];
    let mut bench = self::bench(LimitSpec { reservations, ..minute(10) });
    assert_eq!(ask(&mut bench, "vip", Tier::Batch, 1, 7), (1, None));
    assert_eq!(ask(&mut bench, "other", Tier::Batch, 3, 1), (3, None));
}

#[test]
fn who_wants_less_behind_one_who_wants_more_is_told_its_own_time() {
    let mut bench = bench(reserved(10, 5));
    assert_eq!(ask(&mut bench, "a", Tier::Batch, 1, 2), (1, None));
    bench.now += 10_000;
    assert_eq!(ask(&mut bench, "a", Tier::Batch, 1, 3), (1, None));
    // Both wait for what is reserved for others: neither is in the other's way.
    let mut groups = vec![bench.acquire(1, 5, 60_000), bench.acquire(1, 1, 60_000)];
    for group in &mut groups {
        group.tier = Tier::Batch;
    }
    assert_eq!(waits(&mut bench, groups), [Some(65), Some(55)]);
}

#[test]
fn behind_one_that_waits_no_probe_goes() {
    let mut unknown = aligned(10);
    unknown.readings = true;
    let mut bench = bench(unknown);
    let groups = vec![bench.acquire(2, 1, 60_000), bench.acquire(1, 1, 60_000)];
    let granted: Vec<_> = bench.commit(Vec::new(), groups).decisions.iter().map(|d| d.granted).collect();
    assert_eq!(granted, [1, 0]);
}

// === leases ===

#[test]
fn a_request_that_is_repeated_when_there_is_room_is_told_to_ask_anew() {
    let mut bench = bench(minute(2));
    let first = bench.take(1);
    let group = bench.acquire(3, 1, 60_000);
    assert_eq!(bench.commit(Vec::new(), vec![group.clone()]).decisions[0].granted, 1);
    bench.settled(settle(first, SettleKind::NotSent));
    // Its lease is there with one permit; the rest of its wish needs another.
    let behind = bench.acquire(1, 1, 60_000);
    let decisions = bench.commit(Vec::new(), vec![group, behind]).decisions;
    let refusal = decisions[0].refusal.as_ref().unwrap();
    assert_eq!((decisions[0].granted, refusal.retry_after), (1, Some(Duration::ZERO)));
    assert_eq!(decisions[1].granted, 0, "what it can have at once is not for who comes behind it");
}

#[test]
fn a_commit_that_is_sent_again_is_told_what_is_left_of_its_times() {
    let mut bench = bench(minute(2));
    let group = bench.acquire(1, 1, 60_000);
    for later in [0, 0, 2000, 8000, 60_000] {
        bench.now += later;
        let since = bench.now - START;
        let decision = bench.commit(Vec::new(), vec![group.clone()]).decisions.remove(0);
        let left = (5000_u64.saturating_sub(since), 60_000_u64.saturating_sub(since));
        assert_eq!((decision.granted, (decision.send_within_ms, decision.deadline_ms)), (1, left));
    }
}

#[test]
fn a_permit_named_twice_is_settled_once() {
    let mut bench = bench(minute(10));
    let lease = bench.take(3);
    let group = SettleGroup { indexes: vec![1, 1, 0], ..settle(lease, SettleKind::NotSent) };
    let reply = bench.commit(vec![group], Vec::new());
    assert_eq!(reply.settled, [[Settled::Applied, Settled::Already, Settled::Applied]]);
    assert_eq!((bench.available(), bench.stand().out), (9, 1));
}

#[test]
fn what_one_replica_granted_another_does_not_give_back() {
    let mut bench = bench(minute(10));
    let lease = bench.take(1);
    let other = bursar_quota::ReplicaName::new("other").unwrap();
    let settles = vec![settle(lease, SettleKind::Unclaimed)];
    let reply = bench.send(bursar_quota::Commit { replica: other, settles, ..bench.empty() });
    assert_eq!((reply.settled, bench.available()), (vec![vec![Settled::Already]], 9));
    bench.settled(settle(lease, SettleKind::Unclaimed));
    assert_eq!(bench.available(), 10);
}

#[test]
fn a_lease_outlives_its_deadline_and_its_settlement() {
    let mut bench = bench(slots(10, 0));
    let (early, late) = (bench.take(1), bench.take(1));
    bench.settled(settle(early, SettleKind::Accepted));
    bench.now += 50_000;
    let again = bench.commit(vec![settle(early, SettleKind::Accepted)], Vec::new());
    assert_eq!(again.settled, [[Settled::Already]]);
    bench.now += 500_000;
    bench.settled(settle(late, SettleKind::Accepted));
    bench.now += 700_000;
    let again = bench.commit(vec![settle(late, SettleKind::Accepted)], Vec::new());
    assert_eq!(again.settled, [[Settled::Unknown]], "it is not kept for ever");
}

#[test]
fn a_settlement_of_what_weighs_no_more_changes_nothing() {
    let mut bench = bench(minute(10));
    let lease = bench.take(2);
    bench.now += 70_000;
    bench.settled(all_of(2, lost(lease)));
    let stand = bench.stand();
    assert_eq!((stand.available, stand.out, stand.paid), (10, 0, 0));
}

#[test]
fn what_is_counted_at_completion_is_out_until_its_deadline() {
    let mut limit = minute(10);
    limit.counted_at = CountedAt::Completion;
    let mut bench = bench(limit);
    let lease = bench.take(2);
    bench.now += 100_000;
    assert_eq!((bench.available(), bench.stand().out), (8, 2));
    bench.settled(all_of(2, settle(lease, SettleKind::NotSent)));
    assert_eq!((bench.available(), bench.stand().out), (10, 0));
}

#[test]
fn a_counted_refusal_is_charged_and_another_is_not() {
    for (counted, expected) in [(true, 9), (false, 10)] {
        let mut bench = bench(minute(10));
        let lease = bench.take(1);
        bench.settled(settle(lease, SettleKind::Refused { counted }));
        assert_eq!(bench.available(), expected);
    }
}

// === the capacity that responses name ===

#[test]
fn a_cut_capacity_bounds_what_is_known_already() {
    let mut bench = bench(minute(10));
    let (one, two) = (bench.take(1), bench.take(1));
    bench.settled(read(one, says(9, None)));
    bench.settled(read(two, names(None, 3)));
    assert_eq!((bench.stand().capacity, bench.available()), (3, 2));
}

#[test]
fn the_capacity_is_what_the_latest_grants_response_names() {
    let mut bench = bench(minute(10));
    let older = bench.take(1);
    bench.now += 10;
    let newer = bench.take(1);
    bench.settled(read(newer, names(Some(3), 5)));
    bench.settled(read(older, names(Some(9), 10)));
    assert_eq!(bench.stand().capacity, 5);
}

#[test]
fn what_weighs_no_more_names_no_capacity() {
    let mut bench = bench(minute(10));
    let lease = bench.take(1);
    bench.now += 70_000;
    bench.settled(read(lease, names(Some(2), 3)));
    assert_eq!(bench.stand().capacity, 10);
}

#[test]
fn more_than_ten_times_what_is_declared_is_never_believed() {
    let mut bench = bench(minute(10));
    for _ in 0..4 {
        let lease = bench.take(1);
        bench.settled(read(lease, names(Some(9), 101)));
    }
    assert_eq!(bench.stand().capacity, 10);
    for _ in 0..2 {
        let lease = bench.take(1);
        bench.settled(read(lease, names(Some(9), 100)));
    }
    assert_eq!(bench.stand().capacity, 100);
}

#[test]
fn more_than_is_declared_is_said_twice_in_a_row() {
    let mut bench = bench(minute(10));
    for (said, expected) in [(20, 10), (10, 10), (20, 10), (20, 20)] {
        let lease = bench.take(1);
        bench.settled(read(lease, names(Some(5), said)));
        assert_eq!(bench.stand().capacity, expected);
    }
}

// === time ===

#[test]
fn the_stores_time_goes_on_where_its_clock_steps_back_however_often() {
    let mut bench = bench(minute(1));
    let lease = bench.take(1);
    bench.settled(lost(lease));
    // 20 s, a step back by half a minute, 20 s, another step, 20 s and a bit: a minute has passed.
    for step in [20_000, 20_000] {
        bench.now += step;
        assert_eq!(bench.try_take(1).1.granted, 0);
        bench.now -= 30_000;
        assert_eq!(bench.try_take(1).1.granted, 0);
    }
    bench.now += 19_900;
    assert_eq!(bench.try_take(1).1.granted, 0);
    bench.now += 400;
    assert_eq!(bench.try_take(1).1.granted, 1);
}

// === what is told ===

#[test]
fn a_limits_alert_is_told_once_until_its_use_has_fallen() {
    let mut bench = bench(minute(10));
    let told = |bench: &Bench| {
        bench
            .announced
            .iter()
            .filter(|e| matches!(e.kind, EventKind::ThresholdCrossed { used: 8, .. }))
            .count()
    };
    bench.take(7);
    assert_eq!(told(&bench), 0);
    bench.take(1);
    bench.commit(Vec::new(), Vec::new());
    bench.take(1);
    assert_eq!(told(&bench), 1);
    bench.now += 70_000;
    bench.commit(Vec::new(), Vec::new());
    bench.take(8);
    assert_eq!(told(&bench), 2);
}

fn used(bench: &mut Bench, unit: &str) -> u64 {
    let usage = bench.stored().snapshot.usage;
    usage.iter().find(|u| u.dimension == "tenant" && u.unit.as_str() == unit).map_or(0, |u| u.cost)
}

#[test]
fn use_is_what_was_called_at_its_actual_cost() {
    let mut bench = bench(minute(1000));
    for (kind, expected) in [
        (SettleKind::NotSent, 0),
        (SettleKind::Refused { counted: false }, 0),
        (SettleKind::Refused { counted: true }, 1),
        (SettleKind::Lost, 2),
    ] {
        let lease = bench.take(1);
        bench.settled(settle(lease, kind));
        assert_eq!(used(&mut bench, "requests"), expected, "{kind:?}");
    }
    let mut group = bench.acquire(1, 1, 60_000);
    let tokens = UnitName::new("tokens").unwrap();
    group.units = vec![(tokens.clone(), 100)];
    let lease = group.lease;
    bench.commit(Vec::new(), vec![group]);
    assert_eq!(used(&mut bench, "tokens"), 100);
    bench.settled(SettleGroup { units: vec![(tokens, 30)], ..settle(lease, SettleKind::Accepted) });
    assert_eq!(used(&mut bench, "tokens"), 30);
}
