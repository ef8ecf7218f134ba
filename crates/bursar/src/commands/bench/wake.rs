//! `bursar bench wake`.

use bursar_bench::{
    Stage, Store,
    wake::{self, Wake},
};
use serde_json::json;

use super::{
    args::{ProgramArgs, bench, failed},
    view::View,
};
use crate::{exit::Outcome, output};

/// How soon one replica acts on what was settled at another: a slot that is free again, and a pause.
///
/// Of a slot it is the time from settling at one replica to the permit of who waits at the other. Of a pause (a refusal with
/// a Retry-After) it is the time of the settlement itself: from its answer on the other replica grants nothing, or it is
/// counted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the budgets are: redis (one is started, on loopback), cluster (three are), or the URL of one that runs.
    #[arg(long, value_name = "STORE", default_value = "redis")]
    store: Store,
    /// How many times each, 1 to 100,000.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    many: usize,
    #[command(flatten)]
    programs: ProgramArgs,
    /// Print one JSON object a row: {"what": "slot|pause", "store", "many", "p50_us", "p99_us", "max_us", "granted_inside"}.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let (bench, view) = (bench()?, View::new(2));
    let stage = Stage::servers(&args.programs.programs()?, &args.store, 2).map_err(failed)?;
    view.tell(1, 2, &format!("{} slots", args.many));
    let slots = Box::pin(wake::slots(bench, &stage, args.many)).await.map_err(failed)?;
    view.tell(2, 2, &format!("{} pauses", args.many));
    let pauses = Box::pin(wake::pauses(bench, &stage, args.many)).await.map_err(failed)?;
    view.end();
    let rows = [slots, pauses];
    if args.json {
        return rows.iter().try_for_each(|row| output::json(&json!(row)));
    }
    let heads = ["what", "store", "many", "p50 us", "p99 us", "max us", "granted inside"];
    let mut cells = vec![heads.map(str::to_owned).to_vec()];
    for Wake { what, store, many, p50_us, p99_us, max_us, granted_inside } in rows {
        let mut row = vec![what.to_owned(), store.to_owned(), many.to_string()];
        row.extend([p50_us, p99_us, max_us].map(|us| format!("{us:.0}")));
        row.push(granted_inside.map_or_else(|| "-".to_owned(), |granted| granted.to_string()));
        cells.push(row);
    }
    output::line(&output::table(&cells, &[2, 3, 4, 5, 6]))
}
