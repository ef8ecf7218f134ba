//! Limits in a few words.

use bursar_quota::{LimitKind, LimitSpec};

/// A limit as a person would say it: `auth 10 requests/1m (auth)`.
pub(crate) fn describe_limit(limit: &LimitSpec) -> String {
    let LimitSpec { name, unit, .. } = limit;
    let rule = match &limit.kind {
        LimitKind::Window { capacity, window, .. } => {
            format!("{capacity} {unit}/{}", humantime::format_duration(*window).to_string().replace(' ', ""))
        }
        LimitKind::Bucket { capacity, refill_per_second } => {
            format!("{capacity} {unit}, {refill_per_second}/s back")
        }
        LimitKind::Concurrency { capacity, .. } => format!("{capacity} at once"),
        LimitKind::Adaptive { min_per_second, max_per_second, .. } => {
            format!("{min_per_second} to {max_per_second} {unit}/s")
        }
    };
    let classes: Vec<_> = limit.classes.iter().map(|class| class.as_str()).collect();
    if classes.is_empty() {
        format!("{name} {rule}")
    } else {
        format!("{name} {rule} ({})", classes.join(", "))
    }
}
