//! Single rules of pauses, probes and ramps, beyond what `pauses` tells as a story.

use bursar_quota::{
    ClassName, LeaseId, LimitName, LimitReading, PauseOrder, Reason, Scope, SettleGroup, SettleKind,
};

use crate::{
    bench::{Bench, budget, minute, settle},
    words::{aligned, says},
};

fn bench() -> Bench {
    Bench::new(&budget(vec![minute(1000)]))
}

fn refused(lease: LeaseId, scope: Scope, retry_after_ms: Option<u64>) -> SettleGroup {
    SettleGroup {
        pause: Some(PauseOrder { scope, retry_after_ms }),
        ..settle(lease, SettleKind::Refused { counted: false })
    }
}

fn pause(bench: &mut Bench, lease: LeaseId, retry_after_ms: u64) -> u64 {
    let group = refused(lease, Scope::Budget, Some(retry_after_ms));
    bench.commit(vec![group], Vec::new()).paused_ms[0]
}

fn class(name: &str) -> ClassName {
    ClassName::new(name).unwrap()
}

/// The reason why one more is refused; nothing if it is granted.
fn reason(bench: &mut Bench) -> Option<Reason> {
    bench.try_take(1).1.refusal.map(|refusal| refusal.reason)
}

/// A bench whose pause is over, and the probe that was let out.
fn probing() -> (Bench, LeaseId, LeaseId) {
    let mut bench = bench();
    let (first, second) = (bench.take(1), bench.take(1));
    pause(&mut bench, first, 1000);
    bench.now += 1001;
    let probe = bench.take(1);
    (bench, probe, second)
}

#[test]
fn a_pause_of_a_limit_stops_the_calls_it_applies_to_and_no_others() {
    let mut writes = minute(1000);
    writes.name = LimitName::new("writes").unwrap();
    let mut bench = Bench::new(&budget(vec![minute(1000), writes]));
    let call = |bench: &mut Bench, costs: [u64; 2]| {
        let mut group = bench.acquire(1, 1, 60_000);
        group.costs = costs.to_vec();
        let lease = group.lease;
        let decision = bench.commit(Vec::new(), vec![group]).decisions.remove(0);
        (
            lease,
            decision.refusal.map(|refusal| (refusal.reason, refusal.limit.map(|limit| limit.to_string()))),
        )
    };
    let (lease, _) = call(&mut bench, [1, 1]);
    bench.settled(refused(lease, Scope::Limit(1), Some(5000)));
    assert_eq!(bench.stored().snapshot.pauses[0].scope, "limit:writes");
    assert_eq!(call(&mut bench, [1, 1]).1, Some((Reason::PausedByUpstream, Some("writes".to_owned()))));
    assert_eq!(call(&mut bench, [1, 0]).1, None);
}

#[test]
fn a_success_pauses_nothing_whatever_it_says() {
    let mut bench = bench();
    let lease = bench.take(1);
    let order = PauseOrder { scope: Scope::Budget, retry_after_ms: Some(5000) };
    bench.settled(SettleGroup { pause: Some(order), ..settle(lease, SettleKind::Accepted) });
    assert_eq!(reason(&mut bench), None);
}

#[test]
fn within_an_epoch_a_pause_is_extended_and_never_shortened() {
    let mut bench = bench();
    let (first, second, third) = (bench.take(1), bench.take(1), bench.take(1));
    assert_eq!(pause(&mut bench, first, 5000), 5001);
    assert_eq!(pause(&mut bench, second, 1000), 5001);
    assert_eq!(pause(&mut bench, third, 7000), 7001);
}

#[test]
fn another_epochs_shorter_pause_shortens_nothing() {
    let mut bench = bench();
    let first = bench.take(1);
    bench.settled(refused(first, Scope::Class(class("write")), Some(10_000)));
    // A call of another class that was granted since is refused for the same scope.
    bench.now += 1000;
    let second = bench.take(1);
    bench.settled(refused(second, Scope::Class(class("write")), Some(1000)));
    assert_eq!(bench.stored().snapshot.pauses[0].for_ms, Some(9001));
}

