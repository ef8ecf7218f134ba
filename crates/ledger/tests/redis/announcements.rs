//! What scripts publish.

use bursar_ledger::{
    RedisHost, ScriptHost as _,
    testing::{RedisCluster, RedisServer},
};
use futures_util::StreamExt as _;

use super::{call, connect, hasty, script};

async fn heard(host: &RedisHost) {
    host.listening().wait_for(|heard| *heard).await.unwrap();
}

#[tokio::test]
async fn what_a_script_publishes_is_heard_by_every_host_and_every_listener() {
    let server = RedisServer::start();
    let (one, two) = (connect(server.url()), connect(server.url()));
    heard(&one).await;
    heard(&two).await;
    let mut streams = [one.announcements(), one.announcements(), two.announcements()];
    let publish = script("return redis.call('PUBLISH', ARGV[1], ARGV[2])");
    one.run(publish, call(&["k"], &["elsewhere", "not ours"])).await.unwrap();
    one.run(publish, call(&["k"], &["bursar:announce", "hello"])).await.unwrap();
    for stream in &mut streams {
        assert_eq!(stream.next().await.unwrap(), b"hello");
    }
}

#[tokio::test]
async fn the_subscription_comes_back_after_the_server_did() {
    let mut server = RedisServer::start();
    let host = RedisHost::connect(hasty(server.url())).unwrap();
    heard(&host).await;
    let mut stream = host.announcements();
    server.kill();
    let mut listening = host.listening();
    listening.wait_for(|heard| !*heard).await.unwrap();
    server.restart();
    heard(&host).await;
    server.command(&["PUBLISH", "bursar:announce", "again"]);
    assert_eq!(stream.next().await.unwrap(), b"again");
}

#[tokio::test]
async fn a_listener_that_lags_skips_and_goes_on() {
    let server = RedisServer::start();
    let host = connect(server.url());
    heard(&host).await;
    let (mut slow, mut quick) = (host.announcements(), host.announcements());
    let publish = script("for i = 1, 3000 do redis.call('PUBLISH', ARGV[1], string.format('%d', i)) end");
    let (reply, last) = tokio::join!(host.run(publish, call(&["k"], &["bursar:announce"])), async {
        loop {
            let payload = quick.next().await.unwrap();
            if payload == b"3000" {
                return payload;
            }
        }
    });
    reply.unwrap();
    assert_eq!(last, b"3000");
    let first: u32 = String::from_utf8(slow.next().await.unwrap()).unwrap().parse().unwrap();
    assert!(first > 1, "nothing was skipped");
}

#[tokio::test]
async fn a_cluster_passes_announcements_on() {
    let cluster = RedisCluster::start();
    let (one, two) = (connect(cluster.url()), connect(cluster.url()));
    heard(&one).await;
    heard(&two).await;
    let mut streams = [one.announcements(), two.announcements()];
    let publish = script("return redis.call('PUBLISH', ARGV[1], ARGV[2])");
    for n in 0..5 {
        one.run(publish, call(&[&format!("{{{n}}}")], &["bursar:announce", &n.to_string()])).await.unwrap();
    }
    for stream in &mut streams {
        let mut seen: Vec<_> = stream.by_ref().take(5).collect().await;
        seen.sort();
        assert_eq!(seen, [b"0", b"1", b"2", b"3", b"4"]);
    }
}
