//! The commands that scripts may call, and how values pass between Lua and replies.

use std::{sync::Arc, time::Duration};

use bursar_ledger::{
    Embedded, HostError, RedisConfig, RedisHost, Reply, Script, ScriptCall, ScriptHost, testing::RedisServer,
};
use bursar_quota::ManualClock;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

use super::support::{commands, conversions};

fn embedded() -> Embedded {
    Embedded::new(Arc::new(ManualClock::at(Duration::from_secs(1_700_000_000)))).unwrap()
}

#[tokio::test]
async fn a_real_server_answers_as_the_tables_say() {
    let server = RedisServer::start();
    let host = RedisHost::connect(RedisConfig::at(server.url())).unwrap();
    let found = commands::deviations(&host, "test:").await;
    assert!(found.is_empty(), "{found:#?}");
    let found = conversions::deviations(&host, "test:").await;
    assert!(found.is_empty(), "{found:#?}");
}

/// Runs one command and tells its type of failure, if it fails, by the code alone.
fn apply() -> &'static Script {
    let source = "return redis.call(unpack(ARGV))";
    Box::leak(Box::new(Script::from_source("apply", source.to_owned())))
}

/// A random command on few keys, members and fields, so that they meet.
fn command(random: &mut SmallRng) -> Vec<String> {
    let key = |random: &mut SmallRng| format!("{{d}}:{}", random.random_range(0..4));
    let word = |random: &mut SmallRng| {
        ["", "a", "b", "ab", "ba", "c", "[", "\u{e4}"].choose(random).unwrap().to_string()
    };
    let number = |random: &mut SmallRng| {
        ["0", "1", "-7", "40", "9007199254740993", "4611686018427387904", "x", "1.5", " 3", ""]
            .choose(random)
            .unwrap()
            .to_string()
    };
    let bound = |random: &mut SmallRng| {
        ["-", "+", "[a", "(a", "[b", "(ba", "[", "a"].choose(random).unwrap().to_string()
    };
    let mut words = vec![key(random)];
    let name = match random.random_range(0..21) {
        0 => "GET",
        1 => {
            words.push(word(random));
            match random.random_range(0..3) {
                0 => words.extend(["PX".into(), "100000".into()]),
                1 => words.push("KEEPTTL".into()),
                _ => {}
            }
            "SET"
        }
        2 => {
            words.push(key(random));
            "DEL"
        }
        3 => {
            words.push(key(random));
            "EXISTS"
        }
        4 => {
            words.push(["-1", "0", "100000", "x"].choose(random).unwrap().to_string());
            "PEXPIRE"
        }
        5 => {
            words.push(word(random));
            "HGET"
        }
        6 => {
            words.extend([word(random), word(random)]);
            "HMGET"
        }
        7 | 8 => {
            words.extend([word(random), number(random), word(random), word(random)]);
            "HSET"
        }
        9 => {
            words.extend([word(random), word(random)]);
            "HDEL"
        }
        10 => "HGETALL",
        11 => {
            words.extend([word(random), number(random)]);
            "HINCRBY"
        }
        12 => "HLEN",
        13 => {
            words.push(word(random));
            "HEXISTS"
        }
        14 => {
            words.extend([word(random), word(random)]);
            "SADD"
        }
        15 => {
            words.push(word(random));
            "SREM"
        }
        16 => "SMEMBERS",
        17 => "SCARD",
        18 => {
            words.extend(["0".into(), word(random), "0".into(), word(random)]);
            "ZADD"
        }
        19 => {
            words.push(word(random));
            "ZREM"
        }
        _ => {
            words.extend([bound(random), bound(random)]);
            if random.random_bool(0.5) {
                let (skip, most) = (random.random_range(-1..3), random.random_range(-1..3));
                words.extend(["LIMIT".into(), skip.to_string(), most.to_string()]);
            }
            "ZRANGEBYLEX"
        }
    };
    if random.random_bool(0.02) {
        words.pop();
    }
    words.insert(0, name.to_owned());
    words
}

/// A reply without what the servers leave open: the order of fields and members, and how an error is worded.
fn comparable(command: &str, reply: Result<Reply, HostError>) -> Result<Reply, String> {
    let sorted = |mut parts: Vec<Vec<Reply>>| {
        parts.sort_by_key(|part| format!("{part:?}"));
        Reply::Array(parts.into_iter().flatten().collect())
    };
    match (command, reply) {
        ("HGETALL", Ok(Reply::Array(replies))) => Ok(sorted(replies.chunks(2).map(<[_]>::to_vec).collect())),
        ("SMEMBERS", Ok(Reply::Array(replies))) => Ok(sorted(replies.chunks(1).map(<[_]>::to_vec).collect())),
        (_, Ok(reply)) => Ok(reply),
        (_, Err(HostError::Script { code, .. })) => Err(code),
        (_, Err(other)) => panic!("{other}"),
    }
}

#[tokio::test]
async fn random_commands_answer_alike_on_both_engines() {
    let server = RedisServer::start();
    let real = RedisHost::connect(RedisConfig::at(server.url())).unwrap();
    let (embedded, apply) = (embedded(), apply());
    for seed in 0..40 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut history = Vec::new();
        server.command(&["FLUSHALL"]);
        for key in 0..4 {
            let args = ["DEL".into(), format!("{{d}}:{key}").into_bytes()];
            embedded.run(apply, call(args.to_vec())).await.unwrap();
        }
        for _ in 0..250 {
            let words = command(&mut random);
            let args: Vec<_> = words.iter().map(|word| word.clone().into_bytes()).collect();
            let here = comparable(&words[0], embedded.run(apply, call(args.clone())).await);
            let there = comparable(&words[0], real.run(apply, call(args)).await);
            history.push(format!("{words:?}"));
            let recent = &history[history.len().saturating_sub(20)..];
            assert_eq!(
                here,
                there,
                "seed {seed}: embedded (left) and real differ after\n{}",
                recent.join("\n")
            );
        }
    }
}

fn call(args: Vec<Vec<u8>>) -> ScriptCall {
    ScriptCall { keys: (0..4).map(|key| format!("{{d}}:{key}").into_bytes()).collect(), args }
}
