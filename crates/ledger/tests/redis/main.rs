//! The Redis engine against real servers: the one that `BURSAR_TEST_REDIS_SERVER` names, or the `PATH`'s.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod acl;
mod announcements;
mod calls;
mod certificates;
mod eviction;
mod failures;
mod hints;
mod moves;
mod security;
mod stub;
mod topologies;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use bursar_ledger::{HostError, RedisConfig, RedisHost, Reply, Script, ScriptCall, ScriptHost as _};

/// A script of a test, kept for the process's life.
fn script(source: &str) -> &'static Script {
    Box::leak(Box::new(Script::from_source("test", source.to_owned())))
}

/// Counts up under the first key.
fn counter() -> &'static Script {
    script("return redis.call('HINCRBY', KEYS[1], 'n', 1)")
}

fn call(keys: &[&str], args: &[&str]) -> ScriptCall {
    let bytes = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    ScriptCall { keys: bytes(keys), args: bytes(args) }
}

/// Short bounds, so that failing takes well below a second.
fn hasty(url: impl Into<String>) -> RedisConfig {
    RedisConfig {
        connect_timeout: Duration::from_millis(300),
        response_timeout: Duration::from_millis(200),
        call_timeout: Duration::from_millis(1000),
        retry_base: Duration::from_millis(5),
        retry_max: Duration::from_millis(50),
        ..RedisConfig::at(url)
    }
}

fn connect(url: impl Into<String>) -> RedisHost {
    RedisHost::connect(RedisConfig::at(url)).unwrap()
}

/// Counts at `host`.
async fn count(host: &RedisHost, key: &str) -> Result<Reply, HostError> {
    host.run(counter(), call(&[key], &[])).await
}

/// The cause of an `Unavailable` whose time to come back is within the configured bound.
#[track_caller]
fn unavailable(result: Result<Reply, HostError>) -> String {
    match result {
        Err(HostError::Unavailable { cause, retry_after }) => {
            assert!(!retry_after.is_zero() && retry_after <= Duration::from_millis(500), "{retry_after:?}");
            cause
        }
        other => panic!("not unavailable: {other:?}"),
    }
}

/// Tries until it holds, 10 s at most.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

/// How long it took.
#[allow(clippy::disallowed_methods, reason = "a real server is waited for in real time")]
async fn timed<T>(future: impl Future<Output = T>) -> (Duration, T) {
    let start = Instant::now();
    let output = future.await;
    (start.elapsed(), output)
}
