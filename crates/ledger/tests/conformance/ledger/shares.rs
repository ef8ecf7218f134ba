//! Who gets it, and who got it.

use bursar_quota::{
    AcquireGroup, Cap, Commit, EventKind, Party, Reason, Reservation, SettleKind, TenantName, Tier,
};
use futures_util::StreamExt as _;

use super::bench::{Account, Bench, window};

fn by(account: &Account<'_>, count: u16, tenant: &str, tier: Tier) -> AcquireGroup {
    AcquireGroup { tenant: TenantName::new(tenant).unwrap(), tier, ..account.group(count) }
}

pub(crate) async fn a_reservation_is_kept(bench: &Bench) {
    let mut limit = window(10, 60_000);
    limit.reservations = vec![Reservation { party: Party::Tier(Tier::Interactive), amount: 4 }];
    let account = bench.budget(vec![limit]).await;
    let (_, decision) = account.take(by(&account, 10, "a", Tier::Batch)).await;
    assert_eq!((decision.granted, decision.refusal.unwrap().reason), (6, Reason::Reserved));
    let (_, decision) = account.take(by(&account, 10, "a", Tier::Interactive)).await;
    assert_eq!((decision.granted, decision.refusal.unwrap().reason), (4, Reason::QuotaExhausted));
}

pub(crate) async fn a_tenant_is_capped(bench: &Bench) {
    let mut limit = window(10, 60_000);
    let special = TenantName::new("special").unwrap();
    limit.caps = vec![Cap { tenant: None, amount: 2 }, Cap { tenant: Some(special), amount: 5 }];
    let account = bench.budget(vec![limit]).await;
    for (tenant, most) in [("a", 2), ("b", 2), ("special", 5)] {
        let (lease, decision) = account.take(by(&account, 10, tenant, Tier::Standard)).await;
        assert_eq!(
            (decision.granted, decision.refusal.unwrap().reason),
            (most, Reason::TenantCapped),
            "{tenant}"
        );
        // What is not sent counts against nobody.
        account.settle_as(lease, 0, SettleKind::NotSent).await;
        let (_, decision) = account.take(by(&account, 1, tenant, Tier::Standard)).await;
        assert_eq!(decision.granted, 1, "{tenant}");
    }
}

pub(crate) async fn use_is_accounted_by_who_used(bench: &Bench) {
    let account = bench.budget(vec![window(100, 60_000)]).await;
    let (lease, _) = account.take(by(&account, 5, "a", Tier::Batch)).await;
    let _ = account.take(by(&account, 2, "b", Tier::Standard)).await;
    account.settle_as(lease, 0, SettleKind::NotSent).await;
    account.settle_as(lease, 1, SettleKind::Accepted).await;
    account.settle_as(lease, 2, SettleKind::Refused { counted: false }).await;
    let snapshot = account.snapshot().await;
    assert_eq!((snapshot.granted, snapshot.settled, snapshot.refused_upstream), (7, 3, 1));
    let cost = |dimension: &str, name: &str| {
        let found = snapshot.usage.iter().find(|usage| usage.dimension == dimension && usage.name == name);
        found.map(|usage| usage.cost)
    };
    assert_eq!(cost("tenant", "a"), Some(3));
    assert_eq!(cost("tenant", "b"), Some(2));
    assert_eq!(cost("tier", "batch"), Some(3));
    assert_eq!(cost("tier", "standard"), Some(2));
    assert_eq!(cost("class", "default"), Some(5));
}

pub(crate) async fn a_waiting_replica_is_woken(bench: &Bench) {
    bench.heard().await;
    let mut events = bench.ledger.events();
    let one = bench.budget(vec![window(2, 60_000)]).await;
    let lease = one.granted(2).await;
    let two = Account { bench, spec: one.spec.clone(), version: one.version, replica: "r2" };
    let waiting = Commit { waiting: 3, acquires: vec![two.group(3)], ..two.commit() };
    assert_eq!(two.send(&waiting).await.unwrap().decisions[0].granted, 0);
    assert_eq!(one.snapshot().await.waiting, [("r2".to_owned(), 3)]);
    one.settle_as(lease, 0, SettleKind::NotSent).await;
    let woken = async { while events.next().await.unwrap().kind != EventKind::Wake {} };
    tokio::time::timeout(std::time::Duration::from_secs(5), woken).await.unwrap();
    let satisfied = Commit { acquires: vec![two.group(1)], ..two.commit() };
    assert_eq!(two.send(&satisfied).await.unwrap().decisions[0].granted, 1);
    assert_eq!(one.snapshot().await.waiting, []);
}
