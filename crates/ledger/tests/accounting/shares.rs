//! Reservations, caps, several limits in one decision, and the account of use.

use bursar_quota::{
    Cap, ClassName, LimitKind, LimitName, LimitSpec, Party, Reason, Reservation, SettleKind, TenantName, Tier,
};

use crate::{
    bench::{Bench, budget, minute, settle},
    words::{aligned, read, says},
};

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

fn ask(bench: &mut Bench, who: &str, tier: Tier, count: u16) -> (u16, Option<Reason>) {
    let mut group = bench.acquire(count, 1, 60_000);
    group.tenant = tenant(who);
    group.tier = tier;
    let decision = bench.commit(Vec::new(), vec![group]).decisions.remove(0);
    (decision.granted, decision.refusal.map(|refusal| refusal.reason))
}

#[test]
fn a_reservation_is_kept_for_its_party_used_or_not() {
    let mut limit = minute(10);
    limit.reservations = vec![Reservation { party: Party::Tier(Tier::Interactive), amount: 4 }];
    let mut bench = Bench::new(&budget(vec![limit]));
    assert_eq!(ask(&mut bench, "a", Tier::Batch, 10), (6, Some(Reason::Reserved)));
    assert_eq!(ask(&mut bench, "a", Tier::Interactive, 10), (4, Some(Reason::QuotaExhausted)));
    bench.now += 65_001;
    bench.now += 500;
    // What interactive callers use counts against their part first.
    assert_eq!(ask(&mut bench, "a", Tier::Interactive, 3), (3, None));
    assert_eq!(ask(&mut bench, "b", Tier::Standard, 10), (6, Some(Reason::Reserved)));
    assert_eq!(ask(&mut bench, "b", Tier::Interactive, 10), (1, Some(Reason::QuotaExhausted)));
}

#[test]
fn where_nothing_is_left_that_is_the_reason_and_no_reservation() {
    let mut limit = aligned(10);
    limit.reservations = vec![Reservation { party: Party::Tier(Tier::Interactive), amount: 4 }];
    let mut bench = Bench::new(&budget(vec![limit]));
    // Others have used all of it.
    let lease = bench.take(1);
    bench.settled(read(lease, says(0, Some((30_000, 30_000)))));
    assert_eq!(ask(&mut bench, "a", Tier::Batch, 1), (0, Some(Reason::QuotaExhausted)));
    assert_eq!(ask(&mut bench, "a", Tier::Interactive, 1), (0, Some(Reason::QuotaExhausted)));
    // And for whom something is reserved does not wait for those before him.
    let mut groups = [bench.acquire(10, 1, 60_000), bench.acquire(1, 1, 60_000)];
    (groups[0].tier, groups[1].tier) = (Tier::Batch, Tier::Interactive);
    let alone = bench.commit(Vec::new(), vec![groups[1].clone()]).decisions.remove(0).refusal.unwrap();
    let behind = bench.commit(Vec::new(), groups.to_vec()).decisions.remove(1).refusal.unwrap();
    assert_eq!(behind.retry_after, alone.retry_after);
}

#[test]
fn a_cap_holds_a_tenant_and_no_other() {
    let mut limit = minute(10);
    limit.caps = vec![Cap { tenant: None, amount: 3 }, Cap { tenant: Some(tenant("big")), amount: 5 }];
    let mut bench = Bench::new(&budget(vec![limit]));
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 9), (3, Some(Reason::TenantCapped)));
    assert_eq!(ask(&mut bench, "big", Tier::Standard, 9), (5, Some(Reason::TenantCapped)));
    assert_eq!(ask(&mut bench, "b", Tier::Standard, 9), (2, Some(Reason::QuotaExhausted)));
    // It comes back when what it holds weighs no more: exactly then.
    let mut group = bench.acquire(1, 1, 60_000);
    group.tenant = tenant("a");
    let wait =
        bench.commit(Vec::new(), vec![group]).decisions[0].refusal.clone().unwrap().retry_after.unwrap();
    bench.now += u64::try_from(wait.as_millis()).unwrap() - 1;
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 1).0, 0);
    bench.now += 1;
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 1).0, 1);
}

