//! One server.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisResult, TlsCertificates, Value,
};
use tempfile::TempDir;

use super::{
    Certificates,
    program::{Process, TLS_PROGRAM_VARIABLE, free_port, program},
    wait_for,
};

/// How a server is to be started.
#[derive(Debug, Clone, Default)]
pub struct ServerSetup {
    program: Option<PathBuf>,
    args: Vec<String>,
    pub(super) login: Option<(String, String)>,
    pub(super) certificates: Option<Arc<Certificates>>,
}

impl ServerSetup {
    /// Runs this program, and not the one that tests usually run.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// Adds words of the command line, such as `--maxmemory 1mb`, apart at spaces.
    pub fn args(mut self, words: &str) -> Self {
        self.args.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// Lets in this user with this password, and nobody else.
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self.args(&format!("--user {user} on >{password} ~* &* +@all --user default off"))
    }

    /// Speaks TLS only, to clients that show a certificate of the same authority.
    pub fn tls(mut self, certificates: &Arc<Certificates>) -> Self {
        self.certificates = Some(Arc::clone(certificates));
        self
    }

    /// Copies another server, and refuses writes.
    pub fn replica_of(self, master: &RedisServer) -> Self {
        self.args(&format!("--replicaof 127.0.0.1 {}", master.port))
    }

    fn run(&self, folder: &Path, port: u16) -> Process {
        let usual = || program(self.certificates.is_some());
        let program = self.program.clone().unwrap_or_else(usual);
        Process::start(&program, folder, &arguments(self, port))
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> RedisServer {
        crate::redis::install_crypto();
        for _ in 0..5 {
            if let Some(server) = RedisServer::launch(self.clone(), free_port()) {
                return server;
            }
        }
        panic!("no server could be started: another process takes each port that was free")
    }
}

/// One server on 127.0.0.1; ends when dropped.
pub struct RedisServer {
    pub(super) setup: ServerSetup,
    port: u16,
    folder: TempDir,
    process: Process,
}

impl RedisServer {
    /// A server without TLS, users or anything.
    pub fn start() -> Self {
        ServerSetup::default().start()
    }

    /// To say how it is started.
    pub fn setup() -> ServerSetup {
        ServerSetup::default()
    }

    fn launch(setup: ServerSetup, port: u16) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let process = setup.run(folder.path(), port);
        let mut server = Self { setup, port, folder, process };
        server.answers().then_some(server)
    }

    /// Waits until it answers as itself; `false` if it ended because its port is taken.
    fn answers(&mut self) -> bool {
        let own = format!("process_id:{}\r", self.process.id());
        wait_for("a server that answers", || {
            if self.process.has_ended() {
                let log = self.process.log();
                let without_tls =
                    log.contains("Failed finding TLS support") || log.contains("tls-auth-clients");
                assert!(
                    !without_tls,
                    "this server was built without TLS: name one that has it in {TLS_PROGRAM_VARIABLE}"
                );
                assert!(log.contains("ddress already in use"), "the server ended: {log}");
                return Ok(false);
            }
            match self.try_command(&["INFO", "server"]) {
                Ok(Value::BulkString(info)) if String::from_utf8_lossy(&info).contains(&own) => Ok(true),
                other => Err(other),
            }
        })
    }