#[test]
fn retry_after_counts_from_when_the_answer_came() {
    let mut bench = bench();
    let lease = bench.take(1);
    bench.now += 3000;
    let group = SettleGroup { age_ms: 2000, ..refused(lease, Scope::Budget, Some(7000)) };
    assert_eq!(bench.commit(vec![group], Vec::new()).paused_ms, [5001]);
}

#[test]
fn only_the_reset_of_a_limit_that_has_nothing_left_says_when_to_come_back() {
    let mut bench = bench();
    let lease = bench.take(1);
    let reading = LimitReading { ..says(5, Some((20_000, 20_000))) };
    let group = SettleGroup { readings: vec![reading], ..refused(lease, Scope::Budget, None) };
    assert_eq!(bench.commit(vec![group], Vec::new()).paused_ms, [500], "half of the base, by its jitter");
}

#[test]
fn a_probe_that_did_not_succeed_is_followed_by_another() {
    for kind in [SettleKind::Lost, SettleKind::NotSent] {
        let (mut bench, probe, _) = probing();
        assert_eq!(reason(&mut bench), Some(Reason::Probing));
        bench.settled(settle(probe, kind));
        bench.take(1);
        assert_eq!(reason(&mut bench), Some(Reason::Probing), "{kind:?}");
    }
}

#[test]
fn a_probe_is_one_permit() {
    let mut bench = bench();
    let lease = bench.take(1);
    pause(&mut bench, lease, 1000);
    bench.now += 1001;
    let (_, decision) = bench.try_take(5);
    assert_eq!((decision.granted, decision.refusal.unwrap().reason), (1, Reason::Probing));
}

#[test]
fn a_late_probe_does_not_end_a_pause_that_began_after_it() {
    let (mut bench, probe, second) = probing();
    bench.now += 100;
    assert_eq!(pause(&mut bench, second, 5000), 5001);
    bench.settled(settle(probe, SettleKind::Accepted));
    assert_eq!(reason(&mut bench), Some(Reason::PausedByUpstream));
}

#[test]
fn a_second_probes_success_does_not_begin_the_ramp_anew() {
    let (mut bench, probe, _) = probing();
    bench.now += 10_001;
    let another = bench.take(1);
    bench.settled(settle(probe, SettleKind::Accepted));
    assert_eq!(bench.try_take(500).1.granted, 1);
    bench.now += 500;
    bench.settled(settle(another, SettleKind::Accepted));
    assert_eq!(bench.try_take(500).1.granted, 15, "2^4 after half a second, one of them is out already");
}

#[test]
fn a_refusal_in_a_ramp_ends_it_with_a_pause() {
    let (mut bench, probe, _) = probing();
    bench.settled(settle(probe, SettleKind::Accepted));
    bench.now += 500;
    let lease = bench.take(1);
    bench.now += 1;
    assert_eq!(pause(&mut bench, lease, 3000), 3001);
    assert_eq!(reason(&mut bench), Some(Reason::PausedByUpstream));
    bench.now += 3001;
    bench.take(1);
    assert_eq!(reason(&mut bench), Some(Reason::Probing));
}

#[test]
fn a_success_resets_the_back_off_though_the_ramp_is_not_over() {
    let (mut bench, probe, _) = probing();
    let backs_off = |bench: &mut Bench, lease| {
        bench.now += 1;
        bench.commit(vec![refused(lease, Scope::Budget, None)], Vec::new()).paused_ms[0]
    };
    assert_eq!(backs_off(&mut bench, probe), 1000, "half of twice the base, by its jitter");
    bench.now += 1000;
    let probe = bench.take(1);
    bench.settled(settle(probe, SettleKind::Accepted));
    let lease = bench.take(1);
    assert_eq!(backs_off(&mut bench, lease), 500);
}

#[test]
fn pauses_are_so_many_at_most_and_one_more_pauses_the_budget() {
    let mut bench = bench();
    let leases: Vec<_> = (0..65).map(|_| bench.take(1)).collect();
    for (i, lease) in leases.into_iter().enumerate() {
        assert_eq!(reason(&mut bench), None);
        bench.settled(refused(lease, Scope::Class(class(&format!("c{i}"))), Some(5000)));
    }
    let pauses = bench.stored().snapshot.pauses;
    assert_eq!(pauses.len(), 65);
    assert_eq!(reason(&mut bench), Some(Reason::PausedByUpstream), "{pauses:?}");
}

