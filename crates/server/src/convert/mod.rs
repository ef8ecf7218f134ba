//! Wire to domain and back. What comes in is checked here once, against every bound that `proto/` states; behind
//! this door nothing is checked again.

pub(crate) mod acquire;
pub(crate) mod budget;
pub(crate) mod declared;
pub(crate) mod event;
pub(crate) mod operator;
pub(crate) mod refusal;
pub(crate) mod settle;
pub(crate) mod status;

use std::{collections::BTreeMap, time::Duration};

use bursar_quota::{MAX_CAPACITY, Tier, UnitName};
use bursar_wire::v1;

use crate::invalid::{Invalid, clip, demand, name, within};

/// The most units that one call names the cost of.
const MAX_UNITS: usize = 8;

/// The longest time to live of a permit that any budget allows, in milliseconds.
pub(crate) const MAX_TTL_MS: u64 = 86_400_000;

/// Milliseconds, rounded down; what does not fit is the most that does.
pub(crate) fn to_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds, rounded up: for a time to come back, which must not be too early.
pub(crate) fn to_millis_up(duration: Duration) -> u64 {
    to_millis(duration.saturating_add(Duration::from_nanos(999_999)))
}

/// Cost by unit.
pub(crate) fn costs(costs: BTreeMap<String, u64>) -> Result<Vec<(UnitName, u64)>, Invalid> {
    demand(costs.len() <= MAX_UNITS, "costs", || {
        format!("{} units are too many, at most {MAX_UNITS}", costs.len())
    })?;
    costs
        .into_iter()
        .map(|(unit, cost)| {
            let field = format!("costs[{}]", clip(&unit, 128));
            Ok((name(&field, &unit)?, within(&field, cost, 1..=MAX_CAPACITY)?))
        })
        .collect()
}

/// A tier by its number on the wire.
pub(crate) fn tier(field: &str, tier: i32) -> Result<Tier, Invalid> {
    match v1::Tier::try_from(tier) {
        Ok(v1::Tier::Interactive) => Ok(Tier::Interactive),
        Ok(v1::Tier::Unspecified | v1::Tier::Standard) => Ok(Tier::Standard),
        Ok(v1::Tier::Batch) => Ok(Tier::Batch),
        Err(_) => Err(Invalid::new(field, format!("{tier} is no tier, 0 to 3"))),
    }
}

/// A tier's number on the wire.
pub(crate) fn tier_number(tier: Tier) -> i32 {
    let tier = match tier {
        Tier::Interactive => v1::Tier::Interactive,
        Tier::Standard => v1::Tier::Standard,
        Tier::Batch => v1::Tier::Batch,
    };
    tier.into()
}
