//! Between Lua and RESP2, by Redis' rules.

use std::time::Duration;

use mlua::{BorrowedBytes, Lua, Result, Table, Value};

use super::keyspace::{CommandError, OUT_OF_MEMORY, Output};
use crate::{HostError, Reply};

/// Tables in a reply nest at most so deep.
const DEPTH_MAX: usize = 16;
/// A reply holds at most so many elements.
const ELEMENTS_MAX: usize = 1_000_000;
/// Whole numbers up to here have one text on every engine.
const WHOLE_MAX: u64 = 1 << 53;

/// When to come back to a full keyspace.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);

/// A command's argument.
pub(super) enum Word {
    Lua(BorrowedBytes),
    Text(String),
}

impl AsRef<[u8]> for Word {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Lua(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

/// A command's argument from Lua. Strings and whole numbers alone: what others turn into differs by engine.
///
/// # Errors
/// As Redis for what is neither string nor number; ours for a fraction, a huge number, `nan`, `inf`, `-0`.
pub(super) fn word(value: &Value) -> std::result::Result<Word, CommandError> {
    match value {
        Value::String(text) => Ok(Word::Lua(text.as_bytes())),
        Value::Integer(n) if n.unsigned_abs() <= WHOLE_MAX => Ok(Word::Text(n.to_string())),
        Value::Integer(_) | Value::Number(_) => {
            Err(CommandError::plain("a number that engines write differently was passed: use string.format"))
        }
        _ => Err(CommandError::plain("Lua redis lib command arguments must be strings or integers")),
    }
}

/// A command's answer to Lua: nothing is `false`.
pub(super) fn lua_value(lua: &Lua, output: &Output<'_>) -> Result<Value> {
    match output {
        Output::Nil => Ok(Value::Boolean(false)),
        Output::Int(n) => Ok(Value::Integer(*n)),
        Output::Ok => {
            let table = lua.create_table()?;
            table.raw_set("ok", "OK")?;
            Ok(Value::Table(table))
        }
        Output::Bulk(bytes) => lua.create_string(bytes).map(Value::String),
        Output::Array(outputs) => {
            let table = lua.create_table_with_capacity(outputs.len(), 0)?;
            for (at, output) in (1..).zip(outputs) {
                table.raw_seti(at, lua_value(lua, output)?)?;
            }
            Ok(Value::Table(table))
        }
    }
}

/// The table that stands for an error; line ends become blanks, since an error is one line.
pub(super) fn error_table(lua: &Lua, text: &[u8]) -> Result<Value> {
    let line: Vec<u8> =
        text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(line)?)?;
    Ok(Value::Table(table))
}

/// What a script returned, as a reply.
///
/// # Errors
/// The error that the script returned; a reply that nests deeper than 16 or has more than a million elements.
pub(super) fn reply(value: &Value) -> std::result::Result<Reply, HostError> {
    let mut elements = ELEMENTS_MAX;
    reply_within(value, DEPTH_MAX, &mut elements)
}

fn reply_within(value: &Value, depth: usize, elements: &mut usize) -> std::result::Result<Reply, HostError> {
    let too_large = || HostError::from_text("ERR the script's reply nests too deep or is too large");
    *elements = elements.checked_sub(1).ok_or_else(too_large)?;
    match value {
        Value::String(text) => Ok(Reply::Bulk(text.as_bytes().to_vec())),
        Value::Integer(n) => Ok(Reply::Int(*n)),
        Value::Number(n) => Ok(Reply::Int(truncated(*n))),
        Value::Boolean(true) => Ok(Reply::Int(1)),
        Value::Table(table) => {
            if let Some(text) = text_field(table, "err") {
                return Err(HostError::from_text(text.trim_start_matches('-')));
            }
            if let Some(text) = text_field(table, "ok") {
                return Ok(Reply::Status(text));
            }
            let depth = depth.checked_sub(1).ok_or_else(too_large)?;
            let mut items = Vec::with_capacity(table.raw_len().min(*elements));
            for at in 1.. {
                match table.raw_get::<Value>(at).map_err(|error| script_error(&error))? {
                    Value::Nil => break,
                    item => items.push(reply_within(&item, depth, elements)?),
                }
            }
            Ok(Reply::Array(items))
        }
        _ => Ok(Reply::Nil),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "Redis truncates numbers in replies; `as` saturates")]
fn truncated(n: f64) -> i64 {
    n as i64
}

fn text_field(table: &Table, name: &str) -> Option<String> {
    match table.raw_get::<Value>(name) {
        Ok(Value::String(text)) => Some(text.to_string_lossy()),
        _ => None,
    }
}

/// What ended a run.
pub(super) fn script_error(error: &mlua::Error) -> HostError {
    if let Some(error) = error.downcast_ref::<CommandError>() {
        // A full store is the engine's trouble and not the script's answer, as on a Redis that is out of memory.
        if error.code == OUT_OF_MEMORY {
            return HostError::Unavailable { cause: error.to_string(), retry_after: RETRY_WHEN_FULL };
        }
        return HostError::from_text(&error.to_string());
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    HostError::from_text(&format!("ERR {}", line.strip_prefix("runtime error: ").unwrap_or(line)))
}
