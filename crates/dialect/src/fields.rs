//! Structured fields: the current RateLimit headers, and the quota policies of the earlier drafts.

use bursar_quota::{LimitName, LimitSelector, MAX_CAPACITY, Reading, UnitName};
use sfv::{BareItem, List, ListEntry, Parameters, Parser};

use crate::{family::Structured, moment::Moment, number::Number, response::Response, time::Rounding};

/// The most policies that are looked at.
const MAX_POLICIES: usize = 64;

/// The unit in which the drafts count slots. A number of slots is no window.
const SLOTS: &str = "concurrent-requests";

/// A quota policy: so much per window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    name: Option<String>,
    quota: u64,
    window_ms: Option<u64>,
    unit: UnitName,
}

/// A number in a structured field as a decimal.
fn number(item: &BareItem) -> Option<Number> {
    match item {
        BareItem::Integer(it) => Number::parse(&i64::from(*it).to_string()),
        BareItem::Decimal(it) => Number::parse(&it.to_string()),
        _ => None,
    }
}

fn name(item: &BareItem) -> Option<&str> {
    match item {
        BareItem::String(text) => Some(text.as_str()),
        BareItem::Token(token) => Some(token.as_str()),
        _ => None,
    }
}

/// `w`, in whole milliseconds.
fn window(params: &Parameters) -> Option<Option<u64>> {
    let Some(item) = params.get("w") else { return Some(None) };
    let text = number(item).map(|n| n.nanos)?;
    let ms = u64::try_from(text / 1_000_000).ok()?;
    let most = crate::moment::MAX_AHEAD_MS.unsigned_abs();
    (1..=most).contains(&ms).then_some(Some(ms))
}

/// `"burst";q=100;w=60;qu="requests"`.
fn named_policy(entry: &ListEntry) -> Option<Policy> {
    let ListEntry::Item(item) = entry else { return None };
    let quota = number(item.params.get("q")?)?.floor();
    let unit = match item.params.get("qu") {
        Some(unit) => UnitName::new(name(unit)?).ok()?,
        None => UnitName::requests(),
    };
    let policy = Policy {
        name: Some(name(&item.bare_item)?.to_owned()),
        quota,
        window_ms: window(&item.params)?,
        unit,
    };
    (1..=MAX_CAPACITY).contains(&quota).then_some(policy)
}

/// `100;w=60`.
fn bare_policy(entry: &ListEntry) -> Option<Policy> {
    let ListEntry::Item(item) = entry else { return None };
    let quota = number(&item.bare_item)?.floor();
    let policy = Policy { name: None, quota, window_ms: window(&item.params)?, unit: UnitName::requests() };
    (1..=MAX_CAPACITY).contains(&quota).then_some(policy)
}

/// The members of a list. What does not parse is malformed as a whole, as the format demands.
fn list(response: &Response<'_>, header: &str) -> List {
    let Some(text) = response.joined(header) else { return List::new() };
    Parser::new(&text).parse().unwrap_or_else(|_| {
        response.bad();
        List::new()
    })
}

/// The well-formed policies among `entries`.
fn policies(
    response: &Response<'_>,
    entries: &[ListEntry],
    read: impl Fn(&ListEntry) -> Option<Policy>,
) -> Vec<Policy> {
    let read = |entry| {
        let policy = read(entry);
        if policy.is_none() {
            response.bad();
        }
        policy
    };
    entries.iter().take(MAX_POLICIES).filter_map(read).collect()
}

/// The limit and its window of drafts polli-01 and -03 to -07: the limit is the first member of its header, the
/// policies are its further ones or stand in a header of their own. The window is that of the one policy with the
/// limit's quota; two that contradict each other tell none.
pub(crate) fn expiring_limit(
    response: &Response<'_>,
    limit: Option<&str>,
    policy_header: &str,
) -> (Option<u64>, Option<u64>) {
    let limits = limit.map(|header| list(response, header)).unwrap_or_default();
    let Some((first, more)) = limits.split_first() else {
        return (None, None);
    };
    let Some(limit) = bare_policy(first) else {
        response.bad();
        return (None, None);
    };
    // A further member that is no policy (`1,000`; two lines that disagree) makes the first one doubtful as well.
    let more: Option<Vec<Policy>> = more.iter().take(MAX_POLICIES).map(bare_policy).collect();
    let fits = |policy: &Policy| policy.window_ms.is_some() || policy.quota == limit.quota;
    let Some(mut known) = more.filter(|more| more.iter().all(fits)) else {
        response.bad();
        return (None, None);
    };
    known.extend(policies(response, &list(response, policy_header), bare_policy));
    known.push(limit.clone());
    let mut windows: Vec<u64> = known
        .iter()
        .filter(|policy| policy.quota == limit.quota)
        .filter_map(|policy| policy.window_ms)
        .collect();
    windows.sort_unstable();
    windows.dedup();
    let window = (windows.len() == 1).then(|| windows[0]);
    (Some(limit.quota), window)
}

/// The readings of `RateLimit`, each with its policy of the same name.
pub(crate) fn structured(response: &Response<'_>, fields: &Structured) -> Vec<Reading> {
    let quotas = list(response, fields.quotas.as_str());
    if quotas.is_empty() {
        return Vec::new();
    }
    let known = policies(response, &list(response, fields.policies.as_str()), named_policy);
    quotas.iter().take(MAX_POLICIES).filter_map(|entry| quota(response, fields, &known, entry)).collect()
}

/// `"default";r=50;t=30`.
fn quota(
    response: &Response<'_>,
    fields: &Structured,
    known: &[Policy],
    entry: &ListEntry,
) -> Option<Reading> {
    let read = || {
        let ListEntry::Item(item) = entry else { return None };
        let name = name(&item.bare_item)?;
        let remaining = number(item.params.get("r")?)?.floor();
        Some((name, remaining, item.params.get("t")))
    };
    let policy_of = |name: &str| known.iter().find(|policy| policy.name.as_deref() == Some(name));
    let Some((name, remaining, until)) = read().filter(|(name, remaining, _)| {
        *remaining <= MAX_CAPACITY && policy_of(name).is_none_or(|policy| *remaining <= policy.quota)
    }) else {
        response.bad();
        return None;
    };
    let policy = policy_of(name);
    if policy.is_some_and(|policy| policy.unit.as_str() == SLOTS) {
        return None;
    }
    let reset = until.and_then(|until| {
        let moment = number(until).map(Moment::seconds);
        let span = moment.and_then(|moment| moment.span(Rounding::Unknown, None, response.made));
        if span.is_none() {
            response.bad();
        }
        span
    });
    let capacity = policy.map(|policy| policy.quota);
    let limit = match fields.names.get(name) {
        Some(limit) => LimitSelector::Named(limit.clone()),
        None => LimitSelector::Like {
            called: LimitName::new(name).ok(),
            unit: policy.map_or_else(UnitName::requests, |policy| policy.unit.clone()),
            capacity,
            window_ms: policy.and_then(|policy| policy.window_ms),
        },
    };
    Some(Reading { limit, capacity, remaining: Some(remaining), reset })
}