#[test]
fn a_probe_of_an_unknown_limit_that_was_not_sent_says_nothing() {
    let mut limit = aligned(100);
    limit.readings = true;
    let mut bench = Bench::new(&budget(vec![limit]));
    for _ in 0..4 {
        let lease = bench.take(1);
        bench.settled(settle(lease, SettleKind::NotSent));
    }
    assert!(!bench.stand().known);
    let (_, decision) = bench.try_take(2);
    assert_eq!((decision.granted, decision.refusal.unwrap().reason), (1, Reason::Probing));
}

#[test]
fn a_snapshot_says_where_each_pause_stands() {
    let (mut bench, probe, _) = probing();
    let shown = |bench: &mut Bench| {
        let pauses = bench.stored().snapshot.pauses;
        pauses.into_iter().map(|pause| (pause.scope, pause.phase, pause.for_ms)).collect::<Vec<_>>()
    };
    let budget = |phase: &str| vec![("budget".to_owned(), phase.to_owned(), Some(0))];
    assert_eq!(shown(&mut bench), budget("probing"), "a probe is out");
    bench.settled(settle(probe, SettleKind::Lost));
    assert_eq!(shown(&mut bench), budget("probing"), "one may go");
    let probe = bench.take(1);
    bench.settled(settle(probe, SettleKind::Accepted));
    assert_eq!(shown(&mut bench), budget("ramping"));
    bench.now += 1000;
    assert_eq!(shown(&mut bench), []);
}

#[test]
fn a_reset_that_is_not_told_or_has_passed_says_nothing_of_when_to_come_back() {
    for (end_ms, age_ms, expected) in
        [(None, 0, 500), (Some((1000, 2000)), 2500, 500), (Some((1000, 4000)), 2500, 1501)]
    {
        let mut bench = bench();
        let lease = bench.take(1);
        bench.now += 3000;
        let group =
            SettleGroup { readings: vec![says(0, end_ms)], age_ms, ..refused(lease, Scope::Budget, None) };
        assert_eq!(bench.commit(vec![group], Vec::new()).paused_ms, [expected]);
    }
}

#[test]
fn of_several_limits_with_nothing_left_the_last_reset_counts() {
    for (first, second) in [(9000, 4000), (4000, 9000)] {
        let mut other = minute(1000);
        other.name = LimitName::new("other").unwrap();
        let mut bench = Bench::new(&budget(vec![minute(1000), other]));
        let mut group = bench.acquire(1, 1, 60_000);
        group.costs = vec![1, 1];
        let lease = group.lease;
        bench.commit(Vec::new(), vec![group]);
        let second = LimitReading { limit: 1, ..says(0, Some((second, second))) };
        let readings = vec![says(0, Some((first, first))), second];
        let group = SettleGroup { readings, ..refused(lease, Scope::Budget, None) };
        assert_eq!(bench.commit(vec![group], Vec::new()).paused_ms, [9001]);
    }
}

#[test]
fn a_refusal_without_a_scope_pauses_nothing() {
    let mut bench = bench();
    let lease = bench.take(1);
    bench.settled(settle(lease, SettleKind::Refused { counted: false }));
    assert_eq!(reason(&mut bench), None);
}

#[test]
fn a_scope_beyond_the_limits_is_the_budget() {
    let mut bench = bench();
    let lease = bench.take(1);
    bench.settled(refused(lease, Scope::Limit(7), Some(5000)));
    assert_eq!(bench.stored().snapshot.pauses[0].scope, "budget");
}

