//! A master, its replica, and a sentinel that watches them.

use std::{fmt, fs};

use redis::{Client, RedisError, RedisResult, Value};
use tempfile::TempDir;

use super::{
    RedisServer,
    program::{Process, free_port, program},
    wait_for,
};

/// The name under which the sentinel knows the two servers.
const SERVICE: &str = "main";

/// Two servers, one the other's replica, and one sentinel. Ends when dropped.
pub struct RedisSentinel {
    servers: [RedisServer; 2],
    port: u16,
    _sentinel: Process,
    _folder: TempDir,
}

impl RedisSentinel {
    /// Starts all three and waits until the sentinel knows both servers.
    pub fn start() -> Self {
        let master = RedisServer::start();
        let replica = RedisServer::setup().replica_of(&master).start();
        let folder = TempDir::new().expect("a temporary folder can be made");
        let port = free_port();
        let config = format!(
            "bind 127.0.0.1\nport {port}\nsentinel monitor {SERVICE} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {SERVICE} 500\nsentinel failover-timeout {SERVICE} 2000\n",
            master.port()
        );
        fs::write(folder.path().join("sentinel.conf"), config).expect("the temporary folder can be written");
        let sentinel =
            Process::start(&program(false), folder.path(), &["sentinel.conf".into(), "--sentinel".into()]);
        let this = Self { servers: [master, replica], port, _sentinel: sentinel, _folder: folder };
        wait_for("a sentinel that knows the replica", || match this.ask(&["REPLICAS", SERVICE]) {
            // Until it has answered the sentinel once, a replica counts as down.
            Ok(Value::Array(replicas)) => {
                let text = format!("{replicas:?}");
                if text.contains("\"slave\"") && text.contains("\"ok\"") { Ok(()) } else { Err(text) }
            }
            other => Err(format!("{other:?}")),
        });
        this
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{SERVICE}", self.port)
    }

    /// The server that is master now, as the sentinel says.
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

    fn ask(&self, words: &[&str]) -> RedisResult<Value> {
        let mut connection = Client::open(("127.0.0.1", self.port))?.get_connection()?;
        redis::cmd("SENTINEL").arg(words).query(&mut connection)
    }
}

impl fmt::Debug for RedisSentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSentinel").field("port", &self.port).finish_non_exhaustive()
    }
}
