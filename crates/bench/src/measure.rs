//! One measurement: a load on a stage.

use std::{sync::Arc, time::Duration};

use bursar_client::{BudgetsClient, Client, ClientConfig};
use bursar_quota::{BudgetName, BudgetSpec, LimitKind, LimitName, LimitSpec, MAX_CAPACITY};
use tokio::{task::JoinSet, time::sleep};
use tonic::transport::Endpoint;

use crate::{
    BenchError, Load, Row, Stage,
    call::{Bare, Turn, Way, Worker},
    drive::{Driven, drive},
    echo,
    probe::{self, Counted},
    row::rounded,
};

/// Budgets are declared by so many tasks at once.
const DECLARERS: usize = 16;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A unary echo: tonic and the messages.
    Floor,
    /// An echo over sessions: the SDK's sessions, and nobody who decides.
    SessionFloor,
    /// Unary acquires; the settlement of the last permit rides on the next.
    Acquire,
    /// The same over sessions, which the callers of a connection share.
    Session,
}

impl Kind {
    /// What rows call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::SessionFloor => "session_floor",
            Self::Acquire => "acquire",
            Self::Session => "session",
        }
    }

    /// Whether it is against an echo.
    pub fn is_floor(self) -> bool {
        matches!(self, Self::Floor | Self::SessionFloor)
    }

    /// Whether each call is a stream of its own.
    pub fn is_unary(self) -> bool {
        matches!(self, Self::Floor | Self::Acquire)
    }
}

/// Measures. The budgets that it declares are named after `tag`, so that two benches on one server do not meet.
#[derive(Debug, Clone, Copy)]
pub struct Bench {
    /// Differs from bench to bench.
    pub tag: u64,
}

impl Bench {
    /// Puts the load on the stage and tells what came of it.
    pub async fn measure(&self, stage: &Stage, kind: Kind, load: &Load) -> Result<Row, BenchError> {
        load.validate(kind.is_unary())?;
        let names = self.names(load.budgets);
        let clients = clients(stage, load)?;
        if !kind.is_floor() {
            declare(&clients, &names, Shape::Endless).await?;
        }
        let (driven, seen) = self.driven(stage, kind, load, &clients, &names).await?;
        if !kind.is_floor() && !stage.is_own() {
            forget(&clients, &names).await?;
        }
        Ok(row(stage, kind, load, driven, seen?))
    }

    async fn driven(
        &self,
        stage: &Stage,
        kind: Kind,
        load: &Load,
        clients: &[Client],
        names: &Arc<[String]>,
    ) -> Result<(Driven, Result<Seen, BenchError>), BenchError> {
        let watch = |from, until| watch(stage, from, until);
        if kind == Kind::Floor {
            let budget = names.first().map_or("bench", String::as_str);
            let permit = echo::permit_id(budget)?;
            let channels = channels(stage, load).await?;
            let caller = |(_, channel): (usize, &tonic::transport::Channel)| {
                Bare::new(channel.clone(), budget, permit.clone(), load.request_ids)
            };
            let callers = (0..load.callers).zip(channels.iter().cycle()).map(caller).collect();
            return drive(callers, load, watch).await;
        }
        let way = |client: &Client| match kind.is_unary() {
            true => Way::Unary(client.clone()),
            false => Way::Session(client.session()),
        };
        let ways: Vec<Way> = clients.iter().map(way).collect();
        let caller = |(index, way): (usize, &Way)| {
            Worker::new(way.clone(), Turn::new(Arc::clone(names), index, load.callers))
        };
        let callers = (0..load.callers).zip(ways.iter().cycle()).map(caller).collect();
        drive(callers, load, watch).await
    }

    /// Names of budgets that are this bench's.
    pub(crate) fn names(&self, many: usize) -> Arc<[String]> {
        (0..many).map(|number| format!("bench/{:08x}/{number}", self.tag & 0xffff_ffff)).collect()
    }
}

/// A client for each connection, spread over the replicas.
pub(crate) fn clients(stage: &Stage, load: &Load) -> Result<Vec<Client>, BenchError> {
    let endpoints = stage.target.endpoints.iter().cycle().take(load.opened());
    let client = |endpoint: &String| {
        let mut config = ClientConfig::new(endpoint.as_str());
        config.request_ids = load.request_ids;
        config.token = stage.target.token.clone();
        Client::lazy(config).map_err(BenchError::Connect)
    };
    endpoints.map(client).collect()
}

async fn channels(stage: &Stage, load: &Load) -> Result<Vec<tonic::transport::Channel>, BenchError> {
    let mut channels = Vec::new();
    for endpoint in stage.target.endpoints.iter().cycle().take(load.opened()) {
        let endpoint = Endpoint::from_shared(endpoint.clone()).map_err(BenchError::Transport)?;
        channels.push(endpoint.tcp_nodelay(true).connect().await.map_err(BenchError::Transport)?);
    }
    Ok(channels)
}

