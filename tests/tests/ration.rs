//! A budget's ration while the store is away: three replicas of the real binary, and a real Redis that stops and comes
//! back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]

use std::time::Duration;

use bursar_client::{AcquireError, AcquireOptions, Client, ClientConfig, Permit, Watch, Watched};
use bursar_ledger::testing::RedisServer;
use bursar_quota::{
    BudgetName, BudgetSpec, EventKind, LimitKind, LimitName, LimitSpec, OnStoreLoss, Ration, Settled,
};
use bursar_tests::Replica;
use tokio::time::{Instant, sleep, timeout};

const BUDGET: &str = "rationed";
const NOTHING: [(&str, &str); 0] = [];

/// One replica's part: half of 90, shared by three.
const PART: usize = 15;

struct Cluster {
    redis: RedisServer,
    clients: Vec<Client>,
    replicas: Vec<Replica>,
}

fn spec(span: Duration) -> BudgetSpec {
    // No window ends during a test, so that each replica has its part once.
    let window = Duration::from_secs(3600);
    let kind = LimitKind::Window { capacity: 90, window, aligned: false, on_clock: false };
    let limit = LimitSpec::new(LimitName::new("hourly").unwrap(), kind);
    BudgetSpec {
        on_store_loss: OnStoreLoss::Ration,
        ration: Some(Ration { fraction: 0.5, replicas: 3, span }),
        ..BudgetSpec::new(BudgetName::new(BUDGET).unwrap(), vec![limit])
    }
}

/// Three replicas that have granted a permit of the budget each.
async fn cluster(span: Duration) -> Cluster {
    let redis = RedisServer::start();
    let replicas: Vec<Replica> = (0..3).map(|_| Replica::start(&redis.url())).collect();
    let clients: Vec<Client> = replicas
        .iter()
        .map(|replica| Client::lazy(ClientConfig::new(replica.uri.clone())).unwrap())
        .collect();
    let declared = async {
        while clients[0].budgets().put(&spec(span)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), declared).await.expect("the budget is declared");
    for client in &clients {
        let permit = client.acquire(patient()).await.unwrap();
        assert!(!permit.is_rationed());
        permit.settle(200, NOTHING, &[]).await.unwrap();
    }
    Cluster { redis, clients, replicas }
}

/// One try, with time enough for the store's calls to fail.
fn patient() -> AcquireOptions {
    AcquireOptions::new(BUDGET).max_wait(Duration::ZERO).deadline(Duration::from_secs(15))
}

/// One that does not try again for long.
fn hasty() -> AcquireOptions {
    AcquireOptions::new(BUDGET).max_wait(Duration::ZERO).deadline(Duration::from_secs(2))
}

/// The first permit that is granted so, tried for until the replica has found that the store is away.
async fn first_rationed(client: &Client) -> Permit {
    let asked = async {
        loop {
            match client.acquire(patient()).await {
                Ok(permit) => return permit,
                Err(error) => assert!(matches!(error, AcquireError::Failed(_) | AcquireError::Refused(_))),
            }
        }
    };
    let permit = timeout(Duration::from_secs(40), asked).await.expect("it rations");
    assert!(permit.is_rationed());
    permit
}

/// All that a replica still grants by its ration.
async fn the_rest(client: &Client) -> Vec<Permit> {
    let mut permits = Vec::new();
    loop {
        // Beyond its part a replica says what it says without a ration: the store is away.
        match client.acquire(hasty()).await {
            Ok(permit) => {
                assert!(permit.is_rationed());
                permits.push(permit);
            }
            Err(error) => {
                assert!(matches!(error, AcquireError::Failed(_)), "{error:?}");
                return permits;
            }
        }
    }
}

async fn heard(watch: &mut Watch) -> EventKind {
    let next = async {
        loop {
            if let Some(Watched::Change(event)) = watch.next().await.unwrap() {
                return event.kind;
            }
        }
    };
    timeout(Duration::from_secs(40), next).await.expect("it is told")
}

