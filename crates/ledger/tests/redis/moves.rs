//! A server that is another one, and does not know the last of what the one before was told.

use std::{sync::Arc, time::Duration};

use bursar_ledger::{
    RedisConfig, RedisHost, ScriptLedger,
    testing::{RedisSentinel, RedisServer},
};
use bursar_quota::{
    AcquireGroup, BudgetName, BudgetSpec, ClassName, Clock, Commit, LeaseId, Ledger, LedgerError, LimitKind,
    LimitName, LimitSpec, ManualClock, Put, ReplicaName, Requests, SystemClock, TenantName, Tier, UnitName,
};

use redis::Value;

use super::eventually;

/// What the one limit holds.
const CAPACITY: u64 = 10;

/// A replica's ledger, which tells another server what it remembers.
async fn replica(url: String) -> Arc<ScriptLedger<RedisHost>> {
    replica_by(url, Arc::new(SystemClock::new()))
}

fn replica_by(url: String, clock: Arc<dyn Clock>) -> Arc<ScriptLedger<RedisHost>> {
    let host = RedisHost::connect(RedisConfig { seed: 1, drivers: 1, ..RedisConfig::at(url) }).unwrap();
    let ledger = Arc::new(ScriptLedger::new(host, "bursar:", clock));
    tokio::spawn(ScriptLedger::attest(Arc::downgrade(&ledger)));
    ledger
}

fn budget() -> BudgetName {
    BudgetName::new("moved").unwrap()
}

async fn declare(ledger: &ScriptLedger<RedisHost>) {
    declare_as(budget(), ledger).await.unwrap();
}

async fn declare_as(name: BudgetName, ledger: &ScriptLedger<RedisHost>) -> Result<Put, LedgerError> {
    let kind = LimitKind::Window {
        capacity: CAPACITY,
        window: Duration::from_secs(3600),
        aligned: false,
        on_clock: false,
    };
    let limit = LimitSpec::new(LimitName::new("w").unwrap(), kind);
    ledger.put(&BudgetSpec::new(name, vec![limit])).await
}

/// Declares until the store answers.
async fn declare_next(ledger: &ScriptLedger<RedisHost>) {
    for _ in 0..20 {
        match declare_as(budget(), ledger).await {
            Err(LedgerError::Unavailable { retry_after, .. }) => tokio::time::sleep(retry_after).await,
            done => return assert_eq!(done, Ok(Put { version: 1, changed: true })),
        }
    }
    panic!("the store does not come back")
}

/// Asks for so many permits, as the `turn`th commit of replica `name`.
async fn acquire(
    ledger: &ScriptLedger<RedisHost>,
    name: &str,
    turn: u128,
    count: u16,
) -> Result<u16, LedgerError> {
    acquire_of(&budget(), ledger, name, turn, count).await
}

async fn acquire_of(
    budget: &BudgetName,
    ledger: &ScriptLedger<RedisHost>,
    name: &str,
    turn: u128,
    count: u16,
) -> Result<u16, LedgerError> {
    let group = AcquireGroup {
        lease: LeaseId::new(&ClassName::default_class(), turn << 40),
        requests: Requests::None,
        class: ClassName::default_class(),
        tenant: TenantName::default_tenant(),
        tier: Tier::Standard,
        costs: vec![1],
        units: vec![(UnitName::requests(), 1)],
        count,
        ttl_ms: 60_000,
    };
    let commit = Commit {
        replica: ReplicaName::new(name).unwrap(),
        spec_version: 1,
        waiting: 0,
        contenders: Vec::new(),
        jitter: 0.5,
        settles: Vec::new(),
        renews: Vec::new(),
        acquires: vec![group],
        looks: Vec::new(),
    };
    Ok(ledger.commit(budget, &commit).await?.decisions[0].granted)
}

