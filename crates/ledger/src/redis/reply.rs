//! What the server answers, in the form that scripts are read in.

use redis::Value;

use crate::{HostError, Reply};

use super::failure;

/// The deepest nesting of arrays that is read.
const MAX_DEPTH: usize = 16;

/// Converts a script's reply. Only what Lua scripts can return occurs in practice; the types of the newer protocol are
/// mapped to what the older one would have sent.
pub(super) fn from_value(value: Value) -> Result<Reply, HostError> {
    convert(value, MAX_DEPTH)
}

fn convert(value: Value, depth: usize) -> Result<Reply, HostError> {
    if depth == 0 {
        return Err(unreadable("arrays are nested too deeply"));
    }
    let all = |values: Vec<Value>| {
        values.into_iter().map(|value| convert(value, depth - 1)).collect::<Result<_, _>>().map(Reply::Array)
    };
    match value {
        Value::Nil => Ok(Reply::Nil),
        Value::Int(number) => Ok(Reply::Int(number)),
        Value::BulkString(bytes) => Ok(Reply::Bulk(bytes)),
        Value::SimpleString(text) => Ok(Reply::Status(text)),
        Value::Okay => Ok(Reply::Status("OK".into())),
        Value::Array(values) | Value::Set(values) => all(values),
        Value::Map(pairs) => all(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        Value::Attribute { data, .. } => convert(*data, depth - 1),
        Value::Double(number) => Ok(Reply::Bulk(number.to_string().into_bytes())),
        Value::Boolean(true) => Ok(Reply::Int(1)),
        Value::Boolean(false) => Ok(Reply::Nil),
        Value::VerbatimString { text, .. } => Ok(Reply::Bulk(text.into_bytes())),
        Value::ServerError(error) => Err(failure::of_script(error.code(), error.details())),
        _ => Err(unreadable("the reply has a type that no script returns")),
    }
}

fn unreadable(problem: &str) -> HostError {
    HostError::Script { code: "ERR".into(), message: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_both_protocols_is_read() {
        let value = Value::Array(vec![
            Value::Nil,
            Value::Int(-3),
            Value::BulkString(b"x".to_vec()),
            Value::Okay,
            Value::SimpleString("PONG".into()),
            Value::Boolean(true),
            Value::Map(vec![(Value::Int(1), Value::Int(2))]),
            Value::Double(0.5),
        ]);
        let expected = Reply::Array(vec![
            Reply::Nil,
            Reply::Int(-3),
            Reply::Bulk(b"x".to_vec()),
            Reply::Status("OK".into()),
            Reply::Status("PONG".into()),
            Reply::Int(1),
            Reply::Array(vec![Reply::Int(1), Reply::Int(2)]),
            Reply::Bulk(b"0.5".to_vec()),
        ]);
        assert_eq!(from_value(value).unwrap(), expected);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = (0..100).fold(Value::Nil, |value, _| Value::Array(vec![value]));
        assert!(matches!(from_value(deep), Err(HostError::Script { .. })));
    }
}
