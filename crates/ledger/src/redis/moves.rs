//! Whether the server is another than before: then it may not know the last of what that one was told, for replication is
//! asynchronous. Who lost nothing there cannot tell; so nobody grants until all have had time to say what they remember.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::sentinels;

/// How long calls wait at another server, but for those that tell it what is remembered: all replicas have moved by then, as
/// they look for a new master every [`sentinels::REST`].
pub(super) const HOLD: Duration = Duration::from_millis(500);

const _: () = assert!(HOLD.as_millis() > sentinels::REST.as_millis());

/// What the drivers of a host know together.
#[derive(Debug)]
pub(super) struct Moves {
    /// The server that one of them connected to last, and until when calls wait there.
    at: Mutex<(Option<String>, Option<Instant>)>,
    /// Counts how often what is remembered is to be told.
    told: watch::Sender<u64>,
}

impl Moves {
    pub(super) fn new() -> Self {
        Self { at: Mutex::default(), told: watch::Sender::new(0) }
    }

    /// Changes each time that what is remembered is to be told.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// A driver that was connected to `before` is to `server`: until when its calls wait. A server that does not say who it
    /// is passes for the one before.
    pub(super) fn met(&self, before: Option<&str>, server: Option<&str>) -> Option<Instant> {
        let server = server?;
        // A deadline that is due is the time, by tokio's clock.
        let now = sleep(Duration::ZERO).deadline();
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_another = at.0.as_deref().is_some_and(|known| known != server);
        if is_another || at.0.is_none() {
            at.0 = Some(server.to_owned());
        }
        if is_another {
            tracing::info!("the store is another server: told what is remembered before anything is granted");
            at.1 = Some(now + HOLD);
        }
        let until = at.1.filter(|until| *until > now)?;
        // What is told by way of a driver goes where that is connected.
        if is_another || before.is_some_and(|before| before != server) {
            self.told.send_modify(|count| *count = count.wrapping_add(1));
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_wait_at_another_server_and_what_is_remembered_is_told_by_each_driver_that_moves() {
        let moves = Moves::new();
        let told = moves.watch();
        let count = || *told.borrow();
        assert_eq!(moves.met(None, Some("a")), None);
        assert_eq!(moves.met(None, Some("a")), None);
        assert_eq!(moves.met(Some("a"), Some("a")), None);
        assert_eq!(count(), 0);
        let until = moves.met(Some("a"), Some("b")).unwrap();
        assert_eq!(until - sleep(Duration::ZERO).deadline(), HOLD);
        advance(HOLD / 2).await;
        // The second driver moves, and one that was never connected connects: neither has anybody wait longer.
        assert_eq!((moves.met(Some("a"), Some("b")), count()), (Some(until), 2));
        assert_eq!((moves.met(None, Some("b")), count()), (Some(until), 2));
        assert_eq!((moves.met(Some("b"), None), count()), (None, 2));
        advance(HOLD / 2).await;
        // One that had nothing to send comes last.
        assert_eq!((moves.met(Some("a"), Some("b")), count()), (None, 2));
        assert!(moves.met(Some("b"), Some("a")).is_some());
    }
}
