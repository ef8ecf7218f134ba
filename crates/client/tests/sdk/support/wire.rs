//! In-memory connections that can be cut and refused.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    sync::{mpsc, watch},
    task::AbortHandle,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

#[derive(Debug)]
struct Inner {
    accept: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    relays: Mutex<Vec<AbortHandle>>,
    /// Whether nothing passes.
    stalls: watch::Sender<bool>,
    refuses: AtomicBool,
    opened: AtomicUsize,
}

/// The way to a server.
#[derive(Debug, Clone)]
pub(crate) struct Wire(Arc<Inner>);

impl Wire {
    /// The way, and what the server accepts from it.
    pub(crate) fn new() -> (Self, UnboundedReceiverStream<io::Result<DuplexStream>>) {
        let (accept, accepted) = mpsc::unbounded_channel();
        let inner = Inner {
            accept,
            relays: Mutex::default(),
            stalls: watch::Sender::new(false),
            refuses: AtomicBool::new(false),
            opened: AtomicUsize::new(0),
        };
        (Self(Arc::new(inner)), UnboundedReceiverStream::new(accepted))
    }

    /// A channel that opens itself over this way.
    pub(crate) fn channel(&self) -> Channel {
        let wire = self.clone();
        let connector = tower::service_fn(move |_| {
            let opened = wire.open();
            async move { opened.map(TokioIo::new) }
        });
        Endpoint::from_static("http://fake").connect_with_connector_lazy(connector)
    }

    fn open(&self) -> io::Result<DuplexStream> {
        if self.0.refuses.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        let (near, mut middle) = duplex(1 << 16);
        let (mut behind, far) = duplex(1 << 16);
        let mut stalled = self.0.stalls.subscribe();
        let relay = tokio::spawn(async move {
            let stop = async { stalled.wait_for(|stalls| *stalls).await.is_ok() };
            let stops = tokio::select! {
                _ = copy_bidirectional(&mut middle, &mut behind) => false,
                stops = stop => stops,
            };
            if stops {
                // The ends stay open, and nothing passes.
                std::future::pending::<()>().await;
            }
        });
        self.0.relays.lock().unwrap().push(relay.abort_handle());
        self.0.accept.send(Ok(far)).unwrap();
        Ok(near)
    }

    /// Breaks every connection.
    pub(crate) fn cut(&self) {
        for relay in self.0.relays.lock().unwrap().drain(..) {
            relay.abort();
        }
    }

    /// From now on nothing passes, as when the server is stopped: connections stay, and new ones are accepted.
    pub(crate) fn stall(&self) {
        self.0.stalls.send_replace(true);
    }

    /// Whether new connections are refused.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.0.refuses.store(refuses, Ordering::SeqCst);
    }

    /// How many connections were opened.
    pub(crate) fn opened(&self) -> usize {
        self.0.opened.load(Ordering::SeqCst)
    }
}
