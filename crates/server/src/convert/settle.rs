//! Settlements and renewals.

use bursar_coordinator::{Outcome, Renew, Settle, SettleReport};
use bursar_quota::{BudgetName, PermitId, PermitIdError, Renewal, Settled};
use bursar_wire::v1::{self, settle_request};

use super::{MAX_TTL_MS, costs, to_millis};
use crate::{
    auth::Caller,
    failure::{Failure, MESSAGE_MAX},
    invalid::{Invalid, clip, demand, millis, name},
};

/// The longest a response may have lain around, in milliseconds.
const MAX_AGE_MS: u64 = 86_400_000;

/// The most header lines of a response.
const MAX_HEADERS: usize = 256;

/// The most bytes of header names and values, all together.
const MAX_HEADER_BYTES: usize = 65_536;

/// The most bytes of one header's name.
const MAX_HEADER_NAME: usize = 256;

/// The most bytes of a body.
const MAX_BODY: usize = 16_384;

/// Checks a settlement.
pub(crate) fn settle(request: v1::SettleRequest, caller: &Caller) -> Result<Settle, Failure> {
    let budget = name("budget", &request.budget)?;
    caller.must_use(&budget)?;
    let permit = permit(&budget, &request.permit_id)?;
    let outcome = match request.outcome {
        Some(settle_request::Outcome::Response(response)) => {
            self::response(response).map_err(|e| e.under("response"))?
        }
        Some(settle_request::Outcome::NotSent(v1::NotSent {})) => Outcome::NotSent,
        Some(settle_request::Outcome::Lost(v1::Lost {})) => Outcome::Lost,
        None => {
            let problem = "exactly one of response, not_sent and lost is needed";
            return Err(Invalid::new("outcome", problem).into());
        }
    };
    let costs = costs(request.costs)?;
    let age = millis("age_ms", request.age_ms, 0..=MAX_AGE_MS)?;
    Ok(Settle { budget, permit, outcome, costs, age })
}

/// Checks a renewal.
pub(crate) fn renew(request: &v1::RenewRequest, caller: &Caller) -> Result<Renew, Failure> {
    let budget = name("budget", &request.budget)?;
    caller.must_use(&budget)?;
    let permit = permit(&budget, &request.permit_id)?;
    let ttl = millis("ttl_ms", request.ttl_ms, 0..=MAX_TTL_MS)?;
    Ok(Renew { budget, permit, ttl: (!ttl.is_zero()).then_some(ttl) })
}

fn permit(budget: &BudgetName, text: &str) -> Result<PermitId, Invalid> {
    PermitId::parse(budget, text).map_err(|error| {
        let problem = match error {
            PermitIdError::Malformed => "not a permit id: give back what Acquire gave, as it was".into(),
            PermitIdError::OtherBudget { budget } => {
                format!("this permit is of another budget than {budget}")
            }
        };
        Invalid::new("permit_id", problem)
    })
}

fn response(wire: v1::UpstreamResponse) -> Result<Outcome, Invalid> {
    let status = u16::try_from(wire.status).ok().filter(|status| (100..=999).contains(status));
    let status = status.ok_or_else(|| {
        Invalid::new("status", format!("{} is outside 100 to 999, the HTTP status codes", wire.status))
    })?;
    demand(wire.headers.len() <= MAX_HEADERS, "headers", || {
        format!("{} lines are too many, at most {MAX_HEADERS}", wire.headers.len())
    })?;
    let bytes: usize = wire.headers.iter().map(|h| h.name.len() + h.value.len()).sum();
    demand(bytes <= MAX_HEADER_BYTES, "headers", || {
        format!("{bytes} bytes of names and values are too many, at most {MAX_HEADER_BYTES}")
    })?;
    for (index, header) in wire.headers.iter().enumerate() {
        let len = header.name.len();
        demand((1..=MAX_HEADER_NAME).contains(&len), format!("headers[{index}].name"), || {
            format!("{len} bytes are outside 1 to {MAX_HEADER_NAME}")
        })?;
    }
    let len = wire.body.len();
    demand(len <= MAX_BODY, "body", || {
        format!("{len} bytes are too many, at most {MAX_BODY}: send the first of them")
    })?;
    let headers = wire.headers.into_iter().map(|h| (h.name, h.value.into())).collect();
    Ok(Outcome::Response { status, headers, body: wire.body.into() })
}

/// What settling did, for the wire.
pub(crate) fn report(report: &SettleReport) -> v1::SettleResponse {
    let result = match report.result {
        Settled::Applied => v1::SettleResult::Applied,
        Settled::Already => v1::SettleResult::AlreadySettled,
        Settled::Unknown => v1::SettleResult::UnknownPermit,
    };
    v1::SettleResponse {
        result: result.into(),
        paused_for_ms: to_millis(report.paused_for),
        malformed: report.malformed,
        problem: String::new(),
    }
}

