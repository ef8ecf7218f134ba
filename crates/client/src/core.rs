//! What all clones of a client share.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bursar_quota::Clock;
use rand::{Rng, RngCore, SeedableRng, TryRngCore, rngs::OsRng, rngs::SmallRng};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{
    config::{ClientConfig, ConfigError},
    endpoints::Endpoints,
    error::ConnectError,
};

/// What all clones of a client, its sessions and its permits share.
pub(crate) struct Core {
    pub(crate) config: ClientConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) endpoints: Endpoints,
    jitter: Mutex<SmallRng>,
    instance: String,
    requests: AtomicU64,
    runtime: Handle,
    background: Arc<Semaphore>,
}

/// What a client draws once, when it is made.
pub(crate) struct Draw {
    jitter: SmallRng,
    /// For the names of endpoints.
    pub(crate) random: SmallRng,
    instance: String,
    /// Which endpoint to begin with, to be counted in a circle.
    pub(crate) first: usize,
}

impl Draw {
    /// Draws from the operating system what the configuration does not give.
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        let mut random = [0; 24];
        if config.seed.is_none() || config.instance.is_none() {
            OsRng.try_fill_bytes(&mut random).map_err(|error| {
                ConfigError::new(
                    "instance",
                    format_args!("the operating system gives no random bits: {error}"),
                )
            })?;
        }
        let (seed, instance) = random.split_at(8);
        let seed = seed.iter().fold(0, |seed, byte| (seed << 8) | u64::from(*byte));
        let made = || instance.iter().map(|byte| format!("{byte:02x}")).collect();
        let seed = config.seed.unwrap_or(seed);
        let mut jitter = SmallRng::seed_from_u64(seed);
        let random = SmallRng::seed_from_u64(!seed);
        let first = if config.in_order { 0 } else { jitter.next_u32() as usize };
        Ok(Self { jitter, random, instance: config.instance.clone().unwrap_or_else(made), first })
    }
}

impl Core {
    /// A core over these endpoints.
    pub(crate) fn new(
        config: ClientConfig,
        clock: Arc<dyn Clock>,
        endpoints: Endpoints,
        draw: Draw,
    ) -> Result<Self, ConnectError> {
        let runtime = Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        Ok(Self {
            endpoints,
            background: Arc::new(Semaphore::new(config.max_background)),
            config,
            clock,
            jitter: Mutex::new(draw.jitter),
            instance: draw.instance,
            requests: AtomicU64::new(0),
            runtime,
        })
    }

    /// Monotonic time.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// A request id that nobody else makes.
    pub(crate) fn request_id(&self) -> String {
        format!("{}.{}", self.instance, self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// How long to stay away after `rounds` rounds of failures: full jitter, doubled each round up to the bound.
    pub(crate) fn backoff(&self, rounds: u32) -> Duration {
        let retry = &self.config.retry;
        let most =
            retry.base.saturating_mul(1_u32.checked_shl(rounds.min(31)).unwrap_or(u32::MAX)).min(retry.max);
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(lock(&self.jitter).random_range(1..=most))
    }

    /// Runs a settlement that nobody waits for; whether there was room for it. Never blocks, and never panics: where the
    /// runtime is gone, the task is dropped.
    pub(crate) fn in_background(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(slot) = Arc::clone(&self.background).try_acquire_owned() else {
            return false;
        };
        drop(self.runtime.spawn(async move {
            task.await;
            drop(slot);
        }));
        true
    }

    /// Starts a session's driver.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(task));
    }

    /// Waits until nothing runs in the background.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(self.config.max_background).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.background.acquire_many(all).await);
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Nothing that is done under our locks can panic halfway, so a poisoned one is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
