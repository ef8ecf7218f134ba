//! A budget as it stands, for the wire.

use bursar_quota::{BudgetSnapshot, LimitSnapshot};
use bursar_wire::v1;

/// The whole status.
pub(crate) fn status(snapshot: BudgetSnapshot) -> v1::BudgetStatus {
    v1::BudgetStatus {
        limits: snapshot.limits.into_iter().map(limit).collect(),
        pauses: snapshot
            .pauses
            .into_iter()
            .map(|pause| v1::PauseStatus { scope: pause.scope, for_ms: pause.for_ms, phase: pause.phase })
            .collect(),
        usage: snapshot
            .usage
            .into_iter()
            .map(|usage| v1::Usage {
                dimension: usage.dimension,
                name: usage.name,
                unit: usage.unit.as_str().into(),
                cost: usage.cost,
            })
            .collect(),
        granted: snapshot.granted,
        settled: snapshot.settled,
        refused_upstream: snapshot.refused_upstream,
        waiting: snapshot.waiting.into_iter().collect(),
    }
}

fn limit(limit: LimitSnapshot) -> v1::LimitStatus {
    v1::LimitStatus {
        name: limit.limit.as_str().into(),
        capacity: limit.capacity,
        available: limit.available,
        out: limit.out,
        paid: limit.paid,
        rung: limit.rung,
        window_end_earliest_ms: limit.window_end_ms.map(|(earliest, _)| earliest),
        window_end_latest_ms: limit.window_end_ms.map(|(_, latest)| latest),
        known: limit.known,
        foreign: limit.foreign,
    }
}
