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
        recovering_ms: limit.recovering_ms,
        foreign_per_window: limit.foreign_per_window,
        reserved: limit.reserved,
    }
}

#[cfg(test)]
mod tests {
    use bursar_quota::LimitName;

    use super::*;

    #[test]
    fn a_limit_is_told_whole() {
        let told = limit(LimitSnapshot {
            limit: LimitName::new("w").unwrap(),
            capacity: 1,
            available: -2,
            out: 3,
            paid: 4,
            rung: "paced".into(),
            window_end_ms: Some((5, 6)),
            known: true,
            foreign: 7,
            recovering_ms: Some(8),
            foreign_per_window: 9,
            reserved: 10,
        });
        let expected = v1::LimitStatus {
            name: "w".into(),
            capacity: 1,
            available: -2,
            out: 3,
            paid: 4,
            rung: "paced".into(),
            window_end_earliest_ms: Some(5),
            window_end_latest_ms: Some(6),
            known: true,
            foreign: 7,
            recovering_ms: Some(8),
            foreign_per_window: 9,
            reserved: 10,
        };
        assert_eq!(told, expected);
    }
}
