//! A budget as it stands, for people and for machines.

use std::time::Duration;

use bursar_quota::{BudgetSnapshot, Stored};
use serde_json::{Value, json};

use super::describe_limit;
use crate::output;

/// The budget as one JSON object: `budget` is the declaration in the form of the configuration.
pub(super) fn json(stored: &Stored) -> Value {
    let BudgetSnapshot { limits, pauses, usage, granted, settled, refused_upstream, waiting } =
        &stored.snapshot;
    let limits: Vec<_> = limits
        .iter()
        .map(|limit| {
            json!({
                "name": limit.limit,
                "capacity": limit.capacity,
                "available": limit.available,
                "out": limit.out,
                "paid": limit.paid,
                "rung": limit.rung,
                "known": limit.known,
                "foreign": limit.foreign,
                "foreign_per_window": limit.foreign_per_window,
                "reserved": limit.reserved,
                "recovering_ms": limit.recovering_ms,
                "window_end_earliest_ms": limit.window_end_ms.map(|(earliest, _)| earliest),
                "window_end_latest_ms": limit.window_end_ms.map(|(_, latest)| latest),
            })
        })
        .collect();
    let pauses: Vec<_> = pauses
        .iter()
        .map(|pause| json!({ "scope": pause.scope, "for_ms": pause.for_ms, "phase": pause.phase }))
        .collect();
    let usage: Vec<_> = usage
        .iter()
        .map(|use_of| {
            json!({
                "dimension": use_of.dimension,
                "name": use_of.name,
                "unit": use_of.unit,
                "cost": use_of.cost,
            })
        })
        .collect();
    let waiting: serde_json::Map<_, _> =
        waiting.iter().map(|(replica, count)| (replica.clone(), json!(count))).collect();
    json!({
        "budget": stored.spec,
        "version": stored.version,
        "status": {
            "limits": limits,
            "pauses": pauses,
            "usage": usage,
            "granted": granted,
            "settled": settled,
            "refused_upstream": refused_upstream,
            "waiting": waiting,
        },
    })
}

/// The budget as tables.
pub(super) fn text(stored: &Stored) -> String {
    let BudgetSnapshot { limits, pauses, usage, granted, settled, refused_upstream, waiting } =
        &stored.snapshot;
    let profile = stored.spec.profile.as_ref().map_or("generic", |name| name.as_str());
    let waiting: u64 = waiting.iter().map(|(_, count)| count).sum();
    let mut parts = vec![format!(
        "{}  (profile {profile}, version {})\n{granted} granted, {settled} settled, {refused_upstream} refused by the \
         upstream, {waiting} waiting",
        stored.spec.name, stored.version,
    )];

    if let Some(ration) = stored.spec.rations() {
        parts.push(format!(
            "while the store is away: {} of each limit by {} replicas together, for {}",
            ration.fraction,
            ration.replicas,
            humantime::format_duration(ration.span),
        ));
    }

    let head = [
        "limit",
        "available",
        "capacity",
        "out",
        "paid",
        "foreign",
        "per window",
        "reserved",
        "window ends",
        "how",
        "rule",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (limit, spec) in limits.iter().zip(&stored.spec.limits) {
        let ends = limit.window_end_ms.map_or("-".to_owned(), |(_, latest)| format!("in {}", span(latest)));
        let recovering =
            limit.recovering_ms.map_or(String::new(), |ms| format!(", recovering for {}", span(ms)));
        let unknown = if limit.known { "" } else { ", unknown" };
        rows.push(vec![
            limit.limit.to_string(),
            limit.available.to_string(),
            limit.capacity.to_string(),
            limit.out.to_string(),
            limit.paid.to_string(),
            limit.foreign.to_string(),
            limit.foreign_per_window.to_string(),
            limit.reserved.to_string(),
            ends,
            format!("{}{unknown}{recovering}", limit.rung),
            describe_limit(spec),
        ]);
    }
    parts.push(output::table(&rows, &[1, 2, 3, 4, 5, 6, 7]));

    if !pauses.is_empty() {
        let mut rows = vec![["paused", "for", "phase"].map(str::to_owned).to_vec()];
        for pause in pauses {
            let left = pause.for_ms.map_or("until resumed".to_owned(), span);
            rows.push(vec![pause.scope.clone(), left, pause.phase.clone()]);
        }
        parts.push(output::table(&rows, &[]));
    }
    if !usage.is_empty() {
        let mut rows = vec![["used by", "name", "cost", "unit"].map(str::to_owned).to_vec()];
        for use_of in usage {
            let cost = use_of.cost.to_string();
            rows.push(vec![use_of.dimension.clone(), use_of.name.clone(), cost, use_of.unit.to_string()]);
        }
        parts.push(output::table(&rows, &[2]));
    }
    parts.join("\n\n")
}

/// Milliseconds for a person.
fn span(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use bursar_quota::{BudgetName, BudgetSpec, LimitKind, LimitName, LimitSnapshot, LimitSpec};

    use super::*;

    fn stored(recovering_ms: Option<u64>) -> Stored {
        let name = LimitName::new("w").unwrap();
        let window = Duration::from_secs(60);
        let kind = LimitKind::Window { capacity: 100, window, aligned: false, on_clock: false };
        let limit = LimitSnapshot {
            limit: name.clone(),
            capacity: 100,
            available: 41,
            out: 3,
            paid: 4,
            rung: "paced".into(),
            window_end_ms: None,
            known: false,
            foreign: 70,
            recovering_ms,
            foreign_per_window: 29,
            reserved: 17,
        };
        let snapshot = BudgetSnapshot {
            limits: vec![limit],
            pauses: Vec::new(),
            usage: Vec::new(),
            granted: 0,
            settled: 0,
            refused_upstream: 0,
            waiting: Vec::new(),
        };
        let spec = BudgetSpec::new(BudgetName::new("b").unwrap(), vec![LimitSpec::new(name, kind)]);
        Stored { spec, version: 1, snapshot }
    }

    #[test]
    fn how_a_limit_is_accounted_is_shown() {
        let shown = text(&stored(Some(65_000)));
        let row = shown.lines().last().unwrap();
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words[..9], ["w", "41", "100", "3", "4", "70", "29", "17", "-"], "{shown}");
        assert!(row.contains("paced, unknown, recovering for 1m 5s"), "{shown}");
        assert!(!text(&stored(None)).contains("recovering"));
    }

    #[test]
    fn machines_are_told_the_same() {
        let told = json(&stored(Some(65_000)));
        let limit = &told["status"]["limits"][0];
        assert_eq!(limit["rung"], "paced");
        assert_eq!((&limit["foreign_per_window"], &limit["reserved"]), (&json!(29), &json!(17)));
        assert_eq!(limit["recovering_ms"], 65_000);
        assert_eq!(json(&stored(None))["status"]["limits"][0]["recovering_ms"], Value::Null);
    }
}
