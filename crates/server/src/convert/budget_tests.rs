//! Declarations: round trips, defaults, and each bound with its path.

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::convert::declared;
use bursar_quota::{MAX_CAPACITY, TenantName, Tier};

fn profiles() -> Profiles {
    Profiles::builtin()
}

fn any_name<N: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = N> {
    "[a-z0-9._/-]{1,12}".prop_map(|text| text.parse().unwrap())
}

fn ms(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn any_kind() -> impl Strategy<Value = LimitKind> {
    let capacity = || 1..=MAX_CAPACITY;
    prop_oneof![
        (capacity(), ms(10..=2_678_400_000), any::<bool>(), any::<bool>()).prop_map(
            |(capacity, window, a, b)| {
                LimitKind::Window { capacity, window, aligned: a, on_clock: a && b }
            }
        ),
        (capacity(), 1e-6..1e12)
            .prop_map(|(capacity, refill_per_second)| LimitKind::Bucket { capacity, refill_per_second }),
        (capacity(), ms(0..=3_600_000))
            .prop_map(|(capacity, linger)| LimitKind::Concurrency { capacity, linger }),
        [1e-6..1e12, 1e-6..1e12, 1e-6..1e12].prop_map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            let [min_per_second, start_per_second, max_per_second] = rates;
            LimitKind::Adaptive { start_per_second, min_per_second, max_per_second }
        }),
    ]
}

prop_compose! {
    fn any_shares(capacity: u64)(
        tiers in prop::sample::subsequence(Tier::ALL.to_vec(), 0..=3),
        tenant in option::of(any_name::<TenantName>()),
        capped in option::of(any_name::<TenantName>()),
        cap in 1..=capacity,
        everybody in any::<bool>(),
    ) -> (Vec<Reservation>, Vec<Cap>) {
        let parties: Vec<_> = tiers.into_iter().map(Party::Tier).chain(tenant.map(Party::Tenant)).collect();
        let amount = capacity / 4;
        let reservations =
            parties.into_iter().filter(|_| amount > 0).map(|party| Reservation { party, amount }).collect();
        let caps = everybody.then_some(None).into_iter().chain(capped.map(Some));
        (reservations, caps.map(|tenant| Cap { tenant, amount: cap }).collect())
    }
}

prop_compose! {
    fn any_limit()(kind in any_kind())(
        name in any_name(),
        unit in any_name(),
        classes in vec(any_name(), 0..4),
        default_cost in 1..=kind.capacity(),
        completion in any::<bool>(),
        readings in any::<bool>(),
        (reservations, caps) in any_shares(kind.capacity()),
        kind in Just(kind),
    ) -> LimitSpec {
        let shared = !matches!(kind, LimitKind::Adaptive { .. });
        let readings = readings && matches!(kind, LimitKind::Window { .. } | LimitKind::Bucket { .. });
        LimitSpec {
            unit, classes, default_cost, readings,
            counted_at: if completion { CountedAt::Completion } else { CountedAt::Start },
            reservations: if shared { reservations } else { Vec::new() },
            caps: if shared { caps } else { Vec::new() },
            ..LimitSpec::new(name, kind)
        }
    }
}

prop_compose! {
    fn any_spec()(
        name in any_name(),
        profile in option::of(prop::sample::select(vec!["autotask", "salestim", "ietf"])),
        default_class in option::of(any_name::<ClassName>()),
        limits in vec(any_limit(), 1..5),
        send_within in 1_u64..=600_000,
        (ttl, max_ttl) in (0_u64..=1_000_000, 0_u64..=1_000_000),
        (base, max) in (1_u64..=1_000_000, 0_u64..=1_000_000),
        ramp in ms(0..=600_000),
        weights in [1_u32..=1000, 1_u32..=1000, 1_u32..=1000],
        max_waiting in 0_u32..=1_000_000,
        alert_at in 0.01..=1.0,
        on_store_loss in prop::sample::select(vec![OnStoreLoss::Refuse, OnStoreLoss::Ration]),
        (replicas, span) in (1_u32..=1000, ms(1..=86_400_000)),
    ) -> BudgetSpec {
        let mut limits = limits;
        let limits_are_large = limits.iter().any(|limit| limit.kind.capacity() >= 1000);
        for (index, limit) in limits.iter_mut().enumerate() {
            limit.name = format!("{}{index}", limit.name).parse().unwrap();
        }
        BudgetSpec {
            profile: profile.map(|profile| profile.parse().unwrap()),
            default_class: default_class.filter(|class| class.as_str() != DEFAULT_CLASS),
            send_within: Duration::from_millis(send_within),
            permit_ttl: Duration::from_millis(send_within + ttl),
            max_permit_ttl: Duration::from_millis(send_within + ttl + max_ttl),
            backoff: Backoff { base: Duration::from_millis(base), max: Duration::from_millis(base + max) },
            ramp, weights, max_waiting, alert_at, on_store_loss,
            // One replica at least gets one call of a limit of any capacity, so that each of these is valid.
            ration: Some(Ration { fraction: 1.0, replicas: if limits_are_large { replicas } else { 1 }, span }),
            ..BudgetSpec::new(name, limits)
        }
    }
}

