//! Acquires and what is granted.

use std::time::Duration;

use bursar_coordinator::{Acquire, Granted};
use bursar_wire::v1;

use super::{MAX_TTL_MS, costs, tier, to_millis};
use crate::{
    auth::Caller,
    failure::Failure,
    invalid::{demand, millis, name, optional_name},
};

/// The longest a caller may wait, in milliseconds.
const MAX_WAIT_MS: u64 = 3_600_000;

/// The longest request id, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// Checks an acquire, without the settlement that rides along. `deadline` is the time left on the caller's RPC.
pub(crate) fn acquire(
    request: v1::AcquireRequest,
    caller: &Caller,
    deadline: Option<Duration>,
) -> Result<Acquire, Failure> {
    let budget = name("budget", &request.budget)?;
    caller.must_use(&budget)?;
    let class = optional_name("class", &request.class)?;
    let tenant = caller.tenant(optional_name("tenant", &request.tenant)?)?;
    let tier = tier("tier", request.tier)?;
    let costs = costs(request.costs)?;
    let max_wait = millis("max_wait_ms", request.max_wait_ms, 0..=MAX_WAIT_MS)?;
    let ttl = millis("ttl_ms", request.ttl_ms, 0..=MAX_TTL_MS)?;
    let len = request.request_id.len();
    demand(len <= MAX_REQUEST_ID, "request_id", || {
        format!("{len} bytes are too long, at most {MAX_REQUEST_ID}")
    })?;
    Ok(Acquire {
        budget,
        class,
        tenant,
        tier,
        costs,
        max_wait,
        deadline,
        ttl: (!ttl.is_zero()).then_some(ttl),
        request_id: (len > 0).then_some(request.request_id),
    })
}

/// A permit for the wire.
pub(crate) fn permit(granted: &Granted) -> v1::Permit {
    v1::Permit {
        permit_id: granted.permit.to_string(),
        send_within_ms: to_millis(granted.send_within),
        deadline_ms: to_millis(granted.deadline),
        waited_ms: to_millis(granted.waited),
        rationed: granted.rationed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> v1::AcquireRequest {
        v1::AcquireRequest { budget: "autotask".into(), ..Default::default() }
    }

    fn wrong(change: impl FnOnce(&mut v1::AcquireRequest)) -> (String, String) {
        let mut request = good();
        change(&mut request);
        match acquire(request, &Caller::default(), None) {
            Err(Failure::Invalid(invalid)) => (invalid.field, invalid.problem),
            other => panic!("{other:?}"),
        }
    }

    fn costing(unit: &str, cost: u64) -> (String, String) {
        wrong(|r| r.costs = [(unit.to_owned(), cost)].into())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let acquire = acquire(good(), &Caller::default(), Some(Duration::from_secs(1))).unwrap();
        assert_eq!(acquire.tenant.as_str(), "default");
        assert_eq!(acquire.tier, bursar_quota::Tier::Standard);
        assert_eq!((acquire.class, acquire.ttl, acquire.request_id), (None, None, None));
        assert_eq!((acquire.max_wait, acquire.deadline), (Duration::ZERO, Some(Duration::from_secs(1))));
    }

    #[test]
    fn each_bound_names_its_field() {
        let most = bursar_quota::MAX_CAPACITY;
        for (found, field, problem) in [
            (wrong(|r| r.budget.clear()), "budget", "a name is needed"),
            (wrong(|r| r.budget = "Ä".into()), "budget", "outside [a-z0-9._/-]"),
            (wrong(|r| r.class = "a b".into()), "class", "' ' at byte 1"),
            (wrong(|r| r.tenant = "x".repeat(129)), "tenant", "at most 128"),
            (wrong(|r| r.tier = 4), "tier", "no tier"),
            (wrong(|r| r.max_wait_ms = 3_600_001), "max_wait_ms", "outside 0 to 3600000 ms"),
            (wrong(|r| r.ttl_ms = u64::MAX), "ttl_ms", "outside 0 to 86400000 ms"),
            (wrong(|r| r.request_id = "x".repeat(129)), "request_id", "at most 128"),
            (costing("tokens", 0), "costs[tokens]", "0 is outside 1 to"),
            (costing("tokens", most + 1), "costs[tokens]", "outside 1 to"),
            (costing("tokens", u64::MAX), "costs[tokens]", "outside 1 to"),
            (costing("To", 1), "costs[To]", "'T' at byte 0"),
            (costing("", 1), "costs[]", "a name is needed"),
            (
                wrong(|r| r.costs = (0..9).map(|i| (format!("u{i}"), 1)).collect()),
                "costs",
                "9 units are too many, at most 8",
            ),
        ] {
            assert_eq!(found.0, field);
            assert!(found.1.contains(problem), "{field}: {}", found.1);
        }
    }

    #[test]
    fn a_huge_unit_is_not_repeated() {
        let (field, _) = costing(&"x".repeat(1_000_000), 1);
        assert!(field.len() < 200, "{}", field.len());
    }
}
