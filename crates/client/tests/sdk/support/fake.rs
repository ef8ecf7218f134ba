//! The server itself.

use std::{
    collections::HashMap,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar_wire::v1::{
    self, acquire_response::Result as Decided, permit_service_server::PermitService,
    permit_service_server::PermitServiceServer, session_answer::Answer, settle_request::Outcome,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::Wire;

/// What the server does with an acquire.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Grant,
    /// Grants after a wait in the server.
    GrantAfter(Duration),
    /// Grants a permit that may be sent within so many milliseconds.
    GrantFor(u64),
    Refuse(v1::Refusal),
    Fail(Status),
    Hang,
    /// Grants, but the connection breaks before the answer leaves.
    Cut,
}

/// What the server was asked.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) acquires: Vec<v1::AcquireRequest>,
    /// The deadlines of the unary acquires, as the wire has them.
    pub(crate) timeouts: Vec<String>,
    pub(crate) tokens: Vec<Option<String>>,
    pub(crate) settles: Vec<v1::SettleRequest>,
    pub(crate) renews: Vec<v1::RenewRequest>,
    pub(crate) cancels: Vec<u64>,
    /// Acquires in each message of a session.
    pub(crate) batches: Vec<usize>,
    /// The largest message of a session, in bytes.
    pub(crate) largest: usize,
    /// Permit by request id.
    pub(crate) granted: HashMap<String, String>,
    /// Unary acquires whose caller went away.
    pub(crate) gone: usize,
}

impl Seen {
    /// The outcomes settled, by kind.
    pub(crate) fn outcomes(&self) -> Vec<&'static str> {
        let kind = |settle: &v1::SettleRequest| match settle.outcome {
            Some(Outcome::Response(_)) => "response",
            Some(Outcome::NotSent(_)) => "not_sent",
            Some(Outcome::Lost(_)) => "lost",
            None => "none",
        };
        self.settles.iter().map(kind).collect()
    }
}

type Rule = Arc<dyn Fn(&v1::AcquireRequest) -> Act + Send + Sync>;
type SettleRule = Arc<dyn Fn(&v1::SettleRequest) -> Result<v1::SettleResponse, Status> + Send + Sync>;

/// A refusal.
pub(crate) fn refusal(reason: v1::RefusalReason, retry_after_ms: Option<u64>) -> v1::Refusal {
    let limit = "requests".to_owned();
    v1::Refusal { reason: reason.into(), limit, retry_after_ms, message: "no".to_owned() }
}

/// The server. Clones share everything.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) wire: Wire,
    rule: Arc<Mutex<Rule>>,
    settles: Arc<Mutex<SettleRule>>,
    seen: Arc<watch::Sender<Seen>>,
}

