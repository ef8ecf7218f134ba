//! A budget as declared, for the wire: every default filled in.

use bursar_quota::{BudgetSpec, CountedAt, LimitKind, LimitSpec, OnStoreLoss, Party, Ration};
use bursar_wire::v1;

use super::{tier_number, to_millis};

/// The profile of a budget that names none, as the wire spells it.
pub(crate) const GENERIC: &str = "generic";

/// The class of a call that names none, as the wire spells it.
pub(crate) const DEFAULT_CLASS: &str = "default";

/// The whole declaration.
pub(crate) fn budget(spec: &BudgetSpec) -> v1::Budget {
    let [interactive, standard, batch] = spec.weights;
    v1::Budget {
        name: spec.name.as_str().into(),
        profile: spec.profile.as_ref().map_or(GENERIC, |profile| profile.as_str()).into(),
        default_class: spec.default_class.as_ref().map_or(DEFAULT_CLASS, |class| class.as_str()).into(),
        limits: spec.limits.iter().map(limit).collect(),
        send_within_ms: to_millis(spec.send_within),
        permit_ttl_ms: to_millis(spec.permit_ttl),
        max_permit_ttl_ms: to_millis(spec.max_permit_ttl),
        backoff_base_ms: to_millis(spec.backoff.base),
        backoff_max_ms: to_millis(spec.backoff.max),
        ramp_ms: Some(to_millis(spec.ramp)),
        weights: Some(v1::TierWeights { interactive, standard, batch }),
        max_waiting: Some(spec.max_waiting),
        alert_at: spec.alert_at,
        on_store_loss: on_store_loss(spec.on_store_loss).into(),
        ration: spec.ration.as_ref().map(ration),
    }
}

fn on_store_loss(declared: OnStoreLoss) -> v1::OnStoreLoss {
    match declared {
        OnStoreLoss::Refuse => v1::OnStoreLoss::Refuse,
        OnStoreLoss::Ration => v1::OnStoreLoss::Ration,
    }
}

fn ration(ration: &Ration) -> v1::Ration {
    v1::Ration { fraction: ration.fraction, replicas: ration.replicas, span_ms: to_millis(ration.span) }
}

fn limit(spec: &LimitSpec) -> v1::Limit {
    v1::Limit {
        name: spec.name.as_str().into(),
        kind: Some(kind(&spec.kind)),
        unit: spec.unit.as_str().into(),
        classes: spec.classes.iter().map(|class| class.as_str().into()).collect(),
        default_cost: spec.default_cost,
        counted_at_completion: spec.counted_at == CountedAt::Completion,
        readings: spec.readings,
        reservations: spec
            .reservations
            .iter()
            .map(|r| v1::Reservation { party: Some(party(&r.party)), amount: r.amount })
            .collect(),
        caps: spec
            .caps
            .iter()
            .map(|cap| v1::Cap {
                tenant: cap.tenant.as_ref().map(|tenant| tenant.as_str().into()).unwrap_or_default(),
                amount: cap.amount,
            })
            .collect(),
    }
}

fn kind(kind: &LimitKind) -> v1::limit::Kind {
    use v1::limit::Kind;
    match *kind {
        LimitKind::Window { capacity, window, aligned, on_clock } => {
            Kind::Window(v1::WindowLimit { capacity, window_ms: to_millis(window), aligned, on_clock })
        }
        LimitKind::Bucket { capacity, refill_per_second } => {
            Kind::Bucket(v1::BucketLimit { capacity, refill_per_second })
        }
        LimitKind::Concurrency { capacity, linger } => {
            Kind::Concurrency(v1::ConcurrencyLimit { capacity, linger_ms: to_millis(linger) })
        }
        LimitKind::Adaptive { start_per_second, min_per_second, max_per_second } => {
            Kind::Adaptive(v1::AdaptiveLimit { start_per_second, min_per_second, max_per_second })
        }
    }
}

fn party(party: &Party) -> v1::reservation::Party {
    match party {
        Party::Tier(tier) => v1::reservation::Party::Tier(tier_number(*tier)),
        Party::Tenant(tenant) => v1::reservation::Party::Tenant(tenant.as_str().into()),
    }
}
