//! How values pass between Lua and replies, from the Redis documentation; for every engine, like the commands.

use bursar_ledger::{ScriptCall, ScriptHost};

use super::expect::{
    Expect::{self, *},
    unexpected,
};

/// A script's source and its reply. `KEYS[1]` is a key that is free, `ARGV[1]` is `7`.
pub(crate) const CONVERSIONS: &[(&str, Expect)] = &[
    ("", Nil),
    ("return", Nil),
    ("return nil", Nil),
    ("return false", Nil),
    ("return true", Int(1)),
    ("return 3.99", Int(3)),
    ("return -3.99", Int(-3)),
    ("return 0", Int(0)),
    ("return 9007199254740992", Int(9_007_199_254_740_992)),
    ("return 'text'", Bulk("text")),
    ("return ''", Bulk("")),
    ("return '7'", Bulk("7")),
    ("return {}", List(&[])),
    ("return {1, 2, nil, 4}", List(&[Int(1), Int(2)])),
    ("return {nil, 2}", List(&[])),
    ("return {1, false, 3}", List(&[Int(1), Nil, Int(3)])),
    (
        "return {1.9, true, 'x', {2.9, {'y'}}}",
        List(&[Int(1), Int(1), Bulk("x"), List(&[Int(2), List(&[Bulk("y")])])]),
    ),
    ("return {1, 2, named = 3}", List(&[Int(1), Int(2)])),
    ("return {ok = 'FINE'}", Status("FINE")),
    ("return redis.status_reply('FINE')", Status("FINE")),
    ("return {err = 'STALE version 3'}", Code("STALE")),
    ("return redis.error_reply('STALE version 3')", Code("STALE")),
    ("return {1, 2}, 3", List(&[Int(1), Int(2)])),
    ("return ARGV[1] + 1", Int(8)),
    ("return ARGV[2]", Nil),
    ("return {#KEYS, #ARGV}", List(&[Int(1), Int(1)])),
    ("return type(redis.call('HGET', KEYS[1], 'f'))", Bulk("boolean")),
    ("return type(redis.call('GET', KEYS[1]))", Bulk("boolean")),
    ("return redis.call('HMGET', KEYS[1], 'f', 'g')[2] == false and 1 or 0", Int(1)),
    ("return redis.call('SET', KEYS[1], 'v').ok", Bulk("OK")),
    ("return type(redis.call('HLEN', KEYS[1]))", Bulk("number")),
    ("return type(redis.call('TIME')[1])", Bulk("string")),
    ("return redis.call('SADD', KEYS[1], 5)", Int(1)),
    (
        "redis.call('HSET', KEYS[1], 5, 12) return redis.call('HGETALL', KEYS[1])",
        List(&[Bulk("5"), Bulk("12")]),
    ),
    ("local r = redis.pcall('HGET', KEYS[1]) return type(r.err)", Bulk("string")),
    (
        "redis.call('SET', KEYS[1], 'v') local r = redis.pcall('HGET', KEYS[1], 'f') \
      return string.match(r.err, '%u+')",
        Bulk("WRONGTYPE"),
    ),
    ("redis.call('SET', KEYS[1], 'v') redis.call('HGET', KEYS[1], 'f') return 1", AnyError),
    ("return redis.call('SET', KEYS[1], {})", AnyError),
    ("return redis.call('SET', KEYS[1], true)", AnyError),
    ("return redis.call('SET', KEYS[1], nil)", AnyError),
    ("return redis.call()", AnyError),
    ("return undefined_name", AnyError),
    ("defined_name = 1", AnyError),
    ("return nil + 1", AnyError),
    ("error('no')", AnyError),
    ("return )", AnyError),
    ("return string.format('%.0f %.17g', 1e15, 0.1)", Bulk("1000000000000000 0.10000000000000001")),
    ("return table.concat({'a', 'b'}, '-')", Bulk("a-b")),
    ("return math.floor(2.7)", Int(2)),
    ("return select('#', unpack({1, 2, 3}))", Int(3)),
    ("return 'a\\0b'", Bulk("a\0b")),
];

/// Runs the table on `host` with keys under `prefix`, which must be free; tells every deviation.
pub(crate) async fn deviations(host: &dyn ScriptHost, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, (source, expect)) in CONVERSIONS.iter().enumerate() {
        let key = format!("{prefix}{{conversions-{number}}}").into_bytes();
        let call = ScriptCall { keys: vec![key], args: vec![b"7".to_vec()] };
        found.extend(unexpected(host, source, call, *expect, source).await);
    }
    found
}