/// Asks until the store answers, and says how many were granted then.
async fn granted_next(ledger: &ScriptLedger<RedisHost>, name: &str, turn: u128, count: u16) -> u16 {
    for attempt in 0..20 {
        match acquire(ledger, name, turn + attempt, count).await {
            Ok(granted) => return granted,
            Err(LedgerError::Unavailable { retry_after, .. }) => tokio::time::sleep(retry_after).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store does not come back")
}

/// Waits until the second server knows all that the first was told.
async fn replicated(sentinel: &RedisSentinel) {
    let [master, replica] = sentinel.servers();
    eventually("replication", || async { replica.replication_offset() == master.replication_offset() }).await;
}

#[tokio::test]
async fn who_lost_nothing_is_granted_nothing_on_a_short_account_though_who_lost_asks_for_nothing() {
    a_stale_replica_is_promoted(0).await;
}

#[tokio::test]
async fn what_is_remembered_goes_ahead_of_more_calls_than_may_be_under_way() {
    a_stale_replica_is_promoted(600).await;
}

/// Where whose writes are lost has so many other calls that wait.
async fn a_stale_replica_is_promoted(waiting: usize) {
    let mut sentinel = RedisSentinel::start_as(&RedisServer::setup().user("bursar", "hunter2"), 3);
    let (knows, lost) = (replica(sentinel.url()).await, replica(sentinel.url()).await);
    declare(&knows).await;
    assert_eq!(acquire(&knows, "knows", 1, 1).await, Ok(1));
    assert_eq!(acquire(&lost, "lost", 2, 1).await, Ok(1));
    replicated(&sentinel).await;
    // With a password that its master does not know it cannot come back.
    sentinel.servers()[1].command(&["CONFIG", "SET", "masterauth", "wrong"]);
    sentinel.servers()[0].command(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(acquire(&lost, "lost", 3, 8).await, Ok(8));
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..waiting {
        let lost = Arc::clone(&lost);
        others.spawn(async move {
            loop {
                let _ = lost.ready().await;
                tokio::task::yield_now().await;
            }
        });
    }
    sentinel.servers_mut()[0].kill();
    eventually("another master", || async { sentinel.servers()[1].is_master() }).await;
    // All ten were granted, of which the new master knows two.
    assert_eq!(granted_next(&knows, "knows", 10, 5).await, 0);
}

#[tokio::test]
async fn at_a_planned_failover_that_loses_nothing_grants_go_on_after_all_have_moved() {
    let sentinel = RedisSentinel::start_as(&RedisServer::setup().user("bursar", "hunter2"), 3);
    let (one, other) = (replica(sentinel.url()).await, replica(sentinel.url()).await);
    declare(&one).await;
    assert_eq!(acquire(&one, "one", 1, 2).await, Ok(2));
    assert_eq!(acquire(&other, "other", 2, 2).await, Ok(2));
    replicated(&sentinel).await;
    sentinel.fail_over();
    assert_eq!(granted_next(&one, "one", 10, 4).await, 4);
    assert_eq!(granted_next(&other, "other", 40, 4).await, 2);
}

#[tokio::test]
async fn a_server_that_is_restarted_from_an_old_dump_is_told_before_it_grants() {
    let mut server = RedisServer::start();
    let (knows, lost) = replicas_of_an_old_dump(&server, &server.url()).await;
    server.restart();
    // Both ask at once; whoever is first, nothing is granted before both have told.
    let (first, second) = tokio::join!(granted_next(&knows, "knows", 10, 5), async {
        acquire(&lost, "lost", 40, 5).await.unwrap_or(0)
    },);
    assert_eq!((first, second), (0, 0));
}

#[tokio::test]
async fn who_has_nothing_to_ask_tells_a_server_that_is_restarted_from_an_old_dump() {
    let mut server = RedisServer::start();
    let (knows, _lost) = replicas_of_an_old_dump(&server, &server.url()).await;
    server.restart();
    assert_eq!(granted_next(&knows, "knows", 10, 5).await, 0);
}

#[tokio::test]
async fn a_server_that_may_not_be_asked_who_it_is_is_told_when_it_is_back() {
    let mut server = RedisServer::setup().args("--user few on >hunter2 ~* &* +@all -info").start();
    let url = format!("redis://few:hunter2@127.0.0.1:{}", server.port());
    let (knows, _lost) = replicas_of_an_old_dump(&server, &url).await;
    server.restart();
    assert_eq!(granted_next(&knows, "knows", 10, 5).await, 0);
}

#[tokio::test]
async fn a_server_is_told_once_it_has_loaded_its_dump() {
    let mut server = RedisServer::setup().args("--loading-process-events-interval-bytes 1024").start();
    let keys: Vec<_> =
        (0..3000).map(|n| format!("other:{n}")).flat_map(|key| [key, "x".repeat(64)]).collect();
    let words: Vec<_> = ["MSET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    server.command(&words);
    let (knows, _lost) = replicas_of_an_old_dump(&server, &server.url()).await;
    // Longer than calls wait at another server.
    server.restart_slowly();
    assert_eq!(granted_next(&knows, "knows", 10, 5).await, 0);
}

#[tokio::test]
async fn a_server_that_is_restarted_empty_is_told_though_the_budget_is_to_be_declared_again() {
    let mut server = RedisServer::start();
    let (lost, other) = (replica(server.url()).await, replica(server.url()).await);
    listening(&[&lost, &other]).await;
    declare(&lost).await;
    assert_eq!(acquire(&lost, "lost", 1, 10).await, Ok(10));
    server.restart();
    // Who declares it and asks has seen nothing of it, and who has asks for nothing.
    declare_next(&other).await;
    assert_eq!(granted_next(&other, "other", 10, 5).await, 0);
}

#[tokio::test]
async fn what_was_not_used_of_late_is_told_as_well_where_something_was_lost() {
    let mut server = RedisServer::start();
    let clock = ManualClock::at(Duration::from_secs(1_700_000_000));
    let (lost, other) = (replica_by(server.url(), Arc::new(clock.clone())), replica(server.url()).await);
    listening(&[&lost, &other]).await;
    declare(&lost).await;
    assert_eq!(acquire(&lost, "lost", 1, 10).await, Ok(10));
    clock.advance(Duration::from_secs(600));
    let late = BudgetName::new("late").unwrap();
    declare_as(late.clone(), &lost).await.unwrap();
    assert_eq!(acquire_of(&late, &lost, "lost", 2, 1).await, Ok(1));
    server.restart();
    eventually("it is told", || async {
        server.command(&["EXISTS", "bursar:{moved}:state"]) == Value::Int(1)
    })
    .await;
    declare_next(&other).await;
    assert_eq!(granted_next(&other, "other", 10, 5).await, 0);
}

/// Waits until each hears announcements.
async fn listening(ledgers: &[&Arc<ScriptLedger<RedisHost>>]) {
    for ledger in ledgers {
        let mut listening = ledger.host().listening();
        listening.wait_for(|hears| *hears).await.expect("it subscribes");
    }
}

/// All ten are granted, of which the dump has one: to the second replica, which asks for nothing more.
async fn replicas_of_an_old_dump(
    server: &RedisServer,
    url: &str,
) -> (Arc<ScriptLedger<RedisHost>>, Arc<ScriptLedger<RedisHost>>) {
    let (knows, lost) = (replica(url.to_owned()).await, replica(url.to_owned()).await);
    listening(&[&knows, &lost]).await;
    declare(&knows).await;
    assert_eq!(acquire(&knows, "knows", 1, 1).await, Ok(1));
    server.save();
    assert_eq!(acquire(&lost, "lost", 2, 9).await, Ok(9));
    (knows, lost)
}
