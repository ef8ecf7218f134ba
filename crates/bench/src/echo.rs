//! The floor: a server with the real service's messages, and nothing behind them.

use std::pin::Pin;

use bursar_quota::{BudgetName, ClassName, LeaseId, NameError, PermitId};
use bursar_wire::v1::{
    self, acquire_response, permit_service_server::PermitService, permit_service_server::PermitServiceServer,
    session_answer::Answer,
};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::BenchError;

/// HTTP/2 as the real server has it.
const STREAMS: u32 = 4096;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// A permit id as long as any other of `budget`'s, of a lease that nobody holds.
pub(crate) fn permit_id(budget: &str) -> Result<String, NameError> {
    let lease = LeaseId::new(&ClassName::new("default")?, u128::MAX / 3);
    Ok(PermitId::new(&BudgetName::new(budget)?, lease, 0).to_string())
}

/// Answers at once.
#[derive(Debug)]
struct Echo {
    permit: v1::Permit,
}

impl Echo {
    fn acquired(&self, request: &v1::AcquireRequest) -> v1::AcquireResponse {
        v1::AcquireResponse {
            result: Some(acquire_response::Result::Permit(self.permit.clone())),
            settled: request.settle.as_ref().map(|_| settled()),
        }
    }

    fn answers(permit: &v1::Permit, request: v1::SessionRequest) -> v1::SessionResponse {
        let echo = Self { permit: permit.clone() };
        let settles = request
            .settles
            .into_iter()
            .map(|one| v1::SessionAnswer { id: one.id, answer: Some(Answer::Settled(settled())) });
        let acquires = request.acquires.into_iter().map(|one| {
            let answer = echo.acquired(&one.request.unwrap_or_default());
            v1::SessionAnswer { id: one.id, answer: Some(Answer::Acquired(answer)) }
        });
        v1::SessionResponse { answers: settles.chain(acquires).collect() }
    }
}

fn settled() -> v1::SettleResponse {
    v1::SettleResponse { result: v1::SettleResult::Applied.into(), ..Default::default() }
}

#[tonic::async_trait]
impl PermitService for Echo {
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        Ok(Response::new(self.acquired(request.get_ref())))
    }

    async fn settle(&self, _: Request<v1::SettleRequest>) -> Result<Response<v1::SettleResponse>, Status> {
        Ok(Response::new(settled()))
    }

    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let deadline_ms = self.permit.deadline_ms;
        Ok(Response::new(v1::RenewResponse { result: v1::RenewResult::Renewed.into(), deadline_ms }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let permit = self.permit.clone();
        let answers = request.into_inner().map(move |message| Ok(Self::answers(&permit, message?)));
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Serves on `listener` until `shutdown` ends. Budgets there are none; every acquire gets a permit of `bench`.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), BenchError> {
    let permit = v1::Permit {
        permit_id: permit_id("bench")?,
        send_within_ms: 5_000,
        deadline_ms: 60_000,
        waited_ms: 0,
        rationed: false,
    };
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        // A peer that is gone already shows soon enough.
        stream.inspect(|stream| drop(stream.set_nodelay(true)))
    });
    Server::builder()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(PermitServiceServer::new(Echo { permit }))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
        .map_err(BenchError::Transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_answered_whole() {
        let acquire = |id| v1::SessionAcquire { id, request: None };
        let settle = v1::SessionSettle { id: 9, request: None };
        let request = v1::SessionRequest {
            acquires: vec![acquire(1), acquire(2)],
            settles: vec![settle],
            ..Default::default()
        };
        let answers = Echo::answers(&v1::Permit::default(), request).answers;
        assert_eq!(answers.iter().map(|answer| answer.id).collect::<Vec<_>>(), [9, 1, 2]);
    }

    #[test]
    fn its_permits_are_as_long_as_real_ones() {
        assert_eq!(permit_id("bench").unwrap().len(), "b1.".len() + 8 + 1 + 32 + 2);
    }
}
