//! A master, its replica, and sentinels that watch them.

use std::{fmt, fs, sync::Arc};

use redis::{IntoConnectionInfo as _, RedisError, RedisResult, Value};
use tempfile::TempDir;

use super::{
    Certificates, RedisServer, ServerSetup,
    program::{Process, free_port, program},
    server::{client, local, tls},
    wait_for,
};

/// The name under which the sentinels know the two servers.
const SERVICE: &str = "main";
/// Who the sentinels and the replica are at a master, name and password, so that [`RedisSentinel::split`] can turn them away.
const WATCHER: &str = "watcher";

/// Two servers, one the other's replica, and sentinels. Ends when dropped.
pub struct RedisSentinel {
    servers: [RedisServer; 2],
    sentinels: Vec<Sentinel>,
}

/// One sentinel.
struct Sentinel {
    port: u16,
    certificates: Option<Arc<Certificates>>,
    _process: Process,
    _folder: TempDir,
}

impl Sentinel {
    fn start(master: &RedisServer, quorum: usize) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let port = free_port();
        let certificates = master.setup.certificates.clone();
        let listens = match &certificates {
            None => format!("port {port}\n"),
            Some(certificates) => {
                let files: String =
                    tls(certificates).iter().map(|(option, value)| format!("{option} {value}\n")).collect();
                format!("port 0\ntls-port {port}\n{files}")
            }
        };
        let config = format!(
            "bind 127.0.0.1\n{listens}sentinel monitor {SERVICE} 127.0.0.1 {} {quorum}\n\
             sentinel auth-user {SERVICE} {WATCHER}\nsentinel auth-pass {SERVICE} {WATCHER}\n\
             sentinel down-after-milliseconds {SERVICE} 500\nsentinel failover-timeout {SERVICE} 2000\n",
            master.port()
        );
        fs::write(folder.path().join("sentinel.conf"), config).expect("the temporary folder can be written");
        let program = program(certificates.is_some());
        let process = Process::start(&program, folder.path(), &["sentinel.conf".into(), "--sentinel".into()]);
        Self { port, certificates, _process: process, _folder: folder }
    }

    fn ask(&self, words: &[&str]) -> RedisResult<Value> {
        self.command("SENTINEL", words)
    }

    fn command(&self, name: &str, words: &[&str]) -> RedisResult<Value> {
        let certificates = self.certificates.as_deref();
        let info = local(self.port, certificates.is_some()).into_connection_info()?;
        let mut connection = client(info, certificates)?.get_connection()?;
        redis::cmd(name).arg(words).query(&mut connection)
    }

    /// Whether it knows the replica, and so many other sentinels.
    fn knows(&self, others: usize) -> Result<(), String> {
        let replicas = format!("{:?}", self.ask(&["REPLICAS", SERVICE]));
        // Until it has answered the sentinel once, a replica counts as down.
        let replica = replicas.contains("\"slave\"") && replicas.contains("\"ok\"");
        let count = match self.ask(&["SENTINELS", SERVICE]) {
            Ok(Value::Array(sentinels)) => sentinels.len(),
            _ => 0,
        };
        if replica && count == others { Ok(()) } else { Err(format!("{count} others, {replicas}")) }
    }
}

impl RedisSentinel {
    /// Starts two servers and one sentinel, and waits until it knows both servers.
    pub fn start() -> Self {
        Self::start_with(1)
    }

    /// The same with so many sentinels, of which most must agree; waits until they know each other as well.
    pub fn start_with(sentinels: usize) -> Self {
        Self::start_as(&RedisServer::setup(), sentinels)
    }

    /// The same with both servers set up so; with TLS, if they have it.
    pub fn start_as(setup: &ServerSetup, sentinels: usize) -> Self {
        let setup = setup.clone().args(&format!(
            "--user {WATCHER} on >{WATCHER} ~* &* +@all --masteruser {WATCHER} --masterauth {WATCHER}"
        ));
        let master = setup.clone().start();
        let replica = setup.replica_of(&master).start();
        let sentinels: Vec<_> = (0..sentinels).map(|_| Sentinel::start(&master, sentinels / 2 + 1)).collect();
        for sentinel in &sentinels {
            wait_for("a sentinel that knows all", || sentinel.knows(sentinels.len() - 1));
        }
        Self { servers: [master, replica], sentinels }
    }

    /// Its address: all sentinels, and the servers' user where they have one.
    pub fn url(&self) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        let scheme = if self.servers[0].setup.certificates.is_some() { "rediss" } else { "redis" };
        let login = self.servers[0].setup.login.as_ref();
        let login = login.map(|(user, password)| format!("{user}:{password}@")).unwrap_or_default();
        format!("{scheme}+sentinel://{login}{}/{SERVICE}", sentinels.join(","))
    }

    /// Both servers, in the order in which they were started: the first is the master unless there was a failover.
    pub fn servers(&self) -> &[RedisServer; 2] {
        &self.servers
    }

    /// Both servers, to end or restart one.
    pub fn servers_mut(&mut self) -> &mut [RedisServer; 2] {
        &mut self.servers
    }

    /// The server that is master now, as the first sentinel says.
    pub fn master(&self) -> &RedisServer {
        wait_for("a master", || {
            let answer = self.ask(&["GET-MASTER-ADDR-BY-NAME", SERVICE])?;
            let (_, port): (String, u16) = redis::from_redis_value(answer)?;
            let unknown = || RedisError::from((redis::ErrorKind::Client, "an unknown master"));
            self.servers.iter().find(|server| server.port() == port).ok_or_else(unknown)
        })
    }

    /// Makes the replica the master, and waits until the sentinel names it and it takes writes.
    pub fn fail_over(&self) {
        let before = self.master().port();
        wait_for("a failover that begins", || self.ask(&["FAILOVER", SERVICE]));
        wait_for("a failover that ends", || {
            let now = self.master();
            let written = now.try_command(&["SET", "failover", "1"]);
            if now.port() != before && written.is_ok() { Ok(()) } else { Err((before, written)) }
        });
    }

    /// Cuts the server that was started first off from its replica and the sentinels, and from nobody else: it stays a master when
    /// they have promoted the other one. Only where the servers have a user: everybody else is let in as nobody.
    pub fn split(&self) {
        let [master, _] = &self.servers;
        assert!(master.setup.login.is_some(), "who is turned away comes back as nobody, and is let in");
        master.command(&["ACL", "SETUSER", WATCHER, "off"]);
        master.command(&["CLIENT", "KILL", "USER", WATCHER]);
    }

    /// Runs a command at every sentinel, and panics if it fails.
    pub fn command_sentinels(&self, words: &[&str]) {
        let (name, args) = words.split_first().expect("a command has a name");
        for sentinel in &self.sentinels {
            sentinel.command(name, args).expect("a sentinel does as it is told");
        }
    }

    fn ask(&self, words: &[&str]) -> RedisResult<Value> {
        self.sentinels.first().expect("at least one sentinel").ask(words)
    }
}

impl fmt::Debug for RedisSentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSentinel").field("url", &self.url()).finish_non_exhaustive()
    }
}
