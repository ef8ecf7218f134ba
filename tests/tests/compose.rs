//! `deploy/compose.yaml`, brought up with images of this build, and taken down again.
//!
//! `cargo xtask test --only compose` builds the images and says by variables what they are called.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code: it ends where it cannot go on")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;

/// What `cargo xtask test` says.
fn told(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: `cargo xtask test --only compose` sets it"))
}

/// A command to its end: what it wrote to standard output.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn docker(words: &[&str]) -> String {
    output(Command::new("docker").args(words))
}

/// The services, under a name that nobody else uses and on free ports; taken down at the latest when it is dropped.
struct Project {
    name: String,
    profile: Option<&'static str>,
}

impl Project {
    fn compose(&self, words: &[&str]) -> Command {
        let compose = told("BURSAR_TEST_COMPOSE");
        let mut parts = compose.split(' ');
        let mut command = Command::new(parts.next().unwrap());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose.yaml");
        command.args(parts).arg("--file").arg(file).args(["--project-name", &self.name]);
        command.args(self.profile.iter().flat_map(|profile| ["--profile", profile])).args(words);
        let ports = [
            "BURSAR_A_GRPC_PORT",
            "BURSAR_A_ADMIN_PORT",
            "BURSAR_B_GRPC_PORT",
            "BURSAR_B_ADMIN_PORT",
            "UPSTREAM_PORT",
            "CLUSTER_A_GRPC_PORT",
            "CLUSTER_A_ADMIN_PORT",
            "CLUSTER_B_GRPC_PORT",
            "CLUSTER_B_ADMIN_PORT",
            "CLUSTER_C_GRPC_PORT",
            "CLUSTER_C_ADMIN_PORT",
            "CLUSTER_UPSTREAM_PORT",
        ];
        command.envs(ports.map(|port| (port, "0")));
        command
            .env("BURSAR_IMAGE", told("BURSAR_TEST_IMAGE"))
            .env("REDIS_IMAGE", told("BURSAR_TEST_REDIS_IMAGE"));
        command.env("FLEET_FOR", "5s");
        // Of a range that is set aside for tests of networks; one each, for some versions make what no service is in.
        let half = if self.profile.is_some() { 18 } else { 19 };
        command.env("CLUSTER_NET", format!("198.{half}.{}", std::process::id() % 256));
        command
    }

    fn run(&self, words: &[&str]) -> String {
        output(&mut self.compose(words))
    }

    /// A page of a published port.
    fn page(&self, service: &str, port: &str, path: &str) -> (String, String) {
        let address = self.run(&["port", service, port]);
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    }

    /// What the engine still has of it.
    fn left(&self) -> String {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let containers = docker(&["ps", "--all", "--quiet", "--filter", &label]);
        containers + &docker(&["network", "ls", "--quiet", "--filter", &label])
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // It may be down already.
        let _ = self.compose(&["down", "--volumes", "--remove-orphans"]).output();
    }
}

/// Brings up what `fleet` needs and waits for its end; then every replica is well and the upstream has refused nothing.
fn is_never_refused(project: &Project, up: &[&str], fleet: &str, replicas: &[&str], upstream: &str) {
    // The conditions hold the fleet back until the replicas are ready, and those until their store is.
    project.run(&[&["up", "--detach", "--no-build"], up].concat());

    let container = project.run(&["ps", "--all", "--quiet", fleet]);
    let code = docker(&["wait", &container]);
    assert_eq!(code, "0", "{}", project.run(&["logs"]));

    for replica in replicas {
        for page in ["/healthz", "/readyz"] {
            assert_eq!(project.page(replica, "7412", page).0, "200", "{replica}{page}");
        }
        let (_, metrics) = project.page(replica, "7412", "/metrics");
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    }
    let (_, truth) = project.page(upstream, "8080", "/__truth");
    let truth: Value = serde_json::from_str(&truth).unwrap();
    assert!(truth["accepted"].as_u64() >= Some(10), "{truth}");
    assert_eq!(truth["refused"].as_u64(), Some(0), "{truth}");

    project.run(&["down", "--volumes", "--remove-orphans"]);
    assert_eq!(project.left(), "");
}

#[test]
fn the_fleet_of_the_compose_file_is_never_refused() {
    let project = Project { name: format!("bursar-test-{}", std::process::id()), profile: None };
    is_never_refused(&project, &[], "fleet", &["bursar-a", "bursar-b"], "upstream");
}

#[test]
fn the_fleet_of_the_cluster_profile_is_never_refused() {
    let name = format!("bursar-cluster-{}", std::process::id());
    let project = Project { name, profile: Some("cluster") };
    let replicas = ["cluster-a", "cluster-b", "cluster-c"];
    is_never_refused(&project, &["cluster-fleet"], "cluster-fleet", &replicas, "cluster-upstream");
}
