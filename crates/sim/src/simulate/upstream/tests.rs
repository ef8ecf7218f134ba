use std::{sync::Arc, time::Duration};

use bursar_dialect::{Profile, Profiles};
use bursar_quota::{Hit, LimitSelector, Observation, ProfileName, ResponseView, Verdict};
use proptest::prelude::*;

use super::*;
use crate::simulate::plan::{
    Body, Change, Foreign, Noise, RefusalPlan, RuleKind, RulePlan, Secondary, SlotsPlan,
};

const MINUTE: Duration = Duration::from_secs(60);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn rule(kind: RuleKind, capacity: u64, window: Duration, phase: Duration, style: Style) -> RulePlan {
    RulePlan {
        name: "requests".to_owned(),
        unit: "requests".to_owned(),
        classes: Vec::new(),
        kind,
        capacity,
        window,
        phase,
        refusals_count: false,
        used_at_start: 0,
        style,
    }
}

fn plan(rules: Vec<RulePlan>) -> UpstreamPlan {
    UpstreamPlan {
        rules,
        slots: None,
        refusal: RefusalPlan {
            status: 429,
            retry_after: RetryAfter::Seconds,
            omitted: 0,
            readings: true,
            body: Body::ErrorCode,
        },
        noise: Noise::default(),
        secondary: Vec::new(),
        clock_ms: 0,
        foreign: Foreign::None,
        foreign_class: "default".to_owned(),
        changes: Vec::new(),
        demand: Vec::new(),
        main_unit: "requests".to_owned(),
        main_classes: vec!["default".to_owned()],
    }
}

fn call(upstream: &mut Upstream, at: Duration) -> Answer {
    upstream.arrive(at, &Call { class: "default", units: &[] })
}

fn profile(style: Style) -> Arc<Profile> {
    let name = match style {
        Style::Delta | Style::Structured => "ietf",
        Style::NoReset => "salestim",
        _ => "autotask",
    };
    Arc::clone(Profiles::builtin().get(&ProfileName::new(name).unwrap()).unwrap())
}

/// What the profile makes of an answer that is received `late` after it was made, by a clock that is right.
fn observe(profile: &Profile, answer: &Answer, at: Duration, late: Duration) -> Observation {
    let received = START_UNIX + at + late;
    profile.observe(&ResponseView {
        status: answer.status,
        headers: &answer.headers,
        body: &answer.body,
        received_unix_ms: u64::try_from(received.as_millis()).unwrap(),
    })
}

fn signed(ms: Duration) -> i64 {
    i64::try_from(ms.as_millis()).unwrap()
}

#[test]
fn each_style_is_read_as_it_is_meant() {
    let kinds = [
        RuleKind::Clock,
        RuleKind::FirstCall,
        RuleKind::Rolling,
        RuleKind::Gcra,
        RuleKind::Weighted,
        RuleKind::WeightedEnds,
    ];
    for style in [Style::Epoch, Style::NoReset, Style::Delta, Style::Structured] {
        let profile = profile(style);
        for kind in kinds {
            for clock_ms in [0, 731, -412_345, 754_321] {
                let mut plan = plan(vec![rule(kind, 40, MINUTE, ms(17_345), style)]);
                plan.clock_ms = clock_ms;
                let mut upstream = Upstream::new(&plan, 1);
                for n in 0..200 {
                    let at = ms(n * 1_237);
                    let answer = call(&mut upstream, at);
                    let seen = observe(&profile, &answer, at, ms(80));
                    assert_eq!(seen.malformed, 0, "{answer:?}");
                    let [reading] = &seen.readings[..] else { panic!("{seen:?}") };
                    assert_eq!(reading.capacity, Some(40));
                    assert_eq!(reading.remaining, Some(upstream.truth(at)[0].remaining));
                    let named = upstream.rules[0].model.named_reset(at).unwrap();
                    if style == Style::NoReset {
                        assert_eq!(reading.reset, None);
                    } else {
                        let span = reading.reset.unwrap();
                        let left = signed(named - at);
                        assert!(
                            span.earliest_ms <= left && left <= span.latest_ms,
                            "{left} {span:?} {answer:?}"
                        );
                        assert!(span.latest_ms - span.earliest_ms <= 3001, "{span:?}");
                    }
                    assert_eq!(seen.verdict == Verdict::Accepted, answer.accepted);
                    assert!(answer.readings_sent);
                }
            }
        }
    }
}

