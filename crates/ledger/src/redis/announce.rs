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

use super::{jitter::Jitter, target::Target};

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
}

impl Listener {
    /// Subscribes, passes on, and subscribes again, for ever.
    pub(super) async fn run(self) {
        let (mut failures, mut is_told) = (0, false);
        for turn in 0_usize.. {
            match self.subscribe(turn).await {
                Ok((sink, stream)) => {
                    tracing::debug!(channel = self.channel, "listening to announcements");
                    (failures, is_told) = (0, false);
                    self.listening.send_replace(true);
                    self.pass_on(sink, stream).await;
                    self.listening.send_replace(false);
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

    async fn subscribe(&self, turn: usize) -> Result<(PubSubSink, PubSubStream), String> {
        let subscribing = async {
            let connection: PubSub = self.target.subscriber(turn).await?;
            let (mut sink, stream) = connection.split();
            sink.subscribe(&self.channel).await?;
            Ok::<_, RedisError>((sink, stream))
        };
        match timeout(self.target.connect_timeout + self.target.response_timeout, subscribing).await {
            Ok(Ok(subscribed)) => Ok(subscribed),
            Ok(Err(error)) => Err(super::failure::cause(&error)),
            Err(_) => Err("no connection in time".into()),
        }
    }

    /// Returns when the connection is of no more use.
    async fn pass_on(&self, mut sink: PubSubSink, mut stream: PubSubStream) {
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
                    None => return,
                },
                _ = heartbeat.tick() => {
                    match timeout(self.target.response_timeout, sink.ping::<Value>()).await {
                        Ok(Ok(_)) => {}
                        _ => return,
                    }
                }
            }
        }
    }
}
