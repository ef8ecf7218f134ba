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
/// they look for a new master every [`sentinels::REST`], and for a server that they lost every [`RETURN`].
pub(super) const HOLD: Duration = Duration::from_millis(500);

/// The longest rest before a driver tries again to reach a server that it lost, whether or not it has something to send.
pub(super) const RETURN: Duration = Duration::from_millis(300);

const _: () =
    assert!(HOLD.as_millis() > sentinels::REST.as_millis() && HOLD.as_millis() > RETURN.as_millis());

/// Which server a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// One that names itself, anew with each start of it.
    Named(String),
    /// One that may not be asked: after each connection that was lost it may be another.
    Unsaid,
}

/// What the drivers of a host know together.
#[derive(Debug)]
pub(super) struct Moves {
    /// The server that one of them connected to last, and until when calls wait there.
    at: Mutex<(Option<Server>, Option<Instant>)>,
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

    /// A driver that was connected to `before` is to `server`: until when its calls wait. Without `server`, which nobody could
    /// tell, it passes for the one before.
    pub(super) fn met(&self, before: Option<&Server>, server: Option<&Server>) -> Option<Instant> {
        let server = server?;
        // A deadline that is due is the time, by tokio's clock.
        let now = sleep(Duration::ZERO).deadline();
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unsaid = *server == Server::Unsaid;
        let holds = at.1.is_some_and(|until| until > now);
        let is_another = at.0.as_ref().is_some_and(|known| known != server)
            // Several drivers come back to it, one after the other.
            || is_unsaid && before.is_some() && !holds;
        if is_another || at.0.is_none() {
            at.0 = Some(server.clone());
        }
        if is_another {
            tracing::info!(
                ?server,
                "the store may be another server: told what is remembered before anything is granted"
            );
            at.1 = Some(now + HOLD);
        }
        let until = at.1.filter(|until| *until > now)?;
        // What is told by way of a driver goes where that is connected.
        if is_another || before.is_some_and(|before| before != server || is_unsaid) {
            self.told.send_modify(|count| *count = count.wrapping_add(1));
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn named(name: &str) -> Option<Server> {
        Some(Server::Named(name.to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_at_another_server_and_what_is_remembered_is_told_by_each_driver_that_moves() {
        let moves = Moves::new();
        let told = moves.watch();
        let count = || *told.borrow();
        let (a, b) = (named("a"), named("b"));
        let met =
            |before: &Option<Server>, server: &Option<Server>| moves.met(before.as_ref(), server.as_ref());
        assert_eq!(met(&None, &a), None);
        assert_eq!(met(&None, &a), None);
        assert_eq!(met(&a, &a), None);
        assert_eq!(count(), 0);
        let until = met(&a, &b).unwrap();
        assert_eq!(until - sleep(Duration::ZERO).deadline(), HOLD);
        advance(HOLD / 2).await;
        // The second driver moves, and one that was never connected connects: neither has anybody wait longer.
        assert_eq!((met(&a, &b), count()), (Some(until), 2));
        assert_eq!((met(&None, &b), count()), (Some(until), 2));
        assert_eq!((met(&b, &None), count()), (None, 2));
        advance(HOLD / 2).await;
        // One that had nothing to send comes last.
        assert_eq!((met(&a, &b), count()), (None, 2));
        assert!(met(&b, &a).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_may_not_be_asked_who_it_is_may_be_another_whenever_it_was_lost() {
        let moves = Moves::new();
        let told = moves.watch();
        let count = || *told.borrow();
        let unsaid = Server::Unsaid;
        assert_eq!(moves.met(None, Some(&unsaid)), None);
        assert_eq!(moves.met(None, Some(&unsaid)), None);
        let until = moves.met(Some(&unsaid), Some(&unsaid)).unwrap();
        assert_eq!(until - sleep(Duration::ZERO).deadline(), HOLD);
        assert_eq!(count(), 1);
        advance(HOLD / 2).await;
        // The second driver comes back to the same: nobody waits longer, and what goes its way is told.
        assert_eq!((moves.met(Some(&unsaid), Some(&unsaid)), count()), (Some(until), 2));
        advance(HOLD).await;
        assert!(moves.met(Some(&unsaid), Some(&unsaid)).is_some_and(|next| next > until));
    }
}