#[test]
fn each_unit_has_its_own_headers() {
    let text = r#"
        name = "units"
        title = "two"
        [[families]]
        name = "x"
        [[families.readings]]
        for_limit = "requests"
        limit = "x-ratelimit-limit-requests"
        remaining = "x-ratelimit-remaining-requests"
        reset = { from = "x-ratelimit-reset-requests", unit = "duration", rounding = "up" }
        [[families.readings]]
        for_limit = "tokens"
        limit = "x-ratelimit-limit-tokens"
        remaining = "x-ratelimit-remaining-tokens"
        reset = { from = "x-ratelimit-reset-tokens", unit = "duration", rounding = "up" }
    "#;
    let profile = Profile::from_toml(text).unwrap();
    let mut tokens = rule(RuleKind::Clock, 1000, MINUTE, ms(30_250), Style::PerUnit);
    (tokens.name, tokens.unit) = ("tokens".to_owned(), "tokens".to_owned());
    let requests = rule(RuleKind::Clock, 10, MINUTE, ms(500), Style::PerUnit);
    let mut upstream = Upstream::new(&plan(vec![requests, tokens]), 1);
    let units = [("tokens".to_owned(), 300)];
    let arrive = |upstream: &mut Upstream, at| upstream.arrive(at, &Call { class: "default", units: &units });
    let answer = arrive(&mut upstream, ms(250));
    assert_eq!(answer.costs, units);
    let seen = observe(&profile, &answer, ms(250), ms(9));
    let told: Vec<_> =
        seen.readings.iter().map(|it| (it.capacity, it.remaining, it.reset.unwrap().latest_ms)).collect();
    assert_eq!(told, [(Some(10), Some(9), 250), (Some(1000), Some(700), 30_000)]);
    for at in [300, 400] {
        assert!(arrive(&mut upstream, ms(at)).accepted);
    }
    let answer = arrive(&mut upstream, ms(600));
    assert_eq!(answer.refused_by.as_deref(), Some("tokens"));
    assert!(answer.costs.is_empty());
    assert_eq!(upstream.accepted(), 3);
    assert_eq!(upstream.truth(ms(600))[1].remaining, 100);
}

/// An upstream whose one permit of a minute is used up, and the answer to the next call.
fn refused(style: Style, change: impl Fn(&mut UpstreamPlan)) -> (Answer, Observation) {
    let mut plan = plan(vec![rule(RuleKind::Clock, 1, MINUTE, ms(42_500), style)]);
    change(&mut plan);
    let mut upstream = Upstream::new(&plan, 1);
    assert!(call(&mut upstream, ms(100)).accepted);
    let answer = call(&mut upstream, ms(200));
    let seen = observe(&profile(style), &answer, ms(200), ms(50));
    (answer, seen)
}

#[test]
fn a_refusal_says_what_was_hit_and_when_to_come_back() {
    let expected = signed(ms(42_300));
    let after = |how: RetryAfter, body: Body| {
        let (answer, seen) = refused(Style::Epoch, |plan| {
            plan.refusal.retry_after = how;
            plan.refusal.body = body;
            plan.clock_ms = 77_700;
        });
        assert_eq!((answer.status, answer.refused_by.as_deref()), (429, Some("requests")));
        let Verdict::Refused { counted: false, hit: Hit::Limit(limit) } = &seen.verdict else {
            panic!("{seen:?}")
        };
        assert!(matches!(limit, LimitSelector::Like { capacity: Some(1), .. }));
        seen.retry_after_ms.map(|ms| i64::try_from(ms).unwrap())
    };
    for body in [Body::Empty, Body::ErrorCode, Body::Problem] {
        for how in [RetryAfter::Seconds, RetryAfter::Date] {
            let after = after(how, body).unwrap();
            assert!((expected..=expected + 3000).contains(&after), "{how:?}: {after}");
        }
        assert_eq!(after(RetryAfter::Zero, body), Some(0));
        assert_eq!(after(RetryAfter::Absent, body), None);
    }
    let (_, seen) = refused(Style::Delta, |plan| plan.refusal.body = Body::Problem);
    assert!(matches!(seen.verdict, Verdict::Refused { .. }));
}