proptest! {
    #[test]
    fn a_declaration_comes_back_as_it_went(declaration in any_spec()) {
        prop_assert_eq!(declaration.validate(), Ok(()));
        let wire = declared::budget(&declaration);
        prop_assert_eq!(spec(wire.clone(), &profiles()), Ok(declaration.clone()));
        prop_assert_eq!(declared::budget(&spec(wire.clone(), &profiles()).unwrap()), wire);
    }
}

fn minimal() -> v1::Budget {
    let window = v1::WindowLimit { capacity: 600, window_ms: 60_000, ..Default::default() };
    let kind = Some(v1::limit::Kind::Window(window));
    let limit = v1::Limit { name: "requests".into(), kind, ..Default::default() };
    v1::Budget { name: "b".into(), limits: vec![limit], ..Default::default() }
}

#[test]
fn every_default_is_filled_in() {
    let filled = declared::budget(&spec(minimal(), &profiles()).unwrap());
    assert_eq!((filled.profile.as_str(), filled.default_class.as_str()), ("generic", "default"));
    assert_eq!(
        (filled.send_within_ms, filled.permit_ttl_ms, filled.max_permit_ttl_ms),
        (5000, 60_000, 600_000)
    );
    assert_eq!((filled.backoff_base_ms, filled.backoff_max_ms, filled.ramp_ms), (1000, 300_000, Some(1000)));
    assert_eq!(filled.weights, Some(v1::TierWeights { interactive: 8, standard: 4, batch: 1 }));
    assert_eq!((filled.max_waiting, filled.alert_at), (Some(10_000), 0.8));
    assert_eq!((filled.limits[0].unit.as_str(), filled.limits[0].default_cost), ("requests", 1));
    // Zero where zero is a value of its own.
    let zero = v1::Budget { ramp_ms: Some(0), max_waiting: Some(0), ..minimal() };
    let zero = spec(zero, &profiles()).unwrap();
    assert_eq!((zero.ramp, zero.max_waiting), (Duration::ZERO, 0));
}

#[test]
fn a_profile_brings_its_limits_where_none_are_given() {
    let wire = v1::Budget { name: "b".into(), profile: "salestim".into(), ..Default::default() };
    let of_profile = spec(wire.clone(), &profiles()).unwrap();
    let expected = profiles().get(&"salestim".parse().unwrap()).unwrap().budget("b".parse().unwrap());
    assert_eq!(of_profile.limits, expected.limits);
    assert_eq!(of_profile.default_class, expected.default_class);
    let own = spec(v1::Budget { limits: minimal().limits, ..wire }, &profiles()).unwrap();
    assert_eq!((own.limits.len(), own.default_class), (1, None));
}

