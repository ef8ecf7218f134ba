//! Budgets of the configuration that the store does not know: it was away when the replica began, or came back empty.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it cannot go on"
)]

use std::time::Duration;

use bursar_client::{AcquireError, AcquireOptions, Client, ClientConfig};
use bursar_ledger::testing::RedisServer;
use bursar_quota::{BudgetName, ProfileName, Reason};
use bursar_tests::Replica;
use tokio::time::{sleep, timeout};

fn client(replica: &Replica) -> Client {
    Client::lazy(ClientConfig::new(replica.uri.clone())).unwrap()
}

async fn is_ready(replica: &Replica) -> bool {
    replica.page("/readyz").await.starts_with("HTTP/1.1 200")
}

async fn until_ready(replica: &Replica) {
    let ready = async {
        while !is_ready(replica).await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), ready).await.expect("it is ready when its store is there");
}

/// Asks once for a permit of a budget that stands in the configuration, or of any; why it got none, if so.
async fn refusal(client: &Client) -> Option<Reason> {
    refusal_of(client, "autotask").await
}

async fn refusal_of(client: &Client, budget: &str) -> Option<Reason> {
    let options = AcquireOptions::new(budget).max_wait(Duration::ZERO).deadline(Duration::from_secs(10));
    match client.acquire(options).await {
        Ok(permit) => {
            permit.not_sent().await.unwrap();
            None
        }
        Err(AcquireError::Refused(refusal)) => Some(refusal.reason),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_began_without_its_store_is_ready_when_its_budgets_are_declared() {
    let mut redis = RedisServer::start();
    redis.kill();
    let replica = Replica::start(&redis.url());
    let unready = async {
        loop {
            assert!(!is_ready(&replica).await);
            sleep(Duration::from_millis(50)).await;
        }
    };
    // Long enough for the rests between its tries to have grown.
    timeout(Duration::from_secs(4), unready).await.unwrap_err();
    redis.restart();
    until_ready(&replica).await;
    assert_eq!(refusal(&client(&replica)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_back_empty_is_told_at_once() {
    let redis = RedisServer::start();
    let replicas = [Replica::start(&redis.url()), Replica::start(&redis.url())];
    for replica in &replicas {
        until_ready(replica).await;
    }
    let clients = replicas.each_ref().map(client);
    assert_eq!(refusal(&clients[0]).await, None);
    for _ in 0..3 {
        redis.command(&["FLUSHALL"]);
        // One of them knows of the budget's state, the other does not, and neither says that there is no such budget.
        for client in &clients {
            assert_ne!(refusal(client).await, Some(Reason::UnknownBudget));
        }
    }
    let name = BudgetName::new("autotask").unwrap();
    assert!(clients[0].budgets().delete(&name).await.unwrap());
    assert_eq!(refusal(&clients[0]).await, Some(Reason::UnknownBudget), "that was meant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_was_put_and_is_evicted_is_counted_until_it_is_put_again() {
    let redis = RedisServer::start();
    let replica = Replica::start(&redis.url());
    until_ready(&replica).await;
    let client = client(&replica);
    let (name, profile) = (BudgetName::new("put").unwrap(), ProfileName::new("autotask").unwrap());
    let forgotten = r#"bursar_ledger_errors_total{budget="put",kind="forgotten"}"#;
    for times in 1..=2 {
        client.budgets().put_profile(&name, &profile).await.unwrap();
        assert_eq!(refusal_of(&client, "put").await, None);
        redis.command(&["DEL", "bursar:{put}:spec"]);
        for _ in 0..2 {
            assert_eq!(refusal_of(&client, "put").await, Some(Reason::UnknownBudget));
        }
        let page = replica.page("/metrics").await;
        assert!(page.contains(&format!("{forgotten} {times}\n")), "{page}");
    }
    client.budgets().put_profile(&name, &profile).await.unwrap();
    assert_eq!(refusal_of(&client, "put").await, None);
    assert!(client.budgets().delete(&name).await.unwrap());
    assert_eq!(refusal_of(&client, "put").await, Some(Reason::UnknownBudget));
    let page = replica.page("/metrics").await;
    assert!(page.contains(&format!("{forgotten} 2\n")), "who deletes forgets nothing: {page}");
}