    /// What it says it is, such as `Redis 7.0.15` or `Valkey 9.1.2`.
    pub fn version(&self) -> String {
        let Value::BulkString(info) = self.command(&["INFO", "server"]) else { return "unknown".to_owned() };
        let info = String::from_utf8_lossy(&info);
        let of = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        match (of("valkey_version"), of("redis_version")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, version) => format!("Redis {}", version.unwrap_or("of no version")),
        }
    }

    /// From now on it shows this certificate, for the same key, to whoever connects.
    pub fn show_certificate(&self, path: &Path) {
        self.command(&["CONFIG", "SET", "tls-cert-file", &path.display().to_string()]);
    }

    /// Lets all who would write wait, for so long; what was written goes on to replicas.
    pub fn pause_writes(&self, span: std::time::Duration) {
        self.command(&["CLIENT", "PAUSE", &span.as_millis().to_string(), "WRITE"]);
    }

    /// How much of the stream of writes it has: a master, or a replica of its master's.
    pub fn replication_offset(&self) -> u64 {
        let Value::BulkString(info) = self.command(&["INFO", "replication"]) else { return 0 };
        let info = String::from_utf8_lossy(&info);
        let of =
            |key: &str| info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.parse().ok());
        of("slave_repl_offset").or_else(|| of("master_repl_offset")).unwrap_or_default()
    }

    /// Ends all connections of clients.
    pub fn hang_up(&self) {
        for kind in ["normal", "pubsub"] {
            self.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, with user and password where it has them.
    pub fn url(&self) -> String {
        let scheme = if self.setup.certificates.is_some() { "rediss" } else { "redis" };
        let login = self.setup.login.as_ref().map(|(user, password)| format!("{user}:{password}@"));
        format!("{scheme}://{}127.0.0.1:{}", login.unwrap_or_default(), self.port)
    }

    /// Runs a command on a connection of its own and panics if it fails.
    pub fn command(&self, words: &[&str]) -> Value {
        self.try_command(words).unwrap_or_else(|error| panic!("{words:?} failed: {error}"))
    }

    /// Runs a command on a connection of its own.
    pub fn try_command(&self, words: &[&str]) -> RedisResult<Value> {
        let certificates = self.setup.certificates.as_deref();
        let mut info = local(self.port, certificates.is_some()).into_connection_info()?;
        if let Some((user, password)) = &self.setup.login {
            let login = RedisConnectionInfo::default().set_username(user).set_password(password);
            info = info.set_redis_settings(login);
        }
        let client = client(info, certificates)?;
        let bound = std::time::Duration::from_secs(5);
        let mut connection = client.get_connection_with_timeout(bound)?;
        connection.set_read_timeout(Some(bound))?;
        let (name, args) = words.split_first().expect("a command has a name");
        redis::cmd(name).arg(args).query(&mut connection)
    }

    /// Stops it where it stands: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Writes all it has to its disk; [`Self::restart`] brings it back as it was when it last did so.
    pub fn save(&self) {
        self.command(&["SAVE"]);
    }

    /// Whether it says that it is a master.
    pub fn is_master(&self) -> bool {
        let role = match self.try_command(&["ROLE"]) {
            Ok(Value::Array(role)) => role.into_iter().next(),
            _ => None,
        };
        role == Some(Value::BulkString(b"master".to_vec()))
    }

    /// Ends it at once, as a crash would; [`Self::restart`] brings it back, empty unless it was saved.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on its port, empty unless it was saved.
    pub fn restart(&mut self) {
        self.restart_as(&self.setup.clone());
    }

    /// The same, and takes half a millisecond for each key that was saved: until then it says that it is loading.
    pub fn restart_slowly(&mut self) {
        self.restart_as(&self.setup.clone().args("--key-load-delay 500"));
    }

    fn restart_as(&mut self, setup: &ServerSetup) {
        self.process.kill();
        wait_for("the port to be free again", || {
            self.process = setup.run(self.folder.path(), self.port);
            if self.answers() { Ok(()) } else { Err("taken") }
        });
    }
}

fn arguments(setup: &ServerSetup, port: u16) -> Vec<String> {
    let mut args: Vec<String> =
        ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "."].map(str::to_owned).into();
    match &setup.certificates {
        None => args.extend(["--port".to_owned(), port.to_string()]),
        Some(certificates) => {
            args.extend(["--port".to_owned(), "0".to_owned(), "--tls-port".to_owned(), port.to_string()]);
            args.extend(
                tls(certificates).into_iter().flat_map(|(option, value)| [format!("--{option}"), value]),
            );
        }
    }
    args.extend(setup.args.iter().cloned());
    args
}

/// What a server is told about TLS, in its configuration's words: with clients, with its master, and within a cluster.
pub(super) fn tls(certificates: &Certificates) -> Vec<(String, String)> {
    let always = ["auth-clients", "replication", "cluster"].map(|option| (option, "yes".to_owned()));
    let files = [("ca-cert-file", "ca.pem"), ("cert-file", "server.pem"), ("key-file", "server.key")]
        .map(|(option, name)| (option, certificates.path(name).display().to_string()));
    always.into_iter().chain(files).map(|(option, value)| (format!("tls-{option}"), value)).collect()
}

/// A client that shows its certificate, and does not look at the server's.
pub(super) fn client(info: ConnectionInfo, certificates: Option<&Certificates>) -> RedisResult<Client> {
    match certificates {
        None => Client::open(info),
        Some(certificates) => Client::build_with_tls(info, read(certificates)),
    }
}

/// An address on 127.0.0.1.
pub(super) fn local(port: u16, with_tls: bool) -> ConnectionAddr {
    let host = "127.0.0.1".to_owned();
    if with_tls {
        // Whatever its certificate is: some tests give it a wrong one.
        ConnectionAddr::TcpTls { host, port, insecure: true, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn read(certificates: &Certificates) -> TlsCertificates {
    let file = |path: &Path| fs::read(path).expect("a certificate can be read");
    TlsCertificates {
        root_cert: Some(file(&certificates.path("ca.pem"))),
        client_tls: Some(ClientTlsConfig {
            client_cert: file(&certificates.path("client.pem")),
            client_key: file(&certificates.path("client.key")),
        }),
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer").field("port", &self.port).finish_non_exhaustive()
    }
}