#[test]
fn salestim_counts_what_it_refuses_and_says_so_in_the_body() {
    let mut plan = plan(vec![RulePlan {
        refusals_count: true,
        classes: vec!["read".to_owned()],
        ..rule(RuleKind::Rolling, 6, MINUTE * 15, Duration::ZERO, Style::NoReset)
    }]);
    plan.refusal.body = Body::RateLimitExceeded;
    plan.refusal.readings = false;
    let mut upstream = Upstream::new(&plan, 1);
    let read = |upstream: &mut Upstream, at| upstream.arrive(at, &Call { class: "read", units: &[] });
    for n in 0..6 {
        assert!(read(&mut upstream, ms(n * 1000)).accepted);
    }
    let answer = read(&mut upstream, ms(10_000));
    let seen = observe(&profile(Style::NoReset), &answer, ms(10_000), ms(50));
    assert!(!answer.readings_sent);
    assert_eq!(seen.verdict, Verdict::Refused { counted: true, hit: Hit::CallClass });
    assert!(matches!(
        &seen.readings[0].limit,
        LimitSelector::Like { capacity: Some(6), window_ms: Some(900_000), .. }
    ));
    // The refusal counts: room is where the second of the accepted ones drops out.
    assert_eq!(seen.retry_after_ms, Some(891_000));
    let truth = &upstream.truth(ms(10_000))[0];
    assert_eq!((truth.accepted, truth.refused, truth.charged), (6, 1, 7));
    // A class without a rule is not limited.
    assert!(upstream.arrive(ms(10_000), &Call { class: "write", units: &[] }).accepted);
}

#[test]
fn whatever_is_wrong_with_headers_is_never_read_as_something_else() {
    let all = [
        Noise { missing: 1000, ..Noise::default() },
        Noise { garbled: 1000, ..Noise::default() },
        Noise { past: 1000, ..Noise::default() },
        Noise { contradictory: 1000, ..Noise::default() },
        Noise { undated: 1000, ..Noise::default() },
        Noise { retry_after_always: true, ..Noise::default() },
        Noise {
            missing: 200,
            garbled: 200,
            past: 200,
            contradictory: 200,
            undated: 500,
            retry_after_always: true,
            lag: Duration::ZERO,
        },
    ];
    for style in [Style::Epoch, Style::NoReset, Style::Delta, Style::Structured] {
        let profile = profile(style);
        for (which, noise) in all.into_iter().enumerate() {
            let mut plan = plan(vec![rule(RuleKind::Clock, 40, MINUTE, ms(17_345), style)]);
            plan.noise = noise;
            let mut upstream = Upstream::new(&plan, 5);
            let mut told = 0;
            for n in 0..300 {
                let at = ms(n * 1_237);
                let answer = call(&mut upstream, at);
                let seen = observe(&profile, &answer, at, ms(80));
                let truth = upstream.truth(at).remove(0);
                for reading in &seen.readings {
                    assert!(reading.remaining.is_none_or(|it| it == truth.remaining), "{answer:?}");
                    assert!(reading.capacity.is_none_or(|it| it == 40), "{answer:?}");
                    let left = signed(truth.window_end.unwrap() - at);
                    assert!(
                        reading.reset.is_none_or(|it| it.earliest_ms <= left && left <= it.latest_ms),
                        "{left}: {answer:?}"
                    );
                    told += 1;
                }
                if answer.readings_sent {
                    assert_eq!(seen.readings.len(), 1);
                }
                assert!(seen.retry_after_ms.is_none() || !answer.accepted);
                assert!(which > 3 || !answer.readings_sent);
            }
            assert!(which == 0 || told > 0 || (which == 3 && told == 0), "{style:?} {noise:?}");
        }
    }
}

