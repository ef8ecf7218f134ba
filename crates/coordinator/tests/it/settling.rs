//! Settlements: folded, resolved, answered.

use std::time::Duration;

use bursar_coordinator::{Acquire, CoordinatorError, Outcome, Renew, Settle};
use bursar_quota::{
    BudgetName, LimitReading, PermitId, ProfileName, Reason, Renewal, Scope, SettleKind, Settled, Span,
    UnitName,
};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_permit_of_one_replica_settles_on_another() {
    let (world, a) = one(vec![limit("c", at_once(2))]);
    let b = world.replica("r2");
    let (of_a, of_b) = (a.acquire(ask()).await.unwrap(), b.acquire(ask()).await.unwrap());
    let result = |report: Result<bursar_coordinator::SettleReport, _>| report.unwrap().result;
    assert_eq!(result(b.settle(not_sent(&of_a)).await), Settled::Applied);
    assert_eq!(result(a.settle(settle(&of_b, Outcome::Lost)).await), Settled::Applied);
    assert_eq!(result(a.settle(not_sent(&of_a)).await), Settled::Already);
    assert_eq!(world.ledger.counts(), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn equal_settlements_of_a_lease_share_a_group() {
    let (world, coordinator) = one(vec![limit("w", window(100, secs(60)))]);
    world.ledger.latency(ms(10));
    let _first = spawn(&coordinator, ask()).await;
    let granted = join_all((0..40).map(|_| coordinator.acquire(ask()))).await;
    let granted: Vec<_> = granted.into_iter().map(Result::unwrap).collect();
    let before = world.ledger.commits().len();
    let settles = granted.iter().enumerate().map(|(n, granted)| {
        let outcome = if n % 2 == 0 { Outcome::NotSent } else { Outcome::Lost };
        coordinator.settle(settle(granted, outcome))
    });
    let reports = join_all(settles).await;
    assert!(reports.into_iter().all(|report| report.unwrap().result == Settled::Applied));
    let commits = &world.ledger.commits()[before..];
    let groups: Vec<_> = commits.iter().flat_map(|commit| &commit.settles).collect();
    assert!(commits.len() <= 2 && groups.len() <= 4, "{} commits, {} groups", commits.len(), groups.len());
    assert_eq!(groups.iter().map(|group| group.indexes.len()).sum::<usize>(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_repeated_in_one_commit_finds_the_first_ones_effect() {
    let (world, coordinator) = one(vec![limit("w", window(100, secs(60)))]);
    world.ledger.latency(ms(10));
    let granted = coordinator.acquire(ask()).await.unwrap();
    let (first, second, third) = tokio::join!(
        coordinator.settle(settle(&granted, Outcome::Lost)),
        coordinator.settle(not_sent(&granted)),
        coordinator.settle(settle(&granted, Outcome::Lost)),
    );
    let results = [first, second, third].map(|report| report.unwrap().result);
    assert_eq!(results, [Settled::Applied, Settled::Already, Settled::Already]);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_before_an_acquire_frees_its_slot() {
    let (world, coordinator) = one(vec![limit("c", at_once(1))]);
    let granted = coordinator.acquire(ask()).await.unwrap();
    let before = world.ledger.commits().len();
    let (report, next) = tokio::join!(coordinator.settle(not_sent(&granted)), coordinator.acquire(ask()));
    assert_eq!(report.unwrap().result, Settled::Applied);
    assert!(next.is_ok());
    assert_eq!(world.ledger.commits().len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn forged_permits_are_unknown_and_those_of_others_invalid() {
    let (_world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    let granted = coordinator.acquire(ask()).await.unwrap();
    let forged = PermitId::new(&name(), bursar_quota::LeaseId(42), 3);
    let report = coordinator.settle(Settle { permit: forged, ..not_sent(&granted) }).await.unwrap();
    assert_eq!(report.result, Settled::Unknown);
    let renew = Renew { budget: name(), permit: forged, ttl: None };
    assert_eq!(coordinator.renew(renew).await.unwrap(), Renewal::Unknown);
    let other = BudgetName::new("other").unwrap();
    let elsewhere = Settle { budget: other.clone(), ..not_sent(&granted) };
    match coordinator.settle(elsewhere).await {
        Err(CoordinatorError::Invalid(error)) => assert_eq!(error.field, "permit_id"),
        other => panic!("not invalid but {other:?}"),
    }
    let gone = PermitId::new(&other, granted.permit.lease(), 0);
    let report = coordinator.settle(Settle { budget: other, permit: gone, ..not_sent(&granted) }).await;
    assert_eq!(report.unwrap().result, Settled::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_moves_the_deadline() {
    let (_world, coordinator) = one(vec![limit("c", at_once(1))]);
    let granted = coordinator.acquire(ask()).await.unwrap();
    sleep(secs(50)).await;
    let renew = Renew { budget: name(), permit: granted.permit, ttl: Some(secs(90)) };
    assert_eq!(coordinator.renew(renew.clone()).await.unwrap(), Renewal::Renewed { deadline_ms: 90_000 });
    assert!(coordinator.renew(Renew { ttl: Some(secs(601)), ..renew.clone() }).await.is_err());
    coordinator.settle(not_sent(&granted)).await.unwrap();
    assert_eq!(coordinator.renew(renew).await.unwrap(), Renewal::Settled);
}

/// A budget of the Autotask profile.
fn autotask() -> bursar_quota::BudgetSpec {
    let profiles = bursar_dialect::Profiles::builtin();
    profiles.get(&ProfileName::new("autotask").unwrap()).unwrap().budget(name())
}

#[tokio::test(start_paused = true)]
async fn a_response_is_read_by_the_budgets_profile() {
    let world = World::new(&[autotask()]);
    let (a, b) = (world.replica("r1"), world.replica("r2"));
    let granted = a.acquire(Acquire { class: Some(class("auth")), ..ask() }).await.unwrap();
    let headers = [("X-RateLimit-Limit", "600"), ("X-RateLimit-Remaining", "599")];
    let settled = Settle { age: secs(2), ..settle(&granted, answered(200, &headers)) };
    b.settle(settled).await.unwrap();
    let commits = world.ledger.commits();
    let group = &commits.last().unwrap().settles[0];
    assert_eq!((group.kind, group.pause.clone(), group.age_ms), (SettleKind::Accepted, None, 2000));
    let reading = &group.readings[0];
    assert_eq!(autotask().limits[usize::from(reading.limit)].name.as_str(), "requests");
    assert_eq!((reading.remaining_least, reading.capacity), (Some(599), Some(600)));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_on_one_replica_stops_all() {
    let world = World::new(&[autotask()]);
    let (a, b) = (world.replica("r1"), world.replica("r2"));
    let granted = a.acquire(ask()).await.unwrap();
    let refused_upstream = answered(429, &[("Retry-After", "7")]);
    let report = a.settle(settle(&granted, refused_upstream)).await.unwrap();
    assert_eq!(report.paused_for, secs(7));
    let refusal = refused(b.acquire(ask()).await);
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::PausedByUpstream, Some(secs(7))));
    let commits = world.ledger.commits();
    let pause =
        commits.iter().flat_map(|commit| &commit.settles).find_map(|group| group.pause.clone()).unwrap();
    assert_eq!((pause.scope, pause.retry_after_ms), (Scope::Budget, Some(7000)));
    let granted = b.acquire(patient(secs(10))).await.unwrap();
    assert!(granted.waited >= secs(7) && granted.waited < ms(7010), "{:?}", granted.waited);
}

#[tokio::test(start_paused = true)]
async fn actual_costs_are_told_by_limit_and_by_unit() {
    let tokens = UnitName::new("tokens").unwrap();
    let mut per_minute = limit("t", window(1000, secs(60)));
    per_minute.unit = tokens.clone();
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60))), per_minute]);
    let granted = coordinator.acquire(Acquire { costs: vec![(tokens.clone(), 500)], ..ask() }).await.unwrap();
    let acquired = &world.ledger.commits()[0].acquires[0];
    assert_eq!(acquired.costs, [1, 500]);
    assert_eq!(acquired.units, [(UnitName::requests(), 1), (tokens.clone(), 500)]);
    let costs = vec![(tokens.clone(), 120)];
    coordinator.settle(Settle { costs, ..settle(&granted, answered(200, &[])) }).await.unwrap();
    let group = &world.ledger.commits()[1].settles[0];
    assert_eq!((&group.costs[..], &group.units[..]), (&[0, 120][..], &[(tokens, 120)][..]));
    let costs = vec![(UnitName::new("points").unwrap(), 1)];
    let error = coordinator.settle(Settle { costs, ..not_sent(&granted) }).await.unwrap_err();
    assert!(matches!(error, CoordinatorError::Invalid(_)));
}

#[tokio::test(start_paused = true)]
async fn readings_of_a_lease_are_merged_if_they_speak_of_one_window() {
    let world = World::new(&[autotask_with_room()]);
    let coordinator = world.replica("r1");
    world.ledger.latency(ms(10));
    let _first = spawn(&coordinator, ask()).await;
    let granted = join_all((0..4).map(|_| coordinator.acquire(ask()))).await;
    let granted: Vec<_> = granted.into_iter().map(Result::unwrap).collect();
    assert!(granted.iter().all(|one| one.permit.lease() == granted[0].permit.lease()));
    let reset = |after: u64| (1_800_000_000 + after).to_string();
    let said = [("599", reset(40)), ("597", reset(40)), ("598", reset(40)), ("600", reset(100))];
    let before = world.ledger.commits().len();
    // The first goes out alone; the rest share the next commit.
    let settles = granted.iter().zip(&said).map(|(granted, (remaining, reset))| {
        let headers = [
            ("X-RateLimit-Limit", "600"),
            ("X-RateLimit-Remaining", remaining),
            ("X-RateLimit-Reset", reset),
        ];
        coordinator.settle(settle(granted, answered(200, &headers)))
    });
    let blocker = coordinator.renew(Renew { budget: name(), permit: granted[0].permit, ttl: None });
    let (_, reports) = tokio::join!(blocker, async {
        settle_down().await;
        join_all(settles).await
    });
    assert!(reports.into_iter().all(|report| report.unwrap().result == Settled::Applied));
    let commits = &world.ledger.commits()[before..];
    let groups: Vec<_> = commits.iter().flat_map(|commit| &commit.settles).collect();
    assert_eq!(groups.iter().map(|group| group.indexes.len()).collect::<Vec<_>>(), [3, 1], "{groups:?}");
    let LimitReading { remaining_least, remaining_last, reset, .. } = &groups[0].readings[0];
    assert_eq!((*remaining_least, *remaining_last), (Some(597), Some(598)));
    assert!(reset.is_some_and(|Span { earliest_ms, latest_ms }| earliest_ms <= latest_ms));
}

/// As [`autotask`], without the limit on what is under way at once.
fn autotask_with_room() -> bursar_quota::BudgetSpec {
    let mut spec = autotask();
    spec.limits.retain(|limit| limit.name.as_str() != "concurrency");
    spec
}

#[tokio::test(start_paused = true)]
async fn a_settlement_whose_caller_left_takes_effect_all_the_same() {
    let (world, coordinator) = one(vec![limit("c", at_once(1))]);
    world.ledger.latency(ms(10));
    let granted = coordinator.acquire(ask()).await.unwrap();
    let settling = tokio::spawn({
        let coordinator = coordinator.clone();
        let request = not_sent(&granted);
        async move { coordinator.settle(request).await }
    });
    settle_down().await;
    settling.abort();
    sleep(Duration::from_millis(20)).await;
    assert_eq!(world.ledger.counts(), (1, 1, 0));
}