#[test]
fn each_bound_names_its_path() {
    type Change = fn(&mut v1::Budget);
    fn window(b: &mut v1::Budget) -> &mut v1::WindowLimit {
        match &mut b.limits[0].kind {
            Some(v1::limit::Kind::Window(window)) => window,
            _ => unreachable!(),
        }
    }
    fn set(b: &mut v1::Budget, kind: v1::limit::Kind) {
        b.limits[0].kind = Some(kind);
    }
    use v1::limit::Kind;
    let table: [(&str, Change); 41] = [
        ("name", |b| b.name.clear()),
        ("profile", |b| b.profile = "nobody".into()),
        ("profile", |b| b.profile = "No Body".into()),
        ("default_class", |b| b.default_class = "A".into()),
        ("limits", |b| b.limits.clear()),
        ("limits", |b| {
            b.limits = (0..17).map(|i| v1::Limit { name: format!("l{i}"), ..b.limits[0].clone() }).collect()
        }),
        ("send_within_ms", |b| b.send_within_ms = 600_001),
        ("permit_ttl_ms", |b| b.permit_ttl_ms = 4999),
        ("max_permit_ttl_ms", |b| b.max_permit_ttl_ms = 86_400_001),
        ("backoff_base_ms", |b| b.backoff_base_ms = 300_001),
        ("backoff_max_ms", |b| b.backoff_max_ms = u64::MAX),
        ("ramp_ms", |b| b.ramp_ms = Some(600_001)),
        ("weights", |b| b.weights = Some(v1::TierWeights::default())),
        ("max_waiting", |b| b.max_waiting = Some(1_000_001)),
        ("alert_at", |b| b.alert_at = 1.1),
        ("alert_at", |b| b.alert_at = f64::NAN),
        ("on_store_loss", |b| b.on_store_loss = 3),
        ("ration", |b| b.on_store_loss = 2),
        ("ration.fraction", |b| b.ration = Some(v1::Ration { fraction: 1.1, replicas: 1, span_ms: 1 })),
        ("ration.fraction", |b| b.ration = Some(v1::Ration { fraction: f64::NAN, replicas: 1, span_ms: 1 })),
        // Of 600 a thousandth, shared by three: less than one call.
        ("ration.fraction", |b| b.ration = Some(v1::Ration { fraction: 0.001, replicas: 3, span_ms: 1 })),
        ("ration.replicas", |b| b.ration = Some(v1::Ration { fraction: 0.5, replicas: 0, span_ms: 1 })),
        ("ration.span_ms", |b| {
            b.ration = Some(v1::Ration { fraction: 0.5, replicas: 1, span_ms: 86_400_001 })
        }),
        ("limits[0].name", |b| b.limits[0].name.clear()),
        ("limits[1].name", |b| b.limits.push(b.limits[0].clone())),
        ("limits[0].kind", |b| b.limits[0].kind = None),
        ("limits[0].unit", |b| b.limits[0].unit = "Tokens".into()),
        ("limits[0].classes[1]", |b| b.limits[0].classes = vec!["a".into(), "é".into()]),
        ("limits[0].default_cost", |b| b.limits[0].default_cost = 601),
        ("limits[0].window.capacity", |b| window(b).capacity = 0),
        ("limits[0].window.capacity", |b| window(b).capacity = u64::MAX),
        ("limits[0].window.window_ms", |b| window(b).window_ms = 9),
        ("limits[0].window.on_clock", |b| window(b).on_clock = true),
        ("limits[0].bucket.refill_per_second", |b| {
            set(b, Kind::Bucket(v1::BucketLimit { capacity: 1, refill_per_second: f64::INFINITY }));
        }),
        ("limits[0].concurrency.linger_ms", |b| {
            set(b, Kind::Concurrency(v1::ConcurrencyLimit { capacity: 3, linger_ms: 3_600_001 }));
        }),
        ("limits[0].adaptive.start_per_second", |b| {
            set(b, Kind::Adaptive(v1::AdaptiveLimit { start_per_second: 2000.0, ..Default::default() }));
        }),
        ("limits[0].adaptive.min_per_second", |b| {
            set(b, Kind::Adaptive(v1::AdaptiveLimit { min_per_second: -1.0, ..Default::default() }));
        }),
        ("limits[0].reservations[0].party", |b| b.limits[0].reservations.push(v1::Reservation::default())),
        ("limits[0].reservations", |b| {
            let party = Some(v1::reservation::Party::Tier(1));
            b.limits[0].reservations.push(v1::Reservation { party, amount: 601 });
        }),
        ("limits[0].caps[0].tenant", |b| b.limits[0].caps.push(v1::Cap { tenant: "A".into(), amount: 1 })),
        ("limits[0].caps", |b| b.limits[0].caps = vec![v1::Cap::default(); 33]),
    ];
    for (field, change) in table {
        let mut budget = minimal();
        change(&mut budget);
        let found = spec(budget, &profiles()).unwrap_err();
        assert_eq!(found.field, field, "{found}");
        assert!(!found.problem.is_empty());
    }
}