#[test]
fn slots_are_held_until_they_have_lingered() {
    let mut plan = plan(vec![rule(RuleKind::Clock, 100, MINUTE, MINUTE, Style::Epoch)]);
    plan.slots = Some(SlotsPlan { capacity: 2, linger: ms(50) });
    let mut upstream = Upstream::new(&plan, 1);
    let (one, two) = (call(&mut upstream, ms(0)), call(&mut upstream, ms(1)));
    let third = call(&mut upstream, ms(2));
    assert_eq!(third.refused_by.as_deref(), Some(CONCURRENCY));
    assert_eq!((upstream.in_flight(), upstream.slots_taken(ms(2))), (2, 2));
    let seen = observe(&profile(Style::Epoch), &third, ms(2), ms(5));
    // Something remains of the window, so it was not the window.
    assert_eq!(seen.readings[0].remaining, Some(98));
    assert!(matches!(seen.verdict, Verdict::Refused { hit: Hit::Budget, .. }));
    assert_eq!(seen.retry_after_ms, Some(1000));
    upstream.finish(ms(100), one.call);
    upstream.finish(ms(100), one.call);
    assert!(!call(&mut upstream, ms(149)).accepted);
    assert!(call(&mut upstream, ms(150)).accepted);
    assert!(!call(&mut upstream, ms(151)).accepted);
    upstream.finish(ms(160), two.call);
    assert_eq!((upstream.in_flight(), upstream.slots_taken(ms(160))), (1, 2));
    assert_eq!(upstream.accepted(), 3);
}

#[test]
fn a_secondary_refusal_says_when_it_is_over_or_does_not() {
    let mut plan = plan(vec![rule(RuleKind::Clock, 100, MINUTE, MINUTE, Style::Epoch)]);
    let span = |from, to, says_when| Secondary { from: ms(from), to: ms(to), share: 1000, says_when };
    plan.secondary = vec![span(1000, 5500, true), span(10_000, 12_000, false)];
    let mut upstream = Upstream::new(&plan, 1);
    assert!(call(&mut upstream, ms(999)).accepted);
    for (at, after) in [(1000, Some(5000)), (5400, Some(1000)), (10_000, None), (11_999, None)] {
        let answer = call(&mut upstream, ms(at));
        assert_eq!(answer.refused_by.as_deref(), Some(SECONDARY));
        let seen = observe(&profile(Style::Epoch), &answer, ms(at), ms(5));
        assert_eq!(seen.readings[0].remaining, Some(99));
        assert_eq!(seen.retry_after_ms, after);
    }
    // Somebody tireless has all of it after the end of the first, and none in it.
    assert_eq!(upstream.offered(ms(999)), 100);
    assert!(call(&mut upstream, ms(12_000)).accepted);
    assert_eq!(upstream.truth(ms(12_000))[0].charged, 2);
}

#[test]
fn others_leave_us_the_rest_of_each_window() {
    let mut plan = plan(vec![rule(RuleKind::Clock, 600, MINUTE, ms(20_000), Style::Epoch)]);
    for (foreign, about) in [
        (Foreign::Poisson(100), 60.0),
        (Foreign::Poisson(500), 300.0),
        (Foreign::Bursts { every: Duration::from_secs(20), size: 40 }, 120.0),
    ] {
        plan.foreign = foreign;
        let mut upstream = Upstream::new(&plan, 3);
        let mut lines = 0;
        while let Some(at) = upstream.next().filter(|at| *at < ms(20_000) + MINUTE * 20) {
            lines += upstream.happen(at).len();
        }
        let end = ms(20_000) + MINUTE * 20;
        let foreign = upstream.truth(end)[0].foreign;
        let per_window = f64::from(u32::try_from(foreign).unwrap()) / 20.33;
        assert!((per_window / about - 1.0).abs() < 0.15, "{per_window} of {about}");
        assert!(lines > 0);
        assert_eq!(upstream.offered(end), 21 * 600 - foreign);
    }
}

#[test]
fn a_capacity_changes_for_us_and_for_the_measure() {
    let mut plan = plan(vec![rule(RuleKind::Clock, 10, MINUTE, MINUTE, Style::Epoch)]);
    let change = |at, capacity| Change { at: ms(at), rule: "requests".to_owned(), capacity };
    plan.changes = vec![change(30_000, 15), change(90_000, 4)];
    let mut upstream = Upstream::new(&plan, 1);
    assert_eq!(upstream.next(), Some(ms(30_000)));
    assert_eq!(upstream.offered(ms(30_000)), 10);
    assert_eq!(upstream.happen(ms(30_000)), ["limit requests: 10 -> 15"]);
    for n in 0..15 {
        assert!(call(&mut upstream, ms(31_000 + n)).accepted);
    }
    assert!(!call(&mut upstream, ms(32_000)).accepted);
    assert_eq!(upstream.offered(MINUTE), 15);
    assert_eq!(upstream.offered(MINUTE * 2), 30);
    assert_eq!(upstream.truth(MINUTE * 2)[0].capacity, 4);
    assert_eq!(upstream.offered(MINUTE * 3), 34);
    assert_eq!(upstream.next(), None);
}

