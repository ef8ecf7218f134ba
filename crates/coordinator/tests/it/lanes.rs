//! Lanes come and go; watchers and metrics see what happens.

use bursar_coordinator::{Acquire, WatchItem};
use bursar_quota::{BudgetName, BudgetSpec, EventKind, LedgerEvent, LimitName, Reason};
use futures_util::StreamExt;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::time::sleep;

use crate::world::*;

fn named(n: usize, limits: Vec<bursar_quota::LimitSpec>) -> BudgetSpec {
    BudgetSpec::new(BudgetName::new(&format!("b{n}")).unwrap(), limits)
}

fn text(coordinator: &bursar_coordinator::Coordinator) -> String {
    let mut registry = Registry::default();
    coordinator.register_metrics(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn idle_lanes_are_dropped_and_made_again() {
    let (_world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    let first = coordinator.acquire(ask()).await.unwrap();
    assert!(text(&coordinator).contains("\nlanes 1\n"));
    sleep(secs(61)).await;
    assert!(text(&coordinator).contains("\nlanes 0\n"));
    let second = coordinator.acquire(ask()).await.unwrap();
    assert_ne!(first.permit.lease(), second.permit.lease());
}

#[tokio::test(start_paused = true)]
async fn unknown_budgets_leave_no_lane() {
    let (_world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    for n in 0..100 {
        let name = BudgetName::new(&format!("nobody/{n}")).unwrap();
        assert_eq!(refused(coordinator.acquire(Acquire::new(name)).await).reason, Reason::UnknownBudget);
    }
    let text = text(&coordinator);
    assert!(text.contains("\nlanes 0\n"), "{text}");
    assert!(!text.contains("nobody"), "a name that is nobody's makes no label");
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_the_idlest_lane_makes_room_unless_all_have_work() {
    let specs: Vec<_> = (0..5).map(|n| named(n, vec![limit("c", at_once(1))])).collect();
    let world = World::new(&specs);
    let mut config = World::config("r1");
    config.max_lanes = 2;
    let coordinator = world.with(config);
    let of = |n: usize, wait| Acquire { max_wait: wait, ..Acquire::new(specs[n].name.clone()) };
    for n in 0..5 {
        let _granted = coordinator.acquire(of(n, ms(0))).await.unwrap();
        settle_down().await;
    }
    assert!(text(&coordinator).contains("\nlanes 2\n"));
    let _first = spawn(&coordinator, of(0, secs(30))).await;
    let _second = spawn(&coordinator, of(1, secs(30))).await;
    assert!(!_first.is_finished() && !_second.is_finished());
    let refusal = refused(coordinator.acquire(of(2, ms(0))).await);
    assert_eq!(refusal.reason, Reason::QueueFull);
    assert!(refusal.retry_after.is_some());
    sleep(secs(31)).await;
    let refusal = refused(coordinator.acquire(of(2, ms(0))).await);
    assert_eq!(refusal.reason, Reason::ConcurrencyExhausted);
}

#[tokio::test(start_paused = true)]
async fn watchers_see_events_and_how_many_they_missed() {
    let (world, _) = one(vec![limit("w", window(10, secs(60)))]);
    let mut config = World::config("r1");
    config.watch_capacity = 4;
    let coordinator = world.with(config);
    settle_down().await;
    let mut watcher = coordinator.watch();
    let event = |kind| LedgerEvent { budget: name(), kind };
    world.ledger.announce(event(EventKind::Wake));
    world.ledger.announce(event(EventKind::StateLost));
    assert_eq!(watcher.next().await, Some(WatchItem::Event(event(EventKind::StateLost))));
    for version in 0..10 {
        world.ledger.announce(event(EventKind::SpecChanged { version }));
    }
    settle_down().await;
    assert_eq!(watcher.next().await, Some(WatchItem::Missed(6)));
    let last = event(EventKind::SpecChanged { version: 6 });
    let mut stream = Box::pin(watcher.into_stream());
    assert_eq!(stream.next().await, Some(WatchItem::Event(last)));
    drop(coordinator);
    settle_down().await;
    assert_eq!(stream.by_ref().count().await, 3, "and then it ends");
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_of_an_account_reaches_watchers_and_is_counted() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    settle_down().await;
    let mut watcher = coordinator.watch();
    let limit = LimitName::new("w").unwrap();
    let rung = |from: &str, to: &str| EventKind::RungChanged {
        limit: limit.clone(),
        from: from.into(),
        to: to.into(),
    };
    let foreign = |cost| EventKind::ForeignUse { limit: limit.clone(), cost };
    let kinds = [
        rung("aligned", "sliding"),
        rung("sliding", "aligned"),
        rung("aligned", "sliding"),
        rung("sliding", "invented"),
        foreign(3),
        foreign(4),
        EventKind::StateLost,
    ];
    for kind in kinds {
        let event = LedgerEvent { budget: name(), kind };
        world.ledger.announce(event.clone());
        assert_eq!(watcher.next().await, Some(WatchItem::Event(event)));
    }
    let text = text(&coordinator);
    for line in [
        "rung_changes_total{budget=\"b\",limit=\"w\",from=\"aligned\",to=\"sliding\"} 2",
        "rung_changes_total{budget=\"b\",limit=\"w\",from=\"sliding\",to=\"aligned\"} 1",
        "rung_changes_total{budget=\"b\",limit=\"w\",from=\"sliding\",to=\"_other\"} 1",
        "foreign_cost_total{budget=\"b\",limit=\"w\"} 7",
        "state_losses_total{budget=\"b\"} 1",
    ] {
        assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_alerted_on_begins_at_zero_with_the_first_acquire_of_a_budget() {
    let (_world, coordinator) = one(vec![limit("w", window(2, secs(60)))]);
    let before = text(&coordinator);
    assert!(!before.contains("budget=\"b\""), "it is not known yet:\n{before}");
    let _granted = coordinator.acquire(ask()).await.unwrap();
    let text = text(&coordinator);
    for line in [
        "acquires_queue_full_total{budget=\"b\"} 0",
        "acquires_queue_full_total{budget=\"_other\"} 0",
        "ledger_errors_total{budget=\"b\",kind=\"unavailable\"} 0",
        "ledger_errors_total{budget=\"b\",kind=\"corrupt\"} 0",
        "ledger_errors_total{budget=\"b\",kind=\"forgotten\"} 0",
        "permits_rationed_untold_total{budget=\"b\"} 0",
        "state_losses_total{budget=\"b\"} 0",
        "permits_settled_total{budget=\"b\",kind=\"refused\",result=\"applied\"} 0",
        "foreign_cost_total{budget=\"b\",limit=\"w\"} 0",
        "acquire_wait_seconds_count{budget=\"b\",tier=\"interactive\"} 0",
    ] {
        assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn permits_are_counted_by_who_got_them() {
    let (_world, coordinator) = one(vec![limit("w", window(2, secs(60)))]);
    let ask = Acquire { tenant: tenant("acme"), ..ask() };
    let granted = coordinator.acquire(ask.clone()).await.unwrap();
    let _second = coordinator.acquire(ask.clone()).await.unwrap();
    let _refused = refused(coordinator.acquire(ask).await);
    coordinator.settle(not_sent(&granted)).await.unwrap();
    let text = text(&coordinator);
    for line in [
        "permits_granted_total{budget=\"b\",tenant=\"acme\",tier=\"standard\",class=\"default\"} 2",
        "acquires_refused_total{budget=\"b\",tenant=\"acme\",tier=\"standard\",class=\"default\",reason=\"quota_exhausted\"} 1",
        "permits_settled_total{budget=\"b\",kind=\"not_sent\",result=\"applied\"} 1",
        "acquire_wait_seconds_count{budget=\"b\",tier=\"standard\"} 2",
        "commits_total{budget=\"b\",kind=\"done\"} 4",
        "acquires_queued{budget=\"b\"} 0",
        "acquires_waiting 0",
        "store_script_calls_total 0",
        "store_round_trips_total 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_declaration_is_in_force_at_once() {
    let (_world, coordinator) = one(vec![limit("w", window(1, secs(60)))]);
    let _granted = coordinator.acquire(ask()).await.unwrap();
    let waiting = spawn(&coordinator, patient(secs(100))).await;
    let put = coordinator.put_budget(budget(vec![limit("w", window(2, secs(60)))])).await.unwrap();
    assert_eq!((put.version, put.changed), (2, true));
    assert_eq!(waiting.await.unwrap().unwrap().waited, ms(0));
    let stored = coordinator.get_budget(&name()).await.unwrap();
    assert_eq!(stored.version, 2);
    assert_eq!(coordinator.list_budgets(None, 10).await.unwrap(), [name()]);
    let error = coordinator.put_budget(budget(Vec::new())).await.unwrap_err();
    assert!(matches!(error, bursar_coordinator::CoordinatorError::Invalid(_)));
}
