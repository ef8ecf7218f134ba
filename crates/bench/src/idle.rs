//! What those weigh who do nothing: budgets, sessions, waiters.

use std::time::Duration;

use bursar_client::{AcquireOptions, Client, ClientConfig, Session};
use bursar_wire::v1::{self, permit_service_client::PermitServiceClient};
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;

use crate::{
    Bench, BenchError, Load, Stage,
    load::count,
    measure::{Shape, clients, declare},
    row::rounded,
};

/// The most budgets, sessions or waiters.
const MOST: usize = 1_000_000;
/// Waiters share sessions, so many each: half of what a server lets be under way on one.
const A_SESSION: usize = 2_048;
/// How long a process has to come to rest before it is weighed.
const REST: Duration = Duration::from_millis(500);
/// How long waiters wait: longer than any weighing takes.
const WAIT: Duration = Duration::from_secs(3600);
/// How long the one permit is held that they wait for: as long as may be.
const HELD: Duration = Duration::from_secs(600);

/// What one of many weighs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Weight {
    /// `budget`, `session` or `waiter`.
    pub what: &'static str,
    /// How many there were.
    pub many: usize,
    /// Bytes of the server's memory each; `None` where its process is not ours.
    pub server_bytes_each: Option<f64>,
    /// Bytes of Redis's data each; `None` without a Redis of ours.
    pub store_bytes_each: Option<f64>,
}

#[derive(Clone, Copy)]
struct Weighed {
    server: Option<u64>,
    store: Option<u64>,
}

impl Weighed {
    async fn now(stage: &Stage) -> Self {
        sleep(REST).await;
        Self { server: stage.resident(), store: stage.store_memory() }
    }

    #[allow(clippy::cast_precision_loss, reason = "bytes of a process and a count below a million")]
    fn since(self, before: Self, what: &'static str, many: usize) -> Weight {
        let each = |now: Option<u64>, before: Option<u64>| {
            let more = now? as f64 - before? as f64;
            Some(rounded(more / many as f64, 10.0))
        };
        Weight {
            what,
            many,
            server_bytes_each: each(self.server, before.server),
            store_bytes_each: each(self.store, before.store),
        }
    }
}

/// `many` budgets (1 to 1,000,000) that were declared, and used once where `used`; weighed after `rest`, so that what the use
/// left behind may expire first.
pub async fn budgets(
    bench: Bench,
    stage: &Stage,
    many: usize,
    used: bool,
    rest: Duration,
) -> Result<Weight, BenchError> {
    count("--many", many, MOST)?;
    let load = Load { callers: 4, connections: 4, ..Load::default() };
    let clients = clients(stage, &load)?;
    // What the first of a kind costs is not every one's.
    let first = Bench { tag: bench.tag ^ 1 };
    declare(&clients, &first.names(16), Shape::Endless).await?;
    let names = bench.names(many);
    let before = Weighed::now(stage).await;
    declare(&clients, &names, Shape::Endless).await?;
    if used {
        use_once(&clients, &names).await?;
    }
    sleep(rest).await;
    Ok(Weighed::now(stage).await.since(before, "budget", many))
}

async fn use_once(clients: &[Client], names: &[String]) -> Result<(), BenchError> {
    let mut using = JoinSet::new();
    for (names, client) in names.chunks(names.len().div_ceil(16).max(1)).zip(clients.iter().cycle()) {
        let (names, client) = (names.to_vec(), client.clone());
        using.spawn(async move {
            for name in names {
                let permit = client.acquire(AcquireOptions::new(name)).await?;
                permit.settle(200, [("", ""); 0], &[]).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = using.join_next().await {
        done.unwrap_or_else(|error| Err(BenchError::Task(error.to_string())))?;
    }
    Ok(())
}

/// `many` idle sessions (1 to 1,000,000), each on a connection of its own, as workers have them.
pub async fn sessions(stage: &Stage, many: usize) -> Result<Weight, BenchError> {
    count("--many", many, MOST)?;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(session(stage, open.len()).await?);
    }
    let before = Weighed::now(stage).await;
    for _ in 0..many {
        open.push(session(stage, open.len()).await?);
    }
    let weight = Weighed::now(stage).await.since(before, "session", many);
    drop(open);
    Ok(weight)
}

/// What keeps a session open.
type Open = (tonic::Streaming<v1::SessionResponse>, tokio::sync::mpsc::Sender<v1::SessionRequest>);

async fn session(stage: &Stage, index: usize) -> Result<Open, BenchError> {
    let endpoints = &stage.target.endpoints;
    let endpoint = endpoints.get(index % endpoints.len().max(1)).cloned().unwrap_or_default();
    let channel = Endpoint::from_shared(endpoint).map_err(BenchError::Transport)?;
    let channel = channel.connect().await.map_err(BenchError::Transport)?;
    let (say, said) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(said);
    let mut answers = PermitServiceClient::new(channel).session(requests).await?.into_inner();
    // One round, so that it is open on both sides: a settlement of nothing is answered by an error.
    let nothing = v1::SessionSettle { id: 1, request: None };
    let message = v1::SessionRequest { settles: vec![nothing], ..Default::default() };
    say.send(message).await.map_err(|error| BenchError::Task(error.to_string()))?;
    answers.next().await.transpose()?;
    Ok((answers, say))
}

/// `many` callers (1 to 1,000,000) that wait in the server for a budget that is used up, over as few sessions as carry them.
pub async fn waiters(bench: Bench, stage: &Stage, many: usize) -> Result<Weight, BenchError> {
    count("--many", many, MOST)?;
    let names = bench.names(1);
    let name = names.first().map_or("bench", String::as_str);
    let sessions: Vec<_> = (0..many.div_ceil(A_SESSION))
        .zip(stage.target.endpoints.iter().cycle())
        .map(|(_, endpoint)| {
            let mut config = ClientConfig::new(endpoint.as_str());
            config.request_ids = false;
            Client::lazy(config).map(|client| (client.session(), client)).map_err(BenchError::Connect)
        })
        .collect::<Result<_, _>>()?;
    let clients: Vec<Client> = sessions.iter().map(|(_, client)| client.clone()).collect();
    declare(&clients, &names, Shape::One).await?;
    let mut waiting = JoinSet::new();
    // The one permit there is, and then a waiter on each session, so that all are open.
    if let Some((session, _)) = sessions.first() {
        wait(&mut waiting, session, name);
    }
    sleep(REST).await;
    for (session, _) in &sessions {
        wait(&mut waiting, session, name);
    }
    let before = Weighed::now(stage).await;
    for (_, (session, _)) in (0..many).zip(sessions.iter().cycle()) {
        wait(&mut waiting, session, name);
    }
    sleep(REST).await;
    let weight = Weighed::now(stage).await.since(before, "waiter", many);
    // One permit was granted; whoever else has an answer did not wait.
    let mut answered = 0;
    while let Some(answer) = waiting.try_join_next() {
        answered += 1;
        answer.map_err(|error| BenchError::Task(error.to_string()))??;
    }
    if answered > 1 {
        return Err(BenchError::Task(format!("{answered} waiters were answered")));
    }
    waiting.shutdown().await;
    Ok(weight)
}

/// Starts a waiter. A permit is left as it is: given back, it would go to the next.
fn wait(waiting: &mut JoinSet<Result<(), BenchError>>, session: &Session, name: &str) {
    let (session, options) = (session.clone(), AcquireOptions::new(name).max_wait(WAIT).ttl(HELD));
    waiting.spawn(async move {
        let _held = session.acquire(options).await?.detach();
        Ok(())
    });
}
