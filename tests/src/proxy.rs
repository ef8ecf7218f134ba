//! A TCP proxy of ours, to put between two processes: it delays, holds back and refuses, as it is told by method calls.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bursar_quota::{Clock, SystemClock};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// The most that is read at once, in bytes.
const CHUNK: usize = 16 * 1024;
/// The most pieces that are on their way in one direction of one connection; then its sender is held up.
const ON_ITS_WAY: usize = 256;

/// Which way nothing comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// What is sent to the server.
    ToServer,
    /// What the server sends.
    FromServer,
    /// Both.
    BothWays,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    ToServer,
    FromServer,
}

/// What is wrong with the way.
#[derive(Debug, Clone, Copy, Default)]
struct Condition {
    cut: Option<Cut>,
    delay: Duration,
    refuses: bool,
}

impl Condition {
    fn passes(&self, way: Way) -> bool {
        !matches!(
            (self.cut, way),
            (Some(Cut::BothWays), _)
                | (Some(Cut::ToServer), Way::ToServer)
                | (Some(Cut::FromServer), Way::FromServer)
        )
    }
}

/// Passes on to one server what comes to an address of its own. Ends when dropped.
///
/// A cut holds back what is sent, the end of a connection as well, and lets it through when it is healed, as a network does
/// whose senders send again; new connections are accepted meanwhile, and silent. A delay holds for each way, and keeps the
/// order.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    serving: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy in good condition on a free port of 127.0.0.1, before `server`.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (condition, seen) = watch::channel(Condition::default());
        let (up, listening) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, server, seen, up));
        listening.await.expect("it serves");
        Self { address, condition, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing comes through this way.
    pub fn cut(&self, cut: Cut) {
        self.condition.send_modify(|condition| condition.cut = Some(cut));
    }

    /// From now on each way takes so much longer.
    pub fn delay(&self, delay: Duration) {
        self.condition.send_modify(|condition| condition.delay = delay);
    }

    /// Ends all connections and refuses new ones.
    pub fn refuse(&self) {
        self.condition.send_modify(|condition| condition.refuses = true);
    }

    /// All is well again.
    pub fn heal(&self) {
        self.condition.send_replace(Condition::default());
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    mut seen: watch::Receiver<Condition>,
    up: oneshot::Sender<()>,
) {
    let address = listener.local_addr().expect("its address");
    let mut listener = Some(listener);
    // Dropped with this task, and their connections with them.
    let mut connections = JoinSet::new();
    let _ = up.send(());
    loop {
        let refuses = seen.borrow_and_update().refuses;
        if refuses {
            listener = None;
            connections.shutdown().await;
        }
        let Some(open) = &listener else {
            if seen.wait_for(|condition| !condition.refuses).await.is_err() {
                return;
            }
            listener = Some(TcpListener::bind(address).await.expect("its port is still free"));
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, server, seen.clone()));
                }
            }
            changed = seen.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(client: TcpStream, server: SocketAddr, seen: watch::Receiver<Condition>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(
        pass(from_client, to_server, Way::ToServer, seen.clone()),
        pass(from_server, to_client, Way::FromServer, seen)
    );
}

/// Passes on one direction of one connection, its end as well.
async fn pass(from: OwnedReadHalf, to: OwnedWriteHalf, way: Way, seen: watch::Receiver<Condition>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (pieces, on_their_way) = mpsc::channel(ON_ITS_WAY);
    tokio::join!(
        take(from, pieces, Arc::clone(&clock), seen.clone()),
        deliver(on_their_way, to, clock, way, seen)
    );
}

/// Reads until the end; an empty piece is the end.
async fn take(
    mut from: OwnedReadHalf,
    pieces: mpsc::Sender<(Duration, Vec<u8>)>,
    clock: Arc<dyn Clock>,
    seen: watch::Receiver<Condition>,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        let due = clock.monotonic() + seen.borrow().delay;
        let piece = chunk.get(..read).unwrap_or_default().to_vec();
        if pieces.send((due, piece)).await.is_err() || read == 0 {
            return;
        }
    }
}

async fn deliver(
    mut pieces: mpsc::Receiver<(Duration, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    clock: Arc<dyn Clock>,
    way: Way,
    mut seen: watch::Receiver<Condition>,
) {
    while let Some((due, piece)) = pieces.recv().await {
        sleep(due.saturating_sub(clock.monotonic())).await;
        if seen.wait_for(|condition| condition.passes(way)).await.is_err() {
            return;
        }
        if piece.is_empty() || to.write_all(&piece).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
