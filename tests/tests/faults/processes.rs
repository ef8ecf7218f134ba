//! What happens to replicas: they stop, and they are restarted one after the other.

use std::{process::Command, time::Duration};

use bursar_client::{AcquireOptions, Client, ClientConfig, Settled};
use bursar_ledger::testing::RedisServer;
use bursar_quota::BudgetName;
use bursar_tests::{Setup, World, binary};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{LONGER_THAN_THE_DEADLINES, OTHERS_GO_ON, PATIENCE, go_on, judged, lasts, thrice};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_stopped_for_longer_than_the_deadlines() {
    let redis = RedisServer::start();
    let world = World::start(&thrice(&redis.url()), Setup::default()).await;
    go_on(&world, 300).await;
    world.replicas[0].freeze();
    let fault = lasts(&world, LONGER_THAN_THE_DEADLINES).await;
    world.replicas[0].thaw();
    let report = judged(world, "a replica stopped for 6.5 s", fault, OTHERS_GO_ON).await;
    assert_eq!(report.failed, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_replicas_are_restarted_one_after_the_other() {
    let redis = RedisServer::start();
    let mut world = World::start(&thrice(&redis.url()), Setup::default()).await;
    go_on(&world, 300).await;
    let others = Others::start(&world).await;
    let began = world.now();
    for number in 0..world.replicas.len() {
        world.replicas[number].restart().await;
        go_on(&world, 50).await;
    }
    let healed = world.now();
    others.end().await;
    let report = judged(world, "three replicas restarted in turn", (began, healed), OTHERS_GO_ON).await;
    assert_eq!((report.failed, report.unsettled), (0, 0), "{report}");
}

/// How long the command line rests between two runs, so that starting it is not all that the machine does.
const BETWEEN: Duration = Duration::from_millis(100);

/// Those who ask otherwise than the fleet does, all the time: a call that lasts longer than its permit, and renews it; the
/// command line, which runs a command under a permit, and which acquires and settles in two processes; an operator.
struct Others {
    end: CancellationToken,
    tasks: Vec<JoinHandle<u64>>,
}

impl Others {
    async fn start(world: &World) -> Self {
        let end = CancellationToken::new();
        let mut config = ClientConfig::new(String::new());
        config.endpoints = world.endpoints();
        let servers = config.endpoints.join(",");
        let client = Client::lazy(config).unwrap();
        let budget = world.budget().clone();
        let tasks = vec![
            tokio::spawn(holds(client.clone(), budget.clone(), end.clone())),
            tokio::spawn(reads(client, budget.clone(), end.clone())),
            tokio::spawn(runs(servers.clone(), budget.clone(), end.clone())),
            tokio::spawn(by_hand(servers, budget, end.clone())),
        ];
        Self { end, tasks }
    }

    /// Ends them. None has failed, and each was served.
    async fn end(self) {
        self.end.cancel();
        for task in self.tasks {
            let served = timeout(PATIENCE, task).await.expect("it ends").expect("nothing failed");
            assert!(served > 0, "it did nothing");
        }
    }
}

/// Holds one permit until the end, by renewals.
async fn holds(client: Client, budget: BudgetName, end: CancellationToken) -> u64 {
    let options = AcquireOptions::new(budget.as_str()).max_wait(PATIENCE);
    let mut permit = client.acquire(options).await.expect("a permit");
    permit.hold(Duration::ZERO, end.cancelled()).await;
    assert!(!permit.deadline().is_zero(), "it was lost while it was held");
    let settlement = permit.lost().await.expect("it is settled");
    assert_eq!(settlement.result, Settled::Applied, "its slot was not its own any more");
    1
}

/// Reads the budget.
async fn reads(client: Client, budget: BudgetName, end: CancellationToken) -> u64 {
    let mut served = 0;
    while !end.is_cancelled() {
        let found = client.budgets().get(&budget).await.expect("an answer");
        assert!(found.is_some(), "it is there");
        served += 1;
        sleep(Duration::from_millis(20)).await;
    }
    served
}

/// Runs a command under a permit.
async fn runs(servers: String, budget: BudgetName, end: CancellationToken) -> u64 {
    let mut served = 0;
    while !end.is_cancelled() {
        let words = ["acquire", budget.as_str(), "--max-wait", "20s", "--", "true"];
        bursar(&servers, &words).await;
        served += 1;
        sleep(BETWEEN).await;
    }
    served
}

/// Acquires, and settles with another process.
async fn by_hand(servers: String, budget: BudgetName, end: CancellationToken) -> u64 {
    let mut served = 0;
    while !end.is_cancelled() {
        let id = bursar(&servers, &["acquire", budget.as_str(), "--max-wait", "20s"]).await;
        bursar(&servers, &["settle", budget.as_str(), id.trim(), "--not-sent"]).await;
        served += 1;
        sleep(BETWEEN).await;
    }
    served
}

/// What the binary says, if it ends well, and tells nobody of a problem.
async fn bursar(servers: &str, words: &[&str]) -> String {
    let (servers, words): (_, Vec<_>) =
        (servers.to_owned(), words.iter().map(|&word| word.to_owned()).collect());
    let told = words.join(" ");
    let run = move || Command::new(binary()).args(words).env("BURSAR_SERVER", servers).output();
    let output = tokio::task::spawn_blocking(run).await.expect("it does not panic").expect("bursar runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("warning"), "{told}: {said}");
    String::from_utf8(output.stdout).expect("text")
}
