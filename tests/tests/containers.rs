//! Two replicas and their store as containers, on a network of their own, reached through published ports.
//!
//! `cargo xtask test --only containers` builds the images and says by variables what they are called.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code: it ends where it cannot go on")]

use std::{process::Command, time::Duration};

use bursar_client::{AcquireOptions, Client, ClientConfig, Settled};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt as _,
    core::{ExecCommand, IntoContainerPort as _, WaitFor},
    runners::AsyncRunner as _,
};

const PATIENCE: Duration = Duration::from_secs(30);
const NOTHING: [(&str, &str); 0] = [];

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
async fn replica(part: &str) -> ContainerAsync<GenericImage> {
    let store = format!("redis://{}:6379", own("redis"));
    let image = image("BURSAR_TEST_IMAGE")
        .with_exposed_port(7411.tcp())
        .with_exposed_port(7412.tcp())
        .with_wait_for(WaitFor::message_on_stdout("bursar listens on"))
        .with_network(own("network"))
        .with_container_name(own(part))
        .with_readonly_rootfs(true)
        .with_cap_drop("ALL")
        .with_cmd(["serve", "--store", store.as_str(), "--drain", "5s"]);
    image.start().await.unwrap()
}

async fn client(replica: &ContainerAsync<GenericImage>) -> Client {
    let port = replica.get_host_port_ipv4(7411.tcp()).await.unwrap();
    Client::connect(ClientConfig::new(format!("http://127.0.0.1:{port}"))).await.unwrap()
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

/// What the engine has under names of this run.
fn left() -> String {
    let list = |words: &[&str]| {
        let output = Command::new("docker")
            .args(words)
            .arg("--filter")
            .arg(format!("name={}", own("")))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    list(&["ps", "--all", "--format", "{{.Names}}"]) + &list(&["network", "ls", "--format", "{{.Name}}"])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_over_one_redis_serve_as_one() {
    let redis = redis().await;
    let (a, b) = tokio::join!(replica("a"), replica("b"));
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
