//! `bursar fleet`.

use std::{sync::Arc, time::Duration};

use bursar_client::{Client, ClientConfig};
use bursar_sim::{
    fleet::{Counters, FleetConfig, FleetSnapshot, independent, read_truth, through_bursar},
    upstream::{Truth, VendorProfile, token_label},
};
use serde_json::json;
use tokio::{signal, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::connect::{ServerArgs, duration};
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Run a fleet of workers that share one token against an upstream, and tell what the upstream counted.
///
/// The workers are spread evenly over the endpoints named by --server; those of an endpoint share a client, which asks one
/// replica as long as that answers. The share is over the windows that lay wholly in the run, so let it last two windows at
/// least.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar fleet --upstream http://127.0.0.1:8080 --budget autotask --for 150s
  bursar fleet --server http://127.0.0.1:7411,http://127.0.0.1:7421 --upstream http://127.0.0.1:8080 --json
  bursar fleet --profile salestim --scale 100 --budget salestim --upstream http://127.0.0.1:8080
  bursar fleet --independent --upstream http://127.0.0.1:8080      the same workers without Bursar")]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// The upstream to call, one that `bursar upstream` runs.
    #[arg(long, value_name = "URL", env = "BURSAR_UPSTREAM", default_value = "http://127.0.0.1:8080")]
    upstream: String,
    /// What kind of calls to make: autotask, salestim, or another profile's plain ones.
    #[arg(long, default_value = "autotask")]
    profile: VendorProfile,
    /// The budget to draw permits from.
    #[arg(long, default_value = "autotask")]
    budget: String,
    /// How many workers, 1 to 10,000, in all.
    #[arg(long, value_name = "N", default_value_t = 50)]
    workers: usize,
    /// One call in so many is an authentication (or, of SalesTim, a write); 0: none.
    #[arg(long, value_name = "N", default_value_t = 100)]
    other_every: u32,
    /// How many times faster than the vendor the upstream runs; back-off without Bursar is as much faster.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    scale: f64,
    /// How long to call.
    #[arg(long = "for", alias = "seconds", value_name = "DURATION", default_value = "150s", value_parser = duration)]
    span: Duration,
    /// Without Bursar: a retry handler in each worker.
    #[arg(long)]
    independent: bool,
    /// What everything random follows from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn fleet(args: &Args, workers: usize, token: &str) -> FleetConfig {
    let config = match args.profile {
        VendorProfile::Autotask => FleetConfig::autotask(workers, token, args.other_every, args.scale),
        VendorProfile::Salestim => FleetConfig::salestim(workers, token, args.other_every, args.scale),
        _ => FleetConfig::plain(workers, token, "/", args.scale),
    };
    FleetConfig { budget: args.budget.clone(), seed: args.seed, ..config }
}

/// The same, for a client that begins with this endpoint and goes on with those after it.
fn beginning_with(base: &ClientConfig, index: usize) -> ClientConfig {
    let mut config = base.clone();
    config.endpoints.rotate_left(index);
    // A lone name's addresses are chosen at random, and followed.
    config.in_order = config.endpoints.len() > 1;
    config
}

/// Runs the workers until `stop`, some on each replica.
async fn call(
    args: &Args,
    token: &str,
    counters: &Arc<Counters>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    if args.independent {
        let config = fleet(args, args.workers, token);
        return independent(&args.upstream, config, counters.clone(), stop.clone())
            .await
            .map(drop)
            .map_err(Failure::of);
    }
    let base = args.server.client_config()?;
    let replicas = base.endpoints.len();
    let mut running = JoinSet::new();
    for index in 0..replicas {
        // The first replicas take one more each where the workers do not divide evenly.
        let workers = args.workers / replicas + usize::from(index < args.workers % replicas);
        if workers == 0 {
            continue;
        }
        let client = Client::lazy(beginning_with(&base, index)).map_err(Failure::of)?;
        let mut config = fleet(args, workers, token);
        config.seed = args.seed.wrapping_add(index as u64);
        let (url, counters, stop) = (args.upstream.clone(), counters.clone(), stop.clone());
        running.spawn(async move { through_bursar(client, &url, config, counters, stop).await });
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(Failure::of)?.map_err(Failure::of)?;
    }
    Ok(())
}

pub(crate) async fn run(args: Args) -> Outcome {
    let token = format!("fleet-{}", if args.independent { "independent" } else { "bursar" });
    let before = read_truth(&args.upstream).await.map_err(Failure::of)?;
    let counters = Arc::new(Counters::default());
    let stop = CancellationToken::new();
    let ending = async {
        let mut left = args.span;
        while !left.is_zero() && !stop.is_cancelled() {
            let step = left.min(Duration::from_secs(5));
            tokio::select! {
                () = tokio::time::sleep(step) => left -= step,
                _ = signal::ctrl_c() => break,
                () = stop.cancelled() => break,
            }
            let now = counters.snapshot();
            output::note(&format!("{:>6} s left  {}", left.as_secs(), progress(&now)));
        }
        stop.cancel();
    };
    let calling = async {
        let ended = call(&args, &token, &counters, &stop).await;
        stop.cancel();
        ended
    };
    let (ended, ()) = tokio::join!(calling, ending);
    ended?;
    let after = read_truth(&args.upstream).await.map_err(Failure::of)?;
    report(&args, &before, &after, &token_label(&token), &counters.snapshot())
}

fn progress(now: &FleetSnapshot) -> String {
    format!("{} done, {} refused, {} given up, {} errors", now.done, now.refused, now.given_up, now.errors)
}

fn report(args: &Args, before: &Truth, after: &Truth, label: &str, fleet: &FleetSnapshot) -> Outcome {
    let counted = after
        .token(label)
        .ok_or_else(|| Failure::Failed("the upstream counted no call of this fleet".to_owned()))?;
    let used = |name: &str| counted.limits.iter().any(|limit| limit.name == name && limit.accepted > 0);
    let share = counted.share(before.now_ms, after.now_ms, used);
    if args.json {
        return output::json(&json!({
            "accepted": counted.accepted,
            "refused": counted.refused,
            "refused_by": counted.refused_by,
            "given_up": fleet.given_up,
            "errors": fleet.errors,
            "max_concurrent": counted.max_concurrent,
            "share": share,
        }));
    }
    let share = share.map_or_else(|| "no whole window".to_owned(), |share| format!("{:.2} %", share * 100.0));
    let heads =
        ["accepted", "refused", "given up", "most at once", "share of quota"].map(String::from).to_vec();
    let cells = vec![
        counted.accepted.to_string(),
        counted.refused.to_string(),
        fleet.given_up.to_string(),
        counted.max_concurrent.to_string(),
        share,
    ];
    output::line(&output::table(&[heads, cells], &[0, 1, 2, 3, 4]))
}
