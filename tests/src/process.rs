//! The real binary as a child process, ended by its handle.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Names what replicas log, as in `warn,bursar_ledger=debug`; otherwise errors alone.
const LOG_VARIABLE: &str = "BURSAR_TEST_LOG";

/// The longest that a replica may take to end once it was told to.
const END: Duration = Duration::from_secs(30);

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

/// A running `bursar serve` on ports of 127.0.0.1 that were free.
#[derive(Debug)]
pub struct Replica {
    child: Child,
    store: String,
    arguments: Vec<String>,
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
        Self::start_with(store, &[])
    }

    /// The same, with further arguments of `bursar serve`.
    ///
    /// # Panics
    /// If it cannot be started or says something else.
    pub fn start_with(store: &str, arguments: &[&str]) -> Self {
        Self::launch(store, arguments.iter().map(|&word| word.to_owned()).collect(), "127.0.0.1:0")
    }

    fn launch(store: &str, arguments: Vec<String>, grpc: &str) -> Self {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BURSAR_"))
        {
            command.env_remove(name);
        }
        command.args(["serve", "--json", "--grpc", grpc, "--admin", "127.0.0.1:0"]);
        if !arguments.iter().any(|word| word == "--log-level") {
            let level = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "error".to_owned());
            command.args(["--log-level", &level]);
        }
        let mut child = command
            .args(["--store", store])
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bursar");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let place: serde_json::Value = serde_json::from_str(&line).expect("where it listens");
        let address = |key: &str| place[key].as_str().expect("an address").to_owned();
        let (uri, admin) = (format!("http://{}", address("grpc")), address("admin"));
        Self { child, store: store.to_owned(), arguments, uri, admin }
    }

    /// Tells it to drain, waits for its end, and starts it again on its address.
    ///
    /// # Panics
    /// If it does not end with 0 within 30 s.
    pub async fn restart(&mut self) {
        self.signal("TERM");
        let mut tries = 0;
        let status = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if tries > END.as_millis() / 10 => panic!("it does not end when it is told to"),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            tries += 1;
        };
        assert!(status.success(), "it ended with {status}");
        self.revive();
    }

    /// Ends it at once, as a crash would.
    pub fn crash(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on its address, once it has ended.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn revive(&mut self) {
        let grpc = self.uri.trim_start_matches("http://").to_owned();
        *self = Self::launch(&self.store.clone(), std::mem::take(&mut self.arguments), &grpc);
    }

    /// The sum of its metrics whose lines begin so; zero if there are none.
    ///
    /// # Panics
    /// If its admin port does not answer.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = self.page("/metrics").await;
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
        page.lines().filter(|line| line.starts_with(name)).filter_map(value).sum()
    }

    /// What its admin port answers, with the head.
    ///
    /// # Panics
    /// If it does not.
    pub async fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).await.expect("its admin port");
        let request = format!("GET {path} HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    /// Stops it where it stands: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Sends a signal to this one process, by its positive id.
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// How much memory it holds, in KiB.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.crash();
    }
}
