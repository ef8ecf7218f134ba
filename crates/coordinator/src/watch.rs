//! Watching what changes, as far as the watcher keeps up.

use bursar_quota::LedgerEvent;
use futures_util::{Stream, stream};
use tokio::sync::broadcast::{self, error::RecvError};

/// One thing a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// Something changed.
    Event(LedgerEvent),
    /// The watcher was too slow: so many events were dropped, the oldest first.
    Missed(u64),
}

/// What changed since it was made, in order. Wake-up hints among replicas are not shown.
#[derive(Debug)]
pub struct Watcher {
    events: broadcast::Receiver<LedgerEvent>,
}

impl Watcher {
    pub(crate) fn new(events: broadcast::Receiver<LedgerEvent>) -> Self {
        Self { events }
    }

    /// The next item; `None` once the coordinator is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<WatchItem> {
        match self.events.recv().await {
            Ok(event) => Some(WatchItem::Event(event)),
            Err(RecvError::Lagged(missed)) => Some(WatchItem::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = WatchItem> + Send + 'static {
        stream::unfold(self, |mut watcher| async move { watcher.next().await.map(|item| (item, watcher)) })
    }
}
