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

    let head = ["limit", "available", "capacity", "out", "paid", "foreign", "window ends", "how", "rule"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (limit, spec) in limits.iter().zip(&stored.spec.limits) {
        let ends = limit.window_end_ms.map_or("-".to_owned(), |(_, latest)| format!("in {}", span(latest)));
        let unknown = if limit.known { "" } else { ", unknown" };
        rows.push(vec![
            limit.limit.to_string(),
            limit.available.to_string(),
            limit.capacity.to_string(),
            limit.out.to_string(),
            limit.paid.to_string(),
            limit.foreign.to_string(),
            ends,
            format!("{}{unknown}", limit.rung),
            describe_limit(spec),
        ]);
    }
    parts.push(output::table(&rows, &[1, 2, 3, 4, 5]));

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
