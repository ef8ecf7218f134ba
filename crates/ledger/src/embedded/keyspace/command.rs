//! The commands: names, arities, what they touch, and how they are found.

use std::{borrow::Cow, fmt};

use super::{
    hashes, keys, sets, sorted,
    store::{Keyspace, Value},
};

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandError {
    /// The leading word, as every Redis words it.
    pub(crate) code: &'static str,
    /// The rest, as recent ones word it.
    pub(crate) message: Cow<'static, str>,
}

impl CommandError {
    pub(super) const fn new(code: &'static str, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    /// Another error, coded `ERR`.
    pub(crate) fn plain(message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: "ERR", message: message.into() }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl std::error::Error for CommandError {}

/// The code of a write that a full keyspace refuses.
pub(crate) const OUT_OF_MEMORY: &str = "OOM";

pub(super) const WRONG_TYPE: CommandError =
    CommandError::new("WRONGTYPE", "Operation against a key holding the wrong kind of value");
pub(super) const SYNTAX: CommandError = CommandError::new("ERR", "syntax error");
pub(super) const NOT_AN_INTEGER: CommandError =
    CommandError::new("ERR", "value is not an integer or out of range");

/// What a command answers, borrowed from the keyspace where it can be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output<'a> {
    Nil,
    Int(i64),
    Ok,
    Bulk(Cow<'a, [u8]>),
    Array(Vec<Output<'a>>),
}

impl<'a> Output<'a> {
    pub(super) fn bulk(bytes: &'a [u8]) -> Self {
        Self::Bulk(Cow::Borrowed(bytes))
    }

    pub(super) fn count(n: usize) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }

    pub(super) fn flag(is: bool) -> Self {
        Self::Int(i64::from(is))
    }
}

pub(super) type Answer<'a> = Result<Output<'a>, CommandError>;

/// Which arguments are keys.
enum Touches {
    Nothing,
    First,
    All,
}

/// What a command does to memory.
#[derive(PartialEq, Eq)]
enum Effect {
    Reads,
    Shrinks,
    Grows,
}

struct Command {
    name: &'static str,
    /// Arguments after the name: least, most.
    arity: (usize, usize),
    touches: Touches,
    effect: Effect,
    run: for<'a> fn(&'a mut Keyspace, &[&[u8]]) -> Answer<'a>,
}

const ANY: usize = usize::MAX;

macro_rules! command {
    ($name:literal, $arity:expr, $touches:ident, $effect:ident, $run:path) => {
        Command {
            name: $name,
            arity: $arity,
            touches: Touches::$touches,
            effect: Effect::$effect,
            run: |space, args| $run(space, args),
        }
    };
}

/// The busiest first: they are searched in order.
static COMMANDS: [Command; 24] = [
    command!("HMGET", (2, ANY), First, Reads, hashes::hmget),
    command!("HGET", (2, 2), First, Reads, hashes::hget),
    command!("HSET", (3, ANY), First, Grows, hashes::hset),
    command!("HDEL", (2, ANY), First, Shrinks, hashes::hdel),
    command!("HGETALL", (1, 1), First, Reads, hashes::hgetall),
    command!("HINCRBY", (3, 3), First, Grows, hashes::hincrby),
    command!("PEXPIRE", (2, 2), First, Shrinks, keys::pexpire),
    command!("TIME", (0, 0), Nothing, Reads, keys::time),
    command!("PUBLISH", (2, 2), Nothing, Reads, keys::publish),
    command!("ZADD", (3, ANY), First, Grows, sorted::zadd),
    command!("ZREM", (2, ANY), First, Shrinks, sorted::zrem),
    command!("ZRANGEBYLEX", (3, ANY), First, Reads, sorted::zrangebylex),
    command!("GET", (1, 1), First, Reads, keys::get),
    command!("SET", (2, ANY), First, Grows, keys::set),
    command!("DEL", (1, ANY), All, Shrinks, keys::del),
    command!("UNLINK", (1, ANY), All, Shrinks, keys::del),
    command!("EXISTS", (1, ANY), All, Reads, keys::exists),
    command!("PTTL", (1, 1), First, Reads, keys::pttl),
    command!("HLEN", (1, 1), First, Reads, hashes::hlen),
    command!("HEXISTS", (2, 2), First, Reads, hashes::hexists),
    command!("SADD", (2, ANY), First, Grows, sets::sadd),
    command!("SREM", (2, ANY), First, Shrinks, sets::srem),
    command!("SMEMBERS", (1, 1), First, Reads, sets::smembers),
    command!("SCARD", (1, 1), First, Reads, sets::scard),
];

/// Names of all commands that a script may call, in upper case.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name)
}

impl Keyspace {
    /// Does `words`: a command's name, in any case, and its arguments.
    pub(crate) fn execute<'a>(&'a mut self, words: &[&[u8]]) -> Answer<'a> {
        self.commands += 1;
        let Some((name, args)) = words.split_first() else {
            return Err(CommandError::plain(
                "Please specify at least one argument for this redis.call() call",
            ));
        };
        let Some(command) =
            COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
        else {
            return Err(CommandError::plain("Unknown Redis command called from script"));
        };
        if args.len() < command.arity.0 || args.len() > command.arity.1 {
            return Err(arity(command.name));
        }
        let touched = match command.touches {
            Touches::Nothing => &args[..0],
            Touches::First => &args[..1],
            Touches::All => args,
        };
        // Redis Cluster demands it, and an undeclared key would tie a script to one engine.
        if touched.iter().any(|key| !self.is_declared(key)) {
            return Err(CommandError::plain("Script attempted to access a key that is not in KEYS"));
        }
        if command.effect != Effect::Reads {
            self.begin_write(command.effect == Effect::Grows)?;
        }
        (command.run)(self, args)
    }
}

/// The error for a wrong number of arguments.
pub(super) fn arity(name: &str) -> CommandError {
    CommandError::plain(format!("wrong number of arguments for '{}' command", name.to_ascii_lowercase()))
}

/// A decimal integer as Redis takes it: no blanks, no `+`, no leading zero, no `-0`.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        b"0" => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !plain {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

macro_rules! typed {
    ($read:ident, $write:ident, $variant:ident, $type:ty) => {
        impl Keyspace {
            /// What is there, of this type.
            pub(super) fn $read(&self, key: &[u8]) -> Result<Option<&$type>, CommandError> {
                match self.peek(key) {
                    None => Ok(None),
                    Some(Value::$variant(value)) => Ok(Some(value)),
                    Some(_) => Err(WRONG_TYPE),
                }
            }

            /// What is there, of this type, to be changed.
            pub(super) fn $write(&mut self, key: &[u8]) -> Result<Option<&mut $type>, CommandError> {
                match self.peek_mut(key) {
                    None => Ok(None),
                    Some(Value::$variant(value)) => Ok(Some(value)),
                    Some(_) => Err(WRONG_TYPE),
                }
            }
        }
    };
}

typed!(hash, hash_mut, Hash, std::collections::BTreeMap<Vec<u8>, Vec<u8>>);
typed!(members, members_mut, Set, std::collections::BTreeSet<Vec<u8>>);
typed!(scores, scores_mut, Sorted, std::collections::BTreeMap<Vec<u8>, f64>);
