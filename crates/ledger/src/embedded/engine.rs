//! Owner threads around [`Vm`]s, as a [`ScriptHost`].

use std::{sync::Arc, thread, time::Duration};

use bursar_quota::{BoxFuture, BoxStream, Clock};
use futures_util::StreamExt;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_stream::wrappers::BroadcastStream;

use super::vm::{Vm, VmLimits};
use crate::{HostError, Reply, Script, ScriptCall, ScriptHost};

/// When to come back where an owner thread is gone or its mailbox is full.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long [`ScriptHost::ready`] waits for an owner thread.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// How an [`Embedded`] is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Owner threads, each with a VM and a share of the keys: 1 to 64, 1 by default. Keys of one hash tag stay
    /// together.
    pub shards: usize,
    /// Calls that wait for one owner thread, at least 1, 1024 by default. Further callers wait for a place; with
    /// `inline` they are told that the engine is unavailable.
    pub mailbox: usize,
    /// Announcements kept for a reader that lags, at least 1, 1024 by default; it misses older ones.
    pub announcements: usize,
    /// Whether a call blocks its thread until the script has run, so that a runtime whose clock is paused does not
    /// step on meanwhile. For simulations; off by default.
    pub inline: bool,
    /// What each VM may use.
    pub limits: VmLimits,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { shards: 1, mailbox: 1024, announcements: 1024, inline: false, limits: VmLimits::default() }
    }
}

/// The in-process engine. Its state lives as long as it does; dropping it ends its threads.
#[derive(Debug)]
pub struct Embedded {
    shards: Vec<mpsc::Sender<Job>>,
    announcements: broadcast::Sender<Vec<u8>>,
    inline: bool,
}

/// One call on its way to an owner thread.
#[derive(Debug)]
struct Job {
    work: Work,
    answer: Answer,
}

#[derive(Debug)]
enum Work {
    Run(&'static Script, ScriptCall),
    /// Answers once the thread takes it.
    Ping,
}

/// How a call's result gets back.
#[derive(Debug)]
enum Answer {
    Wake(oneshot::Sender<Result<Reply, HostError>>),
    Unblock(std::sync::mpsc::SyncSender<Result<Reply, HostError>>),
}

impl Embedded {
    /// One owner thread with the default bounds, empty. Its time begins with `clock.unix()` and goes on with
    /// `clock.monotonic()`.
    ///
    /// # Errors
    /// No thread or no memory is to be had.
    pub fn new(clock: Arc<dyn Clock>) -> Result<Self, HostError> {
        Self::with_config(clock, EmbeddedConfig::default())
    }

    /// As [`Embedded::new`], laid out as `config` says; what is out of its bounds is taken to the nearest one.
    ///
    /// # Errors
    /// No thread or no memory is to be had.
    pub fn with_config(clock: Arc<dyn Clock>, config: EmbeddedConfig) -> Result<Self, HostError> {
        let (announcements, _) = broadcast::channel(config.announcements.max(1));
        let time = StoreTime::begin(clock);
        let mut shards = Vec::new();
        for shard in 0..config.shards.clamp(1, 64) {
            let (sender, mailbox) = mpsc::channel(config.mailbox.max(1));
            let (time, announcements) = (time.clone(), announcements.clone());
            let (started, start) = std::sync::mpsc::sync_channel(1);
            thread::Builder::new()
                .name(format!("ledger-{shard}"))
                .spawn(move || match Vm::with_limits(config.limits) {
                    Ok(vm) => {
                        // The other side waits for this message: it cannot have gone away.
                        let _ = started.send(Ok(()));
                        own(vm, mailbox, &time, &announcements);
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                })
                .map_err(|error| unavailable(format!("no thread for the embedded engine: {error}")))?;
            start.recv().unwrap_or_else(|_| Err(gone()))?;
            shards.push(sender);
        }
        Ok(Self { shards, announcements, inline: config.inline })
    }

    fn shard(&self, keys: &[Vec<u8>]) -> usize {
        keys.first().map_or(0, |key| {
            let shards = self.shards.len() as u64;
            usize::try_from(fnv1a(hash_tag(key)) % shards).unwrap_or_default()
        })
    }

    async fn ask(&self, shard: usize, work: Work) -> Result<Reply, HostError> {
        let mailbox = self.shards.get(shard).ok_or_else(gone)?;
        if self.inline {
            let (answer, result) = std::sync::mpsc::sync_channel(1);
            mailbox.try_send(Job { work, answer: Answer::Unblock(answer) }).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    unavailable("the embedded engine's mailbox is full".into())
                }
                mpsc::error::TrySendError::Closed(_) => gone(),
            })?;
            return result.recv().unwrap_or_else(|_| Err(gone()));
        }
        let (answer, result) = oneshot::channel();
        mailbox.send(Job { work, answer: Answer::Wake(answer) }).await.map_err(|_| gone())?;
        result.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl ScriptHost for Embedded {
    fn run<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        let shard = self.shard(&call.keys);
        Box::pin(self.ask(shard, Work::Run(script, call)))
    }

