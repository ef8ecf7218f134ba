//! Input: a byte that chooses the request, then the request in protobuf's form.

use std::time::Duration;

use bursar_coordinator::Outcome;
use bursar_quota::{BudgetName, MAX_CAPACITY, UnitName};
use bursar_server::fuzzing::{self, TurnedAway};
use bursar_wire::v1;
use prost::{Message, bytes::Buf};

use crate::checks;

const DAY: Duration = Duration::from_secs(86_400);

/// What a client is told names one of these fields, and stays small.
pub(crate) fn turned_away(away: &TurnedAway, fields: &[&str]) {
    let TurnedAway { on_session: v1::SessionError { code, message, field, retry_after_ms }, status_bytes } =
        away;
    // INVALID_ARGUMENT, which no retry helps.
    assert_eq!((*code, *retry_after_ms), (3, None));
    checks::path(field.split('[').next().unwrap_or_default());
    let head = field.split(['.', '[']).next().unwrap_or_default();
    assert!(fields.contains(&head), "{field:?} is no field of this request: {message}");
    assert!(message.starts_with(field.as_str()) && message.len() > field.len(), "{message}");
    assert!(message.len() <= 1024 && field.len() <= 256);
    // Clients take 16 KiB of trailers, and the details go there as Base64.
    assert!(*status_bytes <= 6 * 1024, "{status_bytes} bytes of status");
}

/// Each request is checked whole: what is taken keeps every bound.
pub(crate) fn run(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    match which % 8 {
        0 => decoded(body, acquire),
        1 => decoded(body, settle),
        2 => decoded(body, renew),
        3 => decoded(body, |request: v1::ListBudgetsRequest| match fuzzing::list(&request) {
            Ok((size, after)) => {
                assert!((1..=1000).contains(&size));
                assert_eq!(after.map(|name| name.to_string()).unwrap_or_default(), request.page_token);
            }
            Err(away) => turned_away(&away, &["page_size", "page_token"]),
        }),
        4 => decoded(body, |request: v1::PauseBudgetRequest| match fuzzing::pause(&request) {
            Ok((name, span)) => {
                assert_eq!(name.as_str(), request.name);
                assert_eq!(span, request.for_ms.map(Duration::from_millis));
                assert!(span.is_none_or(|span| !span.is_zero() && span <= 31 * DAY));
            }
            Err(away) => turned_away(&away, &["name", "for_ms"]),
        }),
        5 => decoded(body, |request: v1::WatchRequest| match fuzzing::watch(&request) {
            Ok(names) => {
                assert!(names.len() <= request.names.len() && request.names.len() <= 256);
                assert!(names.iter().all(|name| request.names.iter().any(|asked| asked == name.as_str())));
            }
            Err(away) => turned_away(&away, &["names"]),
        }),
        6 => decoded(body, |request: v1::GetBudgetRequest| named(&request.name)),
        _ => decoded(body, |request: v1::DeleteBudgetRequest| named(&request.name)),
    }
}

/// A message of a session, as long as it keeps the bounds of one.
pub(crate) fn session(data: &[u8]) {
    decoded(data, |message: v1::SessionRequest| {
        let v1::SessionRequest { acquires, settles, renews, cancels: _ } = message;
        acquires.into_iter().take(256).filter_map(|it| it.request).for_each(acquire);
        settles.into_iter().take(256).filter_map(|it| it.request).for_each(settle);
        renews.into_iter().take(256).filter_map(|it| it.request).for_each(renew);
    });
}

fn decoded<M: Message + Default>(mut body: impl Buf, check: impl FnOnce(M)) {
    if let Ok(request) = M::decode(&mut body) {
        check(request);
    }
}

fn named(text: &str) {
    match fuzzing::named(text) {
        Ok(name) => assert_eq!(name.as_str(), text),
        Err(away) => turned_away(&away, &["name"]),
    }
}

fn costs(costs: &[(UnitName, u64)]) {
    assert!(costs.len() <= 8);
    assert!(costs.iter().all(|(_, cost)| (1..=MAX_CAPACITY).contains(cost)), "{costs:?}");
    assert!(costs.windows(2).all(|two| two[0].0 < two[1].0), "a unit twice: {costs:?}");
}

fn acquire(mut request: v1::AcquireRequest) {
    // What rides along is a request of its own.
    if let Some(rider) = request.settle.take() {
        settle(rider);
    }
    let asked = request.clone();
    match fuzzing::acquire(request) {
        Ok(acquire) => {
            assert_eq!(acquire.budget.as_str(), asked.budget);
            assert_eq!(acquire.class.map(|class| class.to_string()).unwrap_or_default(), asked.class);
            assert!(acquire.tenant.as_str() == asked.tenant || asked.tenant.is_empty());
            costs(&acquire.costs);
            assert!(acquire.max_wait <= Duration::from_secs(3600) && acquire.deadline.is_none());
            assert!(acquire.ttl.is_none_or(|ttl| !ttl.is_zero() && ttl <= DAY));
            assert!(acquire.request_id.is_none_or(|id| (1..=128).contains(&id.len())));
        }
        Err(away) => {
            let fields =
                ["budget", "class", "tenant", "tier", "costs", "max_wait_ms", "ttl_ms", "request_id"];
            turned_away(&away, &fields);
        }
    }
}

fn permit(budget: &BudgetName, permit: bursar_quota::PermitId, asked: &str) {
    assert_eq!(bursar_quota::PermitId::new(budget, permit.lease(), permit.index()).to_string(), asked);
}

fn settle(request: v1::SettleRequest) {
    let asked = request.clone();
    match fuzzing::settle(request) {
        Ok(settle) => {
            permit(&settle.budget, settle.permit, &asked.permit_id);
            costs(&settle.costs);
            assert!(settle.age <= DAY);
            if let Outcome::Response { status, headers, body } = settle.outcome {
                assert!((100..=999).contains(&status) && headers.len() <= 256 && body.len() <= 16_384);
                assert!(headers.iter().all(|(name, _)| (1..=256).contains(&name.len())));
                let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                assert!(bytes <= 65_536, "{bytes} bytes of headers");
            }
        }
        Err(away) => {
            turned_away(&away, &["budget", "permit_id", "outcome", "response", "costs", "age_ms"]);
        }
    }
}

fn renew(request: v1::RenewRequest) {
    match fuzzing::renew(&request) {
        Ok(renew) => {
            permit(&renew.budget, renew.permit, &request.permit_id);
            assert!(renew.ttl.is_none_or(|ttl| !ttl.is_zero() && ttl <= DAY));
        }
        Err(away) => turned_away(&away, &["budget", "permit_id", "ttl_ms"]),
    }
}
