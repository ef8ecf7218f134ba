//! Connections, pooled by deadpool: PINGed when they are checked out again, replaced when they fail that. A driver
//! checks one out and keeps it, so that the PING is a health check at (re)connection and not the price of each call.

use std::sync::Arc;

use deadpool::{
    Runtime,
    managed::{
        self, Metrics, Object, PoolBuilder, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts,
    },
};
use redis::{
    Cmd, ErrorKind, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};

use super::{
    certificate,
    dial::Dial,
    failure::Verdict,
    moves::Server,
    sentinels::{self, Address, Sentinels},
    target::Target,
    url::Topology,
};

/// A connection on which many calls are under way at once; clones share it.
#[derive(Clone)]
pub(super) enum Wire {
    /// To one server.
    One(MultiplexedConnection),
    /// To all masters of a cluster, each call to the one that has its keys.
    Cluster(ClusterConnection),
}

impl Wire {
    /// Sends a command and waits for its answer, within the connection's response timeout. Calls go out in the order in
    /// which their futures are first polled.
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// A connection as long as it is checked out; dropping it hands it back.
pub(super) enum Checkout {
    Standalone(deadpool_redis::Connection),
    Sentinel(Object<SentinelManager>),
    Cluster(Object<ClusterManager>),
    Dialled(Object<DialManager>),
}

impl Checkout {
    /// To send calls on.
    pub(super) fn wire(&self) -> Wire {
        match self {
            Self::Standalone(connection) => Wire::One(MultiplexedConnection::clone(connection)),
            Self::Sentinel(master) => Wire::One(master.connection.clone()),
            Self::Cluster(connection) => Wire::Cluster(ClusterConnection::clone(connection)),
            Self::Dialled(connection) => Wire::One(MultiplexedConnection::clone(connection)),
        }
    }

    /// Whether it mends itself: a cluster's connection reconnects to single nodes and follows their slots.
    pub(super) fn mends_itself(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Which master it leads to, where sentinels named it.
    pub(super) fn master(&self) -> Option<&Address> {
        match self {
            Self::Sentinel(master) => Some(&master.address),
            _ => None,
        }
    }

    /// Which server it leads to, where it is one and it could be asked. Fails if that answers nothing else yet, as while it
    /// loads what it wrote down.
    pub(super) async fn server(&self) -> Result<Option<Server>, Verdict> {
        let mut wire = match self {
            Self::Standalone(_) | Self::Sentinel(_) => self.wire(),
            // A cluster's has many, and one that somebody else dials is whatever that is.
            Self::Cluster(_) | Self::Dialled(_) => return Ok(None),
        };
        if let Err(error) = wire.send(&redis::cmd("PING")).await
            && let later @ Verdict::Later(_) = Verdict::of(&error)
        {
            return Err(later);
        }
        let mut command = redis::cmd("INFO");
        command.arg("server");
        Ok(match wire.send(&command).await {
            Ok(Value::BulkString(text)) => run_id(&String::from_utf8_lossy(&text)),
            Ok(Value::VerbatimString { text, .. }) => run_id(&text),
            // Where it is forbidden sentinels' word is what there is.
            Err(error) if error.code() == Some("NOPERM") => Some(match self.master() {
                Some((host, port)) => Server::Named(format!("{host}:{port}")),
                None => Server::Unsaid,
            }),
            // The connection may be of no use, which the next call finds.
            _ => None,
        })
    }

    /// Closes it instead of handing it back.
    pub(super) fn discard(self) {
        match self {
            Self::Standalone(connection) => drop(deadpool_redis::Connection::take(connection)),
            Self::Sentinel(connection) => drop(Object::take(connection)),
            Self::Cluster(connection) => drop(Object::take(connection)),
            Self::Dialled(connection) => drop(Object::take(connection)),
        }
    }
}

/// What a server drew when it was started.
fn run_id(info: &str) -> Option<Server> {
    let id = info.lines().find_map(|line| line.strip_prefix("run_id:"))?.trim();
    (1..=64).contains(&id.len()).then(|| Server::Named(id.to_owned()))
}

/// The pool of a topology.
#[derive(Clone)]
pub(super) struct Pool {
    kind: Kind,
    /// Whether it connects with TLS.
    with_tls: bool,
}

#[derive(Clone)]
enum Kind {
    Standalone(deadpool_redis::Pool),
    Sentinel(managed::Pool<SentinelManager>),
    Cluster(managed::Pool<ClusterManager>),
    Dialled(managed::Pool<DialManager>),
}

impl Pool {
    /// A pool of at most `size` connections; connects to nothing yet.
    pub(super) fn new(target: &Arc<Target>, size: usize) -> RedisResult<Self> {
        let timeouts = Timeouts {
            wait: Some(target.connect_timeout),
            create: Some(target.connect_timeout),
            recycle: Some(target.response_timeout),
        };
        let nothing = || RedisError::from((ErrorKind::InvalidClientConfig, "no server is named"));
        if let Some(dial) = target.dial() {
            let manager = DialManager { target: Arc::clone(target), dial: Arc::clone(dial) };
            let kind = Kind::Dialled(build(managed::Pool::builder(manager), size, timeouts)?);
            return Ok(Self { kind, with_tls: false });
        }
        let kind = match target.topology() {
            Topology::Single => {
                let info = target.first().cloned().ok_or_else(nothing)?;
                let manager = deadpool_redis::Manager::new_with_config(info, target.connection_config())?;
                Kind::Standalone(build(deadpool_redis::Pool::builder(manager), size, timeouts)?)
            }
            Topology::Sentinel { .. } => {
                let manager = SentinelManager { target: Arc::clone(target) };
                Kind::Sentinel(build(managed::Pool::builder(manager), size, timeouts)?)
            }
            Topology::Cluster => {
                let manager = ClusterManager { client: target.cluster().cloned().ok_or_else(nothing)? };
                // A driver that has its connection renewed keeps the old one meanwhile.
                Kind::Cluster(build(managed::Pool::builder(manager), size * 2, timeouts)?)
            }
        };
        Ok(Self { kind, with_tls: target.has_tls() })
    }

