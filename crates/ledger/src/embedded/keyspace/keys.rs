//! Strings, keys as such, time and messages.

use std::borrow::Cow;

use super::{
    command::{Answer, CommandError, NOT_AN_INTEGER, Output, SYNTAX, WRONG_TYPE, integer},
    store::{Keyspace, Value},
};

/// `TIME`: seconds and microseconds as text; the same throughout a run.
pub(super) fn time<'a>(space: &'a mut Keyspace, _: &[&[u8]]) -> Answer<'a> {
    let text = |n: String| Output::Bulk(Cow::Owned(n.into_bytes()));
    let now = space.now();
    Ok(Output::Array(vec![text(now.as_secs().to_string()), text(now.subsec_micros().to_string())]))
}

/// `PUBLISH`: always answers 0 receivers, since no script may depend on their number.
pub(super) fn publish<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    space.outbox.push(args[0], args[1]);
    Ok(Output::Int(0))
}

pub(super) fn get<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    match space.peek(args[0]) {
        None => Ok(Output::Nil),
        Some(Value::Text(text)) => Ok(Output::bulk(text)),
        Some(_) => Err(WRONG_TYPE),
    }
}

/// `SET key value [PX ms | KEEPTTL]`; no other option.
pub(super) fn set<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let expires = match &args[2..] {
        [] => None,
        [option] if option.eq_ignore_ascii_case(b"KEEPTTL") => space.expiry(args[0]).flatten(),
        [option, span] if option.eq_ignore_ascii_case(b"PX") => {
            let span = integer(span).ok_or(NOT_AN_INTEGER)?;
            let at = u64::try_from(span).ok().filter(|span| *span > 0).and_then(|span| deadline(space, span));
            Some(at.ok_or(CommandError::plain("invalid expire time in 'set' command"))?)
        }
        _ => return Err(SYNTAX),
    };
    space.replace(args[0], Value::Text(args[1].to_vec()));
    if let Some(at) = expires {
        space.set_expiry(args[0], at);
    }
    Ok(Output::Ok)
}

pub(super) fn del<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    Ok(Output::count(args.iter().filter(|key| space.remove(key)).count()))
}

pub(super) fn exists<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    Ok(Output::count(args.iter().filter(|key| space.peek(key).is_some()).count()))
}

/// `PEXPIRE key ms`; no other option. A span of zero or less removes the key.
pub(super) fn pexpire<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let span = integer(args[1]).ok_or(NOT_AN_INTEGER)?;
    match u64::try_from(span) {
        Ok(0) | Err(_) => Ok(Output::flag(space.remove(args[0]))),
        Ok(span) => {
            let at = deadline(space, span)
                .ok_or(CommandError::plain("invalid expire time in 'pexpire' command"))?;
            Ok(Output::flag(space.set_expiry(args[0], at)))
        }
    }
}

/// `PTTL`: milliseconds left, -1 where a key stays, -2 where there is none.
pub(super) fn pttl<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    Ok(Output::Int(match space.expiry(args[0]) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => i64::try_from(at.saturating_sub(space.now_ms())).unwrap_or(i64::MAX),
    }))
}

/// `span` milliseconds from now, if Redis could hold the moment.
fn deadline(space: &Keyspace, span: u64) -> Option<u64> {
    space.now_ms().checked_add(span).filter(|at| i64::try_from(*at).is_ok())
}
