//! The rights that `deploy/redis/bursar.acl` gives are enough for all that Bursar does, and none is left over.

use std::{sync::Arc, time::Duration};

use bursar_ledger::{
    RedisConfig, RedisHost, ScriptLedger,
    testing::{RedisCluster, RedisSentinel, RedisServer},
};
use bursar_quota::{
    AcquireGroup, BudgetName, BudgetSpec, ClassName, Commit, LeaseId, Ledger, LedgerError, LimitKind,
    LimitName, LimitSpec, RenewGroup, ReplicaName, Requests, SettleGroup, SettleKind, Settled, SystemClock,
    TenantName, Tier, UnitName,
};

use super::hasty;

/// Rights that only a cluster asks for, or a client of sentinels.
const OF_CLUSTERS: &str = "+cluster|slots";
const OF_SENTINELS: &str = "+role";

/// The rules of the file, with a password of this test's.
fn rules() -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/redis/bursar.acl");
    let text = std::fs::read_to_string(file).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words[..2], ["user", "bursar"], "{text}");
    words[2..].iter().map(|word| word.replace("CHANGE-ME", "hunter2")).collect()
}

fn without(right: &str) -> Vec<String> {
    rules().into_iter().filter(|rule| rule != right).collect()
}

fn install(server: &RedisServer, rules: &[String]) {
    let mut words = vec!["ACL", "SETUSER", "bursar", "reset"];
    words.extend(rules.iter().map(String::as_str));
    server.command(&words);
}

