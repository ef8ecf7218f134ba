//! The host: calls in, drivers behind, announcements out.

use std::{
    fmt,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bursar_quota::{BoxFuture, BoxStream, Eviction, Trouble};
use futures_util::{FutureExt as _, StreamExt as _};
use redis::Value;
use tokio::{
    sync::{
        broadcast,
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

use crate::{HostError, Reply, Script, ScriptCall, ScriptHost};

use super::{
    announce::{Listener, MAX_BEHIND, REST},
    config::{RedisConfig, RedisConfigError},
    dial::Dial,
    driver::{Common, Driver, Job, Work},
    eviction::{self, Inspector},
    install_crypto,
    jitter::Jitter,
    moves::Moves,
    pool::Pool,
    reach::Reach,
    reply,
    sentinels::{self, Lookout},
    target::Target,
};

/// How long the key lives that a readiness check writes, milliseconds.
const READY_KEY_MS: u64 = 10_000;

/// Runs scripts in Redis or Valkey. Dropping it closes its connections; what is under way on the server is finished
/// there.
pub struct RedisHost {
    place: String,
    prefix: String,
    channel: String,
    response_timeout: Duration,
    call_timeout: Duration,
    jitter: Arc<Jitter>,
    drivers: Vec<mpsc::Sender<Job>>,
    announcements: broadcast::Sender<Vec<u8>>,
    listening: watch::Receiver<bool>,
    eviction: watch::Receiver<Eviction>,
    is_fenced: watch::Receiver<Option<bool>>,
    round_trips: Arc<AtomicU64>,
    reach: Arc<Reach>,
    moves: Arc<Moves>,
    _tasks: JoinSet<()>,
}

impl RedisHost {
    /// Starts the drivers and the listener; needs a tokio runtime. An error is one of the configuration. The store need
    /// not be reachable: until it is, calls are answered by [`HostError::Unavailable`], and the connection is made when
    /// it can be.
    pub fn connect(config: RedisConfig) -> Result<Self, RedisConfigError> {
        Self::connect_by(config, None)
    }

    /// As [`RedisHost::connect`], to a single server without TLS, over connections that `dial` opens: for networks that
    /// are simulated.
    pub fn over(config: RedisConfig, dial: Arc<dyn Dial>) -> Result<Self, RedisConfigError> {
        Self::connect_by(config, Some(dial))
    }

    fn connect_by(config: RedisConfig, dial: Option<Arc<dyn Dial>>) -> Result<Self, RedisConfigError> {
        install_crypto();
        let target = Arc::new(Target::new(&config, dial)?);
        let pool = Pool::new(&target, config.drivers)
            .map_err(|error| RedisConfigError { field: "url", problem: error.to_string() })?;
        let jitter = Arc::new(Jitter::new(config.seed, config.retry_base, config.retry_max));
        let mut tasks = JoinSet::new();
        let round_trips = Arc::new(AtomicU64::new(0));
        let (reach, moves) = (Arc::new(Reach::default()), Arc::new(Moves::new()));
        let (heard, listening) = watch::channel(false);
        let (silences, silent) = watch::channel(0);
        let common = Common {
            jitter: Arc::clone(&jitter),
            sent: Arc::clone(&round_trips),
            reach: Arc::clone(&reach),
            moves: Arc::clone(&moves),
            silences: silent,
        };
        let drivers: Vec<_> = (0..config.drivers)
            .map(|_| {
                let (sender, queue) = mpsc::channel(config.queue);
                tasks.spawn(Driver::new(pool.clone(), queue, config.retries, common.clone()).run());
                sender
            })
            .collect();
        let (announcements, _) = broadcast::channel(MAX_BEHIND);
        let channel = config.announce_channel();
        let listener = Listener {
            channel: channel.clone(),
            jitter: Jitter::new(config.seed.wrapping_add(1), REST.0, REST.1),
            into: announcements.clone(),
            listening: heard,
            silences,
            target: Arc::clone(&target),
        };
        tasks.spawn(listener.run());
        if target.sentinels().is_some() {
            let jitter = Jitter::new(config.seed.wrapping_add(3), sentinels::HURRIED, sentinels::REST);
            tasks.spawn(Lookout { target: Arc::clone(&target), jitter }.run());
        }
        let (seen, eviction) = watch::channel(Eviction::Unknown);
        let (fenced, is_fenced) = watch::channel(None);
        if let Some(driver) = drivers.first() {
            let (least, most) = eviction::REST;
            let jitter = Arc::new(Jitter::new(config.seed.wrapping_add(2), least, most));
            let fenced = target.sentinels().map(|_| fenced);
            tasks.spawn(Inspector { driver: mpsc::Sender::clone(driver), jitter, into: seen, fenced }.run());
        }
        Ok(Self {
            place: target.place(),
            response_timeout: config.response_timeout,
            prefix: config.prefix,
            channel,
            call_timeout: config.call_timeout,
            jitter,
            drivers,
            announcements,
            listening,
            eviction,
            is_fenced,
            round_trips,
            reach,
            moves,
            _tasks: tasks,
        })
    }

    /// Whether announcements are being heard; changes with the subscription.
    pub fn listening(&self) -> watch::Receiver<bool> {
        self.listening.clone()
    }

    /// Whether the server may evict what it was told, as last seen; changes with each look that shows otherwise.
    pub fn watch_eviction(&self) -> watch::Receiver<Eviction> {
        self.eviction.clone()
    }

    /// Whether the master behind sentinels stops writes once its replicas have left it (`min-replicas-to-write`), as last seen;
    /// `None`: it was not seen, or there are no sentinels.
    pub fn watch_fenced(&self) -> watch::Receiver<Option<bool>> {
        self.is_fenced.clone()
    }

    /// Hands work to the driver of `key` and waits, within the bound of a call.
    async fn call(&self, key: &[u8], work: Work, how: fn(Job) -> Job) -> Result<Value, HostError> {
        let (answer, answered) = oneshot::channel();
        let driver = self.driver(key).ok_or_else(|| self.unavailable("there is no driver"))?;
        driver.try_send(how(Job::new(work, answer))).map_err(|error| match error {
            TrySendError::Full(_) => self.unavailable("more calls wait for the store than may"),
            TrySendError::Closed(_) => self.unavailable("shutting down"),
        })?;
        match timeout(self.call_timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.unavailable("shutting down")),
            Err(_) => Err(self.unavailable(&match self.reach.trouble() {
                Some(Trouble { cause, .. }) if cause.contains("in time") => cause,
                Some(Trouble { cause, .. }) => format!("no answer in time: {cause}"),
                None => "no answer in time".to_owned(),
            })),
        }
    }

    async fn script(
        &self,
        script: &'static Script,
        call: ScriptCall,
        how: fn(Job) -> Job,
    ) -> Result<Reply, HostError> {
        let key = call.keys.first().cloned().unwrap_or_default();
        reply::from_value(self.call(&key, Work::Script(script, call), how).await?)
    }

    /// One budget's calls share their first key, so they share a driver and keep their order.
    fn driver(&self, key: &[u8]) -> Option<&mpsc::Sender<Job>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        let count = u64::try_from(self.drivers.len()).ok().filter(|count| *count > 0)?;
        self.drivers.get(usize::try_from(hash % count).ok()?)
    }

    fn unavailable(&self, cause: &str) -> HostError {
        HostError::Unavailable { cause: cause.to_owned(), retry_after: self.jitter.come_back() }
    }
}

impl ScriptHost for RedisHost {
    fn run<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        self.script(script, call, |job| job).boxed()
    }

    fn run_ahead<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        self.script(script, call, Job::ahead).boxed()
    }

    fn moves(&self) -> BoxStream<()> {
        WatchStream::from_changes(self.moves.watch()).map(|_| ()).boxed()
    }

    fn announcements(&self) -> BoxStream<Vec<u8>> {
        // An error says how many were missed; they were hints.
        BroadcastStream::new(self.announcements.subscribe()).filter_map(|item| async { item.ok() }).boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), HostError>> {
        async move {
            let key = format!("{}ready", self.prefix);
            let mut write = redis::cmd("SET");
            write.arg(&key).arg("1").arg("PX").arg(READY_KEY_MS);
            // Scripts go on where they may not announce: here it is noticed. What is empty announces nothing.
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(&self.channel).arg("");
            for command in [write, publish] {
                match self.call(key.as_bytes(), Work::Command(command), |job| job).await {
                    Ok(_) => {}
                    // To somebody who asks whether the store is ready an error of any kind says that it is not.
                    Err(HostError::Script { code, message }) => {
                        return Err(self.unavailable(&format!("{code} {message}")));
                    }
                    Err(unavailable) => return Err(unavailable),
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn resends_after(&self) -> Duration {
        self.response_timeout
    }

    fn trouble(&self) -> Option<Trouble> {
        self.reach.trouble()
    }

    fn eviction(&self) -> Eviction {
        self.eviction.borrow().clone()
    }

    fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisHost")
            .field("place", &self.place)
            .field("drivers", &self.drivers.len())
            .finish_non_exhaustive()
    }
}
