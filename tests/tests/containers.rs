//! Two replicas and their store as containers, on a network of their own, reached through published ports; in calm, and under
//! a fleet while one of them is killed or cut off.
//!
//! `cargo xtask test --only containers` builds the images and says by variables what they are called.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code: it ends where it cannot go on")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use bursar_client::{AcquireOptions, Client, ClientConfig, Settled};
use bursar_tests::{Setup, World, configuration};
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt as _,
    core::{ExecCommand, IntoContainerPort as _, Mount, WaitFor},
    runners::AsyncRunner as _,
};
use tokio::{sync::Mutex, time::sleep};

const PATIENCE: Duration = Duration::from_secs(30);
const NOTHING: [(&str, &str); 0] = [];
/// Where a replica finds its configuration.
const CONFIG: &str = "/bursar.yaml";

/// One test at a time: they use the same names.
static TURN: Mutex<()> = Mutex::const_new(());

/// An image that `cargo xtask test` built.
fn image(variable: &str) -> GenericImage {
    let image = std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: `cargo xtask test --only containers` sets it"));
    let (name, tag) = image.rsplit_once(':').unwrap();
    GenericImage::new(name, tag)
}

/// A name that no other run uses.
fn own(part: &str) -> String {
    format!("bursar-test-{}-{part}", std::process::id())
}

async fn redis() -> ContainerAsync<GenericImage> {
    let image = image("BURSAR_TEST_REDIS_IMAGE")
        .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
        .with_network(own("network"))
        .with_container_name(own("redis"));
    image.start().await.unwrap()
}

/// A replica of the image as it is: not root, nothing written to its file system.
fn replica(part: &str, arguments: &[&str]) -> ContainerRequest<GenericImage> {
    let store = format!("redis://{}:6379", own("redis"));
    let words = [["serve", "--store", store.as_str(), "--drain", "5s"].as_slice(), arguments].concat();
    image("BURSAR_TEST_IMAGE")
        .with_exposed_port(7411.tcp())
        .with_exposed_port(7412.tcp())
        .with_wait_for(WaitFor::message_on_stdout("bursar listens on"))
        .with_network(own("network"))
        .with_container_name(own(part))
        .with_readonly_rootfs(true)
        .with_cap_drop("ALL")
        .with_cmd(words)
}

async fn calm(part: &str) -> ContainerAsync<GenericImage> {
    replica(part, &[]).start().await.unwrap()
}

/// One that has the configuration at `path`.
async fn configured(part: &str, path: &Path) -> ContainerAsync<GenericImage> {
    let mount = Mount::bind_mount(path.to_str().unwrap(), CONFIG);
    replica(part, &["--config", CONFIG]).with_mount(mount).start().await.unwrap()
}

async fn uri(replica: &ContainerAsync<GenericImage>) -> String {
    format!("http://127.0.0.1:{}", replica.get_host_port_ipv4(7411.tcp()).await.unwrap())
}

async fn client(replica: &ContainerAsync<GenericImage>) -> Client {
    Client::connect(ClientConfig::new(uri(replica).await)).await.unwrap()
}

