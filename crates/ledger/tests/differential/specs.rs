//! Random declarations: every kind of limit, with classes, units, reservations and caps.

use std::time::Duration;

use bursar_quota::{
    Backoff, BudgetName, BudgetSpec, Cap, ClassName, CountedAt, LimitKind, LimitName, LimitSpec, Party,
    Reservation, TenantName, Tier, UnitName,
};
use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};

pub(crate) const CLASSES: [&str; 3] = ["default", "read", "write"];
pub(crate) const UNITS: [&str; 2] = ["requests", "tokens"];
pub(crate) const TENANTS: [&str; 4] = ["default", "a", "b", "c"];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn kind(random: &mut SmallRng) -> LimitKind {
    let capacity = *[1, 2, 5, 10, 40, 100, 600, 1_000_000].choose(random).unwrap();
    let window = ms(*[10, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000].choose(random).unwrap());
    match random.random_range(0..10) {
        0..=4 => {
            let aligned = random.random_bool(0.6);
            LimitKind::Window { capacity, window, aligned, on_clock: aligned && random.random_bool(0.3) }
        }
        5 | 6 => {
            let refill_per_second = *[0.01, 0.1, 1.0 / 3.0, 1.0, 7.5, 1000.0].choose(random).unwrap();
            LimitKind::Bucket { capacity, refill_per_second }
        }
        7 | 8 => LimitKind::Concurrency { capacity, linger: ms(*[0, 1, 250, 5000].choose(random).unwrap()) },
        _ => {
            let start_per_second = *[0.5, 1.0, 3.3, 20.0].choose(random).unwrap();
            LimitKind::Adaptive { start_per_second, min_per_second: 0.1, max_per_second: 50.0 }
        }
    }
}

fn limit(random: &mut SmallRng, name: &str) -> LimitSpec {
    let kind = kind(random);
    let capacity = kind.capacity();
    let counted = matches!(kind, LimitKind::Window { .. } | LimitKind::Bucket { .. });
    let shared = !matches!(kind, LimitKind::Adaptive { .. });
    let mut limit = LimitSpec::new(LimitName::new(name).unwrap(), kind);
    limit.unit = UnitName::new(UNITS[usize::from(random.random_bool(0.25))]).unwrap();
    if random.random_bool(0.3) {
        limit.classes.push(ClassName::new(CLASSES.choose(random).unwrap()).unwrap());
    }
    limit.default_cost = random.random_range(1..=capacity.min(3));
    limit.readings = counted && random.random_bool(0.6);
    if random.random_bool(0.2) {
        limit.counted_at = CountedAt::Completion;
    }
    let tenant = |random: &mut SmallRng| TenantName::new(TENANTS.choose(random).unwrap()).unwrap();
    if shared && capacity >= 4 && random.random_bool(0.3) {
        let amount = random.random_range(1..=capacity / 4);
        let party = match random.random_bool(0.5) {
            true => Party::Tier(*Tier::ALL.choose(random).unwrap()),
            false => Party::Tenant(tenant(random)),
        };
        limit.reservations.push(Reservation { party, amount });
    }
    if shared && random.random_bool(0.3) {
        let tenant = random.random_bool(0.5).then(|| tenant(random));
        limit.caps.push(Cap { tenant, amount: random.random_range(1..=capacity) });
    }
    limit
}

/// A declaration that is valid.
pub(crate) fn spec(random: &mut SmallRng, name: &BudgetName) -> BudgetSpec {
    let names = ["one", "two", "three", "four", "five"];
    let mut limits: Vec<_> =
        names[..random.random_range(1..=5)].iter().map(|name| limit(random, name)).collect();
    // One that applies to every class, so that every call can be made.
    limits[0].classes.clear();
    let mut spec = BudgetSpec::new(name.clone(), limits);
    spec.send_within = ms(*[1, 20, 5000, 60_000].choose(random).unwrap());
    spec.permit_ttl = spec.send_within + ms(random.random_range(0..60_000));
    spec.max_permit_ttl = spec.permit_ttl + ms(random.random_range(0..600_000));
    spec.ramp = ms(*[0, 1, 1000, 10_000].choose(random).unwrap());
    spec.backoff =
        Backoff { base: ms(*[1, 1000].choose(random).unwrap()), max: ms(random.random_range(1000..90_000)) };
    spec.alert_at = *[0.1, 0.5, 0.8, 1.0].choose(random).unwrap();
    assert_eq!(spec.validate(), Ok(()));
    spec
}

/// The same with one thing changed, as an operator would.
pub(crate) fn changed(random: &mut SmallRng, spec: &BudgetSpec) -> BudgetSpec {
    let mut other = spec.clone();
    match random.random_range(0..4) {
        0 => return self::spec(random, &spec.name),
        1 => other.ramp = ms(random.random_range(0..5000)),
        2 => {
            let index = random.random_range(0..other.limits.len());
            let name = other.limits[index].name.clone();
            let classes = other.limits[index].classes.clone();
            other.limits[index] = LimitSpec { classes, ..limit(random, name.as_str()) };
        }
        _ => {}
    }
    other
}
