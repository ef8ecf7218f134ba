//! `bursar demo`.

mod view;

use std::{path::Path, sync::Arc, time::Duration};

use bursar_client::{BudgetsClient, Client, ClientConfig};
use bursar_coordinator::Coordinator;
use bursar_dialect::Profiles;
use bursar_quota::{BudgetName, Clock, SystemClock};
use bursar_server::Options;
use bursar_sim::demo::{Demo, DemoConfig, DemoOutcome, MAX_DEMO_WINDOWS};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::view::View;
use super::connect::duration;
use crate::{
    config::{self, FlagValue, Log, Sources},
    exit::{Failure, Outcome},
    identity, logging, output, store,
};

/// How long the server may take to end: its clients have gone by then.
const DRAIN: Duration = Duration::from_secs(1);

/// Show the main job: a fleet on one token, through Bursar and without.
///
/// Starts an HTTP upstream that limits as Autotask does, a Bursar, and two fleets of workers that call as fast as they are
/// let: one asks Bursar over gRPC, in the other each worker retries by itself as the vendor's guide shows. At the end it
/// prints, by the upstream's own count, what each was accepted and refused, and how much of the quota it used.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar demo                                      windows twelve times faster, half a minute
  bursar demo --real-time                          true windows, four minutes
  bursar demo --store redis://127.0.0.1:6379       the same with Redis
  bursar demo --json | jq .bursar.share")]
pub(crate) struct Args {
    /// Workers of each fleet.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,
    /// How many windows to measure; without it 5, or 3 in real time.
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DEMO_WINDOWS)))]
    windows: Option<u32>,
    /// How long to measure, rounded up to whole windows.
    #[arg(long = "for", value_name = "DURATION", alias = "seconds", id = "seconds", value_parser = seconds)]
    span: Option<Duration>,
    /// The vendor's true windows of a minute.
    #[arg(long)]
    real_time: bool,
    /// Where Bursar keeps the budget: embedded, redis://…, rediss://…, redis+sentinel://…, redis+cluster://….
    #[arg(long, value_name = "URL", default_value = "embedded")]
    store: String,
    /// What everything random follows from: the windows' phase, the mix of calls.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object: {"bursar": {accepted, refused, given_up, share}, "independent": {the same}}.
    #[arg(long)]
    json: bool,
    /// Log to standard error from this level on.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// A duration; a bare number is seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).or_else(|_| duration(text))
}

impl Args {
    fn config(&self, budget: BudgetName) -> DemoConfig {
        let workers = usize::from(self.workers);
        let mut config = match self.real_time {
            true => DemoConfig::real_time(budget, workers, self.seed),
            false => DemoConfig::quick(budget, workers, self.seed),
        };
        let window = Duration::from_secs(60).div_f64(config.upstream.scale);
        let of_span = self.span.map(|span| {
            let windows = span.as_nanos().div_ceil(window.as_nanos().max(1));
            u32::try_from(windows).unwrap_or(u32::MAX).max(1)
        });
        config.windows = self.windows.or(of_span).unwrap_or(config.windows);
        config
    }
}

pub(crate) async fn run(args: Args) -> Outcome {
    if let Some(level) = &args.log_level {
        logging::start(&Log { level: Some(level.clone()), ..Log::default() })?;
    }
    // A store may be shared: a name of its own keeps the demo out of everybody's way.
    let name = format!("demo/{:08x}", identity::entropy()? >> 32);
    let config = args.config(BudgetName::new(&name).map_err(Failure::of)?);
    let spec = config.budget().map_err(Failure::of)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let demo = Demo::new(config, Arc::clone(&clock)).await.map_err(Failure::of)?;

    let stop = CancellationToken::new();
    let (address, serving) = serve(&args.store, clock, stop.clone()).await?;
    let showing = async {
        let client =
            Client::connect(ClientConfig::new(format!("http://{address}"))).await.map_err(Failure::of)?;
        let budgets = BudgetsClient::of(&client);
        budgets.put(&spec).await.map_err(|error| Failure::doing("declaring the demo's budget", error))?;
        let view = View::new(&args.store, usize::from(args.workers));
        let outcome = tokio::select! {
            outcome = Box::pin(demo.run(client.session(), |event| view.tell(event), stop.clone())) => outcome.map_err(Failure::of),
            () = view.follow() => Err(Failure::Failed("the view ended".to_owned())),
            _ = tokio::signal::ctrl_c() => Err(Failure::Passed(130)),
        };
        view.end();
        // Best effort: what is left of it expires by itself.
        client.settled().await;
        let _ = budgets.delete(&spec.name).await;
        outcome
    };
    let ending = stop.clone();
    let showing = async move {
        let outcome = Box::pin(showing).await;
        ending.cancel();
        outcome
    };
    let (served, shown) = tokio::join!(serving, showing);
    let shown = shown?;
    served?;
    report(&shown, args.json)
}

/// A Bursar of this process on a free port of loopback: its address, and the serving of it until `stop`.
async fn serve(
    url: &str,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(std::net::SocketAddr, impl Future<Output = Outcome>), Failure> {
    let flag = FlagValue { flag: "--store".into(), path: "store.url".into(), text: url.to_owned() };
    let config = config::load(&Sources { flags: vec![flag], ..Sources::default() });
    let config = config.map_err(|problems| Failure::Usage(problems.to_string()))?;
    let ledger =
        store::open(&config.settings.store, Path::new(""), Arc::clone(&clock), identity::entropy()?)?;
    let profiles = Arc::new(Profiles::builtin());
    let lanes = bursar_coordinator::Config::new(identity::replica()?, identity::entropy()?);
    let coordinator = Coordinator::new(ledger, Arc::clone(&profiles), Arc::clone(&clock), lanes);
    coordinator.ready().await.map_err(|error| Failure::doing(config.settings.store.place(), error))?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::of)?;
    let address = listener.local_addr().map_err(Failure::of)?;
    let options = Options::new(profiles, clock);
    let serving = bursar_server::serve(listener, None, coordinator, options, stop.cancelled_owned(), DRAIN);
    Ok((address, async move { Box::pin(serving).await.map_err(Failure::of) }))
}

fn report(outcome: &DemoOutcome, json: bool) -> Outcome {
    let report = &outcome.report;
    if json {
        return output::json(&json!(report));
    }
    output::line(report.table().trim_end())?;
    let [ours, theirs] = [&report.bursar, &report.independent];
    if ours.refused == 0 && theirs.refused > 0 {
        output::line(&format!(
            "\nThe same workers on the same quota: the upstream refused {} requests of the one fleet and none of the other.",
            theirs.refused
        ))?;
    }
    Ok(())
}
