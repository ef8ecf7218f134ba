//! `bursar bench script`.

use std::{path::Path, sync::Arc, time::Duration};

use bursar_bench::{Stage, Store, script};
use bursar_quota::{Clock, SystemClock};
use serde_json::json;

use super::args::{ProgramArgs, bench, failed, seconds};
use crate::{
    config::{self, FlagValue, Sources},
    exit::{Failure, Outcome},
    identity, output, store,
};

/// One script by itself: the commit of a steady worker (a settlement and an acquire), one after the other, without a server.
///
/// Over Redis this is one EVALSHA through the server's own store driver. What a caller that is alone takes beyond it is
/// Bursar's and the network's.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which store: embedded, redis (one is started, on loopback), cluster (three are), or the URL of one that runs.
    #[arg(long, value_name = "STORE", default_value = "redis")]
    store: Store,
    /// How long to measure, 10 ms to a day; a bare number is seconds.
    #[arg(long, value_name = "N|DURATION", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// What runs before, unmeasured; a bare number is seconds.
    #[arg(long, value_name = "N|DURATION", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    #[command(flatten)]
    programs: ProgramArgs,
    /// Print one JSON object: {"kind": "script", "store", "runs", "p50_us", "p99_us", "p999_us", "max_us"}.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let stage = Stage::store_alone(&args.programs.programs()?, &args.store).map_err(failed)?;
    let url = match &args.store {
        Store::Url(url) => url.clone(),
        Store::Embedded | Store::Redis | Store::Cluster => stage.store_url(),
    };
    let flag = FlagValue { flag: "--store".into(), path: "store.url".into(), text: url };
    let config = config::load(&Sources { flags: vec![flag], ..Sources::default() })
        .map_err(|problems| Failure::Usage(problems.to_string()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ledger = store::open(&config.settings.store, Path::new(""), clock, identity::entropy()?)?;
    let alone = script::alone(bench()?, ledger, args.store.name(), args.warmup, args.seconds);
    let alone = Box::pin(alone).await.map_err(failed)?;
    if args.json {
        return output::json(&json!(alone));
    }
    let heads = ["kind", "store", "runs", "p50 us", "p99 us", "p99.9 us", "max us"].map(str::to_owned);
    let figures = [alone.p50_us, alone.p99_us, alone.p999_us, alone.max_us].map(|us| format!("{us:.1}"));
    let mut cells = vec![alone.kind.to_owned(), alone.store.to_owned(), alone.runs.to_string()];
    cells.extend(figures);
    output::line(&output::table(&[heads.to_vec(), cells], &[2, 3, 4, 5, 6]))
}
