//! What a server says of budgets, from the wire. It is checked as little as the types demand: the server has checked it.

use std::{str::FromStr, time::Duration};

use bursar_quota::{
    Backoff, BudgetSnapshot, BudgetSpec, Cap, CountedAt, EventKind, LedgerEvent, LimitKind, LimitSnapshot,
    LimitSpec, OnStoreLoss, Party, PauseSnapshot, Ration, Reservation, Stored, Tier, Usage,
};
use bursar_wire::v1;

use super::Watched;
use crate::error::CallError;

/// How the wire spells the profile of a budget that names none, and the class of a call that names none.
const UNNAMED: [&str; 2] = ["generic", "default"];

fn wrong(message: String) -> CallError {
    CallError::Protocol { message, retry_after: None }
}

/// A name.
pub(super) fn name<N: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<N, CallError> {
    text.parse().map_err(|error| wrong(format!("{error}")))
}

fn optional_name<N: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Option<N>, CallError> {
    if text.is_empty() || UNNAMED.contains(&text) { Ok(None) } else { name(text).map(Some) }
}

/// A budget and how it stands.
pub(super) fn stored(answer: v1::GetBudgetResponse) -> Result<Stored, CallError> {
    Ok(Stored {
        spec: spec(answer.budget.unwrap_or_default())?,
        version: answer.version,
        snapshot: snapshot(answer.status.unwrap_or_default())?,
    })
}

/// A declaration, every default filled in.
pub(super) fn spec(budget: v1::Budget) -> Result<BudgetSpec, CallError> {
    let limits = budget.limits.into_iter().map(limit).collect::<Result<_, _>>()?;
    let defaults = BudgetSpec::new(name(&budget.name)?, limits);
    let ms = Duration::from_millis;
    Ok(BudgetSpec {
        profile: optional_name(&budget.profile)?,
        default_class: optional_name(&budget.default_class)?,
        send_within: ms(budget.send_within_ms),
        permit_ttl: ms(budget.permit_ttl_ms),
        max_permit_ttl: ms(budget.max_permit_ttl_ms),
        backoff: Backoff { base: ms(budget.backoff_base_ms), max: ms(budget.backoff_max_ms) },
        ramp: budget.ramp_ms.map_or(defaults.ramp, ms),
        weights: budget.weights.map_or(defaults.weights, |w| [w.interactive, w.standard, w.batch]),
        max_waiting: budget.max_waiting.unwrap_or(defaults.max_waiting),
        alert_at: budget.alert_at,
        on_store_loss: match v1::OnStoreLoss::try_from(budget.on_store_loss) {
            Ok(v1::OnStoreLoss::Ration) => OnStoreLoss::Ration,
            _ => OnStoreLoss::Refuse,
        },
        ration: budget.ration.map(|wire| Ration {
            fraction: wire.fraction,
            replicas: wire.replicas,
            span: ms(wire.span_ms),
        }),
        ..defaults
    })
}

fn limit(limit: v1::Limit) -> Result<LimitSpec, CallError> {
    use v1::limit::Kind;
    let ms = Duration::from_millis;
    let kind = match limit.kind {
        Some(Kind::Window(v1::WindowLimit { capacity, window_ms, aligned, on_clock })) => {
            LimitKind::Window { capacity, window: ms(window_ms), aligned, on_clock }
        }
        Some(Kind::Bucket(v1::BucketLimit { capacity, refill_per_second })) => {
            LimitKind::Bucket { capacity, refill_per_second }
        }
        Some(Kind::Concurrency(v1::ConcurrencyLimit { capacity, linger_ms })) => {
            LimitKind::Concurrency { capacity, linger: ms(linger_ms) }
        }
        Some(Kind::Adaptive(v1::AdaptiveLimit { start_per_second, min_per_second, max_per_second })) => {
            LimitKind::Adaptive { start_per_second, min_per_second, max_per_second }
        }
        None => {
            return Err(wrong(format!("limit {} is of a kind that this client does not know", limit.name)));
        }
    };
    let classes = limit.classes.iter().map(|class| name(class)).collect::<Result<_, _>>()?;
    let reservations = limit.reservations.into_iter().map(reservation).collect::<Result<_, _>>()?;
    let caps = limit.caps.iter().map(|cap| {
        let tenant = (!cap.tenant.is_empty()).then(|| name(&cap.tenant)).transpose()?;
        Ok(Cap { tenant, amount: cap.amount })
    });
    Ok(LimitSpec {
        unit: name(&limit.unit)?,
        classes,
        default_cost: limit.default_cost,
        counted_at: if limit.counted_at_completion { CountedAt::Completion } else { CountedAt::Start },
        readings: limit.readings,
        reservations,
        caps: caps.collect::<Result<_, CallError>>()?,
        ..LimitSpec::new(name(&limit.name)?, kind)
    })
}