    /// Those who know the master, where there are any.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        match &self.kind {
            Kind::Sentinel(pool) => pool.manager().target.sentinels(),
            _ => None,
        }
    }

    /// A connection that has just answered. Where none was ever made (`is_met`), a failure may be one of the address.
    pub(super) async fn get(&self, is_met: bool) -> Result<Checkout, Verdict> {
        let got = match &self.kind {
            Kind::Standalone(pool) => pool.get().await.map(Checkout::Standalone),
            Kind::Sentinel(pool) => pool.get().await.map(Checkout::Sentinel),
            Kind::Cluster(pool) => pool.get().await.map(Checkout::Cluster),
            Kind::Dialled(pool) => pool.get().await.map(Checkout::Dialled),
        };
        got.map_err(|error| match (!is_met).then(|| self.hint(&error)).flatten() {
            Some(hint) => judge(error).with_hint(hint),
            None => judge(error),
        })
    }

    /// What is likely where one side speaks TLS and the other does not.
    fn hint(&self, error: &PoolError<RedisError>) -> Option<&'static str> {
        match (error, self.with_tls) {
            (PoolError::Backend(error), _) if certificate::problem(error).is_some() => None,
            (PoolError::Backend(error), false) => has_hung_up(error).then_some(WANTS_TLS),
            (PoolError::Backend(error), true) => {
                let is_no_tls =
                    certificate::is_no_handshake(error) || has_hung_up(error) || error.is_timeout();
                is_no_tls.then_some(WANTS_NONE)
            }
            // A server without TLS waits for the end of a line.
            (PoolError::Timeout(_), true) => Some(WANTS_NONE),
            _ => None,
        }
    }
}

const WANTS_TLS: &str = "the server may want TLS there (rediss://)";
const WANTS_NONE: &str = "the server may not speak TLS there (redis:// is without)";