/// Why a settlement that rode along took no effect.
pub(crate) fn failed(failure: &Failure) -> v1::SettleResponse {
    v1::SettleResponse {
        result: v1::SettleResult::Failed.into(),
        problem: clip(&failure.facts().message, MESSAGE_MAX).to_owned(),
        ..Default::default()
    }
}

/// What renewing did, for the wire.
pub(crate) fn renewal(renewal: Renewal) -> v1::RenewResponse {
    let (result, deadline_ms) = match renewal {
        Renewal::Renewed { deadline_ms } => (v1::RenewResult::Renewed, deadline_ms),
        Renewal::Settled => (v1::RenewResult::AlreadySettled, 0),
        Renewal::Unknown => (v1::RenewResult::UnknownPermit, 0),
    };
    v1::RenewResponse { result: result.into(), deadline_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_quota::{ClassName, LeaseId};

    fn id(budget: &str) -> String {
        let lease = LeaseId::new(&ClassName::default_class(), 7);
        PermitId::new(&BudgetName::new(budget).unwrap(), lease, 0).to_string()
    }

    fn good() -> v1::SettleRequest {
        v1::SettleRequest {
            budget: "autotask".into(),
            permit_id: id("autotask"),
            outcome: Some(settle_request::Outcome::NotSent(v1::NotSent {})),
            ..Default::default()
        }
    }

    fn with_response(change: impl FnOnce(&mut v1::UpstreamResponse)) -> v1::SettleRequest {
        let mut response = v1::UpstreamResponse { status: 200, ..Default::default() };
        change(&mut response);
        v1::SettleRequest { outcome: Some(settle_request::Outcome::Response(response)), ..good() }
    }

    fn header(name: &str, value: &[u8]) -> v1::Header {
        v1::Header { name: name.into(), value: value.to_vec().into() }
    }

    fn found(request: v1::SettleRequest) -> String {
        match settle(request, &Caller::default()) {
            Err(Failure::Invalid(invalid)) => invalid.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_response_holds_is_taken_as_it_is() {
        let settled = settle(
            with_response(|r| {
                r.headers = vec![header("X-Odd", b"\xff\x00 caf\xe9"), header("x-odd", b"")];
                r.body = (&b"no json"[..]).into();
            }),
            &Caller::default(),
        );
        let Outcome::Response { status, headers, body } = settled.unwrap().outcome else { panic!() };
        assert_eq!((status, body), (200, b"no json".to_vec()));
        assert_eq!(headers[0], ("X-Odd".into(), b"\xff\x00 caf\xe9".to_vec()));
        assert_eq!(headers[1], ("x-odd".into(), Vec::new()));
    }

    #[test]
    fn each_bound_names_its_field() {
        let forged = "b1.00000000.00000000000000000000000000000000.1024";
        for (request, begin, has) in [
            (v1::SettleRequest { budget: "A".into(), ..good() }, "budget:", "[a-z0-9._/-]"),
            (v1::SettleRequest { permit_id: String::new(), ..good() }, "permit_id:", "not a permit id"),
            (v1::SettleRequest { permit_id: forged.into(), ..good() }, "permit_id:", "not a permit id"),
            (v1::SettleRequest { permit_id: id("other"), ..good() }, "permit_id:", "another budget than"),
            (v1::SettleRequest { outcome: None, ..good() }, "outcome:", "exactly one of"),
            (v1::SettleRequest { age_ms: u64::MAX, ..good() }, "age_ms:", "0 to 86400000 ms"),
            (v1::SettleRequest { costs: [("t".into(), 0)].into(), ..good() }, "costs[t]:", "outside 1 to"),
            (with_response(|r| r.status = 0), "response.status:", "outside 100 to 999"),
            (with_response(|r| r.status = 65_736), "response.status:", "outside 100 to 999"),
            (with_response(|r| r.headers = vec![header("a", b""); 257]), "response.headers:", "at most 256"),
            (
                with_response(|r| r.headers = vec![header("a", &[b'x'; 65_536])]),
                "response.headers:",
                "65537 bytes of names and values are too many, at most 65536",
            ),
            (
                with_response(|r| r.headers = vec![header("a", b""), header("", b"1")]),
                "response.headers[1].name:",
                "outside 1 to 256",
            ),
            (with_response(|r| r.body = vec![0; 16_385].into()), "response.body:", "at most 16384"),
        ] {
            let text = found(request);
            assert!(text.starts_with(begin) && text.contains(has), "{text}");
        }
    }

    #[test]
    fn the_bounds_themselves_are_within() {
        let request = with_response(|r| {
            r.headers = vec![header(&"a".repeat(256), b""); 255];
            r.headers.push(header("b", &[b'x'; 65_536 - 255 * 256 - 1]));
            r.body = vec![0; 16_384].into();
            r.status = 999;
        });
        assert!(settle(request, &Caller::default()).is_ok());
    }
}
