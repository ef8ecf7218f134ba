//! The call of `get` and its reply.

use bursar_quota::{
    BudgetName, BudgetSnapshot, LedgerError, LimitName, LimitSnapshot, PauseSnapshot, Stored, UnitName, Usage,
};

use super::{Keys, Reader};
use crate::{Reply, ScriptCall};

/// The call of `get`.
pub fn encode_get(keys: &Keys, budget: &BudgetName) -> ScriptCall {
    ScriptCall { keys: keys.all(budget, &["spec", "state", "pause", "use", "wait"]), args: Vec::new() }
}

fn limit(mut reader: Reader) -> Result<LimitSnapshot, LedgerError> {
    let name = reader.text()?;
    let name = LimitName::new(&name)
        .map_err(|_| LedgerError::Corrupt(format!("get: {name:?} is no limit's name")))?;
    let (capacity, available, out, paid) = (reader.num()?, reader.num()?, reader.num()?, reader.num()?);
    let rung = reader.text()?;
    let (early, late) = (reader.optional()?, reader.optional()?);
    Ok(LimitSnapshot {
        limit: name,
        capacity,
        available,
        out,
        paid,
        rung,
        window_end_ms: early.zip(late),
        known: reader.num::<u8>()? == 1,
        foreign: reader.num()?,
        recovering_ms: reader.optional()?,
        foreign_per_window: reader.num()?,
        reserved: reader.num()?,
    })
}

fn pause(mut reader: Reader) -> Result<PauseSnapshot, LedgerError> {
    Ok(PauseSnapshot { scope: reader.text()?, for_ms: reader.optional()?, phase: reader.text()? })
}

/// Takes `granted`, `settled`, `refused` and `dimension|name|unit` apart.
fn uses(mut reader: Reader, snapshot: &mut BudgetSnapshot) -> Result<(), LedgerError> {
    while reader.left() > 0 {
        let (field, cost) = (reader.text()?, reader.num::<u64>()?);
        match field.as_str() {
            "granted" => snapshot.granted = cost,
            "settled" => snapshot.settled = cost,
            "refused" => snapshot.refused_upstream = cost,
            counted if counted.starts_with('#') => {}
            other => {
                let mut parts = other.splitn(3, '|');
                let (Some(dimension), Some(name), Some(unit)) = (parts.next(), parts.next(), parts.next())
                else {
                    return Err(LedgerError::Corrupt(format!("get: {other:?} is no account of use")));
                };
                let unit = UnitName::new(unit)
                    .map_err(|_| LedgerError::Corrupt(format!("get: {unit:?} is no unit")))?;
                snapshot.usage.push(Usage { dimension: dimension.into(), name: name.into(), unit, cost });
            }
        }
    }
    let key = |u: &Usage| (u.dimension.clone(), u.name.clone(), u.unit.clone());
    snapshot.usage.sort_by_key(key);
    Ok(())
}

/// The reply of `get`.
pub fn decode_stored(reply: Reply) -> Result<Stored, LedgerError> {
    let mut parts = Reader::new("get", reply)?;
    let (version, json) = (parts.num()?, parts.text()?);
    let spec = serde_json::from_str(&json)
        .map_err(|error| LedgerError::Corrupt(format!("get: the stored specification: {error}")))?;
    let (mut limits, mut pauses, usage, mut waits) =
        (parts.array()?, parts.array()?, parts.array()?, parts.array()?);
    let mut snapshot = BudgetSnapshot {
        limits: Vec::new(),
        pauses: Vec::new(),
        usage: Vec::new(),
        granted: 0,
        settled: 0,
        refused_upstream: 0,
        waiting: Vec::new(),
    };
    while limits.left() > 0 {
        snapshot.limits.push(limit(limits.array()?)?);
    }
    while pauses.left() > 0 {
        snapshot.pauses.push(pause(pauses.array()?)?);
    }
    uses(usage, &mut snapshot)?;
    while waits.left() > 0 {
        snapshot.waiting.push((waits.text()?, waits.num()?));
    }
    // Servers keep fields in orders of their own.
    snapshot.waiting.sort();
    Ok(Stored { spec, version, snapshot })
}
