//! Processes that a measurement starts, and ends by their handles.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

mod nodes;

pub(crate) use self::nodes::Nodes;
use crate::BenchError;

/// How long a process has to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How often a free port is looked for: another process may take it first.
const PORTS: usize = 5;

/// A process; killed and waited for when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    fn spawn(command: &mut Command) -> Result<Self, BenchError> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(|child| Self { child }).map_err(|error| BenchError::start(&program, error))
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `program` with `words`, in an environment without settings of ours, and reads the one line of JSON by which it says
/// where it listens.
pub(crate) fn announced(program: &Path, words: &[&str]) -> Result<(Process, Value), BenchError> {
    let name = format!("{} {}", program.display(), words.first().unwrap_or(&""));
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BURSAR_")) {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command)?;
    let Some(out) = process.child.stdout.take() else {
        return Err(BenchError::start(&name, "it has no standard output"));
    };
    let (said, line) = mpsc::channel();
    // Reads on to the end, so that it never writes to nobody.
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = said.send(line);
        }
    });
    let line = line
        .recv_timeout(READY_WITHIN)
        .map_err(|_| BenchError::start(&name, "it does not say where it listens"))?;
    let place = serde_json::from_str(&line)
        .map_err(|error| BenchError::start(&name, format!("it says {line:?}: {error}")))?;
    Ok((process, place))
}

/// Starts a Redis or Valkey server that keeps nothing on disk, with more `words`: its process and its port on loopback.
fn redis(program: &Path, words: &[&str]) -> Result<(Process, u16), BenchError> {
    let name = program.display().to_string();
    for _ in 0..PORTS {
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args(words);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::spawn(&mut command)?;
        for _ in 0..READY_WITHIN.as_millis() / 10 {
            if info(port, "process_id") == Some(u64::from(process.id())) {
                return Ok((process, port));
            }
            if process.has_ended() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    Err(BenchError::start(&name, "it does not answer"))
}

/// A number among what the server on `port` says of itself, such as `used_memory`; `None` if it does not.
pub(crate) fn info(port: u16, field: &str) -> Option<u64> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"INFO\r\nQUIT\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().parse().ok())
}

fn free_port() -> Result<u16, BenchError> {
    let listener =
        TcpListener::bind(("127.0.0.1", 0)).map_err(BenchError::reading("a free port of loopback"))?;
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(BenchError::reading("a free port of loopback"))
}

/// Whether a program can be run at all.
pub(crate) fn runs(program: &Path) -> Result<bool, BenchError> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(BenchError::start(&program.display().to_string(), error)),
    }
}
