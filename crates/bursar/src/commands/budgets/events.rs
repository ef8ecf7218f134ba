//! `bursar budgets watch`.

use std::time::Duration;

use bursar_client::{BudgetsClient, Watched};
use bursar_quota::{BudgetName, EventKind, LedgerEvent};
use serde_json::{Value, json};

use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Prints changes until interrupted, or `count` of them.
pub(super) async fn watch(
    client: &BudgetsClient,
    budgets: &[BudgetName],
    count: Option<u64>,
    json: bool,
) -> Outcome {
    let mut changes = client.watch(budgets).await.map_err(Failure::of)?;
    if !json {
        output::note("watching; interrupt to end");
    }
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let change = tokio::select! {
            change = changes.next() => change.map_err(Failure::of)?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(change) = change else {
            return Err(Failure::Failed("the server ended the watch".to_owned()));
        };
        if json {
            output::json(&object(&change))?
        } else {
            output::line(&text(&change))?
        }
        left -= 1;
    }
    Ok(())
}

/// The change as one object: `budget`, `event`, and what the event says.
fn object(change: &Watched) -> Value {
    let LedgerEvent { budget, kind } = match change {
        Watched::Change(event) => event,
        Watched::Missed(count) => return json!({ "event": "missed", "count": count }),
    };
    match kind {
        EventKind::Wake => json!({ "budget": budget, "event": "wake" }),
        EventKind::Paused { scope, for_ms } => {
            json!({ "budget": budget, "event": "paused", "scope": scope, "for_ms": for_ms })
        }
        EventKind::Resumed { scope } => json!({ "budget": budget, "event": "resumed", "scope": scope }),
        EventKind::LimitChanged { limit, from, to } => {
            json!({ "budget": budget, "event": "limit_changed", "limit": limit, "from": from, "to": to })
        }
        EventKind::ThresholdCrossed { limit, used, capacity } => json!({
            "budget": budget, "event": "threshold_crossed", "limit": limit, "used": used, "capacity": capacity,
        }),
        EventKind::ForeignUse { limit, cost } => {
            json!({ "budget": budget, "event": "foreign_use", "limit": limit, "cost": cost })
        }
        EventKind::RungChanged { limit, from, to } => {
            json!({ "budget": budget, "event": "rung_changed", "limit": limit, "from": from, "to": to })
        }
        EventKind::SpecChanged { version } => {
            json!({ "budget": budget, "event": "spec_changed", "version": version })
        }
        EventKind::Deleted => json!({ "budget": budget, "event": "deleted" }),
        EventKind::StateLost => json!({ "budget": budget, "event": "state_lost" }),
        EventKind::RationBegan { replica, for_ms } => {
            json!({ "budget": budget, "event": "ration_began", "replica": replica, "for_ms": for_ms })
        }
        EventKind::RationEnded { replica, granted, store_back } => json!({
            "budget": budget, "event": "ration_ended", "replica": replica, "granted": granted,
            "store_back": store_back,
        }),
    }
}

/// The change in a line.
fn text(change: &Watched) -> String {
    let LedgerEvent { budget, kind } = match change {
        Watched::Change(event) => event,
        Watched::Missed(count) => return format!("{count} changes were missed: this reader is too slow"),
    };
    let what = match kind {
        EventKind::Wake => "capacity freed".to_owned(),
        EventKind::Paused { scope, for_ms: Some(ms) } => {
            format!("{scope} is paused for {}", humantime::format_duration(Duration::from_millis(*ms)))
        }
        EventKind::Paused { scope, for_ms: None } => format!("{scope} is paused until it is resumed"),
        EventKind::Resumed { scope } => format!("{scope} grants again"),
        EventKind::LimitChanged { limit, from, to } => format!("limit {limit} changed from {from} to {to}"),
        EventKind::ThresholdCrossed { limit, used, capacity } => {
            format!("limit {limit}: {used} of {capacity} used")
        }
        EventKind::ForeignUse { limit, cost } => format!("limit {limit}: {cost} used by somebody else"),
        EventKind::RungChanged { limit, from, to } => {
            format!("limit {limit} is accounted as {to}, no longer as {from}")
        }
        EventKind::SpecChanged { version } => format!("declared anew, version {version}"),
        EventKind::Deleted => "deleted".to_owned(),
        EventKind::StateLost => "its state was lost and is being learned again".to_owned(),
        EventKind::RationBegan { replica, for_ms } => format!(
            "{replica} cannot reach the store and grants by the ration, for {} at most",
            humantime::format_duration(Duration::from_millis(*for_ms))
        ),
        EventKind::RationEnded { replica, granted, store_back: true } => {
            format!("{replica} reaches the store again; {granted} were granted by the ration")
        }
        EventKind::RationEnded { replica, granted, store_back: false } => {
            format!(
                "the ration of {replica} is over after {granted} permits: it refuses until it reaches the store"
            )
        }
    };
    format!("{budget}: {what}")
}

#[cfg(test)]
mod tests {
    use bursar_quota::LimitName;

    use super::*;

    #[test]
    fn a_change_of_rung_is_told() {
        let limit = LimitName::new("w").unwrap();
        let kind = EventKind::RungChanged { limit, from: "aligned".into(), to: "sliding".into() };
        let change = Watched::Change(LedgerEvent { budget: BudgetName::new("b").unwrap(), kind });
        assert_eq!(text(&change), "b: limit w is accounted as sliding, no longer as aligned");
        let expected = json!({ "budget": "b", "event": "rung_changed", "limit": "w", "from": "aligned", "to": "sliding" });
        assert_eq!(object(&change), expected);
    }
}