/// Whether the server took the connection and then ended it. A cluster's connection passes on a text alone.
fn has_hung_up(error: &RedisError) -> bool {
    use std::{error::Error as _, io::ErrorKind as Io};
    match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(error) => matches!(
            error.kind(),
            Io::BrokenPipe | Io::ConnectionReset | Io::ConnectionAborted | Io::UnexpectedEof
        ),
        None => {
            let text = error.to_string().to_lowercase();
            ["reset by peer", "broken pipe", "end of file", "unexpectedly terminated"]
                .iter()
                .any(|word| text.contains(word))
        }
    }
}

fn build<M: managed::Manager, W: From<Object<M>>>(
    builder: PoolBuilder<M, W>,
    size: usize,
    timeouts: Timeouts,
) -> RedisResult<managed::Pool<M, W>> {
    let built = builder.max_size(size).timeouts(timeouts).runtime(Runtime::Tokio1).build();
    built.map_err(|error| (ErrorKind::Client, "no pool", error.to_string()).into())
}

fn judge(error: PoolError<RedisError>) -> Verdict {
    match error {
        PoolError::Backend(error) => match Verdict::of(&error) {
            // While connecting nothing is a script's answer: "ERR max number of clients reached", "ERR DB index ...".
            Verdict::Script(_) | Verdict::NoScript => Verdict::Reconnect(error.to_string()),
            verdict => verdict,
        },
        PoolError::Timeout(TimeoutType::Recycle) => Verdict::Reconnect("no answer in time".into()),
        PoolError::Timeout(_) => Verdict::Reconnect("no connection in time".into()),
        PoolError::Closed => Verdict::Never("shutting down".into()),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            Verdict::Never("the pool is misconfigured".into())
        }
    }
}

async fn ping(connection: &mut impl ConnectionLike) -> RecycleResult<RedisError> {
    let answer: String = redis::cmd("PING").query_async(connection).await?;
    if answer == "PONG" { Ok(()) } else { Err(RecycleError::message("PING was not answered by PONG")) }
}

/// Connects to the master that the sentinels name. deadpool-redis's own takes no timeouts.
pub(super) struct SentinelManager {
    target: Arc<Target>,
}

/// A connection to a master.
pub(super) struct Master {
    address: Address,
    connection: MultiplexedConnection,
}

impl managed::Manager for SentinelManager {
    type Type = Master;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<Master> {
        let none = || RedisError::from((ErrorKind::EmptySentinelList, "no sentinel is named"));
        let (address, connection) =
            sentinels::master(&self.target, self.target.sentinels().ok_or_else(none)?).await?;
        Ok(Master { address, connection })
    }

    async fn recycle(&self, master: &mut Master, _: &Metrics) -> RecycleResult<RedisError> {
        ping(&mut master.connection).await
    }
}

/// Connects to one server over streams that somebody else opens.
pub(super) struct DialManager {
    target: Arc<Target>,
    dial: Arc<dyn Dial>,
}

impl managed::Manager for DialManager {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<MultiplexedConnection> {
        let (stream, login) = self.target.dialled(&self.dial).await?;
        let config = self.target.connection_config();
        let (connection, driver) = MultiplexedConnection::new_with_config(&login, stream, config).await?;
        // It ends with the last clone of the connection, or when the stream does.
        tokio::spawn(driver);
        Ok(connection)
    }

    async fn recycle(
        &self,
        connection: &mut MultiplexedConnection,
        _: &Metrics,
    ) -> RecycleResult<RedisError> {
        ping(connection).await
    }
}

/// Connects to a cluster. deadpool-redis's own takes no timeouts, no bound on retries and no certificates.
pub(super) struct ClusterManager {
    client: redis::cluster::ClusterClient,
}

impl managed::Manager for ClusterManager {
    type Type = ClusterConnection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<ClusterConnection> {
        self.client.get_async_connection().await
    }

    async fn recycle(&self, connection: &mut ClusterConnection, _: &Metrics) -> RecycleResult<RedisError> {
        ping(connection).await
    }
}
