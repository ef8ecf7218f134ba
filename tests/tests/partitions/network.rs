//! The rooms' seams on the simulated network: who connects, who listens, what time it is.

use std::{io, time::Duration};

use bursar_ledger::redis::{Dial, Dialled};
use bursar_quota::{BoxFuture, Clock};
use bursar_server::Accept;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use turmoil::net::{TcpListener, TcpStream};

/// When the simulation begins: 2026-11-22T03:00:00Z.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_795_316_400);

/// The port of every replica.
pub(crate) const PORT: u16 = 7411;

/// The simulation's time, the same for everybody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimClock;

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_default()
    }

    fn unix(&self) -> Duration {
        EPOCH + self.monotonic()
    }
}

/// Opens the Redis client's connections.
#[derive(Debug)]
pub(crate) struct Dialler;

impl Dial for Dialler {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Dialled>> {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            Ok(Box::new(stream) as Dialled)
        })
    }
}

/// Where a replica listens.
pub(crate) struct Door(pub(crate) TcpListener);

impl Accept for Door {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        self.0.accept().await.map(|(stream, _)| stream)
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// A channel to a replica, opened with its first call, checked while it is idle.
pub(crate) fn channel(replica: &str) -> Channel {
    let connect = |uri: Uri| async move {
        let host = uri.host().unwrap_or_default().to_owned();
        TcpStream::connect((host, PORT)).await.map(TokioIo::new)
    };
    Endpoint::from_shared(format!("http://{replica}:{PORT}"))
        .unwrap()
        .connect_timeout(Duration::from_secs(1))
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(1))
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(tower::service_fn(connect))
}
