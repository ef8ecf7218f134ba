//! What a caller does again and again.

use std::{sync::Arc, time::Duration};

use bursar_client::{AcquireOptions, Client, Outcome, Permit, Session, Settled};
use bursar_wire::v1::{self, acquire_response, permit_service_client::PermitServiceClient};
use tonic::{Request, transport::Channel};

use crate::BenchError;

/// How long a unary call may take at most: what it says to the server, as the SDK does.
const LIMIT: Duration = Duration::from_secs(35);

/// One caller: it has at most one call under way.
pub(crate) trait Caller: Send + 'static {
    /// Makes one call: the settlement of the permit before, and an acquire.
    fn call(&mut self) -> impl Future<Output = Result<(), BenchError>> + Send;

    /// Leaves nothing open.
    fn finish(self) -> impl Future<Output = Result<(), BenchError>> + Send;
}

/// Budgets in turn: this caller's share of those that all callers spread over.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    names: Arc<[String]>,
    at: usize,
    step: usize,
}

impl Turn {
    /// Of caller `index` of `callers`. `names` are at least one.
    pub(crate) fn new(names: Arc<[String]>, index: usize, callers: usize) -> Self {
        let many = names.len().max(1);
        Self { at: index % many, step: callers % many, names }
    }

    fn next(&mut self) -> &str {
        let at = self.at;
        self.at = (at + self.step) % self.names.len().max(1);
        self.names.get(at).map_or("", String::as_str)
    }
}

/// How the SDK's requests go out.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// A call each.
    Unary(Client),
    /// Over a stream that the callers of a connection share.
    Session(Session),
}

/// A worker with the SDK: what it was answered rides on its next acquire.
pub(crate) struct Worker {
    way: Way,
    turn: Turn,
    permit: Option<Permit>,
}

impl Worker {
    pub(crate) fn new(way: Way, turn: Turn) -> Self {
        Self { way, turn, permit: None }
    }
}

/// What the upstream answers: a success that says nothing of limits.
fn answered() -> Outcome {
    Outcome::response(200, [("", ""); 0], &[])
}

fn applied(found: Option<Settled>) -> Result<(), BenchError> {
    match found {
        // Already: it took effect, and the answer was lost. A store that is made to wait for its turn longer than a replica
        // waits for an answer is told the same commit again.
        Some(Settled::Applied | Settled::Already) => Ok(()),
        other => Err(BenchError::Settled(other)),
    }
}

impl Caller for Worker {
    async fn call(&mut self) -> Result<(), BenchError> {
        let options = AcquireOptions::new(self.turn.next());
        let permit = match (self.permit.take(), &self.way) {
            (Some(permit), _) => {
                let next = permit.settle_and_acquire(answered(), options).await;
                applied(next.settled.map(|settlement| settlement.result))?;
                next.permit
            }
            (None, Way::Unary(client)) => client.acquire(options).await,
            (None, Way::Session(session)) => session.acquire(options).await,
        };
        self.permit = Some(permit?);
        Ok(())
    }

    async fn finish(self) -> Result<(), BenchError> {
        match self.permit {
            Some(permit) => applied(Some(permit.settle_as(answered()).await?.result)),
            None => Ok(()),
        }
    }
}

/// A caller of the floor: tonic and the messages, and nothing else of ours.
pub(crate) struct Bare {
    client: PermitServiceClient<Channel>,
    request: v1::AcquireRequest,
}

impl Bare {
    /// Over `channel`, with messages of the same size as a [`Worker`]'s.
    pub(crate) fn new(channel: Channel, budget: &str, permit_id: String, request_ids: bool) -> Self {
        let outcome = v1::UpstreamResponse { status: 200, ..Default::default() };
        let settle = v1::SettleRequest {
            budget: budget.to_owned(),
            permit_id,
            outcome: Some(v1::settle_request::Outcome::Response(outcome)),
            ..Default::default()
        };
        // As long as those that the SDK makes.
        let request_id = if request_ids { format!("{:032x}.{:06}", 0, 0) } else { String::new() };
        let request = v1::AcquireRequest {
            budget: budget.to_owned(),
            tier: v1::Tier::Standard.into(),
            max_wait_ms: 30_000,
            request_id,
            settle: Some(settle),
            ..Default::default()
        };
        Self { client: PermitServiceClient::new(channel), request }
    }
}

impl Caller for Bare {
    async fn call(&mut self) -> Result<(), BenchError> {
        let mut request = Request::new(self.request.clone());
        request.set_timeout(LIMIT);
        let answer = self.client.acquire(request).await?.into_inner();
        match answer.result {
            Some(acquire_response::Result::Permit(_)) => Ok(()),
            other => Err(BenchError::Echo(format!("{other:?}"))),
        }
    }

    async fn finish(self) -> Result<(), BenchError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(budgets: usize, callers: usize, index: usize, calls: usize) -> Vec<String> {
        let names: Arc<[String]> = (0..budgets).map(|n| n.to_string()).collect();
        let mut turn = Turn::new(names, index, callers);
        (0..calls).map(|_| turn.next().to_owned()).collect()
    }

    #[test]
    fn budgets_are_spread_evenly() {
        assert_eq!(turns(1, 64, 7, 3), ["0", "0", "0"]);
        assert_eq!(turns(4, 2, 1, 4), ["1", "3", "1", "3"]);
        assert_eq!(turns(2, 4, 3, 2), ["1", "1"], "a caller stays where there are callers enough");
        assert_eq!(turns(5, 2, 0, 6), ["0", "2", "4", "1", "3", "0"]);
    }
}