    fn announcements(&self) -> BoxStream<Vec<u8>> {
        // A reader that lags skips what it missed and goes on.
        Box::pin(BroadcastStream::new(self.announcements.subscribe()).filter_map(async |next| next.ok()))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(async {
            for shard in 0..self.shards.len() {
                tokio::time::timeout(READY_WITHIN, self.ask(shard, Work::Ping))
                    .await
                    .map_err(|_| unavailable("the embedded engine is busy".into()))??;
            }
            Ok(())
        })
    }
}

/// An owner thread's life: it ends when every sender is gone.
fn own(
    mut vm: Vm,
    mut mailbox: mpsc::Receiver<Job>,
    time: &StoreTime,
    announcements: &broadcast::Sender<Vec<u8>>,
) {
    while let Some(Job { work, answer }) = mailbox.blocking_recv() {
        if answer.is_unwanted() {
            continue;
        }
        let result = match work {
            Work::Run(script, call) => vm.run(script, &call, time.now()),
            Work::Ping => Ok(Reply::Status("PONG".into())),
        };
        for (_, payload) in vm.take_published() {
            // Nobody listening is no error: announcements are hints.
            let _ = announcements.send(payload);
        }
        answer.give(result);
    }
}

impl Answer {
    /// Whether the caller went away before its turn.
    fn is_unwanted(&self) -> bool {
        matches!(self, Self::Wake(sender) if sender.is_closed())
    }

    fn give(self, result: Result<Reply, HostError>) {
        // A caller that went away wants no answer.
        match self {
            Self::Wake(sender) => drop(sender.send(result)),
            Self::Unblock(sender) => drop(sender.send(result)),
        }
    }
}

/// The store's time: it begins with the wall clock and never steps.
#[derive(Clone)]
struct StoreTime {
    clock: Arc<dyn Clock>,
    unix: Duration,
    monotonic: Duration,
}

impl StoreTime {
    fn begin(clock: Arc<dyn Clock>) -> Self {
        let (unix, monotonic) = (clock.unix(), clock.monotonic());
        Self { clock, unix, monotonic }
    }

    fn now(&self) -> Duration {
        (self.unix + self.clock.monotonic()).saturating_sub(self.monotonic)
    }
}

/// What decides where a key lives, as in Redis Cluster: what stands between its first `{` and the `}` after it, unless
/// that is nothing; else the whole key.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|byte| *byte == b'}') {
        Some(length) if length > 0 => &rest[..length],
        _ => key,
    }
}

/// FNV-1a, 64 bits: the same shard in every run.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn gone() -> HostError {
    unavailable("the embedded engine has ended".into())
}

fn unavailable(cause: String) -> HostError {
    HostError::Unavailable { cause, retry_after: RETRY_AFTER }
}
