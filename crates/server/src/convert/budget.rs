//! Declarations that come in.

use std::time::Duration;

use bursar_dialect::Profiles;
use bursar_quota::{
    Backoff, BudgetName, BudgetSpec, Cap, ClassName, CountedAt, LimitKind, LimitSpec, OnStoreLoss, Party,
    ProfileName, Ration, Reservation, SpecError, UnitName,
};
use bursar_wire::v1;

use super::{
    declared::{DEFAULT_CLASS, GENERIC},
    tier,
};
use crate::invalid::{Invalid, demand, name, optional_name};

/// Checks a declaration. What is left out has its default: where no limits are given, those of the profile, with its
/// default class and habits. Field paths are relative to the budget.
pub(crate) fn spec(wire: v1::Budget, profiles: &Profiles) -> Result<BudgetSpec, Invalid> {
    let budget: BudgetName = name("name", &wire.name)?;
    let profile: Option<ProfileName> = optional_name("profile", &wire.profile)?;
    let base = base(budget, profile, wire.limits.is_empty(), profiles)?;
    let class: Option<ClassName> = optional_name("default_class", &wire.default_class)?;
    // Naming the default is naming none: a declaration that was read is the same when it is put again.
    let default_class = class.or(base.default_class).filter(|class| class.as_str() != DEFAULT_CLASS);
    let limits = if wire.limits.is_empty() {
        base.limits
    } else {
        let numbered = wire.limits.into_iter().enumerate();
        let limits = numbered.map(|(i, l)| limit(l).map_err(|e| e.under(format_args!("limits[{i}]"))));
        limits.collect::<Result<_, _>>()?
    };
    let spec = BudgetSpec {
        name: base.name,
        profile: base.profile,
        default_class,
        limits,
        send_within: or(wire.send_within_ms, base.send_within),
        permit_ttl: or(wire.permit_ttl_ms, base.permit_ttl),
        max_permit_ttl: or(wire.max_permit_ttl_ms, base.max_permit_ttl),
        backoff: Backoff {
            base: or(wire.backoff_base_ms, base.backoff.base),
            max: or(wire.backoff_max_ms, base.backoff.max),
        },
        ramp: wire.ramp_ms.map_or(base.ramp, Duration::from_millis),
        weights: wire.weights.map_or(base.weights, |w| [w.interactive, w.standard, w.batch]),
        max_waiting: wire.max_waiting.unwrap_or(base.max_waiting),
        alert_at: if wire.alert_at == 0.0 { base.alert_at } else { wire.alert_at },
        on_store_loss: on_store_loss(wire.on_store_loss)?,
        ration: wire.ration.map(ration),
    };
    spec.validate().map_err(|error| in_wire_terms(&spec, error))?;
    Ok(spec)
}

/// What fills in what the declaration leaves out.
fn base(
    budget: BudgetName,
    profile: Option<ProfileName>,
    of_profile: bool,
    profiles: &Profiles,
) -> Result<BudgetSpec, Invalid> {
    let Some(profile) = profile.filter(|profile| profile.as_str() != GENERIC) else {
        return Ok(BudgetSpec::new(budget, Vec::new()));
    };
    let unknown = || {
        let known: Vec<_> = profiles.names().map(|name| name.as_str()).take(32).collect();
        Invalid::new("profile", format!("no profile is named {profile}; known are {}", known.join(", ")))
    };
    let found = profiles.get(&profile).ok_or_else(unknown)?;
    let base = if of_profile { found.budget(budget) } else { BudgetSpec::new(budget, Vec::new()) };
    Ok(BudgetSpec { profile: Some(profile), ..base })
}

fn on_store_loss(number: i32) -> Result<OnStoreLoss, Invalid> {
    match v1::OnStoreLoss::try_from(number) {
        Ok(v1::OnStoreLoss::Unspecified | v1::OnStoreLoss::Refuse) => Ok(OnStoreLoss::Refuse),
        Ok(v1::OnStoreLoss::Ration) => Ok(OnStoreLoss::Ration),
        Err(_) => Err(Invalid::new("on_store_loss", format!("{number} is not refuse (1) or ration (2)"))),
    }
}

fn ration(wire: v1::Ration) -> Ration {
    let v1::Ration { fraction, replicas, span_ms } = wire;
    Ration { fraction, replicas, span: Duration::from_millis(span_ms) }
}

/// Milliseconds, or the default where there are none.
fn or(ms: u64, default: Duration) -> Duration {
    if ms == 0 { default } else { Duration::from_millis(ms) }
}

