//! What scripts publish, passed on to whoever listens in this process. Hints: what is published while the connection
//! is down, or while a listener lags, is lost, and nothing depends on it.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use redis::{
    RedisError, Value,
    aio::{PubSub, PubSubSink, PubSubStream},
};
use tokio::{
    sync::{broadcast, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    jitter::Jitter,
    sentinels::{Address, Sentinels},
    target::Target,
};

/// The most announcements that a listener may be behind.
pub(super) const MAX_BEHIND: usize = 1024;
/// The longest payload that is passed on, in bytes. No script writes a longer one.
const MAX_PAYLOAD: usize = 64 * 1024;
/// How often a silent connection is asked whether it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The least and the longest rest between two attempts to subscribe.
pub(super) const REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The one subscription of a host.
pub(super) struct Listener {
    pub(super) target: Arc<Target>,
    pub(super) channel: String,
    pub(super) jitter: Jitter,
    pub(super) into: broadcast::Sender<Vec<u8>>,
    /// Whether the subscription is in force.
    pub(super) listening: watch::Sender<bool>,
    /// Counts how often it ended because its server may be gone.
    pub(super) silences: watch::Sender<u64>,
}

/// Why nothing more is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The connection is of no more use.
    Silence,
    /// The sentinels name another master than the one that it leads to.
    Another,
}

impl Listener {
    /// Subscribes, passes on, and subscribes again, for ever.
    pub(super) async fn run(self) {
        let (mut failures, mut is_told) = (0, false);
        for turn in 0_usize.. {
            match self.subscribe(turn).await {
                Ok((sink, stream, at)) => {
                    tracing::debug!(channel = self.channel, "listening to announcements");
                    (failures, is_told) = (0, false);
                    self.listening.send_replace(true);
                    let end = self.pass_on(sink, stream, at).await;
                    self.listening.send_replace(false);
                    if end == End::Silence {
                        self.silences.send_modify(|count| *count = count.wrapping_add(1));
                    }
                }
                Err(cause) if !is_told => {
                    is_told = true;
                    tracing::warn!(cause, "announcements cannot be heard");
                }
                Err(_) => {}
            }
            failures += 1;
            sleep(self.jitter.backoff(failures)).await;
        }
    }

    async fn subscribe(&self, turn: usize) -> Result<(PubSubSink, PubSubStream, Option<Address>), String> {
        let subscribing = async {
            let (connection, at): (PubSub, _) = self.target.subscriber(turn).await?;
            let (mut sink, stream) = connection.split();
            sink.subscribe(&self.channel).await?;
            Ok::<_, RedisError>((sink, stream, at))
        };
        match timeout(self.target.connect_timeout + self.target.response_timeout, subscribing).await {
            Ok(Ok(subscribed)) => Ok(subscribed),
            Ok(Err(error)) => Err(super::failure::cause(&error)),
            Err(_) => Err("no connection in time".into()),
        }
    }

    async fn pass_on(&self, mut sink: PubSubSink, mut stream: PubSubStream, at: Option<Address>) -> End {
        let mut found = self.target.sentinels().map(Sentinels::found);
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) if message.get_payload_bytes().len() <= MAX_PAYLOAD => {
                        // Fails while nobody listens, which is no harm.
                        let _ = self.into.send(message.get_payload_bytes().to_vec());
                    }
                    Some(_) => tracing::debug!("an announcement was too long to be one of ours"),
                    None => return End::Silence,
                },
                () = another(&mut found, at.as_ref()) => return End::Another,
                _ = heartbeat.tick() => {
                    match timeout(self.target.response_timeout, sink.ping::<Value>()).await {
                        Ok(Ok(_)) => {}
                        _ => return End::Silence,
                    }
                }
            }
        }
    }
}

/// Waits until a look finds another master than this one.
async fn another(found: &mut Option<watch::Receiver<Option<Address>>>, at: Option<&Address>) {
    let Some(found) = found else { return std::future::pending().await };
    let is_another = |found: &Option<Address>| found.is_some() && found.as_ref() != at;
    loop {
        // Only what is found from now on: what was found before may be older than the connection.
        if found.changed().await.is_err() {
            return std::future::pending().await;
        }
        if is_another(&found.borrow_and_update()) {
            return;
        }
    }
}
