//! `PermitService`.

use std::{pin::Pin, sync::Arc};

use bursar_wire::v1::{self, permit_service_server::PermitService};
use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    auth::Caller,
    deadline,
    desk::{Asked, Desk},
    failure::Failure,
    listen::{Place, Shared},
    metrics::answered,
    session::Session,
};

/// The service.
pub(crate) struct Permits {
    desk: Arc<Desk>,
}

impl Permits {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    /// A place for a unary acquire on its connection: waiting acquires must not fill it up, since the settlements
    /// that would let them go on come over it as well.
    fn place<T>(&self, request: &Request<T>) -> Result<Option<Place>, Failure> {
        let Some(shared) = Shared::of(request.extensions()) else { return Ok(None) };
        let max = self.desk.connection_acquires;
        let full = || Failure::Full {
            subject: "connection",
            bound: format!(
                "{max} acquires are under way on it, the most that may be; use another, or a session"
            ),
        };
        shared.place(max).map(Some).ok_or_else(full)
    }
}

#[tonic::async_trait]
impl PermitService for Permits {
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        answered(&self.desk, "Acquire", async {
            let caller = Caller::of(&request)?;
            let deadline = deadline::of(request.metadata())?;
            let _place = self.place(&request)?;
            let asked = Asked::read(request.into_inner(), &caller, deadline)?;
            self.desk.acquire(asked, &caller, None).await
        })
        .await
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        answered(&self.desk, "Settle", async {
            let caller = Caller::of(&request)?;
            self.desk.settle(request.into_inner(), &caller).await
        })
        .await
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        answered(&self.desk, "Renew", async {
            let caller = Caller::of(&request)?;
            self.desk.renew(&request.into_inner(), &caller).await
        })
        .await
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let opened = (|| Ok((Caller::of(&request)?, deadline::of(request.metadata())?)))();
        self.desk.metrics.count("Session", &opened);
        let (caller, deadline) = opened.map_err(|failure: Failure| failure.status())?;
        let desk = Arc::clone(&self.desk);
        Ok(Response::new(Box::pin(Session::new(desk, caller, deadline, request.into_inner()))))
    }
}