async fn account(client: &Client) -> (u64, u64, u64) {
    let name = BudgetName::new(BUDGET).unwrap();
    let stored = async {
        loop {
            if let Ok(Some(stored)) = client.budgets().get(&name).await {
                return stored;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let stored = timeout(Duration::from_secs(40), stored).await.expect("the store is back");
    let limit = &stored.snapshot.limits[0];
    (stored.snapshot.granted, limit.out, limit.paid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stops_is_rationed_and_then_told() {
    let mut cluster = cluster(Duration::from_secs(600)).await;
    let name = BudgetName::new(BUDGET).unwrap();
    let mut watch = cluster.clients[0].budgets().watch(std::slice::from_ref(&name)).await.unwrap();
    cluster.redis.freeze();
    let mut held = Vec::new();
    for client in &cluster.clients {
        let mut permits = vec![first_rationed(client).await];
        permits.extend(the_rest(client).await);
        assert_eq!(permits.len(), PART, "each replica has its part, and no more");
        held.push(permits);
    }
    assert!(matches!(heard(&mut watch).await, EventKind::RationBegan { .. }));

    // Settled where it was granted while the store is away; again changes nothing.
    let id = held[1].pop().unwrap().detach();
    let adopted = |n: usize| cluster.clients[n].adopt(BUDGET, id.clone());
    assert_eq!(adopted(1).settle(200, NOTHING, &[]).await.unwrap().result, Settled::Applied);
    assert_eq!(adopted(1).settle(200, NOTHING, &[]).await.unwrap().result, Settled::Already);

    // The store learns of all of it, once it is back.
    cluster.redis.thaw();
    assert!(matches!(heard(&mut watch).await, EventKind::RationEnded { granted: 15, store_back: true, .. }));
    let told = async {
        loop {
            // A replica asks the store again when it has something to ask, or to tell.
            let known = account(&cluster.clients[0]).await;
            if known.0 >= 3 + 3 * PART as u64 {
                return known;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let (granted, out, paid) = timeout(Duration::from_secs(40), told).await.expect("the store is told");
    assert!(granted >= 48 && out + paid >= 48, "{granted} granted, {out} out, {paid} paid");
    assert_eq!(adopted(0).settle(200, NOTHING, &[]).await.unwrap().result, Settled::Already);

    // Any replica settles what is left, and grants go on by the account.
    for permit in held.into_iter().flatten() {
        let id = permit.detach();
        let settled = cluster.clients[2].adopt(BUDGET, id).settle(200, NOTHING, &[]).await.unwrap();
        assert_eq!(settled.result, Settled::Applied);
    }
    let permit = cluster.clients[0].acquire(patient()).await.unwrap();
    assert!(!permit.is_rationed());
    permit.not_sent().await.unwrap();
    // Ended by its handle, it is no other loss: the part of this window is used.
    cluster.redis.kill();
    let error = cluster.clients[0].acquire(patient()).await.unwrap_err();
    assert!(matches!(error, AcquireError::Failed(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "real time is what is tested here")]
async fn a_refusal_of_the_upstream_and_the_end_of_its_time_end_it() {
    let mut cluster = cluster(Duration::from_secs(8)).await;
    cluster.redis.kill();
    let first = first_rationed(&cluster.clients[0]).await;
    let report = first.settle(429, [("Retry-After", "1")], &[]).await.unwrap();
    assert_eq!(report.result, Settled::Applied);
    assert!(report.paused_for >= Duration::from_secs(1), "{report:?}");
    assert_eq!(the_rest(&cluster.clients[0]).await.len(), 0, "the upstream said no");

    let permit = first_rationed(&cluster.clients[1]).await;
    permit.settle(200, NOTHING, &[]).await.unwrap();
    let began = Instant::now();
    let over = async {
        loop {
            match cluster.clients[1].acquire(hasty()).await {
                Ok(permit) => permit.not_sent().await.map(drop).unwrap(),
                Err(error) => {
                    assert!(matches!(error, AcquireError::Failed(_)), "{error:?}");
                    return;
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(20), over).await.expect("its time is over");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_finds_the_ration_begun() {
    let cluster = cluster(Duration::from_secs(600)).await;
    cluster.redis.freeze();
    // Nobody calls: what a replica knows of its store is what it finds out by itself.
    for replica in &cluster.replicas {
        let known = async {
            // A look that ends without an answer names what connecting came to, once that was tried.
            while !replica.page("/readyz").await.contains("in time") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), known).await.expect("it finds that its store is away");
    }
    for client in &cluster.clients {
        // Less than a call of the store may take until it is given up.
        let permit = client.acquire(hasty()).await.unwrap();
        assert!(permit.is_rationed());
    }
}
