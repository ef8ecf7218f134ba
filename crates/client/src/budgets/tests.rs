use std::time::Duration;

use bursar_quota::{
    Backoff, BudgetName, BudgetSpec, Cap, ClassName, CountedAt, EventKind, LedgerEvent, LimitKind, LimitName,
    LimitSnapshot, LimitSpec, OnStoreLoss, Party, ProfileName, Ration, Reservation, TenantName, Tier,
    UnitName,
};
use bursar_wire::v1;

use super::{Watched, declare, read};

fn limit(name: &str, kind: LimitKind) -> LimitSpec {
    LimitSpec {
        unit: UnitName::new("tokens").unwrap(),
        classes: vec![ClassName::new("read").unwrap()],
        default_cost: 2,
        counted_at: CountedAt::Completion,
        readings: true,
        reservations: vec![
            Reservation { party: Party::Tier(Tier::Batch), amount: 1 },
            Reservation { party: Party::Tenant(TenantName::new("acme").unwrap()), amount: 2 },
        ],
        caps: vec![
            Cap { tenant: None, amount: 3 },
            Cap { tenant: Some(TenantName::new("acme").unwrap()), amount: 4 },
        ],
        ..LimitSpec::new(LimitName::new(name).unwrap(), kind)
    }
}

#[test]
fn a_declaration_survives_the_way() {
    let ms = Duration::from_millis;
    let window = LimitKind::Window { capacity: 9, window: ms(60_000), aligned: true, on_clock: true };
    let adaptive = LimitKind::Adaptive { start_per_second: 2.0, min_per_second: 0.5, max_per_second: 9.0 };
    let spec = BudgetSpec {
        profile: Some(ProfileName::new("autotask").unwrap()),
        default_class: Some(ClassName::new("read").unwrap()),
        send_within: ms(1),
        permit_ttl: ms(2),
        max_permit_ttl: ms(3),
        backoff: Backoff { base: ms(4), max: ms(5) },
        ramp: ms(0),
        weights: [3, 2, 1],
        max_waiting: 0,
        alert_at: 0.5,
        on_store_loss: OnStoreLoss::Ration,
        ration: Some(Ration { fraction: 0.25, replicas: 3, span: ms(30_000) }),
        ..BudgetSpec::new(
            BudgetName::new("a/b").unwrap(),
            vec![
                limit("window", window),
                limit("bucket", LimitKind::Bucket { capacity: 9, refill_per_second: 0.5 }),
                limit("concurrency", LimitKind::Concurrency { capacity: 9, linger: ms(250) }),
                limit("adaptive", adaptive),
            ],
        )
    };
    assert_eq!(read::spec(declare::budget(&spec)).unwrap(), spec);
}

#[test]
fn what_the_wire_spells_out_is_a_default_again() {
    let spec = BudgetSpec::new(BudgetName::new("a").unwrap(), Vec::new());
    let wire =
        v1::Budget { profile: "generic".into(), default_class: "default".into(), ..declare::budget(&spec) };
    assert_eq!(read::spec(wire).unwrap(), spec);
}

#[test]
fn a_change_that_is_not_known_is_passed_over() {
    let change = v1::WatchResponse { budget: "a".into(), event: None };
    assert_eq!(read::watched(change).unwrap(), None);
    let event = Some(v1::watch_response::Event::Missed(v1::Missed { count: 3 }));
    let change = v1::WatchResponse { budget: String::new(), event };
    assert_eq!(read::watched(change).unwrap(), Some(Watched::Missed(3)));
}

#[test]
fn changes_of_an_account_are_read() {
    use v1::watch_response::Event;
    let limit = LimitName::new("w").unwrap();
    let rung = EventKind::RungChanged { limit, from: "sliding".into(), to: "bucket".into() };
    let changed = v1::RungChanged { limit: "w".into(), from: "sliding".into(), to: "bucket".into() };
    for (event, kind) in
        [(Event::RungChanged(changed), rung), (Event::StateLost(v1::StateLost {}), EventKind::StateLost)]
    {
        let change = v1::WatchResponse { budget: "a".into(), event: Some(event) };
        let budget = BudgetName::new("a").unwrap();
        assert_eq!(read::watched(change).unwrap(), Some(Watched::Change(LedgerEvent { budget, kind })));
    }
}

#[test]
fn how_a_limit_stands_is_read_whole() {
    let told = v1::LimitStatus {
        name: "w".into(),
        capacity: 1,
        available: -2,
        out: 3,
        paid: 4,
        rung: "paced".into(),
        window_end_earliest_ms: Some(5),
        window_end_latest_ms: Some(6),
        known: true,
        foreign: 7,
        recovering_ms: Some(8),
        foreign_per_window: 9,
        reserved: 10,
    };
    let expected = LimitSnapshot {
        limit: LimitName::new("w").unwrap(),
        capacity: 1,
        available: -2,
        out: 3,
        paid: 4,
        rung: "paced".into(),
        window_end_ms: Some((5, 6)),
        known: true,
        foreign: 7,
        recovering_ms: Some(8),
        foreign_per_window: 9,
        reserved: 10,
    };
    let status = v1::BudgetStatus { limits: vec![told], ..Default::default() };
    assert_eq!(read::snapshot(status).unwrap().limits, [expected]);
}
