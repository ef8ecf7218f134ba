//! The replicas, and which of them is asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use bursar_wire::v1::{
    budget_service_client::BudgetServiceClient, permit_service_client::PermitServiceClient,
};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    config::{ClientConfig, ConfigError, Token},
    error::{ConnectError, root_cause},
};

/// A channel that shows the client's token.
pub(crate) type Line = InterceptedService<Channel, Bearer>;

/// Adds the client's token to every call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(Option<Token>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.header().clone());
        }
        Ok(request)
    }
}

/// One replica. Acquires wait in the server; a server that bounds the calls of a connection would hold a settlement up
/// behind them, and the settlement may be what they wait for. So settlements have a connection of their own.
#[derive(Debug)]
struct Replica {
    acquires: Channel,
    settles: Channel,
}

/// All replicas, and the one that is asked now.
#[derive(Debug)]
pub(crate) struct Endpoints {
    replicas: Vec<Replica>,
    current: AtomicUsize,
    bearer: Bearer,
}

impl Endpoints {
    /// Takes `(acquires, settles)` channels, at least one pair; begins with the `first`th, counted in a circle.
    pub(crate) fn new(channels: Vec<(Channel, Channel)>, first: usize, token: Option<Token>) -> Self {
        let replica = |(acquires, settles)| Replica { acquires, settles };
        let replicas: Vec<_> = channels.into_iter().map(replica).collect();
        Self { current: AtomicUsize::new(first), replicas, bearer: Bearer(token) }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.replicas.len()
    }

    /// A ticket for the one that is asked now: hand it to [`Endpoints::failed`] if it does not answer.
    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// A ticket for one that is not `ticket`'s, where there is another: the one that is asked now, or else the next.
    pub(crate) fn other_than(&self, ticket: usize) -> usize {
        let current = self.current();
        let same = current.checked_rem(self.len()) == ticket.checked_rem(self.len());
        if same { current.wrapping_add(1) } else { current }
    }

    /// Moves on to the next, unless somebody else has already.
    pub(crate) fn failed(&self, ticket: usize) {
        let next = ticket.wrapping_add(1);
        let _ = self.current.compare_exchange(ticket, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn replica(&self, ticket: usize) -> Option<&Replica> {
        // There is at least one: the configuration and `Client::over` see to it.
        self.replicas.get(ticket.checked_rem(self.replicas.len())?)
    }

    /// For acquires.
    pub(crate) fn acquires(&self, ticket: usize) -> Option<PermitServiceClient<Line>> {
        let channel = self.replica(ticket)?.acquires.clone();
        Some(PermitServiceClient::new(InterceptedService::new(channel, self.bearer.clone())))
    }

    /// For settlements, renewals and sessions.
    pub(crate) fn settles(&self, ticket: usize) -> Option<PermitServiceClient<Line>> {
        let channel = self.replica(ticket)?.settles.clone();
        Some(PermitServiceClient::new(InterceptedService::new(channel, self.bearer.clone())))
    }

    /// For operators.
    pub(crate) fn budgets(&self) -> Option<BudgetServiceClient<Line>> {
        let channel = self.replica(self.current())?.acquires.clone();
        Some(BudgetServiceClient::new(InterceptedService::new(channel, self.bearer.clone())))
    }
}

/// The endpoints of a configuration that was validated.
pub(crate) fn prepare(config: &ClientConfig) -> Result<Vec<Endpoint>, ConfigError> {
    let tls = config.tls.as_ref().map(crate::tls::TlsConfig::to_tonic);
    let one = |(index, uri): (usize, &String)| {
        let wrong = |error: tonic::transport::Error| {
            let field = if tls.is_some() { "tls".to_owned() } else { format!("endpoints[{index}]") };
            ConfigError::new(field, root_cause(&error))
        };
        let endpoint = Endpoint::from_shared(uri.clone())
            .map_err(&wrong)?
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(config.keep_alive)
            .keep_alive_timeout(config.keep_alive_timeout)
            .keep_alive_while_idle(true);
        match &tls {
            Some(tls) => endpoint.tls_config(tls.clone()).map_err(&wrong),
            None => Ok(endpoint),
        }
    };
    config.endpoints.iter().enumerate().map(one).collect()
}

/// Channels that open themselves with their first call.
pub(crate) fn lazy(endpoints: &[Endpoint]) -> Vec<(Channel, Channel)> {
    endpoints.iter().map(|endpoint| (endpoint.connect_lazy(), endpoint.connect_lazy())).collect()
}

/// As [`lazy`], but one of them is open: the first from `first` on that answers, which is told.
pub(crate) async fn connected(
    endpoints: &[Endpoint],
    first: usize,
) -> Result<(Vec<(Channel, Channel)>, usize), ConnectError> {
    let mut last = String::new();
    let mut channels = lazy(endpoints);
    for step in 0..endpoints.len() {
        let index = first.wrapping_add(step) % endpoints.len();
        let (Some(endpoint), Some((acquires, _))) = (endpoints.get(index), channels.get_mut(index)) else {
            continue;
        };
        match endpoint.connect().await {
            Ok(open) => {
                *acquires = open;
                return Ok((channels, index));
            }
            Err(error) => last = format!("{}: {}", endpoint.uri(), root_cause(&error)),
        }
    }
    Err(ConnectError::Unreachable(last))
}