#[test]
fn what_is_used_at_the_start_is_nobodys() {
    let mut plan = plan(vec![RulePlan {
        used_at_start: 6,
        ..rule(RuleKind::Clock, 10, MINUTE, ms(30_000), Style::Epoch)
    }]);
    plan.demand = vec![(ms(10_000), ms(40_000)), (MINUTE * 3, MINUTE * 4)];
    let mut upstream = Upstream::new(&plan, 1);
    assert_eq!(upstream.truth(ms(0))[0].remaining, 4);
    assert_eq!(upstream.offered(ms(10_000)), 0);
    assert_eq!(upstream.offered(ms(30_000)), 4);
    assert_eq!(upstream.offered(MINUTE * 3), 14);
    // Two windows meet the second span of demand.
    assert_eq!(upstream.offered(MINUTE * 6), 34);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_offered_is_what_somebody_tireless_gets(
        kind in prop::sample::select(vec![
            RuleKind::Clock, RuleKind::FirstCall, RuleKind::Rolling, RuleKind::Bucket, RuleKind::Gcra, RuleKind::Weighted,
            RuleKind::WeightedEnds, RuleKind::Parts(5),
        ]),
        share in 1_u64..6, phase in 1_u64..1000, demand in prop::option::of((0_u64..2000, 500_u64..2000)), looks in prop::collection::vec(1_u64..900, 1..8),
    ) {
        let mut plan = plan(vec![rule(kind, share * 5, ms(1000), ms(phase), Style::Silent)]);
        plan.demand = demand.iter().map(|(from, lasts)| (ms(*from), ms(from + lasts))).collect();
        let mut upstream = Upstream::new(&plan, 1);
        // Brute force: one call after the other, every millisecond.
        let mut model = Rule::new(&plan.rules[0]).model;
        let (mut now, mut taken) = (0, 0);
        for look in looks {
            for at in now..now + look {
                let wanted = demand.is_none_or(|(from, lasts)| (from..from + lasts).contains(&at));
                while wanted && model.fits(ms(at), 1) {
                    model.charge(ms(at), 1);
                    taken += 1;
                }
            }
            now += look;
            let offered = upstream.offered(ms(now));
            // Where units come back between milliseconds, the tireless one is up to one call ahead.
            let exact = !matches!(kind, RuleKind::Bucket | RuleKind::Gcra | RuleKind::Weighted | RuleKind::WeightedEnds);
            prop_assert!(if exact { offered == taken } else { taken <= offered && offered <= taken + 1 }, "{} {}", offered, taken);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_answers(seed in any::<u64>(), gaps in prop::collection::vec(0_u64..3000, 1..60)) {
        let mut plan = plan(vec![rule(RuleKind::Clock, 10, MINUTE / 6, ms(3000), Style::Structured)]);
        plan.foreign = Foreign::Poisson(300);
        plan.noise = Noise { missing: 100, garbled: 100, past: 100, contradictory: 100, undated: 100, ..Noise::default() };
        plan.secondary = vec![Secondary { from: ms(0), to: MINUTE, share: 100, says_when: false }];
        let mut played = [Vec::new(), Vec::new()];
        for (run, played) in played.iter_mut().enumerate() {
            let mut upstream = Upstream::new(&plan, seed);
            let mut now = 0;
            for gap in &gaps {
                now += gap;
                // Whether it is told to happen, or catches up: the same.
                if run == 0 {
                    upstream.happen(ms(now));
                }
                played.push(call(&mut upstream, ms(now)));
            }
        }
        prop_assert_eq!(&played[0], &played[1]);
        // What was accepted fitted: with the others never more than there is in a window.
        let mut windows = std::collections::BTreeMap::new();
        let mut now = 0;
        for (gap, answer) in gaps.iter().zip(&played[0]) {
            now += gap;
            if answer.accepted {
                *windows.entry((now + 7000) / 10_000).or_insert(0) += 1;
            }
        }
        prop_assert!(windows.values().all(|used| *used <= 10));
    }
}
