//! What becomes of a permit.

use bursar_quota::{Commit, Reason, Renewal, SettleGroup, SettleKind, Settled};

use super::bench::{Bench, concurrency, ms, refused, settlement, window};

pub(crate) async fn a_permit_is_settled_once(bench: &Bench) {
    let account = bench.budget(vec![window(10, 60_000)]).await;
    let lease = account.granted(2).await;
    assert_eq!(account.settle_as(lease, 0, SettleKind::Accepted).await, Settled::Applied);
    assert_eq!(account.stand().await, (8, 1, 1));
    for kind in [SettleKind::Accepted, SettleKind::NotSent, SettleKind::Refused { counted: false }] {
        assert_eq!(account.settle_as(lease, 0, kind).await, Settled::Already);
    }
    assert_eq!(account.stand().await, (8, 1, 1));
    assert_eq!(account.settle_as(lease, 2, SettleKind::Accepted).await, Settled::Unknown);
    assert_eq!(account.settle_as(bench.lease(), 0, SettleKind::Accepted).await, Settled::Unknown);
    let whole = SettleGroup { indexes: vec![0, 1, 5], ..settlement(lease, 0, SettleKind::Accepted) };
    let reply = account.send(&Commit { settles: vec![whole], ..account.commit() }).await.unwrap();
    assert_eq!(reply.settled, [[Settled::Already, Settled::Applied, Settled::Unknown]]);
    assert_eq!(reply.limits, [(8, 0, 2)]);
}

pub(crate) async fn a_commit_that_is_sent_again_changes_nothing(bench: &Bench) {
    let account = bench.budget(vec![window(10, 60_000), concurrency(5, 0)]).await;
    let lease = account.granted(2).await;
    let commit = Commit {
        settles: vec![settlement(lease, 0, SettleKind::Accepted)],
        acquires: vec![account.group(3), account.group(9)],
        ..account.commit()
    };
    let first = account.send(&commit).await.unwrap();
    let between = account.snapshot().await;
    let again = account.send(&commit).await.unwrap();
    assert_eq!(first.settled, [[Settled::Applied]]);
    assert_eq!(again.settled, [[Settled::Already]]);
    let granted = |reply: &bursar_quota::CommitReply| {
        reply.decisions.iter().map(|decision| decision.granted).collect::<Vec<_>>()
    };
    assert_eq!(granted(&first), [3, 1]);
    assert_eq!(granted(&again), [3, 1]);
    assert_eq!(first.limits, again.limits);
    let after = account.snapshot().await;
    assert_eq!(
        (after.granted, after.settled, &after.usage),
        (between.granted, between.settled, &between.usage)
    );
}

pub(crate) async fn what_is_not_sent_comes_back(bench: &Bench) {
    let account = bench.budget(vec![window(2, 60_000), concurrency(2, 0)]).await;
    let lease = account.granted(2).await;
    refused(&account.acquire(1).await.1, 0, Reason::QuotaExhausted, 1..=60_500);
    assert_eq!(account.settle_as(lease, 0, SettleKind::NotSent).await, Settled::Applied);
    assert_eq!(account.stand().await, (1, 1, 0));
    let refusal = SettleKind::Refused { counted: false };
    assert_eq!(account.settle_as(lease, 1, refusal).await, Settled::Applied);
    assert_eq!(account.stand().await, (2, 0, 0));
    let lease = account.granted(1).await;
    assert_eq!(account.settle_as(lease, 0, SettleKind::Refused { counted: true }).await, Settled::Applied);
    assert_eq!(account.stand().await, (1, 0, 1));
}

pub(crate) async fn a_blind_settlement_is_charged(bench: &Bench) {
    let account = bench.budget(vec![window(3, 600)]).await;
    let lease = account.granted(3).await;
    for (index, kind) in [(0, SettleKind::Lost), (1, SettleKind::Accepted), (2, SettleKind::Lost)] {
        account.settle_as(lease, index, kind).await;
    }
    assert_eq!(account.stand().await, (0, 0, 3));
    bench.pass(ms(650)).await;
    assert_eq!(account.stand().await, (3, 0, 0));
}

pub(crate) async fn a_slot_is_freed_by_its_deadline(bench: &Bench) {
    let account = bench.budget(vec![concurrency(2, 0), window(100, 60_000)]).await;
    let mut group = account.group(3);
    group.ttl_ms = 200;
    let (lease, decision) = account.take(group).await;
    // Deadlines are kept to the next quarter of a second.
    refused(&decision, 2, Reason::ConcurrencyExhausted, 200..=452);
    bench.pass(decision.refusal.unwrap().retry_after.unwrap()).await;
    assert_eq!(account.stand().await, (2, 0, 0));
    // The holder is late: its quota is charged, its slot is not freed twice.
    account.granted(2).await;
    assert_eq!(account.settle_as(lease, 0, SettleKind::Accepted).await, Settled::Applied);
    assert_eq!(account.stand().await, (0, 2, 0));
}

pub(crate) async fn a_deadline_moves_on(bench: &Bench) {
    let account = bench.budget(vec![concurrency(3, 0)]).await;
    let mut group = account.group(3);
    group.ttl_ms = 500;
    let (lease, _) = account.take(group).await;
    let renewed = account.renew(lease, 0, 20_000).await;
    assert!(matches!(renewed, Renewal::Renewed { deadline_ms: 20_000 }), "{renewed:?}");
    // A deadline never moves back.
    let renewed = account.renew(lease, 0, 10).await;
    let Renewal::Renewed { deadline_ms } = renewed else { panic!("{renewed:?}") };
    assert!((19_000..=20_000).contains(&deadline_ms), "{deadline_ms}");
    account.settle_as(lease, 1, SettleKind::Accepted).await;
    assert_eq!(account.renew(lease, 1, 20_000).await, Renewal::Settled);
    assert_eq!(account.renew(lease, 9, 20_000).await, Renewal::Unknown);
    assert_eq!(account.renew(bench.lease(), 0, 20_000).await, Renewal::Unknown);
    bench.pass(ms(502 + 250)).await;
    assert_eq!(account.stand().await, (2, 1, 0));
    assert_eq!(account.renew(lease, 2, 20_000).await, Renewal::Unknown);
}

pub(crate) async fn a_slot_lingers(bench: &Bench) {
    let account = bench.budget(vec![concurrency(1, 500)]).await;
    let lease = account.granted(1).await;
    account.settle_as(lease, 0, SettleKind::Accepted).await;
    refused(&account.acquire(1).await.1, 0, Reason::ConcurrencyExhausted, 1..=530);
    bench.pass(ms(540)).await;
    account.granted(1).await;
}
