//! One replica's connections.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use bursar_wire::v1::{
    budget_service_client::BudgetServiceClient, permit_service_client::PermitServiceClient,
};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::config::Token;

/// Of which endpoint of the configuration, and, if that is a name, at which address.
pub(super) type Place = (usize, Option<SocketAddr>);

/// A channel that shows the client's token.
pub(crate) type Line = InterceptedService<Channel, Bearer>;

/// Adds the client's token to every call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(pub(super) Option<Token>);

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
pub(crate) struct Replica {
    pub(super) place: Place,
    acquires: Channel,
    settles: Channel,
    bearer: Bearer,
    gone: AtomicBool,
}

impl Replica {
    pub(super) fn new(place: Place, (acquires, settles): (Channel, Channel), bearer: Bearer) -> Self {
        Self { place, acquires, settles, bearer, gone: AtomicBool::new(false) }
    }

    /// For acquires.
    pub(crate) fn acquires(&self) -> PermitServiceClient<Line> {
        PermitServiceClient::new(self.line(&self.acquires))
    }

    /// For settlements, renewals and sessions.
    pub(crate) fn settles(&self) -> PermitServiceClient<Line> {
        PermitServiceClient::new(self.line(&self.settles))
    }

    /// For operators.
    pub(crate) fn budgets(&self) -> BudgetServiceClient<Line> {
        BudgetServiceClient::new(self.line(&self.acquires))
    }

    fn line(&self, channel: &Channel) -> Line {
        InterceptedService::new(channel.clone(), self.bearer.clone())
    }

    /// Its name does not lead here any more.
    pub(super) fn leaves(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// The same, with a connection that is open already.
    pub(super) fn opened(&self, acquires: Channel) -> Self {
        Self::new(self.place, (acquires, self.settles.clone()), self.bearer.clone())
    }
}