fn limit(wire: v1::Limit) -> Result<LimitSpec, Invalid> {
    let limit_name = name("name", &wire.name)?;
    let kind = kind(wire.kind.ok_or_else(|| {
        Invalid::new("kind", "exactly one of window, bucket, concurrency and adaptive is needed")
    })?);
    let unit: Option<UnitName> = optional_name("unit", &wire.unit)?;
    demand(wire.classes.len() <= 64, "classes", || "at most 64 classes".into())?;
    let classes = wire.classes.iter().enumerate();
    let classes =
        classes.map(|(i, class)| name(&format!("classes[{i}]"), class)).collect::<Result<_, _>>()?;
    Ok(LimitSpec {
        unit: unit.unwrap_or_else(UnitName::requests),
        classes,
        default_cost: if wire.default_cost == 0 { 1 } else { wire.default_cost },
        counted_at: if wire.counted_at_completion { CountedAt::Completion } else { CountedAt::Start },
        readings: wire.readings,
        reservations: shares("reservations", wire.reservations, reservation)?,
        caps: shares("caps", wire.caps, cap)?,
        ..LimitSpec::new(limit_name, kind)
    })
}

fn kind(kind: v1::limit::Kind) -> LimitKind {
    use v1::limit::Kind;
    let rate = |rate: f64, default: f64| if rate == 0.0 { default } else { rate };
    match kind {
        Kind::Window(v1::WindowLimit { capacity, window_ms, aligned, on_clock }) => {
            LimitKind::Window { capacity, window: Duration::from_millis(window_ms), aligned, on_clock }
        }
        Kind::Bucket(v1::BucketLimit { capacity, refill_per_second }) => {
            LimitKind::Bucket { capacity, refill_per_second }
        }
        Kind::Concurrency(v1::ConcurrencyLimit { capacity, linger_ms }) => {
            LimitKind::Concurrency { capacity, linger: Duration::from_millis(linger_ms) }
        }
        Kind::Adaptive(wire) => LimitKind::Adaptive {
            start_per_second: rate(wire.start_per_second, 1.0),
            min_per_second: rate(wire.min_per_second, 0.1),
            max_per_second: rate(wire.max_per_second, 1000.0),
        },
    }
}

/// Reservations or caps, each with its place in the path.
fn shares<W, S>(field: &str, wire: Vec<W>, one: impl Fn(W) -> Result<S, Invalid>) -> Result<Vec<S>, Invalid> {
    let most = bursar_quota::MAX_SHARES;
    demand(wire.len() <= most, field, || format!("{} are too many, at most {most}", wire.len()))?;
    let numbered = wire.into_iter().enumerate();
    numbered.map(|(i, share)| one(share).map_err(|e| e.under(format_args!("{field}[{i}]")))).collect()
}

fn reservation(wire: v1::Reservation) -> Result<Reservation, Invalid> {
    let party = match wire.party {
        Some(v1::reservation::Party::Tier(number)) => Party::Tier(tier("tier", number)?),
        Some(v1::reservation::Party::Tenant(tenant)) => Party::Tenant(name("tenant", &tenant)?),
        None => return Err(Invalid::new("party", "exactly one of tier and tenant is needed")),
    };
    Ok(Reservation { party, amount: wire.amount })
}

fn cap(wire: v1::Cap) -> Result<Cap, Invalid> {
    Ok(Cap { tenant: optional_name("tenant", &wire.tenant)?, amount: wire.amount })
}

/// A specification's error with the field as the wire spells it.
pub(crate) fn in_wire_terms(spec: &BudgetSpec, error: SpecError) -> Invalid {
    let SpecError { field, problem } = error;
    let field = match field.as_str() {
        "send_within" | "permit_ttl" | "max_permit_ttl" | "ramp" | "ration.span" => format!("{field}_ms"),
        "backoff.base" => "backoff_base_ms".into(),
        "backoff.max" => "backoff_max_ms".into(),
        _ => limit_path(spec, &field).unwrap_or(field),
    };
    Invalid { field, problem }
}

/// `limits[1].window` as `limits[1].window.window_ms`: on the wire a kind is a message of its own.
fn limit_path(spec: &BudgetSpec, field: &str) -> Option<String> {
    let (place, key) = field.strip_prefix("limits[")?.split_once("].")?;
    let kind = spec.limits.get(place.parse::<usize>().ok()?)?.kind.as_str();
    let key = match key {
        "window" => "window.window_ms".into(),
        "linger" => "concurrency.linger_ms".into(),
        "capacity" | "on_clock" | "refill_per_second" | "start_per_second" | "min_per_second"
        | "max_per_second" => format!("{kind}.{key}"),
        _ => return None,
    };
    Some(format!("limits[{place}].{key}"))
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
