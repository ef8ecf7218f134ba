//! Finding the server's program, and running it.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The environment variable that names the program to test against.
pub const PROGRAM_VARIABLE: &str = "BURSAR_TEST_REDIS_SERVER";

/// The environment variable that names the program for tests with TLS, where the other one was built without it.
pub const TLS_PROGRAM_VARIABLE: &str = "BURSAR_TEST_REDIS_TLS_SERVER";

/// The environment variable that names further programs, parted as in `PATH`: tests that compare servers run on them all.
pub const SERVERS_VARIABLE: &str = "BURSAR_SERVERS";

/// Every program that there is to test against: the one that all tests use, and those that [`SERVERS_VARIABLE`] names.
/// Panics if there is none, or if a name leads to no file.
pub fn programs() -> Vec<PathBuf> {
    let mut found = vec![program(false)];
    for path in env::var_os(SERVERS_VARIABLE).iter().flat_map(env::split_paths) {
        if path.as_os_str().is_empty() {
            continue;
        }
        assert!(path.is_file(), "{SERVERS_VARIABLE} names {}, which is no file", path.display());
        if !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// The server's program; panics if there is none.
pub(super) fn program(with_tls: bool) -> PathBuf {
    let variables =
        if with_tls { &[TLS_PROGRAM_VARIABLE, PROGRAM_VARIABLE][..] } else { &[PROGRAM_VARIABLE] };
    for variable in variables {
        if let Some(path) = env::var_os(variable).map(PathBuf::from) {
            assert!(path.is_file(), "{variable} names {}, which is no file", path.display());
            return path;
        }
    }
    let folders: Vec<_> =
        env::var_os("PATH").map(|paths| env::split_paths(&paths).collect()).unwrap_or_default();
    let found = ["redis-server", "valkey-server"]
        .into_iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "this test needs a Redis or Valkey server: install one (Debian: apt-get install redis-server), or set \
             {PROGRAM_VARIABLE} to the path of a redis-server or valkey-server"
        )
    })
}

/// A running server; killed when dropped.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in `folder` with `args`.
    pub(super) fn start(program: &Path, folder: &Path, args: &[String]) -> Self {
        let log = folder.join("log");
        let file = File::create(&log).expect("the temporary folder can be written");
        let errors = file.try_clone().expect("a file handle can be copied");
        let child = Command::new(program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("the server's program can be run");
        Self { child, log }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it wrote.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends it a signal, such as `STOP`: to this one process, by its positive id.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of 127.0.0.1 that is free now, and whose cluster bus port (10,000 above) is as well.
pub(super) fn free_port() -> u16 {
    super::wait_for("a free port", || {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let bus = port.checked_add(10_000).ok_or(ErrorKind::AddrNotAvailable)?;
        TcpListener::bind(("127.0.0.1", bus)).map(|_| port)
    })
}
