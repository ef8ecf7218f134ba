//! What every command that scripts may call must answer, from the Redis documentation. The table is run against every
//! engine, so it holds nothing that depends on time passing or on an order that Redis leaves open.

use bursar_ledger::{ScriptCall, ScriptHost};

use super::expect::{
    Expect::{self, *},
    unexpected,
};

/// Steps on keys of its own, which `$a` and `$b` stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// What it is about.
    pub name: &'static str,
    /// Commands, blank-separated (`''` is the empty string), and their replies.
    pub steps: &'static [(&'static str, Expect)],
}

/// The table.
pub(crate) const CASES: &[Case] = &[
    Case { name: "TIME", steps: &[("TIME", Time), ("time", Time), ("TIME now", AnyError)] },
    Case { name: "PUBLISH", steps: &[("PUBLISH ch text", AnyInt), ("PUBLISH ch", AnyError)] },
    Case {
        name: "GET and SET",
        steps: &[
            ("GET $a", Nil),
            ("SET $a one", Status("OK")),
            ("GET $a", Bulk("one")),
            ("get $a", Bulk("one")),
            ("SET $a ''", Status("OK")),
            ("GET $a", Bulk("")),
            ("GET $a $b", AnyError),
            ("SET $a", AnyError),
            ("SET $a one PX", Code("ERR")),
            ("SET $a one PX ten", Code("ERR")),
            ("SET $a one PX 0", Code("ERR")),
            ("SET $a one PX -1", Code("ERR")),
            ("SET $a one BANANA 1", Code("ERR")),
            ("GET $a", Bulk("")),
        ],
    },
    Case {
        name: "SET replaces type and expiry",
        steps: &[
            ("HSET $a f v", Int(1)),
            ("SET $a one px 100000", Status("OK")),
            ("PTTL $a", Within(90_000, 100_000)),
            ("SET $a two", Status("OK")),
            ("PTTL $a", Int(-1)),
        ],
    },
    Case {
        name: "DEL and EXISTS",
        steps: &[
            ("EXISTS $a", Int(0)),
            ("DEL $a", Int(0)),
            ("SET $a 1", Status("OK")),
            ("HSET $b f v", Int(1)),
            ("EXISTS $a $b $a", Int(3)),
            ("DEL $a $b $a", Int(2)),
            ("EXISTS $a $b", Int(0)),
            ("DEL", AnyError),
            ("EXISTS", AnyError),
        ],
    },
    Case {
        name: "UNLINK",
        steps: &[
            ("UNLINK $a", Int(0)),
            ("SET $a 1", Status("OK")),
            ("HSET $b f v", Int(1)),
            ("UNLINK $a $b $a", Int(2)),
            ("EXISTS $a $b", Int(0)),
            ("UNLINK", AnyError),
        ],
    },
    Case {
        name: "PEXPIRE and PTTL",
        steps: &[
            ("PTTL $a", Int(-2)),
            ("PEXPIRE $a 1000", Int(0)),
            ("SET $a 1", Status("OK")),
            ("PTTL $a", Int(-1)),
            ("PEXPIRE $a 100000", Int(1)),
            ("PTTL $a", Within(90_000, 100_000)),
            ("PEXPIRE $a soon", Code("ERR")),
            ("PEXPIRE $a 1.5", Code("ERR")),
            ("PEXPIRE $a 9223372036854775807", Code("ERR")),
            ("GET $a", Bulk("1")),
            ("PEXPIRE $a 0", Int(1)),
            ("GET $a", Nil),
            ("HSET $a f v", Int(1)),
            ("PEXPIRE $a -1", Int(1)),
            ("HLEN $a", Int(0)),
        ],
    },
    Case {
        name: "an expiry outlives writes to fields",
        steps: &[
            ("HSET $a f 1", Int(1)),
            ("PEXPIRE $a 100000", Int(1)),
            ("HSET $a f 2 g 3", Int(1)),
            ("HINCRBY $a f 1", Int(3)),
            ("HDEL $a g", Int(1)),
            ("PTTL $a", Within(90_000, 100_000)),
            ("HDEL $a f", Int(1)),
            ("HSET $a f 1", Int(1)),
            ("PTTL $a", Int(-1)),
        ],
    },
    Case {
        name: "HGET, HMGET, HSET",
        steps: &[
            ("HGET $a f", Nil),
            ("HMGET $a f g", List(&[Nil, Nil])),
            ("HSET $a f 1 g 2", Int(2)),
            ("HSET $a f 3 h 4 h 5", Int(1)),
            ("HGET $a f", Bulk("3")),
            ("HMGET $a h none g h", List(&[Bulk("5"), Nil, Bulk("2"), Bulk("5")])),
            ("HSET $a f", AnyError),
            ("HSET $a f 1 g", Code("ERR")),
            ("HSET $a '' ''", Int(1)),
            ("HGET $a ''", Bulk("")),
            ("HMGET $a", AnyError),
            ("HGET $a", AnyError),
        ],
    },
    Case {
        name: "HDEL, HLEN, HEXISTS, HGETALL",
        steps: &[
            ("HGETALL $a", List(&[])),
            ("HLEN $a", Int(0)),
            ("HEXISTS $a f", Int(0)),
            ("HDEL $a f", Int(0)),
            ("HSET $a f 1 g 2 h 3", Int(3)),
            ("HGETALL $a", Pairs(&[("f", "1"), ("g", "2"), ("h", "3")])),
            ("HLEN $a", Int(3)),
            ("HEXISTS $a f", Int(1)),
            ("HDEL $a f none f g", Int(2)),
            ("HGETALL $a", Pairs(&[("h", "3")])),
            ("HDEL $a h", Int(1)),
            ("EXISTS $a", Int(0)),
        ],
    },
    Case {
        name: "HINCRBY",
        steps: &[
            ("HINCRBY $a f 5", Int(5)),
            ("HINCRBY $a f -7", Int(-2)),
            ("HGET $a f", Bulk("-2")),
            ("HINCRBY $a f one", Code("ERR")),
            ("HINCRBY $a f 1.0", Code("ERR")),
            ("HINCRBY $a f +1", Code("ERR")),
            ("HINCRBY $a f 01", Code("ERR")),
            ("HINCRBY $a f -0", Code("ERR")),
            ("HINCRBY $a f ''", Code("ERR")),
            ("HSET $a t text z 007", Int(2)),
            ("HINCRBY $a t 1", Code("ERR")),
            ("HINCRBY $a z 1", Code("ERR")),
            ("HSET $a m 9223372036854775807", Int(1)),
            ("HINCRBY $a m 1", Code("ERR")),
            ("HINCRBY $a m -9223372036854775800", Int(7)),
            ("HINCRBY $a m 9223372036854775808", Code("ERR")),
            ("HINCRBY $a f", AnyError),
            ("HGET $a f", Bulk("-2")),
        ],
    },
    Case {
        name: "sets",
        steps: &[
            ("SMEMBERS $a", List(&[])),
            ("SCARD $a", Int(0)),
            ("SREM $a x", Int(0)),
            ("SADD $a x y x", Int(2)),
            ("SADD $a y z", Int(1)),
            ("SCARD $a", Int(3)),
            ("SMEMBERS $a", Unordered(&["x", "y", "z"])),
            ("SREM $a x none y", Int(2)),
            ("SMEMBERS $a", Unordered(&["z"])),
            ("SREM $a z", Int(1)),
            ("EXISTS $a", Int(0)),
            ("SADD $a", AnyError),
        ],
    },
    Case {
        name: "sorted sets by bytes",
        steps: &[
            ("ZRANGEBYLEX $a - +", List(&[])),
            ("ZREM $a x", Int(0)),
            ("ZADD $a 0 b 0 a 0 c 0 aa", Int(4)),
            ("ZADD $a 0 b 0 d", Int(1)),
            ("ZRANGEBYLEX $a - +", List(&[Bulk("a"), Bulk("aa"), Bulk("b"), Bulk("c"), Bulk("d")])),
            ("ZRANGEBYLEX $a [aa (c", List(&[Bulk("aa"), Bulk("b")])),
            ("ZRANGEBYLEX $a (aa [c", List(&[Bulk("b"), Bulk("c")])),
            ("ZRANGEBYLEX $a (a +", List(&[Bulk("aa"), Bulk("b"), Bulk("c"), Bulk("d")])),
            ("ZRANGEBYLEX $a - (b limit 0 1", List(&[Bulk("a")])),
            ("ZRANGEBYLEX $a - + LIMIT 1 2", List(&[Bulk("aa"), Bulk("b")])),
            ("ZRANGEBYLEX $a - + LIMIT 3 -1", List(&[Bulk("c"), Bulk("d")])),
            ("ZRANGEBYLEX $a - + LIMIT 9 1", List(&[])),
            ("ZRANGEBYLEX $a - + LIMIT -1 1", List(&[])),
            ("ZRANGEBYLEX $a - + LIMIT 0 0", List(&[])),
            ("ZRANGEBYLEX $a + -", List(&[])),
            ("ZRANGEBYLEX $a + +", List(&[])),
            ("ZRANGEBYLEX $a - -", List(&[])),
            ("ZRANGEBYLEX $a (b (b", List(&[])),
            ("ZRANGEBYLEX $a [b (b", List(&[])),
            ("ZRANGEBYLEX $a [b [b", List(&[Bulk("b")])),
            ("ZRANGEBYLEX $a [c [a", List(&[])),
            ("ZRANGEBYLEX $a a +", Code("ERR")),
            ("ZRANGEBYLEX $a - ''", Code("ERR")),
            ("ZRANGEBYLEX $a - + LIMIT 0", Code("ERR")),
            ("ZRANGEBYLEX $a - + LIMIT 0 many", Code("ERR")),
            ("ZRANGEBYLEX $a - + BANANA 0 1", Code("ERR")),
            ("ZADD $a one x", Code("ERR")),
            ("ZADD $a nan x", Code("ERR")),
            ("ZADD $a 0 x 0", Code("ERR")),
            ("ZADD $a 0", AnyError),
            ("ZREM $a a none aa b", Int(3)),
            ("ZREM $a c d", Int(2)),
            ("EXISTS $a", Int(0)),
        ],
    },
    Case {
        name: "the wrong type: a string",
        steps: &[
            ("SET $a 1", Status("OK")),
            ("HGET $a f", Code("WRONGTYPE")),
            ("HMGET $a f g", Code("WRONGTYPE")),
            ("HSET $a f v", Code("WRONGTYPE")),
            ("HDEL $a f", Code("WRONGTYPE")),
            ("HGETALL $a", Code("WRONGTYPE")),
            ("HINCRBY $a f 1", Code("WRONGTYPE")),
            ("HLEN $a", Code("WRONGTYPE")),
            ("HEXISTS $a f", Code("WRONGTYPE")),
            ("SADD $a x", Code("WRONGTYPE")),
            ("SREM $a x", Code("WRONGTYPE")),
            ("SMEMBERS $a", Code("WRONGTYPE")),
            ("SCARD $a", Code("WRONGTYPE")),
            ("ZADD $a 0 x", Code("WRONGTYPE")),
            ("ZREM $a x", Code("WRONGTYPE")),
            ("ZRANGEBYLEX $a - +", Code("WRONGTYPE")),
            ("ZRANGEBYLEX $a a +", Code("ERR")),
            ("GET $a", Bulk("1")),
        ],
    },
    Case {
        name: "the wrong type: the others",
        steps: &[
            ("HSET $a f v", Int(1)),
            ("GET $a", Code("WRONGTYPE")),
            ("SADD $a x", Code("WRONGTYPE")),
            ("ZADD $a 0 x", Code("WRONGTYPE")),
            ("SADD $b x", Int(1)),
            ("GET $b", Code("WRONGTYPE")),
            ("HGET $b x", Code("WRONGTYPE")),
            ("ZREM $b x", Code("WRONGTYPE")),
            ("DEL $b", Int(1)),
            ("ZADD $b 1.5 x", Int(1)),
            ("SREM $b x", Code("WRONGTYPE")),
            ("HLEN $b", Code("WRONGTYPE")),
        ],
    },
    Case { name: "no such command", steps: &[("NOSUCHCOMMAND", AnyError), ("''", AnyError)] },
];

/// Runs the table on `host` with keys under `prefix`, which must be free; tells every deviation.
pub(crate) async fn deviations(host: &dyn ScriptHost, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let key = |name: &str| format!("{prefix}{{commands-{number}}}:{name}").into_bytes();
        for (step, (line, expect)) in case.steps.iter().enumerate() {
            let args = line.split(' ').map(|word| match word {
                "$a" => key("a"),
                "$b" => key("b"),
                "''" => Vec::new(),
                word => word.as_bytes().to_vec(),
            });
            let call = ScriptCall { keys: vec![key("a"), key("b")], args: args.collect() };
            let what = format!("{}, step {} `{line}`", case.name, step + 1);
            found.extend(unexpected(host, "return redis.pcall(unpack(ARGV))", call, *expect, &what).await);
        }
    }
    found
}