#[test]
fn a_call_must_fit_all_its_limits_and_none_is_charged_otherwise() {
    let mut auth = minute(2);
    auth.name = LimitName::new("auth").unwrap();
    auth.classes = vec![ClassName::new("auth").unwrap()];
    let once = LimitKind::Concurrency { capacity: 3, linger: std::time::Duration::ZERO };
    let slots = LimitSpec::new(LimitName::new("slots").unwrap(), once);
    let mut bench = Bench::new(&budget(vec![minute(100), auth, slots]));
    let of = |bench: &mut Bench, class: &str, count: u16| {
        let mut group = bench.acquire(count, 1, 60_000);
        group.class = ClassName::new(class).unwrap();
        group.costs = vec![1, u64::from(class == "auth"), 1];
        let lease = group.lease;
        let decision = bench.commit(Vec::new(), vec![group]).decisions.remove(0);
        (
            lease,
            decision.granted,
            decision.refusal.and_then(|refusal| refusal.limit).map(|limit| limit.to_string()),
        )
    };
    let (lease, granted, limit) = of(&mut bench, "auth", 5);
    assert_eq!((granted, limit.as_deref()), (2, Some("auth")));
    assert_eq!(of(&mut bench, "read", 5), (bursar_quota::LeaseId(2), 1, Some("slots".to_owned())));
    let stand: Vec<_> = bench.stored().snapshot.limits.iter().map(|l| (l.available, l.out)).collect();
    assert_eq!(stand, [(97, 3), (0, 2), (0, 3)], "the refused weigh nowhere");
    bench.commit(vec![settle(lease, SettleKind::NotSent)], Vec::new());
    let stand: Vec<_> = bench.stored().snapshot.limits.iter().map(|l| (l.available, l.out)).collect();
    assert_eq!(stand, [(98, 2), (1, 1), (1, 2)], "not sent is given back everywhere");
}

#[test]
fn nobody_overtakes_in_a_limit_that_is_used_up_but_others_pass() {
    let mut auth = minute(1);
    auth.name = LimitName::new("auth").unwrap();
    let mut bench = Bench::new(&budget(vec![minute(10), auth]));
    let mut expensive = bench.acquire(1, 1, 60_000);
    expensive.costs = vec![8, 0];
    let first = bench.acquire(5, 1, 60_000);
    let mut group_a = first.clone();
    group_a.costs = vec![1, 0];
    let mut cheap = bench.acquire(1, 1, 60_000);
    cheap.costs = vec![1, 0];
    let mut other = bench.acquire(1, 1, 60_000);
    other.costs = vec![0, 1];
    let decisions = bench.commit(Vec::new(), vec![group_a, expensive, cheap, other]).decisions;
    let granted: Vec<_> = decisions.iter().map(|d| d.granted).collect();
    assert_eq!(
        granted,
        [5, 0, 0, 1],
        "the cheap one waits behind the expensive one, the other limit is free"
    );
    assert!(
        decisions[2].refusal.as_ref().unwrap().retry_after
            >= decisions[1].refusal.as_ref().unwrap().retry_after
    );
}

#[test]
fn use_is_accounted_by_tenant_tier_and_class() {
    let mut bench = Bench::new(&budget(vec![minute(10_000)]));
    for i in 0..300 {
        ask(&mut bench, &format!("t{i}"), Tier::Batch, 1);
    }
    let (lease, _) = bench.ask();
    bench.commit(vec![settle(lease, SettleKind::NotSent)], Vec::new());
    let usage = bench.stored().snapshot.usage;
    let of = |dimension: &str, name: &str| {
        usage.iter().find(|u| u.dimension == dimension && u.name == name).map(|u| u.cost)
    };
    assert_eq!(of("tenant", "t0"), Some(1));
    assert_eq!(of("tenant", "_other"), Some(44), "256 names are kept, the rest share one");
    assert_eq!(of("tier", "batch"), Some(300));
    assert_eq!(of("class", "default"), Some(300), "what was not sent is no use");
    assert_eq!(usage.iter().filter(|u| u.dimension == "tenant").count(), 257);
}

#[test]
fn a_capped_tenant_holds_what_it_took_of_a_bucket_settled_or_not() {
    let kind = LimitKind::Bucket { capacity: 10, refill_per_second: 0.01 };
    let mut limit = LimitSpec::new(LimitName::new("b").unwrap(), kind);
    limit.caps = vec![Cap { tenant: None, amount: 2 }];
    let mut bench = Bench::new(&budget(vec![limit]));
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 5), (2, Some(Reason::TenantCapped)));
    // Past the moment at which they may no longer be sent.
    bench.now += 6_000;
    assert_eq!(ask(&mut bench, "a", Tier::Standard, 1), (0, Some(Reason::TenantCapped)));
    assert_eq!(ask(&mut bench, "b", Tier::Standard, 1).0, 1);
}

#[test]
fn what_must_be_settled_sooner_must_be_sent_sooner() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    let group = bench.acquire(1, 1, 100);
    let decision = bench.commit(Vec::new(), vec![group]).decisions.remove(0);
    assert_eq!((decision.granted, decision.send_within_ms, decision.deadline_ms), (1, 100, 100));
}
