//! Hashes.

use std::collections::BTreeMap;

use super::{
    command::{Answer, CommandError, NOT_AN_INTEGER, Output, WRONG_TYPE, arity, integer},
    store::{Keyspace, Value, weight},
};

fn field<'a>(hash: Option<&'a BTreeMap<Vec<u8>, Vec<u8>>>, name: &[u8]) -> Output<'a> {
    hash.and_then(|hash| hash.get(name)).map_or(Output::Nil, |value| Output::bulk(value))
}

pub(super) fn hget<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    Ok(field(space.hash(args[0])?, args[1]))
}

pub(super) fn hmget<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let hash = space.hash(args[0])?;
    Ok(Output::Array(args[1..].iter().map(|name| field(hash, name)).collect()))
}

pub(super) fn hgetall<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let fields = space.hash(args[0])?.into_iter().flatten();
    Ok(Output::Array(fields.flat_map(|(name, value)| [Output::bulk(name), Output::bulk(value)]).collect()))
}

pub(super) fn hlen<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    Ok(Output::count(space.hash(args[0])?.map_or(0, BTreeMap::len)))
}

pub(super) fn hexists<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    Ok(Output::flag(space.hash(args[0])?.is_some_and(|hash| hash.contains_key(args[1]))))
}

/// `HSET key field value [field value ...]`: how many fields are new.
pub(super) fn hset<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let (pairs, rest) = args[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(arity("HSET"));
    }
    let Value::Hash(hash) = space.entry(args[0], || Value::Hash(BTreeMap::new())) else {
        return Err(WRONG_TYPE);
    };
    let (mut new, mut taken, mut given_back) = (0, 0, 0);
    for [name, value] in pairs {
        taken += value.len();
        if let Some(old) = hash.get_mut(*name) {
            given_back += old.len();
            old.clear();
            old.extend_from_slice(value);
        } else {
            taken += weight(name);
            new += 1;
            hash.insert(name.to_vec(), value.to_vec());
        }
    }
    space.weigh(taken, given_back);
    Ok(Output::Int(new))
}

/// `HDEL key field [field ...]`: how many there were. A hash without fields is no more.
pub(super) fn hdel<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let Some(hash) = space.hash_mut(args[0])? else { return Ok(Output::Int(0)) };
    let (mut removed, mut given_back) = (0, 0);
    for name in &args[1..] {
        if let Some(value) = hash.remove(*name) {
            removed += 1;
            given_back += weight(name) + value.len();
        }
    }
    space.weigh(0, given_back);
    space.remove_if_empty(args[0]);
    Ok(Output::Int(removed))
}

/// `HINCRBY key field n`: the sum; a missing field counts as 0.
pub(super) fn hincrby<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let step = integer(args[2]).ok_or(NOT_AN_INTEGER)?;
    let old = match space.hash(args[0])?.and_then(|hash| hash.get(args[1])) {
        None => 0,
        Some(text) => integer(text).ok_or(CommandError::plain("hash value is not an integer"))?,
    };
    let sum = old.checked_add(step).ok_or(CommandError::plain("increment or decrement would overflow"))?;
    hset(space, &[args[0], args[1], sum.to_string().as_bytes()])?;
    Ok(Output::Int(sum))
}
