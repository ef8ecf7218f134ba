//! `bursar bench memory`.

use std::time::Duration;

use bursar_bench::{
    Stage,
    idle::{self, Weight},
};
use serde_json::json;

use super::{
    args::{StoreArgs, bench, failed, seconds},
    view::View,
};
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// What those weigh who do nothing: budgets, sessions and waiting callers, in bytes each.
///
/// Of a server its resident memory is looked at before and after; of Redis what it says its data takes. A session has a
/// connection of its own here, as a worker's has; waiters share as few as carry them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    stage: StoreArgs,
    /// How many budgets are declared, at most 1,000,000; 0: none.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    budgets: usize,
    /// Each budget is used once, and its permit settled.
    #[arg(long)]
    used: bool,
    /// How long budgets rest before they are weighed, so that what their use left behind expires; a bare number is seconds.
    #[arg(long, value_name = "N|DURATION", default_value = "0", value_parser = seconds)]
    rest: Duration,
    /// How many sessions are opened, at most 1,000,000 (and as many open files as the system allows); 0: none.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    sessions: usize,
    /// How many callers wait, at most 1,000,000; 0: none.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    waiters: usize,
    /// Print one JSON object a row: {"what": "budget|session|waiter", "many", "server_bytes_each", "store_bytes_each"}.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let bench = bench()?;
    let view = View::new(3);
    // Each on servers of its own, so that one does not fill the room that another made.
    let fresh = || -> Result<Stage, Failure> { args.stage.servers(1) };
    let mut weights: Vec<Weight> = Vec::new();
    if args.budgets > 0 {
        view.tell(1, 3, &format!("{} budgets", args.budgets));
        let stage = fresh()?;
        let weight = idle::budgets(bench, &stage, args.budgets, args.used, args.rest);
        weights.push(Box::pin(weight).await.map_err(failed)?);
    }
    if args.sessions > 0 {
        view.tell(2, 3, &format!("{} sessions", args.sessions));
        weights.push(Box::pin(idle::sessions(&fresh()?, args.sessions)).await.map_err(failed)?);
    }
    if args.waiters > 0 {
        view.tell(3, 3, &format!("{} waiters", args.waiters));
        weights.push(Box::pin(idle::waiters(bench, &fresh()?, args.waiters)).await.map_err(failed)?);
    }
    view.end();
    if args.json {
        return weights.iter().try_for_each(|weight| output::json(&json!(weight)));
    }
    let mut cells =
        vec![["what", "many", "server bytes each", "store bytes each"].map(str::to_owned).to_vec()];
    for Weight { what, many, server_bytes_each, store_bytes_each } in weights {
        let bytes = |bytes: Option<f64>| bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0}"));
        let (server, store) = (bytes(server_bytes_each), bytes(store_bytes_each));
        cells.push(vec![what.to_owned(), many.to_string(), server, store]);
    }
    output::line(&output::table(&cells, &[1, 2, 3]))
}
