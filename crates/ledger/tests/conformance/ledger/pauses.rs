//! Stops: the upstream's and the operator's.

use bursar_quota::{ClassName, LeaseId, PauseOrder, Reason, Scope, SettleGroup, SettleKind};

use super::bench::{Account, Bench, ms, refused, settlement, spec, window};

async fn refuse(
    account: &Account<'_>,
    lease: LeaseId,
    index: u16,
    scope: Scope,
    retry_after_ms: Option<u64>,
) -> u64 {
    let kind = SettleKind::Refused { counted: false };
    let pause = Some(PauseOrder { scope, retry_after_ms });
    account.settle(SettleGroup { pause, ..settlement(lease, index, kind) }).await.1
}

pub(crate) async fn retry_after_stops_everything_then_one_probe_goes(bench: &Bench) {
    let mut with_ramp = spec(vec![window(1000, 60_000)]);
    with_ramp.ramp = ms(400);
    let account = bench.put(with_ramp).await;
    let lease = account.granted(2).await;
    let paused = refuse(&account, lease, 0, Scope::Budget, Some(500)).await;
    assert!((490..=501).contains(&paused), "{paused}");
    refused(&account.acquire(1).await.1, 0, Reason::PausedByUpstream, 1..=501);
    let pause = &account.snapshot().await.pauses[0];
    assert_eq!((pause.scope.as_str(), pause.phase.as_str()), ("budget", "paused"));

    bench.pass(ms(510)).await;
    let (probe, decision) = account.acquire(5).await;
    refused(&decision, 1, Reason::Probing, 1..=60_001);
    refused(&account.acquire(1).await.1, 0, Reason::Probing, 1..=60_001);
    account.settle_as(probe, 0, SettleKind::Accepted).await;
    let (_, decision) = account.acquire(1000).await;
    assert!(decision.granted < 998, "no ramp: {decision:?}");
    bench.pass(ms(420)).await;
    assert_eq!(account.snapshot().await.pauses, []);
    account.granted(5).await;
}

pub(crate) async fn a_refusal_that_names_no_time_backs_off(bench: &Bench) {
    let mut spec = spec(vec![window(1000, 60_000)]);
    spec.backoff.base = ms(100);
    spec.backoff.max = ms(10_000);
    let account = bench.put(spec).await;
    let mut lease = account.granted(1).await;
    // Full jitter: half of the step, since the commit's random number is one half.
    for step in [50, 100, 200] {
        let paused = refuse(&account, lease, 0, Scope::Budget, None).await;
        assert!((step - 10..=step).contains(&paused), "{paused} of {step}");
        bench.pass(ms(step + 5)).await;
        let (probe, decision) = account.acquire(1).await;
        assert_eq!(decision.granted, 1, "{decision:?}");
        lease = probe;
    }
    account.settle_as(lease, 0, SettleKind::Accepted).await;
    bench.pass(ms(5)).await;
    let lease = account.granted(1).await;
    let paused = refuse(&account, lease, 0, Scope::Budget, None).await;
    assert!((40..=50).contains(&paused), "a success did not reset the back-off: {paused}");
}

pub(crate) async fn one_epoch_counts_once(bench: &Bench) {
    let account = bench.budget(vec![window(1000, 60_000)]).await;
    let lease = account.granted(4).await;
    bench.pass(ms(2)).await;
    let first = refuse(&account, lease, 0, Scope::Budget, Some(5000)).await;
    let same = refuse(&account, lease, 1, Scope::Budget, None).await;
    let shorter = refuse(&account, lease, 2, Scope::Budget, Some(100)).await;
    assert!(same <= first && shorter <= first, "{first} {same} {shorter}");
    let longer = refuse(&account, lease, 3, Scope::Budget, Some(9000)).await;
    assert!((8900..=9001).contains(&longer), "{longer}");
}

pub(crate) async fn a_class_is_paused_alone(bench: &Bench) {
    let account = bench.budget(vec![window(1000, 60_000)]).await;
    let (lease, _) = account.take(account.group_of(1, "write", &[])).await;
    let write = ClassName::new("write").unwrap();
    refuse(&account, lease, 0, Scope::Class(write), Some(5000)).await;
    let (_, decision) = account.take(account.group_of(1, "write", &[])).await;
    refused(&decision, 0, Reason::PausedByUpstream, 4000..=5001);
    let (_, decision) = account.take(account.group_of(1, "read", &[])).await;
    assert_eq!(decision.granted, 1);
}

pub(crate) async fn an_operator_pauses_and_resumes(bench: &Bench) {
    let account = bench.budget(vec![window(1000, 60_000)]).await;
    let (ledger, name) = (&bench.ledger, account.name());
    ledger.pause(name, None).await.unwrap();
    let refusal = account.acquire(1).await.1.refusal.unwrap();
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::PausedByOperator, None));
    let pause = &account.snapshot().await.pauses[0];
    assert_eq!((pause.scope.as_str(), pause.for_ms), ("operator", None));
    ledger.resume(name).await.unwrap();
    let lease = account.granted(1).await;
    ledger.pause(name, Some(ms(500))).await.unwrap();
    refused(&account.acquire(1).await.1, 0, Reason::PausedByOperator, 1..=500);
    bench.pass(ms(510)).await;
    account.granted(1).await;
    // It ends the upstream's pauses as well.
    refuse(&account, lease, 0, Scope::Budget, Some(60_000)).await;
    refused(&account.acquire(1).await.1, 0, Reason::PausedByUpstream, 50_000..=60_001);
    ledger.resume(name).await.unwrap();
    account.granted(1).await;
}
