//! A specification as the scripts read it: flat fields, times in ms, rates per ms. A limit's slots depend on its kind and
//! window alone, so that an account survives a change of anything else.

use std::time::Duration;

use bursar_quota::{BudgetSpec, CountedAt, LedgerError, LimitKind, LimitSpec, Party};

use super::Keys;
use crate::ScriptCall;

/// Slots a window has: what rounding up to a slot wastes is below 0.4 %.
const SLOTS_A_WINDOW: u64 = 256;
/// Precision of a concurrency limit's deadlines, ms.
const DEADLINE_SLOT: u64 = 250;
/// Slots a concurrency limit's linger has.
const SLOTS_A_LINGER: u64 = 32;
/// Precision of the moment at which a bucket's unsettled permits are charged, ms.
const BUCKET_SLOT: u64 = 100;

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn flag(on: bool) -> String {
    u8::from(on).to_string()
}

fn party(party: &Party) -> String {
    match party {
        Party::Tier(tier) => format!("tier:{tier}"),
        Party::Tenant(tenant) => format!("tenant:{tenant}"),
    }
}

fn limit_settings(limit: &LimitSpec, put: &mut dyn FnMut(&str, String)) {
    put("name", limit.name.to_string());
    put("kind", limit.kind.as_str().to_owned());
    put("capacity", limit.kind.capacity().to_string());
    put("completion", flag(limit.counted_at == CountedAt::Completion));
    put("readings", flag(limit.readings));
    match &limit.kind {
        LimitKind::Window { window, aligned, on_clock, .. } => {
            let window = ms(*window);
            let slot = window.div_ceil(SLOTS_A_WINDOW).max(1);
            put("window", window.to_string());
            put("aligned", flag(*aligned));
            put("on_clock", flag(*on_clock));
            put("slot", slot.to_string());
        }
        LimitKind::Bucket { refill_per_second, .. } => {
            put("refill", format!("{:.17e}", refill_per_second / 1000.0));
            put("slot", BUCKET_SLOT.to_string());
        }
        LimitKind::Concurrency { linger, .. } => {
            put("slot", DEADLINE_SLOT.to_string());
            put("linger", ms(*linger).to_string());
            put("linger_slot", ms(*linger).div_ceil(SLOTS_A_LINGER).max(1).to_string());
        }
        LimitKind::Adaptive { start_per_second, min_per_second, max_per_second } => {
            put("start", format!("{:.17e}", start_per_second / 1000.0));
            put("least", format!("{:.17e}", min_per_second / 1000.0));
            put("most", format!("{:.17e}", max_per_second / 1000.0));
        }
    }
    let reserved: Vec<_> =
        limit.reservations.iter().map(|r| format!("{}={}", party(&r.party), r.amount)).collect();
    put("reservations", reserved.join(";"));
    let capped = |cap: &bursar_quota::Cap| {
        let whose = cap.tenant.as_ref().map_or_else(|| "*".to_owned(), |tenant| format!("tenant:{tenant}"));
        format!("{whose}={}", cap.amount)
    };
    put("caps", limit.caps.iter().map(capped).collect::<Vec<_>>().join(";"));
}

/// The call of `put`.
pub fn encode_put(keys: &Keys, spec: &BudgetSpec) -> Result<ScriptCall, LedgerError> {
    let json = serde_json::to_string(spec).map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    let mut fields = vec![
        ("send_within".to_owned(), ms(spec.send_within).to_string()),
        ("permit_ttl".to_owned(), ms(spec.permit_ttl).to_string()),
        ("backoff_base".to_owned(), ms(spec.backoff.base).to_string()),
        ("backoff_max".to_owned(), ms(spec.backoff.max).to_string()),
        ("ramp".to_owned(), ms(spec.ramp).to_string()),
        ("alert".to_owned(), format!("{:.17e}", spec.alert_at)),
        ("limits".to_owned(), spec.limits.len().to_string()),
    ];
    for (index, limit) in spec.limits.iter().enumerate() {
        limit_settings(limit, &mut |field, value| fields.push((format!("{}.{field}", index + 1), value)));
    }
    let mut args = vec![spec.name.to_string(), keys.channel(), json, fields.len().to_string()];
    args.extend(fields.into_iter().flat_map(|(field, value)| [field, value]));
    Ok(ScriptCall {
        keys: keys.all(&spec.name, &["spec", "state"]),
        args: args.into_iter().map(String::into_bytes).collect(),
    })
}
