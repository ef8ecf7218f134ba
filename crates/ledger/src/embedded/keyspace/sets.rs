//! Sets.

use std::collections::BTreeSet;

use super::{
    command::{Answer, Output, WRONG_TYPE},
    store::{Keyspace, Value, weight},
};

/// `SADD key member [member ...]`: how many are new.
pub(super) fn sadd<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let Value::Set(members) = space.entry(args[0], || Value::Set(BTreeSet::new())) else {
        return Err(WRONG_TYPE);
    };
    let (mut new, mut taken) = (0, 0);
    for name in &args[1..] {
        if members.insert(name.to_vec()) {
            new += 1;
            taken += weight(name);
        }
    }
    space.weigh(taken, 0);
    Ok(Output::Int(new))
}

/// `SREM key member [member ...]`: how many there were. A set without members is no more.
pub(super) fn srem<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let Some(members) = space.members_mut(args[0])? else { return Ok(Output::Int(0)) };
    let (mut removed, mut given_back) = (0, 0);
    for name in &args[1..] {
        if members.remove(*name) {
            removed += 1;
            given_back += weight(name);
        }
    }
    space.weigh(0, given_back);
    space.remove_if_empty(args[0]);
    Ok(Output::Int(removed))
}

pub(super) fn smembers<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    let members = space.members(args[0])?.into_iter().flatten();
    Ok(Output::Array(members.map(|name| Output::bulk(name)).collect()))
}

pub(super) fn scard<'a>(space: &'a mut Keyspace, args: &[&[u8]]) -> Answer<'a> {
    Ok(Output::count(space.members(args[0])?.map_or(0, BTreeSet::len)))
}