impl Fake {
    /// Starts a server on a way of its own.
    pub(crate) fn start() -> Self {
        let (wire, incoming) = Wire::new();
        let applied = v1::SettleResponse { result: v1::SettleResult::Applied.into(), ..Default::default() };
        let fake = Self {
            wire,
            rule: Arc::new(Mutex::new(Arc::new(|_| Act::Grant))),
            settles: Arc::new(Mutex::new(Arc::new(move |_| Ok(applied.clone())))),
            seen: Arc::new(watch::Sender::default()),
        };
        let service = PermitServiceServer::new(fake.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        fake
    }

    /// What to do with acquires.
    pub(crate) fn on_acquire(&self, rule: impl Fn(&v1::AcquireRequest) -> Act + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Arc::new(rule);
    }

    /// What to do with acquires, one after the other; granted when they are done with.
    pub(crate) fn script(&self, acts: impl IntoIterator<Item = Act>) {
        let acts = Mutex::new(acts.into_iter().collect::<std::collections::VecDeque<_>>());
        self.on_acquire(move |_| acts.lock().unwrap().pop_front().unwrap_or(Act::Grant));
    }

    /// What to do with settlements.
    pub(crate) fn on_settle(
        &self,
        rule: impl Fn(&v1::SettleRequest) -> Result<v1::SettleResponse, Status> + Send + Sync + 'static,
    ) {
        *self.settles.lock().unwrap() = Arc::new(rule);
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what it was asked is so.
    pub(crate) async fn until(&self, wanted: impl FnMut(&Seen) -> bool) -> Seen {
        self.seen.subscribe().wait_for(wanted).await.unwrap().clone()
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }

    async fn decide(&self, request: v1::AcquireRequest) -> Result<v1::AcquireResponse, Status> {
        let rule = Arc::clone(&self.rule.lock().unwrap());
        let act = rule(&request);
        self.note(|seen| seen.acquires.push(request.clone()));
        let failed = |status: Status| v1::SettleResponse {
            result: v1::SettleResult::Failed.into(),
            problem: status.message().to_owned(),
            ..Default::default()
        };
        let settled = request.settle.clone().map(|settle| self.apply(settle).unwrap_or_else(failed));
        let answer = |result| Ok(v1::AcquireResponse { result: Some(result), settled });
        match act {
            Act::Grant => answer(self.grant(&request, 5_000, 0)),
            Act::GrantFor(send_within) => answer(self.grant(&request, send_within, 0)),
            Act::GrantAfter(wait) => {
                tokio::time::sleep(wait).await;
                answer(self.grant(&request, 5_000, u64::try_from(wait.as_millis()).unwrap()))
            }
            Act::Refuse(refusal) => answer(Decided::Refusal(refusal)),
            Act::Fail(status) => Err(status),
            Act::Hang => pending().await,
            Act::Cut => {
                let _ = self.grant(&request, 5_000, 0);
                self.wire.cut();
                pending().await
            }
        }
    }

    fn grant(&self, request: &v1::AcquireRequest, send_within_ms: u64, waited_ms: u64) -> Decided {
        let mut id = String::new();
        self.note(|seen| {
            let key = match request.request_id.as_str() {
                "" => format!("anonymous-{}", seen.granted.len()),
                id => id.to_owned(),
            };
            let next = format!("permit-{}", seen.granted.len());
            id.clone_from(seen.granted.entry(key).or_insert(next));
        });
        Decided::Permit(v1::Permit {
            permit_id: id,
            send_within_ms,
            deadline_ms: 60_000,
            waited_ms,
            rationed: false,
        })
    }

    fn apply(&self, request: v1::SettleRequest) -> Result<v1::SettleResponse, Status> {
        let rule = Arc::clone(&self.settles.lock().unwrap());
        let response = rule(&request);
        self.note(|seen| seen.settles.push(request));
        response
    }

    fn renewed(&self, request: v1::RenewRequest) -> v1::RenewResponse {
        let deadline_ms = if request.ttl_ms == 0 { 60_000 } else { request.ttl_ms };
        self.note(|seen| seen.renews.push(request));
        v1::RenewResponse { result: v1::RenewResult::Renewed.into(), deadline_ms }
    }

    async fn answer(self, id: u64, request: v1::AcquireRequest) -> v1::SessionAnswer {
        let answer = match self.decide(request).await {
            Ok(response) => Answer::Acquired(response),
            Err(status) => Answer::Error(v1::SessionError {
                code: status.code() as u32,
                message: status.message().to_owned(),
                ..Default::default()
            }),
        };
        v1::SessionAnswer { id, answer: Some(answer) }
    }

    async fn converse(
        self,
        mut asked: Streaming<v1::SessionRequest>,
        answers: mpsc::Sender<v1::SessionAnswer>,
    ) {
        while let Ok(Some(message)) = asked.message().await {
            self.note(|seen| {
                seen.cancels.extend(&message.cancels);
                seen.batches.push(message.acquires.len());
                seen.largest = seen.largest.max(prost::Message::encoded_len(&message));
            });
            for v1::SessionSettle { id, request } in message.settles {
                let answer = self.apply(request.unwrap()).map_or_else(
                    |status| {
                        let (code, message) = (status.code() as u32, status.message().to_owned());
                        Answer::Error(v1::SessionError { code, message, ..Default::default() })
                    },
                    Answer::Settled,
                );
                let _ = answers.send(v1::SessionAnswer { id, answer: Some(answer) }).await;
            }
            for v1::SessionRenew { id, request } in message.renews {
                let answer = Some(Answer::Renewed(self.renewed(request.unwrap())));
                let _ = answers.send(v1::SessionAnswer { id, answer }).await;
            }
            for v1::SessionAcquire { id, request } in message.acquires {
                let (fake, answers) = (self.clone(), answers.clone());
                tokio::spawn(async move {
                    let answer = fake.answer(id, request.unwrap()).await;
                    let _ = answers.send(answer).await;
                });
            }
        }
    }
}

/// Counts a caller that goes away.
struct Gone<'a>(&'a Fake, bool);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.note(|seen| seen.gone += 1);
        }
    }
}

#[tonic::async_trait]
impl PermitService for Fake {
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        let header = |name| request.metadata().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (timeout, token) = (header("grpc-timeout"), header("authorization"));
        self.note(|seen| {
            seen.timeouts.extend(timeout);
            seen.tokens.push(token);
        });
        let mut gone = Gone(self, true);
        let response = self.decide(request.into_inner()).await;
        gone.1 = false;
        response.map(Response::new)
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        self.apply(request.into_inner()).map(Response::new)
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        Ok(Response::new(self.renewed(request.into_inner())))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (sender, receiver) = mpsc::channel(1024);
        tokio::spawn(self.clone().converse(request.into_inner(), sender));
        let answers = tokio_stream::StreamExt::map(ReceiverStream::new(receiver), |answer| {
            Ok(v1::SessionResponse { answers: vec![answer] })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
