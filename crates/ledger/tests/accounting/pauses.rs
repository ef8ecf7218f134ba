//! Pauses: nothing inside, one probe after, then a ramp; one congestion event counts once.

use bursar_quota::{
    EventKind, LeaseId, LimitReading, PauseOrder, Reason, Scope, SettleGroup, SettleKind, Span,
};

use crate::bench::{Bench, budget, minute, settle};

fn refused(lease: LeaseId, retry_after_ms: Option<u64>) -> SettleGroup {
    SettleGroup {
        pause: Some(PauseOrder { scope: Scope::Budget, retry_after_ms }),
        ..settle(lease, SettleKind::Refused { counted: false })
    }
}

fn ms(refusal: &bursar_quota::Decision) -> u64 {
    let after = refusal.refusal.as_ref().expect("refused").retry_after.expect("a time to come back");
    u64::try_from(after.as_millis()).unwrap()
}

fn reason(decision: &bursar_quota::Decision) -> Option<Reason> {
    decision.refusal.as_ref().map(|refusal| refusal.reason)
}

#[test]
fn retry_after_stops_all_then_one_probe_then_a_ramp() {
    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let (lease, _) = bench.ask();
    let reply = bench.commit(vec![refused(lease, Some(7000))], Vec::new());
    assert_eq!(reply.paused_ms, [7001], "received just now, so it lasts a millisecond at most longer");
    assert!(
        bench
            .announced
            .iter()
            .any(|e| matches!(&e.kind, EventKind::Paused { scope, .. } if scope == "budget"))
    );

    let (_, decision) = bench.ask();
    assert_eq!(
        (decision.granted, reason(&decision), ms(&decision)),
        (0, Some(Reason::PausedByUpstream), 7001)
    );
    bench.now += 7000;
    assert_eq!(bench.ask().1.granted, 0, "a millisecond early");
    bench.now += 1;
    let (probe, decision) = bench.ask();
    assert_eq!(decision.granted, 1);
    let (_, decision) = bench.ask();
    assert_eq!((decision.granted, reason(&decision)), (0, Some(Reason::Probing)));

    bench.commit(vec![settle(probe, SettleKind::Accepted)], Vec::new());
    // The ramp lets out 2^(8 t / 1 s): one at once, 256 in a second, then all.
    let mut out = 0;
    let start = bench.now;
    for at in [0, 125, 250, 500, 875] {
        bench.now = start + at;
        let group = bench.acquire(500, 1, 60_000);
        let decision = bench.commit(Vec::new(), vec![group]).decisions.remove(0);
        out += u64::from(decision.granted);
        assert_eq!(out, 1 << (at / 125), "after {at} ms");
        assert_eq!(reason(&decision), Some(Reason::Ramping));
        let wait = ms(&decision);
        bench.now += wait - 1;
        assert_eq!(bench.ask().1.granted, 0, "{wait} ms are exact");
        bench.now += 1;
        assert_eq!(bench.ask().1.granted, 1, "{wait} ms are exact");
        out += 1;
    }
    bench.now = start + 1000;
    let group = bench.acquire(500, 1, 60_000);
    assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 500);
}

#[test]
fn one_congestion_event_counts_once_and_back_off_doubles() {
    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let leases: Vec<_> = (0..5).map(|_| bench.ask().0).collect();
    bench.now += 10;
    // Jitter 0.5: half of 1 s, half of 2 s, half of 4 s ...
    assert_eq!(bench.commit(vec![refused(leases[0], None)], Vec::new()).paused_ms, [500]);
    bench.now += 100;
    for lease in &leases[1..4] {
        assert_eq!(
            bench.commit(vec![refused(*lease, None)], Vec::new()).paused_ms,
            [400],
            "granted before the pause"
        );
    }
    let own = bench.commit(vec![refused(leases[4], Some(900))], Vec::new()).paused_ms;
    assert_eq!(own, [901], "its own Retry-After extends it");

    let mut wait = 901;
    for expected in [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 150_000, 150_000] {
        bench.now += wait;
        let (probe, decision) = bench.ask();
        assert_eq!(decision.granted, 1);
        bench.now += 5;
        assert_eq!(bench.commit(vec![refused(probe, None)], Vec::new()).paused_ms, [expected]);
        wait = expected;
    }
    // A success ends it: the next refusal begins with the base again.
    bench.now += wait;
    let (probe, _) = bench.ask();
    bench.commit(vec![settle(probe, SettleKind::Accepted)], Vec::new());
    bench.now += 2000;
    let (lease, _) = bench.ask();
    bench.now += 5;
    assert_eq!(bench.commit(vec![refused(lease, None)], Vec::new()).paused_ms, [500]);
}

#[test]
fn zero_means_the_least_back_off_and_a_reset_serves_where_no_time_is_named() {
    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let (lease, _) = bench.ask();
    assert_eq!(bench.commit(vec![refused(lease, Some(0))], Vec::new()).paused_ms, [1000]);

    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let (lease, _) = bench.ask();
    let mut group = refused(lease, None);
    group.readings = vec![LimitReading {
        limit: 0,
        remaining_least: Some(0),
        remaining_last: None,
        capacity: None,
        reset: Some(Span { earliest_ms: 2000, latest_ms: 3000 }),
    }];
    assert_eq!(bench.commit(vec![group], Vec::new()).paused_ms, [3001]);
}

#[test]
fn a_scope_pauses_no_other() {
    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let (lease, _) = bench.ask();
    let mut group = refused(lease, Some(5000));
    group.pause = Some(PauseOrder {
        scope: Scope::Class(bursar_quota::ClassName::new("write").unwrap()),
        retry_after_ms: Some(5000),
    });
    bench.commit(vec![group], Vec::new());
    assert_eq!(bench.ask().1.granted, 1, "another class");
    let mut write = bench.acquire(1, 1, 60_000);
    write.class = bursar_quota::ClassName::new("write").unwrap();
    let decision = bench.commit(Vec::new(), vec![write]).decisions.remove(0);
    assert_eq!(reason(&decision), Some(Reason::PausedByUpstream));
}

#[test]
fn a_probe_whose_holder_dies_is_followed_by_another() {
    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let (lease, _) = bench.ask();
    bench.commit(vec![refused(lease, Some(1000))], Vec::new());
    bench.now += 1001;
    assert_eq!(bench.ask().1.granted, 1);
    let (_, decision) = bench.ask();
    assert_eq!(ms(&decision), 10_001, "twice the time in which it must be sent");
    bench.now += 10_001;
    assert_eq!(bench.ask().1.granted, 1);
}
