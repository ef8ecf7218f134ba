//! A specification as the scripts read it: a record of the budget's own settings and one of each limit, `name=number name:text`,
//! times in ms, rates per ms. A limit's slots depend on its kind and window alone, so that an account survives a change of anything else.

use std::time::Duration;

use bursar_quota::{BudgetSpec, CountedAt, LedgerError, LimitKind, LimitSpec, Party, Tier};

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

fn party(party: &Party) -> String {
    match party {
        Party::Tier(tier) => format!("tier:{tier}"),
        Party::Tenant(tenant) => format!("tenant:{tenant}"),
    }
}

/// A record: neither a name nor a value has a blank in it.
#[derive(Default)]
struct Record(Vec<String>);

impl Record {
    fn number(&mut self, name: &str, value: u64) {
        self.0.push(format!("{name}={value}"));
    }

    fn real(&mut self, name: &str, value: f64) {
        self.0.push(format!("{name}={value:.17e}"));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.0.push(format!("{name}:{value}"));
    }

    fn line(self) -> String {
        self.0.join(" ")
    }
}

fn limit_settings(limit: &LimitSpec) -> String {
    let mut record = Record::default();
    record.text("name", limit.name.as_str());
    record.text("kind", limit.kind.as_str());
    record.number("capacity", limit.kind.capacity());
    record.number("completion", u64::from(limit.counted_at == CountedAt::Completion));
    record.number("readings", u64::from(limit.readings));
    match &limit.kind {
        LimitKind::Window { window, aligned, on_clock, .. } => {
            let window = ms(*window);
            record.number("window", window);
            record.number("aligned", u64::from(*aligned));
            record.number("on_clock", u64::from(*on_clock));
            record.number("slot", window.div_ceil(SLOTS_A_WINDOW).max(1));
        }
        LimitKind::Bucket { refill_per_second, .. } => {
            record.real("refill", refill_per_second / 1000.0);
            record.number("slot", BUCKET_SLOT);
        }
        LimitKind::Concurrency { linger, .. } => {
            record.number("slot", DEADLINE_SLOT);
            record.number("linger", ms(*linger));
            record.number("linger_slot", ms(*linger).div_ceil(SLOTS_A_LINGER).max(1));
        }
        LimitKind::Adaptive { start_per_second, min_per_second, max_per_second } => {
            record.real("start", start_per_second / 1000.0);
            record.real("least", min_per_second / 1000.0);
            record.real("most", max_per_second / 1000.0);
        }
    }
    let reserved: Vec<_> =
        limit.reservations.iter().map(|r| format!("{}={}", party(&r.party), r.amount)).collect();
    record.text("reservations", &reserved.join(";"));
    let capped = |cap: &bursar_quota::Cap| {
        let whose = cap.tenant.as_ref().map_or_else(|| "*".to_owned(), |tenant| format!("tenant:{tenant}"));
        format!("{whose}={}", cap.amount)
    };
    record.text("caps", &limit.caps.iter().map(capped).collect::<Vec<_>>().join(";"));
    record.line()
}

/// The call of `put`.
pub fn encode_put(keys: &Keys, spec: &BudgetSpec) -> Result<ScriptCall, LedgerError> {
    let json = serde_json::to_string(spec).map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    let mut record = Record::default();
    record.number("send_within", ms(spec.send_within));
    record.number("permit_ttl", ms(spec.permit_ttl));
    record.number("backoff_base", ms(spec.backoff.base));
    record.number("backoff_max", ms(spec.backoff.max));
    record.number("ramp", ms(spec.ramp));
    record.real("alert", spec.alert_at);
    for tier in Tier::ALL {
        record.number(&format!("weight_{tier}"), u64::from(spec.weights[tier.index()]));
    }
    let mut args =
        vec![spec.name.to_string(), keys.channel(), json, record.line(), spec.limits.len().to_string()];
    args.extend(spec.limits.iter().map(limit_settings));
    Ok(ScriptCall {
        keys: keys.all(&spec.name, &["spec", "state"]),
        args: args.into_iter().map(String::into_bytes).collect(),
    })
}
