//! Connections: accepted, counted, bounded.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tonic::{
    Extensions,
    transport::server::{Connected, TlsConnectInfo},
};

use crate::metrics::{Held, Metrics};

/// How long to wait after a failed accept: out of file descriptors, another try at once fails as well.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// Where connections come from: a TCP listener, or a network that is simulated.
pub trait Accept: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one. An error is of this one alone: others may come.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Whether nobody but this machine's own can connect.
    fn is_local(&self) -> bool;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        let (stream, _) = TcpListener::accept(self).await?;
        // Without it answers wait for each other's acknowledgement. A peer that is gone already shows soon enough.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn is_local(&self) -> bool {
        self.local_addr().is_ok_and(|address| address.ip().is_loopback())
    }
}

/// The connections of a listener, at most `max` at once. What is beyond is closed at once. Never ends, never fails.
pub(crate) fn connections<A: Accept>(
    listener: A,
    max: usize,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = io::Result<Connection<A::Stream>>> + Send {
    let room = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
    stream::unfold((listener, room, metrics), |(mut listener, room, metrics)| async move {
        loop {
            let stream = match listener.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                metrics.connections_refused.inc();
                tracing::debug!("a connection was closed: there are as many as may be");
                continue;
            };
            let held = Held::of(&metrics.connections);
            let connection = Connection { stream, acquires: Arc::default(), _place: place, _held: held };
            return Some((Ok(connection), (listener, room, metrics)));
        }
    })
}

/// A connection that holds its place among those that may be.
pub(crate) struct Connection<S> {
    stream: S,
    acquires: Arc<AtomicUsize>,
    _place: OwnedSemaphorePermit,
    _held: Held,
}

/// What the calls of one connection share: how many acquires of it are under way.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    acquires: Arc<AtomicUsize>,
}

impl Shared {
    /// What the connection of a request shares, with TLS or without.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions
            .get::<Self>()
            .or_else(|| extensions.get::<TlsConnectInfo<Self>>().map(TlsConnectInfo::get_ref))
    }

    /// A place for one more acquire, unless there are `max` of them; given back when it is dropped.
    pub(crate) fn place(&self, max: usize) -> Option<Place> {
        let taken = self.acquires.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.acquires));
        (taken < max).then_some(place)
    }
}

/// A place for an acquire on a connection.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Shared;

    fn connect_info(&self) -> Shared {
        Shared { acquires: Arc::clone(&self.acquires) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let shared = Shared { acquires: Arc::default() };
        let places: Vec<_> = (0..3).map(|_| shared.place(2)).collect();
        assert_eq!(places.iter().filter(|place| place.is_some()).count(), 2);
        drop(places);
        assert_eq!(shared.acquires.load(Ordering::Relaxed), 0);
        assert!(shared.place(2).is_some());
    }
}