/// How `bursar health` ends inside of a replica: the image has no other program to ask with.
async fn health(replica: &ContainerAsync<GenericImage>, page: &str) -> i64 {
    let url = format!("http://127.0.0.1:7412{page}");
    let asked = replica.exec(ExecCommand::new(["bursar", "health", url.as_str()])).await.unwrap();
    loop {
        if let Some(code) = asked.exit_code().await.unwrap() {
            return code;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a page answers so.
async fn until_health(replica: &ContainerAsync<GenericImage>, page: &str, code: i64) {
    let asking = async {
        while health(replica, page).await != code {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{page} does not come to {code}"));
}

/// What the engine answers.
fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the engine has under names of this run.
fn left() -> String {
    let named = format!("name={}", own(""));
    docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &named])
        + &docker(&["network", "ls", "--format", "{{.Name}}", "--filter", &named])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_over_one_redis_serve_as_one() {
    let _turn = TURN.lock().await;
    let redis = redis().await;
    let (a, b) = tokio::join!(calm("a"), calm("b"));
    for replica in [&a, &b] {
        until_health(replica, "/readyz", 0).await;
    }

    // A permit of one is settled by the other, once.
    let (at_a, at_b) = (client(&a).await, client(&b).await);
    let permit = at_a.acquire(AcquireOptions::new("autotask").max_wait(PATIENCE)).await.unwrap().detach();
    let settle = async |client: &Client| {
        let reading = [("X-RateLimit-Limit", "600"), ("X-RateLimit-Remaining", "599")];
        client.adopt("autotask", permit.clone()).settle(200, reading, &[]).await.unwrap().result
    };
    assert_eq!(settle(&at_b).await, Settled::Applied);
    assert_eq!(settle(&at_a).await, Settled::Already);

    // A store that hangs is no reason to restart a replica, but one to send it nobody.
    redis.pause().await.unwrap();
    until_health(&a, "/readyz", 1).await;
    assert_eq!(health(&a, "/healthz").await, 0);
    redis.unpause().await.unwrap();
    until_health(&a, "/readyz", 0).await;

    // One that is told to stop does so by itself, and the other goes on.
    a.stop_with_timeout(Some(20)).await.unwrap();
    assert_eq!(a.exit_code().await.unwrap(), Some(0));
    let permit = at_b.acquire(AcquireOptions::new("autotask").max_wait(PATIENCE)).await.unwrap();
    assert_eq!(permit.settle(200, NOTHING, &[]).await.unwrap().result, Settled::Applied);

    for container in [a, b, redis] {
        container.rm().await.unwrap();
    }
    assert_eq!(left(), "");
}

/// What is done to the containers.
#[derive(Debug, Clone, Copy)]
enum Fault {
    RedisKilled,
    RedisCutOff,
    ReplicaKilled,
}

impl Fault {
    async fn strike(self) {
        let (network, redis) = (own("network"), own("redis"));
        match self {
            Self::RedisKilled => {
                docker(&["kill", "--signal", "KILL", &redis]);
                sleep(Duration::from_secs(1)).await;
                docker(&["start", &redis]);
            }
            Self::RedisCutOff => {
                docker(&["network", "disconnect", &network, &redis]);
                // Longer than a permit lives (5 s) and than it may be sent (2 s).
                sleep(Duration::from_millis(6500)).await;
                docker(&["network", "connect", &network, &redis]);
            }
            Self::ReplicaKilled => drop(docker(&["kill", "--signal", "KILL", &own("a")])),
        }
    }

    /// What it is called, how soon after it the fleet goes on at most, and whether the store may have lost something.
    fn terms(self) -> (&'static str, Duration, bool) {
        match self {
            // What is forgotten is waited for until its deadline (5 s), and the budget is declared again (1 s).
            Self::RedisKilled => {
                ("containers: Redis killed, comes back empty", Duration::from_secs(10), true)
            }
            // A try to connect that is under way (2 s), the rest between tries (0.75 s), and a window that is used up (3 s).
            Self::RedisCutOff => ("containers: Redis cut off for 6.5 s", Duration::from_secs(7), false),
            // The window may be used up (3 s).
            Self::ReplicaKilled => ("containers: a replica killed", Duration::from_secs(5), false),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_goes_on_whichever_container_is_killed_or_cut_off() {
    let _turn = TURN.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bursar.yaml");
    let setup = Setup::default();
    fs::write(&config, configuration(&setup)).unwrap();
    // Replicas are not root, and read it.
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    for fault in [Fault::ReplicaKilled, Fault::RedisCutOff, Fault::RedisKilled] {
        let redis = redis().await;
        let (a, b) = tokio::join!(configured("a", &config), configured("b", &config));
        let world = World::over(vec![uri(&a).await, uri(&b).await], setup.clone()).await;
        let began = world.now();
        fault.strike().await;
        let healed = world.now();
        world.granted_after(healed, 150, PATIENCE).await;
        let (name, bound, forgot) = fault.terms();
        let report = world.finish(name, (began, healed), bound, forgot).await;
        report.judge();
        assert_eq!(report.failed, 0, "{report}");
        for container in [a, b, redis] {
            container.rm().await.unwrap();
        }
    }
    assert_eq!(left(), "");
}
