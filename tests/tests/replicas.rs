//! Two replicas of the real binary over one real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bursar_client::{AcquireError, AcquireOptions, Client, ClientConfig};
use bursar_ledger::testing::RedisServer;
use bursar_quota::{BudgetName, Reason, Settled, SystemClock};
use bursar_sim::{
    fleet::{Counters, FleetConfig, through_bursar},
    upstream::{Upstream, UpstreamConfig, VendorProfile, token_label},
};
use bursar_tests::Replica;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Cluster {
    redis: RedisServer,
    a: Client,
    b: Client,
    _replicas: [Replica; 2],
}

/// Starts two replicas, and waits until both can reach their store.
async fn cluster() -> Cluster {
    let redis = RedisServer::start();
    let replicas = [Replica::start(&redis.url()), Replica::start(&redis.url())];
    let client = |replica: &Replica| Client::lazy(ClientConfig::new(replica.uri.clone())).unwrap();
    let (a, b) = (client(&replicas[0]), client(&replicas[1]));
    for client in [&a, &b] {
        let ready = async {
            while client.budgets().get(&BudgetName::new("salestim").unwrap()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ready).await.expect("it declares its budgets");
    }
    Cluster { redis, a, b, _replicas: replicas }
}

fn at_once(budget: &str) -> AcquireOptions {
    AcquireOptions::new(budget).max_wait(Duration::ZERO)
}

const NOTHING: [(&str, &str); 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_settles_on_any_replica_once() {
    let cluster = cluster().await;
    let permit = cluster.a.acquire(at_once("autotask")).await.unwrap();
    let id = permit.detach();
    let settle = async |client: &Client| {
        client.adopt("autotask", id.clone()).settle(200, NOTHING, &[]).await.unwrap().result
    };
    assert_eq!(settle(&cluster.b).await, Settled::Applied);
    assert_eq!(settle(&cluster.a).await, Settled::Already);
    let other = cluster.a.adopt("salestim", id.clone()).not_sent().await.unwrap_err();
    assert!(other.to_string().contains("permit_id"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "real time is what is tested here, as a lower bound")]
async fn a_retry_after_settled_on_one_replica_stops_the_other() {
    let cluster = cluster().await;
    // The first is a probe; its reading opens the rest.
    let first = cluster.a.acquire(at_once("autotask")).await.unwrap();
    let reset = [("X-RateLimit-Limit", "600"), ("X-RateLimit-Remaining", "599")];
    first.settle(200, reset, &[]).await.unwrap();
    let permit = cluster.a.acquire(at_once("autotask")).await.unwrap();
    let report = permit.settle(429, [("Retry-After", "2")], &[]).await.unwrap();
    let returned = Instant::now();
    assert!(report.paused_for >= Duration::from_millis(1900), "{report:?}");

    let refused = cluster.b.acquire(at_once("autotask")).await.unwrap_err();
    let refusal = refused.refusal().expect("a refusal is an answer").clone();
    assert_eq!(refusal.reason, Reason::PausedByUpstream);
    let left = refusal.retry_after.expect("a time to come back");
    assert!(left <= Duration::from_millis(2001), "{left:?}");

    // Who waits is let out when it has passed, and not before: Retry-After counts from the response at the latest.
    let waits = AcquireOptions::new("autotask").max_wait(Duration::from_secs(20));
    let permit = cluster.b.acquire(waits).await.unwrap();
    assert!(returned.elapsed() >= left.min(Duration::from_millis(1900)), "{:?}", returned.elapsed());
    permit.not_sent().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_over_two_replicas_is_never_refused() {
    let cluster = cluster().await;
    let stop = CancellationToken::new();
    let config = UpstreamConfig { scale: 20.0, ..UpstreamConfig::new(VendorProfile::Autotask) };
    let mut spec = config.budget(BudgetName::new("scaled").unwrap()).unwrap();
    spec.permit_ttl = Duration::from_secs(10);
    cluster.a.budgets().put(&spec).await.unwrap();
    let upstream = Upstream::new(config, Arc::new(SystemClock::new())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(upstream.clone().serve(listener, stop.clone().cancelled_owned()));

    let end = CancellationToken::new();
    let fleet = |client: &Client, seed| {
        let config =
            FleetConfig { budget: "scaled".into(), seed, ..FleetConfig::autotask(25, "one-token", 50, 20.0) };
        let (client, url, end) = (client.clone(), url.clone(), end.clone());
        tokio::spawn(
            async move { through_bursar(client, &url, config, Arc::new(Counters::default()), end).await },
        )
    };
    let fleets = [fleet(&cluster.a, 1), fleet(&cluster.b, 2)];
    // Three windows and a bit.
    tokio::time::sleep(Duration::from_secs(10)).await;
    end.cancel();
    for fleet in fleets {
        fleet.await.unwrap().unwrap();
    }
    let truth = upstream.truth();
    let counted = truth.token(&token_label("one-token")).unwrap();
    assert_eq!(counted.refused, 0, "{:?}", counted.refused_by);
    assert!(counted.max_concurrent <= 3, "{} at once", counted.max_concurrent);
    assert!(counted.accepted > 600, "{} accepted: more than one window's worth", counted.accepted);
    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_is_a_typed_answer_and_no_slot_is_lost() {
    let cluster = cluster().await;
    let permit = cluster.a.acquire(at_once("autotask")).await.unwrap();
    cluster.redis.freeze();
    let deadline = Duration::from_secs(15);
    let error = cluster.b.acquire(at_once("autotask").deadline(deadline)).await.unwrap_err();
    assert!(matches!(error, AcquireError::Failed(_)), "{error:?}");
    cluster.redis.thaw();
    let settled = async {
        let id = permit.detach();
        loop {
            if let Ok(report) = cluster.b.adopt("autotask", id.clone()).not_sent().await {
                break report.result;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(20), settled).await.expect("it recovers");
    assert!(matches!(result, Settled::Applied | Settled::Already), "{result:?}");
    let stored = cluster.a.budgets().get(&BudgetName::new("autotask").unwrap()).await.unwrap();
    assert!(
        stored.is_some_and(|stored| stored.snapshot.limits.iter().all(|limit| limit.out <= 1)),
        "nothing is lost"
    );
}
