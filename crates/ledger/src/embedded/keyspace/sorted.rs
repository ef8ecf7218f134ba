//! Sorted sets, as far as members of one score are asked for by their bytes.

use std::{collections::BTreeMap, ops::Bound};

use super::{
    command::{Answer, CommandError, NOT_AN_INTEGER, Output, SYNTAX, WRONG_TYPE, integer},
    store::{Keyspace, Value, weight},
};

/// `ZADD key score member [score member ...]`, without options: how many are new.
pub(super) fn zadd<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let (pairs, rest) = args[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(SYNTAX);
    }
    // All scores are read before anything is written: an error leaves the set as it was.
    let scores = pairs.iter().map(|[number, _]| score(number)).collect::<Result<Vec<f64>, _>>()?;
    let Value::Sorted(members) = space.entry(args[0], || Value::Sorted(BTreeMap::new())) else {
        return Err(WRONG_TYPE);
    };
    let (mut new, mut taken) = (0, 0);
    for ([_, name], score) in pairs.iter().zip(scores) {
        if members.insert(name.to_vec(), score).is_none() {
            new += 1;
            taken += weight(name);
        }
    }
    space.weigh(taken, 0);
    Ok(Output::Int(new))
}

/// `ZREM key member [member ...]`: how many there were. A set without members is no more.
pub(super) fn zrem<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let Some(members) = space.scores_mut(args[0])? else { return Ok(Output::Int(0)) };
    let (mut removed, mut given_back) = (0, 0);
    for name in &args[1..] {
        if members.remove(*name).is_some() {
            removed += 1;
            given_back += weight(name);
        }
    }
    space.weigh(0, given_back);
    space.remove_if_empty(args[0]);
    Ok(Output::Int(removed))
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`. As Redis documents, only for members of one score.
pub(super) fn zrangebylex<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let (low, high) = (end(args[1])?, end(args[2])?);
    let (offset, count) = match &args[3..] {
        [] => (0, -1),
        [option, offset, count] if option.eq_ignore_ascii_case(b"LIMIT") => {
            (integer(offset).ok_or(NOT_AN_INTEGER)?, integer(count).ok_or(NOT_AN_INTEGER)?)
        }
        _ => return Err(SYNTAX),
    };
    let Some(members) = space.scores(args[0])? else { return Ok(Output::Array(Vec::new())) };
    // A negative offset selects nothing, a negative count everything.
    let Ok(offset) = usize::try_from(offset) else { return Ok(Output::Array(Vec::new())) };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let low = match low {
        End::Least => Bound::Unbounded,
        End::At(bound) => bound,
        End::Greatest => return Ok(Output::Array(Vec::new())),
    };
    let above = members.range::<[u8], _>((low, Bound::Unbounded));
    let within = above.map(|(name, _)| name.as_slice()).take_while(|name| match high {
        End::Least => false,
        End::At(Bound::Included(last)) => *name <= last,
        End::At(Bound::Excluded(last)) => *name < last,
        End::At(Bound::Unbounded) | End::Greatest => true,
    });
    Ok(Output::Array(within.skip(offset).take(count).map(Output::bulk).collect()))
}

/// One end of a range of members.
enum End<'a> {
    Least,
    At(Bound<&'a [u8]>),
    Greatest,
}

fn end(text: &[u8]) -> Result<End<'_>, CommandError> {
    match text {
        b"-" => Ok(End::Least),
        b"+" => Ok(End::Greatest),
        [b'[', name @ ..] => Ok(End::At(Bound::Included(name))),
        [b'(', name @ ..] => Ok(End::At(Bound::Excluded(name))),
        _ => Err(CommandError::plain("min or max not valid string range item")),
    }
}

fn score(text: &[u8]) -> Result<f64, CommandError> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    number.filter(|number| !number.is_nan()).ok_or(CommandError::plain("value is not a valid float"))
}
