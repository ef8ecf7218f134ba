//! Calls that work.

use std::sync::Arc;

use bursar_ledger::{HostError, RedisConfig, RedisHost, Reply, ScriptHost as _, testing::RedisServer};
use bursar_quota::Eviction;
use futures_util::future::join_all;

use super::{call, connect, count, counter, script};

#[tokio::test]
async fn a_script_runs_and_every_reply_comes_through() {
    let server = RedisServer::start();
    let host = connect(server.url());
    let all = script(
        "return {false, 3.99, 'text', redis.status_reply('FINE'), {KEYS[1], ARGV[1]}, true, redis.call('GET', KEYS[1])}",
    );
    let reply = host.run(all, call(&["k"], &["\u{0}\u{ff}"])).await.unwrap();
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let expected = vec![
        Reply::Nil,
        Reply::Int(3),
        bulk("text"),
        Reply::Status("FINE".into()),
        Reply::Array(vec![bulk("k"), bulk("\u{0}\u{ff}")]),
        Reply::Int(1),
        Reply::Nil,
    ];
    assert_eq!(reply, Reply::Array(expected));
    assert_eq!(host.ready().await, Ok(()));
}

#[tokio::test]
async fn a_script_that_the_server_forgot_is_sent_again() {
    let server = RedisServer::start();
    let host = connect(server.url());
    // The look at what the server may evict is a command of its own.
    host.watch_eviction().wait_for(|seen| *seen != Eviction::Unknown).await.unwrap();
    let before = host.round_trips();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    assert_eq!(host.round_trips() - before, 2, "by its hash, and then by its source");
    for round in 0..3 {
        server.command(&["SCRIPT", "FLUSH"]);
        let counted = join_all((0..20).map(|_| count(&host, "k"))).await;
        assert!(counted.iter().all(Result::is_ok), "{counted:?}");
        assert_eq!(count(&host, "k").await, Ok(Reply::Int(22 + 21 * round)));
    }
}

#[tokio::test]
async fn errors_of_scripts_are_told_by_their_code() {
    let server = RedisServer::start();
    let host = connect(server.url());
    server.command(&["SET", "text", "x"]);
    let cases = [
        ("return redis.error_reply('NOBUDGET there is none')", "NOBUDGET"),
        ("return redis.error_reply('STALE 7')", "STALE"),
        ("return redis.error_reply('ERR plain')", "ERR"),
        ("return redis.call('HGET', KEYS[1], 'x')", "WRONGTYPE"),
        ("return redis.pcall('HGET', KEYS[1], 'x')", "WRONGTYPE"),
        ("return nothing.there", "ERR"),
        ("this is no Lua", "ERR"),
        ("return redis.call('NOCOMMAND')", "ERR"),
        ("return {1, redis.error_reply('INNER deep')}", "INNER"),
    ];
    for (source, expected) in cases {
        match host.run(script(source), call(&["text"], &[])).await {
            Err(HostError::Script { code, .. }) => assert_eq!(code, expected, "{source}"),
            other => panic!("{source}: {other:?}"),
        }
    }
    let full = host.run(script("return redis.error_reply('STALE 7 now')"), call(&["k"], &[])).await;
    assert_eq!(full, Err(HostError::Script { code: "STALE".into(), message: "7 now".into() }));
}

#[tokio::test]
async fn one_budgets_calls_keep_their_order_and_many_run_at_once() {
    let server = RedisServer::start();
    let host = Arc::new(connect(server.url()));
    // More than a driver has under way at once, polled in order by one task; a server that has to be given the script
    // first gets those calls again, later.
    let append = script("return redis.call('HINCRBY', KEYS[1], 'n', 1) - tonumber(ARGV[1])");
    assert_eq!(host.run(append, call(&["{budget}"], &["0"])).await, Ok(Reply::Int(1)));
    let calls = (1..=1000).map(|n| {
        let (host, n) = (Arc::clone(&host), n.to_string());
        async move { host.run(append, call(&["{budget}"], &[&n])).await }
    });
    let replies = join_all(calls).await;
    assert!(replies.iter().all(|reply| *reply == Ok(Reply::Int(1))), "a call overtook another");
    let others = join_all((0..500).map(|n| {
        let host = Arc::clone(&host);
        async move { count(&host, &format!("other-{n}")).await }
    }));
    assert!(others.await.iter().all(|reply| *reply == Ok(Reply::Int(1))));
}

#[tokio::test]
async fn what_a_queue_does_not_hold_is_refused_at_once() {
    let server = RedisServer::start();
    let config = RedisConfig { queue: 4, drivers: 1, ..RedisConfig::at(server.url()) };
    let host = RedisHost::connect(config).unwrap();
    let replies = join_all((0..50).map(|_| host.run(counter(), call(&["k"], &[])))).await;
    let refused = replies.iter().filter(|reply| {
        matches!(reply, Err(HostError::Unavailable { cause, .. }) if cause.contains("more calls wait"))
    });
    assert_eq!(refused.count(), 46);
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(5)));
}

#[tokio::test]
async fn another_database_is_another_keyspace() {
    let server = RedisServer::start();
    let (first, second) = (connect(server.url()), connect(format!("{}/5", server.url())));
    assert_eq!(count(&first, "k").await, Ok(Reply::Int(1)));
    assert_eq!(count(&second, "k").await, Ok(Reply::Int(1)));
}