fn reservation(kept: v1::Reservation) -> Result<Reservation, CallError> {
    let party = match kept.party {
        Some(v1::reservation::Party::Tenant(tenant)) => Party::Tenant(name(&tenant)?),
        Some(v1::reservation::Party::Tier(number)) => Party::Tier(match v1::Tier::try_from(number) {
            Ok(v1::Tier::Interactive) => Tier::Interactive,
            Ok(v1::Tier::Standard | v1::Tier::Unspecified) => Tier::Standard,
            Ok(v1::Tier::Batch) => Tier::Batch,
            Err(_) => return Err(wrong(format!("{number} is no tier"))),
        }),
        None => return Err(wrong("a reservation is for nobody".into())),
    };
    Ok(Reservation { party, amount: kept.amount })
}

pub(super) fn snapshot(status: v1::BudgetStatus) -> Result<BudgetSnapshot, CallError> {
    let limits = status.limits.into_iter().map(|limit| {
        Ok(LimitSnapshot {
            limit: name(&limit.name)?,
            capacity: limit.capacity,
            available: limit.available,
            out: limit.out,
            paid: limit.paid,
            rung: limit.rung,
            window_end_ms: limit.window_end_earliest_ms.zip(limit.window_end_latest_ms),
            known: limit.known,
            foreign: limit.foreign,
            recovering_ms: limit.recovering_ms,
            foreign_per_window: limit.foreign_per_window,
            reserved: limit.reserved,
        })
    });
    let usage = status.usage.into_iter().map(|used| {
        Ok(Usage { dimension: used.dimension, name: used.name, unit: name(&used.unit)?, cost: used.cost })
    });
    Ok(BudgetSnapshot {
        limits: limits.collect::<Result<_, CallError>>()?,
        pauses: status
            .pauses
            .into_iter()
            .map(|pause| PauseSnapshot { scope: pause.scope, for_ms: pause.for_ms, phase: pause.phase })
            .collect(),
        usage: usage.collect::<Result<_, CallError>>()?,
        granted: status.granted,
        settled: status.settled,
        refused_upstream: status.refused_upstream,
        waiting: status.waiting.into_iter().collect(),
    })
}

/// One change; `None` for a kind that this client does not know.
pub(super) fn watched(change: v1::WatchResponse) -> Result<Option<Watched>, CallError> {
    use v1::watch_response::Event;
    let kind = match change.event {
        None => return Ok(None),
        Some(Event::Missed(v1::Missed { count })) => return Ok(Some(Watched::Missed(count))),
        Some(Event::Paused(v1::Paused { scope, for_ms })) => EventKind::Paused { scope, for_ms },
        Some(Event::Resumed(v1::Resumed { scope })) => EventKind::Resumed { scope },
        Some(Event::LimitChanged(v1::LimitChanged { limit, from, to })) => {
            EventKind::LimitChanged { limit: name(&limit)?, from, to }
        }
        Some(Event::ThresholdCrossed(v1::ThresholdCrossed { limit, used, capacity })) => {
            EventKind::ThresholdCrossed { limit: name(&limit)?, used, capacity }
        }
        Some(Event::ForeignUse(v1::ForeignUse { limit, cost })) => {
            EventKind::ForeignUse { limit: name(&limit)?, cost }
        }
        Some(Event::RungChanged(v1::RungChanged { limit, from, to })) => {
            EventKind::RungChanged { limit: name(&limit)?, from, to }
        }
        Some(Event::SpecChanged(v1::SpecChanged { version })) => EventKind::SpecChanged { version },
        Some(Event::Deleted(v1::Deleted {})) => EventKind::Deleted,
        Some(Event::StateLost(v1::StateLost {})) => EventKind::StateLost,
        Some(Event::RationBegan(v1::RationBegan { replica, for_ms })) => {
            EventKind::RationBegan { replica: name(&replica)?, for_ms }
        }
        Some(Event::RationEnded(v1::RationEnded { replica, granted, store_back })) => {
            EventKind::RationEnded { replica: name(&replica)?, granted, store_back }
        }
    };
    Ok(Some(Watched::Change(LedgerEvent { budget: name(&change.budget)?, kind })))
}
