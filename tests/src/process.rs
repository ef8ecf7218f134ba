//! The real binary as a child process, ended by its handle.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// Where the binary under test is: `BURSAR_BIN`, or beside the tests.
///
/// # Panics
/// If there is none: a test without its subject must fail.
pub fn binary() -> PathBuf {
    let given = std::env::var_os("BURSAR_BIN").map(PathBuf::from);
    let beside = || {
        let test = std::env::current_exe().expect("this test's own path");
        test.parent().and_then(|deps| deps.parent()).expect("target/<profile>/deps").join("bursar")
    };
    let path = given.unwrap_or_else(beside);
    assert!(path.exists(), "{} is missing: `cargo build -p bursar` first, or set BURSAR_BIN", path.display());
    path
}

/// A running `bursar serve` on free ports of 127.0.0.1.
#[derive(Debug)]
pub struct Replica {
    child: Child,
    /// `http://127.0.0.1:port`
    pub uri: String,
    /// `127.0.0.1:port`
    pub admin: String,
}

impl Replica {
    /// Starts one over this store and waits until it says where it listens.
    ///
    /// # Panics
    /// If it cannot be started or says something else.
    pub fn start(store: &str) -> Self {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BURSAR_"))
        {
            command.env_remove(name);
        }
        command.args([
            "serve",
            "--json",
            "--grpc",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--log-level",
            "warn",
        ]);
        let mut child = command
            .args(["--store", store])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bursar");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let place: serde_json::Value = serde_json::from_str(&line).expect("where it listens");
        let address = |key: &str| place[key].as_str().expect("an address").to_owned();
        Self { child, uri: format!("http://{}", address("grpc")), admin: address("admin") }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
