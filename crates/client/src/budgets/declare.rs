//! Declarations for the wire.

use bursar_quota::{BudgetSpec, CountedAt, LimitKind, LimitSpec, OnStoreLoss, Party, Tier};
use bursar_wire::v1;

use crate::options::millis;

/// The whole declaration.
pub(super) fn budget(spec: &BudgetSpec) -> v1::Budget {
    let [interactive, standard, batch] = spec.weights;
    v1::Budget {
        name: spec.name.as_str().into(),
        profile: spec.profile.as_ref().map(|name| name.as_str().into()).unwrap_or_default(),
        default_class: spec.default_class.as_ref().map(|name| name.as_str().into()).unwrap_or_default(),
        limits: spec.limits.iter().map(limit).collect(),
        send_within_ms: millis(spec.send_within),
        permit_ttl_ms: millis(spec.permit_ttl),
        max_permit_ttl_ms: millis(spec.max_permit_ttl),
        backoff_base_ms: millis(spec.backoff.base),
        backoff_max_ms: millis(spec.backoff.max),
        ramp_ms: Some(millis(spec.ramp)),
        weights: Some(v1::TierWeights { interactive, standard, batch }),
        max_waiting: Some(spec.max_waiting),
        alert_at: spec.alert_at,
        on_store_loss: match spec.on_store_loss {
            OnStoreLoss::Refuse => v1::OnStoreLoss::Refuse,
            OnStoreLoss::Ration => v1::OnStoreLoss::Ration,
        }
        .into(),
        ration: spec.ration.as_ref().map(|ration| v1::Ration {
            fraction: ration.fraction,
            replicas: ration.replicas,
            span_ms: millis(ration.span),
        }),
    }
}

fn limit(spec: &LimitSpec) -> v1::Limit {
    let reservations = spec.reservations.iter();
    let caps = spec.caps.iter();
    v1::Limit {
        name: spec.name.as_str().into(),
        kind: Some(kind(&spec.kind)),
        unit: spec.unit.as_str().into(),
        classes: spec.classes.iter().map(|class| class.as_str().into()).collect(),
        default_cost: spec.default_cost,
        counted_at_completion: spec.counted_at == CountedAt::Completion,
        readings: spec.readings,
        reservations: reservations
            .map(|kept| v1::Reservation { party: Some(party(&kept.party)), amount: kept.amount })
            .collect(),
        caps: caps
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
            Kind::Window(v1::WindowLimit { capacity, window_ms: millis(window), aligned, on_clock })
        }
        LimitKind::Bucket { capacity, refill_per_second } => {
            Kind::Bucket(v1::BucketLimit { capacity, refill_per_second })
        }
        LimitKind::Concurrency { capacity, linger } => {
            Kind::Concurrency(v1::ConcurrencyLimit { capacity, linger_ms: millis(linger) })
        }
        LimitKind::Adaptive { start_per_second, min_per_second, max_per_second } => {
            Kind::Adaptive(v1::AdaptiveLimit { start_per_second, min_per_second, max_per_second })
        }
    }
}

fn party(party: &Party) -> v1::reservation::Party {
    match party {
        Party::Tenant(tenant) => v1::reservation::Party::Tenant(tenant.as_str().into()),
        Party::Tier(tier) => v1::reservation::Party::Tier(
            match tier {
                Tier::Interactive => v1::Tier::Interactive,
                Tier::Standard => v1::Tier::Standard,
                Tier::Batch => v1::Tier::Batch,
            }
            .into(),
        ),
    }
}
