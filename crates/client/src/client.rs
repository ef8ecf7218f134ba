//! The client: what a worker holds.

use std::{net::SocketAddr, sync::Arc};

use bursar_quota::{Clock, SystemClock};
use tonic::transport::Channel;

use crate::{
    acquire::acquire,
    budgets::BudgetsClient,
    config::{ClientConfig, ConfigError, MAX_ENDPOINTS},
    core::{Core, Draw},
    endpoints::{Endpoints, Sources},
    error::{AcquireError, ConnectError},
    link::Link,
    options::AcquireOptions,
    permit::Permit,
    session::Session,
};

/// Bursar, as a worker sees it. Cheap to clone; clones share their connections.
///
/// Connections open themselves, break, and open again; a call is tried again on another endpoint, within its deadline and
/// with the same request id, so that it is never granted twice. To each endpoint there are two connections: acquires wait,
/// and where a server bounds the calls of a connection they would keep out the settlements that they wait for.
///
/// An endpoint whose host is a name is as many endpoints as the name has addresses, 32 of all names at most. Names are
/// resolved when the client is made, every [`resolve_every`](ClientConfig::resolve_every), and within two seconds after a
/// replica has failed. An address that came is taken by its part of the clients; one that is gone is asked nothing new, and what
/// it was asked is waited for: nothing is cut. While a name leads nowhere, what it led to stays.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) core: Arc<Core>,
}

impl Client {
    /// A client whose connections open with its first call. Inside a tokio runtime.
    pub fn lazy(config: ClientConfig) -> Result<Self, ConnectError> {
        config.validate()?;
        let sources = Arc::new(Sources::new(&config, None)?);
        Self::following(config, Arc::new(SystemClock::new()), sources)
    }

    /// A client that has reached one of its endpoints. Inside a tokio runtime.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        config.validate()?;
        let sources = Arc::new(Sources::new(&config, None)?);
        let client = Self::following(config, Arc::new(SystemClock::new()), Arc::clone(&sources))?;
        client.core.endpoints.open(&sources).await?;
        Ok(client)
    }

    /// A client over channels that exist already, one an endpoint, 1 to 32, with a clock from outside: for simulations, and
    /// for transports of one's own. The configuration's endpoints, TLS and connection times are not used.
    pub fn over(
        config: ClientConfig,
        clock: Arc<dyn Clock>,
        channels: Vec<Channel>,
    ) -> Result<Self, ConnectError> {
        config.validate()?;
        let draw = Draw::new(&config)?;
        if !(1..=MAX_ENDPOINTS).contains(&channels.len()) {
            return Err(ConfigError::new("channels", "1 to 32 are needed").into());
        }
        let channels = channels.into_iter().map(|channel| (channel.clone(), channel)).collect();
        let endpoints = Endpoints::over(channels, draw.first, config.token.as_ref());
        Ok(Self { core: Arc::new(Core::new(config, clock, endpoints, draw)?) })
    }

    /// As [`Client::lazy`], over channels that `dial` makes, given an endpoint as it was configured and one of its
    /// addresses, two for each, and with a clock from outside. The configuration's TLS and connection times are not used.
    pub fn dialing(
        config: ClientConfig,
        clock: Arc<dyn Clock>,
        dial: impl Fn(&http::Uri, SocketAddr) -> Channel + Send + Sync + 'static,
    ) -> Result<Self, ConnectError> {
        config.validate()?;
        let sources = Arc::new(Sources::new(&config, Some(Arc::new(dial)))?);
        Self::following(config, clock, sources)
    }

    fn following(
        config: ClientConfig,
        clock: Arc<dyn Clock>,
        sources: Arc<Sources>,
    ) -> Result<Self, ConnectError> {
        // Opening a channel needs the runtime.
        tokio::runtime::Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        let draw = Draw::new(&config)?;
        let endpoints = Endpoints::follow(sources, &config, draw.first, draw.random.clone());
        Ok(Self { core: Arc::new(Core::new(config, clock, endpoints, draw)?) })
    }

    /// Waits for a permit, as long as the options allow.
    ///
    /// Dropping the future takes the request back; what was granted at that moment is given back by the server, or
    /// freed at its deadline.
    pub async fn acquire(&self, options: AcquireOptions) -> Result<Permit, AcquireError> {
        acquire(&Link::Unary(Arc::clone(&self.core)), &options, None).await.1
    }

    /// A session: many callers share one stream and its messages. It opens with its first request.
    pub fn session(&self) -> Session {
        Session::open(Arc::clone(&self.core))
    }

    /// A permit that was acquired elsewhere, to be settled or renewed here. Dropped, it is settled as lost.
    pub fn adopt(&self, budget: impl Into<String>, permit_id: impl Into<String>) -> Permit {
        Permit::adopted(Link::Unary(Arc::clone(&self.core)), budget.into(), permit_id.into())
    }

    /// The budgets behind these endpoints, for operators.
    pub fn budgets(&self) -> BudgetsClient {
        BudgetsClient::of(self)
    }

    /// Waits until every settlement that runs in the background, for permits that were dropped, has been tried. Before
    /// a process ends, so that it leaves no slot to its deadline.
    pub async fn settled(&self) {
        self.core.idle().await;
    }
}