/// Whether the server has turned the user away from what the right is for: some of it is asked in the background.
async fn is_denied(server: &RedisServer, right: &str) -> bool {
    for _ in 0..200 {
        let log = format!("{:?}", server.command(&["ACL", "LOG"])).to_lowercase();
        if log.contains(&format!("\"{}\"", right.trim_start_matches('+'))) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

fn config(url: &str) -> RedisConfig {
    hasty(url.replace("//", "//bursar:hunter2@"))
}

fn commit(lease: Option<LeaseId>, settle: Option<LeaseId>) -> Commit {
    let group = |lease| AcquireGroup {
        lease,
        requests: Requests::None,
        class: ClassName::default_class(),
        tenant: TenantName::default_tenant(),
        tier: Tier::Standard,
        costs: vec![1],
        units: vec![(UnitName::requests(), 1)],
        count: 2,
        ttl_ms: 60_000,
    };
    let settled = |lease| SettleGroup {
        lease,
        indexes: vec![0, 1],
        kind: SettleKind::NotSent,
        costs: Vec::new(),
        units: Vec::new(),
        readings: Vec::new(),
        pause: None,
        age_ms: 0,
    };
    Commit {
        replica: ReplicaName::new("r").unwrap(),
        spec_version: 1,
        contenders: Vec::new(),
        looks: Vec::new(),
        waiting: 0,
        jitter: 0.5,
        settles: settle.into_iter().map(settled).collect(),
        renews: settle.into_iter().map(|lease| RenewGroup { lease, index: 0, ttl_ms: 60_000 }).collect(),
        acquires: lease.into_iter().map(group).collect(),
    }
}

/// All that a replica asks of its store, its announcements included.
async fn everything(config: RedisConfig) -> Result<(), LedgerError> {
    let host = RedisHost::connect(config).unwrap();
    let mut listening = host.listening();
    let heard = tokio::time::timeout(Duration::from_secs(2), listening.wait_for(|heard| *heard)).await;
    let ledger = ScriptLedger::new(host, "bursar:", Arc::new(SystemClock::new()));
    ledger.ready().await?;
    let name = BudgetName::new("acl").unwrap();
    let kind =
        LimitKind::Window { capacity: 9, window: Duration::from_secs(60), aligned: false, on_clock: false };
    let spec = BudgetSpec::new(name.clone(), vec![LimitSpec::new(LimitName::new("w").unwrap(), kind)]);
    let put = ledger.put(&spec).await?;
    let lease = LeaseId::new(&ClassName::default_class(), 1 << 40);
    let mut first = commit(Some(lease), None);
    first.spec_version = put.version;
    let reply = ledger.commit(&name, &first).await?;
    assert_eq!(reply.decisions[0].granted, 2);
    let mut second = commit(None, Some(lease));
    second.spec_version = put.version;
    let reply = ledger.commit(&name, &second).await?;
    assert_eq!(reply.settled, [[Settled::Applied; 2]]);
    ledger.pause(&name, Some(Duration::from_secs(1))).await?;
    ledger.resume(&name).await?;
    ledger.get(&name).await?;
    ledger.list(None, 9).await?;
    ledger.delete(&name).await?;
    let unheard = |_| LedgerError::Unavailable { cause: "unheard".into(), retry_after: Duration::ZERO };
    heard.map_err(unheard)?.map(drop).map_err(|_| LedgerError::Corrupt("the host is gone".into()))
}

#[tokio::test]
async fn the_rights_of_the_file_are_enough() {
    let server = RedisServer::start();
    install(&server, &rules());
    assert_eq!(everything(config(&server.url())).await, Ok(()));
    // A key and a channel of somebody else's are out of reach.
    let mut stray = config(&server.url());
    stray.prefix = "others:".into();
    let host = RedisHost::connect(stray).unwrap();
    let ledger = ScriptLedger::new(host, "others:", Arc::new(SystemClock::new()));
    assert!(ledger.ready().await.is_err());
}

#[tokio::test]
async fn each_right_of_the_file_is_needed() {
    let server = RedisServer::start();
    let all = rules();
    for (place, right) in all.iter().enumerate().filter(|(_, right)| right.starts_with('+')) {
        if [OF_CLUSTERS, OF_SENTINELS].contains(&right.as_str()) {
            continue;
        }
        let mut fewer = all.clone();
        fewer.remove(place);
        server.command(&["FLUSHALL"]);
        server.command(&["SCRIPT", "FLUSH"]);
        install(&server, &fewer);
        server.command(&["ACL", "LOG", "RESET"]);
        let result = everything(config(&server.url())).await;
        assert!(result.is_err() || is_denied(&server, right).await, "all works without {right}");
    }
}

#[tokio::test]
async fn who_may_not_announce_decides_all_the_same_and_is_not_ready() {
    let server = RedisServer::start();
    for right in ["+publish", "&bursar:announce"] {
        install(&server, &without(right));
        let host = RedisHost::connect(config(&server.url())).unwrap();
        let ledger = ScriptLedger::new(host, "bursar:", Arc::new(SystemClock::new()));
        let told = ledger.ready().await.unwrap_err().to_string();
        assert!(told.contains("NOPERM") && told.contains("permissions"), "{told}");
        let name = BudgetName::new("acl").unwrap();
        let kind = LimitKind::Window {
            capacity: 9,
            window: Duration::from_secs(60),
            aligned: false,
            on_clock: false,
        };
        let limits = vec![LimitSpec::new(LimitName::new("w").unwrap(), kind)];
        let put = ledger.put(&BudgetSpec::new(name.clone(), limits)).await.unwrap();
        ledger.pause(&name, Some(Duration::from_secs(9))).await.unwrap();
        let asked = commit(Some(LeaseId::new(&ClassName::default_class(), 1 << 40)), None);
        let reply = ledger.commit(&name, &Commit { spec_version: put.version, ..asked }).await.unwrap();
        assert_eq!(reply.decisions[0].granted, 0, "the pause was not announced, and is in force");
        ledger.delete(&name).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_of_ones_own_needs_one_right_more() {
    let server = RedisServer::start();
    let url = format!("{}/1", server.url());
    install(&server, &rules());
    assert!(everything(config(&url)).await.is_err());
    install(&server, &[rules(), vec!["+select".to_owned()]].concat());
    assert_eq!(everything(config(&url)).await, Ok(()));
    assert_eq!(server.command(&["EXISTS", "bursar:names", "bursar:ready"]), redis::Value::Int(0));
}

#[tokio::test]
async fn the_rights_of_the_file_are_enough_for_a_cluster() {
    let cluster = RedisCluster::start();
    for node in cluster.nodes() {
        install(node, &rules());
    }
    assert_eq!(everything(config(&cluster.url())).await, Ok(()));
    for node in cluster.nodes() {
        install(node, &without(OF_CLUSTERS));
    }
    assert!(everything(config(&cluster.url())).await.is_err());
}

#[tokio::test]
async fn the_rights_of_the_file_are_enough_behind_sentinels() {
    let sentinel = RedisSentinel::start();
    install(sentinel.master(), &rules());
    let of_master = |url: String| RedisConfig {
        user: Some("bursar".into()),
        password: Some("hunter2".into()),
        ..hasty(url)
    };
    assert_eq!(everything(of_master(sentinel.url())).await, Ok(()));
    let master = sentinel.master();
    install(master, &without(OF_SENTINELS));
    master.command(&["ACL", "LOG", "RESET"]);
    let result = everything(of_master(sentinel.url())).await;
    assert!(result.is_err() || is_denied(master, OF_SENTINELS).await, "all works without {OF_SENTINELS}");
}

/// What `deploy/README.md` tells to type at each sentinel, with a password of this test's.
fn at_sentinels() -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md");
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("$ redis-cli -p 26379 "));
    let words = line.expect("a line for the sentinels").replace('\'', "").replace("PASSWORD", "hunter2");
    words.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_documented_user_of_the_sentinels_has_all_rights_that_are_needed_there_and_no_more() {
    let sentinel = RedisSentinel::start_with(3);
    let mut words = at_sentinels();
    let at = |password: &str| RedisConfig {
        sentinel_user: Some("bursar".into()),
        sentinel_password: Some(password.into()),
        ..hasty(sentinel.url())
    };
    sentinel.command_sentinels(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(everything(at("hunter2")).await, Ok(()));
    assert!(everything(at("hunter3")).await.is_err());
    let right = words.pop();
    assert_eq!(right.as_deref(), Some("+sentinel|masters"));
    words.insert(3, "reset".to_owned());
    sentinel.command_sentinels(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(everything(at("hunter2")).await.is_err());
}