/// What a budget of the bench allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// So much a minute that nobody ever waits.
    Endless,
    /// One call at once: whoever comes later waits until it is settled.
    One,
}

impl Shape {
    /// A budget of this shape.
    pub(crate) fn spec(self, name: &str) -> Result<BudgetSpec, BenchError> {
        let kind = match self {
            Self::Endless => {
                let window = Duration::from_secs(60);
                LimitKind::Window { capacity: MAX_CAPACITY, window, aligned: false, on_clock: false }
            }
            Self::One => LimitKind::Concurrency { capacity: 1, linger: Duration::ZERO },
        };
        let mut spec =
            BudgetSpec::new(BudgetName::new(name)?, vec![LimitSpec::new(LimitName::new("requests")?, kind)]);
        spec.max_waiting = 1_000_000;
        Ok(spec)
    }
}

/// Declares budgets, many at once.
pub(crate) async fn declare(clients: &[Client], names: &[String], shape: Shape) -> Result<(), BenchError> {
    let mut declaring = JoinSet::new();
    for (names, client) in names.chunks(names.len().div_ceil(DECLARERS).max(1)).zip(clients.iter().cycle()) {
        let budgets = BudgetsClient::of(client);
        let specs = names.iter().map(|name| shape.spec(name)).collect::<Result<Vec<_>, _>>()?;
        declaring.spawn(async move {
            for spec in specs {
                budgets.put(&spec).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = declaring.join_next().await {
        done.unwrap_or_else(|error| Err(BenchError::Task(error.to_string())))?;
    }
    Ok(())
}

/// Takes budgets away again.
async fn forget(clients: &[Client], names: &[String]) -> Result<(), BenchError> {
    let Some(client) = clients.first() else { return Ok(()) };
    let budgets = BudgetsClient::of(client);
    for name in names {
        budgets.delete(&BudgetName::new(name)?).await?;
    }
    Ok(())
}

/// What was seen of servers while calls counted.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    counted: Option<Counted>,
    server_cpu_us: Option<u64>,
    store_cpu_us: Option<u64>,
}

async fn look(stage: &Stage) -> Result<Seen, BenchError> {
    let admins = &stage.target.admins;
    let counted = if admins.is_empty() { None } else { Some(probe::counted(admins).await?) };
    Ok(Seen { counted, server_cpu_us: stage.server_cpu_us(), store_cpu_us: stage.store_cpu_us() })
}

/// Looks twice, `from` and `until` so long from now: what came between.
async fn watch(stage: &Stage, from: Duration, until: Duration) -> Result<Seen, BenchError> {
    sleep(from).await;
    let before = look(stage).await?;
    sleep(until.saturating_sub(from)).await;
    let after = look(stage).await?;
    let since = |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?));
    Ok(Seen {
        counted: after.counted.zip(before.counted).map(|(after, before)| after.since(before)),
        server_cpu_us: since(after.server_cpu_us, before.server_cpu_us),
        store_cpu_us: since(after.store_cpu_us, before.store_cpu_us),
    })
}

#[allow(clippy::cast_precision_loss, reason = "counts of a day at most")]
fn row(stage: &Stage, kind: Kind, load: &Load, driven: Driven, seen: Seen) -> Row {
    // The echo counts nothing; what it answered was seen here.
    let permits =
        seen.counted.map_or(driven.per_second * load.span.as_secs_f64(), |counted| counted.granted as f64);
    let a_permit = |count: Option<u64>, to: f64| {
        count.filter(|_| permits > 0.0).map(|count| rounded(count as f64 / permits, to))
    };
    let latencies = driven.latencies;
    Row {
        kind: kind.as_str(),
        store: if kind.is_floor() { "none" } else { stage.store },
        replicas: stage.target.endpoints.len(),
        callers: load.callers,
        connections: load.opened(),
        budgets: load.budgets,
        request_ids: load.request_ids,
        rate: load.rate,
        permits_per_s: rounded(driven.per_second, 10.0),
        ratio_to_floor: None,
        ratio_to_one_server: None,
        p50_us: latencies.p50_us,
        p99_us: latencies.p99_us,
        p999_us: latencies.p999_us,
        max_us: latencies.max_us,
        p50_to_floor: None,
        p99_to_floor: None,
        store_calls_per_permit: a_permit(seen.counted.map(|counted| counted.scripts), 10_000.0),
        round_trips_per_permit: a_permit(seen.counted.map(|counted| counted.round_trips), 10_000.0),
        server_cpu_us_per_permit: a_permit(seen.server_cpu_us, 100.0),
        store_cpu_us_per_permit: a_permit(seen.store_cpu_us, 100.0),
        left: driven.left,
        runs: 1,
    }
}