#[test]
fn who_settles_is_told_for_how_long_what_it_calls_is_paused() {
    let cases = [
        (Some(Scope::Budget), 5001),
        (Some(Scope::Class(class("default"))), 5001),
        (Some(Scope::Class(class("write"))), 0),
        (Some(Scope::Limit(0)), 5001),
        (Some(Scope::Limit(1)), 0),
        // By the operator.
        (None, 5001),
    ];
    for (scope, expected) in cases {
        let mut writes = minute(1000);
        writes.name = LimitName::new("writes").unwrap();
        let mut bench = Bench::new(&budget(vec![minute(1000), writes]));
        let groups = [bench.acquire(1, 1, 60_000), bench.acquire(1, 1, 60_000)].map(|mut group| {
            group.costs = vec![1, 0];
            group
        });
        let [first, second] = groups.each_ref().map(|group| group.lease);
        bench.commit(Vec::new(), groups.to_vec());
        if let Some(scope) = scope.clone() {
            bench.settled(refused(first, scope, Some(5000)));
        } else {
            bench.told.pauses = vec![("operator".to_owned(), Some(bench.now + 5001))];
            bench.recover();
        }
        let reply = bench.commit(vec![settle(second, SettleKind::Accepted)], Vec::new());
        assert_eq!(reply.paused_ms, [expected], "{scope:?}");
    }
}

#[test]
fn in_a_ramp_as_well_refusals_of_one_event_double_the_back_off_once() {
    let (mut bench, probe, _) = probing();
    bench.settled(settle(probe, SettleKind::Accepted));
    bench.now += 500;
    let leases = [bench.take(1), bench.take(1)];
    bench.now += 1;
    for lease in leases {
        assert_eq!(bench.commit(vec![refused(lease, Scope::Budget, None)], Vec::new()).paused_ms, [500]);
    }
    // However much later: the next is the second.
    bench.now += 10_000;
    let probe = bench.take(1);
    assert_eq!(bench.commit(vec![refused(probe, Scope::Budget, None)], Vec::new()).paused_ms, [1000]);
}

#[test]
fn a_back_off_is_some_time_whatever_its_jitter() {
    let mut bench = bench();
    let lease = bench.take(1);
    let settles = vec![refused(lease, Scope::Budget, None)];
    let reply = bench.send(bursar_quota::Commit { settles, jitter: 0.0, ..bench.empty() });
    assert_eq!(reply.paused_ms, [1]);
}

#[test]
fn what_a_permit_that_never_was_says_pauses_nothing() {
    let mut bench = bench();
    bench.commit(vec![refused(LeaseId(777), Scope::Budget, Some(5000))], Vec::new());
    assert_eq!(reason(&mut bench), None);
}

#[test]
fn a_late_answer_of_an_older_probe_lets_no_third_out() {
    let (mut bench, first, _) = probing();
    bench.now += 10_002;
    bench.take(1);
    assert_eq!(reason(&mut bench), Some(Reason::Probing));
    bench.settled(settle(first, SettleKind::Lost));
    assert_eq!(reason(&mut bench), Some(Reason::Probing), "the second is out");
}

#[test]
fn short_back_offs_in_a_row_lead_to_no_long_one() {
    let mut bench = bench();
    let mut lease = bench.take(1);
    let mut refuse = |bench: &mut Bench, jitter: f64| {
        let settles = vec![refused(lease, Scope::Budget, None)];
        let reply = bench.send(bursar_quota::Commit { settles, jitter, ..bench.empty() });
        let paused = reply.paused_ms[0];
        bench.now += paused;
        lease = bench.take(1);
        paused
    };
    for _ in 0..6 {
        assert!(refuse(&mut bench, 0.0) <= 1);
    }
    // By the doubling alone it would be a minute: of base and twice the few ms that have passed since the first.
    let paused = refuse(&mut bench, 0.999);
    assert!((990..=1015).contains(&paused), "{paused}");
    let paused = refuse(&mut bench, 0.999);
    assert!((2980..=3040).contains(&paused), "{paused}");
    // After a success it begins anew.
    bench.settled(settle(lease, SettleKind::Accepted));
    lease = bench.take(1);
    for (jitter, expected) in [(0.0, 0..=1), (0.999, 990..=1015)] {
        let settles = vec![refused(lease, Scope::Budget, None)];
        let reply = bench.send(bursar_quota::Commit { settles, jitter, ..bench.empty() });
        assert!(expected.contains(&reply.paused_ms[0]), "{reply:?}");
        bench.now += reply.paused_ms[0];
        lease = bench.take(1);
    }
}
