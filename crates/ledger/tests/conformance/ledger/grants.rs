//! What is granted, and what a refusal says.

use bursar_quota::{
    ClassName, Commit, LimitKind, PauseOrder, Reason, Scope, SettleGroup, SettleKind, UnitName,
};

use super::bench::{Bench, aligned, kind, ms, named, reading, refused, settlement, window};

pub(crate) async fn a_window_grants_its_capacity_and_says_when_more_comes(bench: &Bench) {
    let account = bench.budget(vec![window(3, 500)]).await;
    let (lease, decision) = account.acquire(5).await;
    // A permit weighs for a window from the last moment at which it may be sent.
    refused(&decision, 3, Reason::QuotaExhausted, 500..=530);
    assert_eq!((decision.send_within_ms, decision.deadline_ms), (20, 60_000));
    assert_eq!(decision.refusal.unwrap().limit.unwrap().as_str(), "requests");
    refused(&account.acquire(1).await.1, 0, Reason::QuotaExhausted, 1..=530);
    account.settle_as(lease, 0, SettleKind::Accepted).await;
    let (_, decision) = account.acquire(1).await;
    let wait = decision.refusal.unwrap().retry_after.unwrap();
    bench.pass(wait).await;
    account.granted(1).await;
}

pub(crate) async fn a_class_pays_only_its_own_limits(bench: &Bench) {
    let mut writes = named("writes", window(1, 60_000));
    writes.classes = vec![ClassName::new("write").unwrap()];
    let account = bench.budget(vec![window(3, 60_000), writes]).await;
    let (_, write) = account.take(account.group_of(2, "write", &[])).await;
    assert_eq!((write.granted, write.refusal.unwrap().limit.unwrap().as_str()), (1, "writes"));
    let (_, read) = account.take(account.group_of(3, "read", &[])).await;
    assert_eq!((read.granted, read.refusal.unwrap().limit.unwrap().as_str()), (2, "requests"));
}

pub(crate) async fn a_cost_above_the_capacity_is_never_granted(bench: &Bench) {
    let account = bench.budget(vec![window(10, 60_000)]).await;
    let (_, decision) = account.take(account.group_of(1, "default", &[("requests", 11)])).await;
    let refusal = decision.refusal.unwrap();
    assert_eq!((decision.granted, refusal.reason, refusal.retry_after), (0, Reason::CostAboveCapacity, None));
    let (_, decision) = account.take(account.group_of(2, "default", &[("requests", 5)])).await;
    assert_eq!((decision.granted, decision.refusal), (2, None));
}

pub(crate) async fn an_estimate_is_corrected(bench: &Bench) {
    let mut tokens = named("tokens", window(1000, 60_000));
    tokens.unit = UnitName::new("tokens").unwrap();
    let account = bench.budget(vec![tokens]).await;
    let (lease, _) = account.take(account.group_of(3, "default", &[("tokens", 100)])).await;
    assert_eq!(account.stand().await, (700, 300, 0));
    let less = SettleGroup { costs: vec![40], ..settlement(lease, 0, SettleKind::Accepted) };
    account.settle(less).await;
    assert_eq!(account.stand().await, (760, 200, 40));
    let more = SettleGroup { costs: vec![900], ..settlement(lease, 1, SettleKind::Accepted) };
    account.settle(more).await;
    assert_eq!(account.stand().await, (-40, 100, 940));
}

pub(crate) async fn a_bucket_refills(bench: &Bench) {
    let account = bench.budget(vec![kind(LimitKind::Bucket { capacity: 2, refill_per_second: 4.0 })]).await;
    let lease = account.granted(2).await;
    let (_, decision) = account.acquire(1).await;
    refused(&decision, 0, Reason::QuotaExhausted, 1..=600);
    for index in 0..2 {
        account.settle_as(lease, index, SettleKind::Accepted).await;
    }
    bench.pass(ms(700)).await;
    account.granted(2).await;
}

pub(crate) async fn readings_tell_where_a_window_stands(bench: &Bench) {
    let account = bench.budget(vec![aligned(10, 60_000)]).await;
    let (probe, decision) = account.acquire(3).await;
    refused(&decision, 1, Reason::Probing, 1..=60_001);
    refused(&account.acquire(1).await.1, 0, Reason::Probing, 1..=60_001);
    // Somebody used five of them before.
    let read = SettleGroup {
        readings: vec![reading(4, Some((500, 520)))],
        ..settlement(probe, 0, SettleKind::Accepted)
    };
    account.settle(read).await;
    let (_, decision) = account.acquire(10).await;
    refused(&decision, 4, Reason::QuotaExhausted, 1..=60_100);
    bench.pass(ms(600)).await;
    // The window is over: of the four, granted before its end, none is proven to have executed in it.
    let (available, out, _) = account.stand().await;
    assert_eq!((available, out), (10 - i64::try_from(out).unwrap(), out));
}

pub(crate) async fn nobody_is_granted_past_one_that_waits(bench: &Bench) {
    let account = bench.budget(vec![window(10, 60_000)]).await;
    let dear = account.group_of(3, "default", &[("requests", 4)]);
    let cheap = account.group(1);
    let commit = Commit { acquires: vec![dear, cheap], ..account.commit() };
    let decisions = account.send(&commit).await.unwrap().decisions;
    assert_eq!((decisions[0].granted, decisions[1].granted), (2, 0));
    assert_eq!(decisions[1].refusal.as_ref().unwrap().reason, Reason::QuotaExhausted);
}

pub(crate) async fn an_adaptive_limit_is_cut_once(bench: &Bench) {
    let adaptive = LimitKind::Adaptive { start_per_second: 20.0, min_per_second: 1.0, max_per_second: 100.0 };
    let account = bench.budget(vec![kind(adaptive)]).await;
    let (first, decision) = account.acquire(1000).await;
    assert!(decision.granted > 0 && decision.granted < 200, "{decision:?}");
    bench.pass(ms(200)).await;
    let (second, decision) = account.acquire(1000).await;
    assert!(decision.granted > 0, "{decision:?}");
    let pause = || Some(PauseOrder { scope: Scope::Limit(0), retry_after_ms: Some(1) });
    let before = account.snapshot().await.limits[0].capacity;
    for lease in [first, second] {
        let kind = SettleKind::Refused { counted: false };
        account.settle(SettleGroup { pause: pause(), ..settlement(lease, 0, kind) }).await;
    }
    let after = account.snapshot().await.limits[0].capacity;
    assert!(after < before, "{before} to {after}");
    assert!(after * 3 > before, "cut twice: {before} to {after}");
}
