//! Runs the binary: commands to their end, and a server for as long as a test needs it.
//!
//! Each file of tests compiles it for itself and needs a part of it.
#![allow(dead_code, reason = "each file of tests needs a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it cannot go on")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary with these arguments, in an environment without settings.
pub(crate) fn bursar<I: AsRef<str>>(args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BURSAR_")) {
        command.env_remove(name);
    }
    command.args(args.into_iter().map(|arg| arg.as_ref().to_owned())).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run<I: AsRef<str>>(args: impl IntoIterator<Item = I>) -> Output {
    bursar(args).output().unwrap()
}

/// The only line of JSON that a command printed.
pub(crate) fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: stdout {text:?}, stderr {:?}", String::from_utf8_lossy(&output.stderr))
    })
}

/// What a command wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running `bursar serve`; ended by its handle at the latest when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) grpc: String,
    pub(crate) admin: String,
    log: mpsc::Receiver<String>,
}

impl Server {
    /// Starts a server on free ports and waits until it says where.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same, with variables of the environment.
    pub(crate) fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let fixed = ["serve", "--json", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let mut command = bursar(fixed.iter().chain(args));
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (said, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let (logged, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(logged.send(line))));
        let Ok(line) = lines.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server said nothing; its log: {:?}", log.try_iter().collect::<Vec<_>>());
        };
        let place: Value = serde_json::from_str(&line).unwrap();
        let address = |key: &str| place[key].as_str().unwrap().to_owned();
        Self { child, grpc: address("grpc"), admin: address("admin"), log }
    }

    /// Runs a tool against this server.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.tool(args).output().unwrap()
    }

    /// A tool against this server, not yet started.
    pub(crate) fn tool(&self, args: &[&str]) -> Command {
        let mut command = bursar(args);
        command.env("BURSAR_SERVER", format!("http://{}", self.grpc));
        command
    }

    /// Sends a signal by its name: TERM, INT, HUP.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent =
            Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) fn logged(&self, text: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("{text:?} was not logged, but {seen:#?}");
    }

    /// Waits for its end: its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        for _ in 0..PATIENCE.as_millis() / 20 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not end; its log: {:#?}", self.log.try_iter().collect::<Vec<_>>());
    }

    /// Gets a page of the admin port: status and body.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until `done`, within a bound.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 50 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("it did not come to this: {what}");
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
