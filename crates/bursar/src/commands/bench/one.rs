//! `bursar bench floor`, `acquire`, `session`.

use bursar_bench::{BenchError, Kind, Load, suite};

use super::{
    args::{LoadArgs, StageArgs, bench, failed},
    print,
    view::View,
};
use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many call at once, 1 to 65,536; several by commas, each measured in turn.
    #[arg(long, value_name = "N", default_value = "64", value_delimiter = ',')]
    callers: Vec<usize>,
    /// Budgets that the calls are spread over evenly, 1 to 100,000, 1: one hot budget; several by commas, each measured in
    /// turn.
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',')]
    budgets: Vec<usize>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    stage: StageArgs,
    /// How often to measure, 1 to 1,000; medians are told.
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    /// Print one JSON object a row.
    #[arg(long)]
    json: bool,
}

/// Measures these kinds with each number of callers, as often as is asked.
pub(super) async fn run(args: Args, kinds: &[Kind]) -> Outcome {
    let bench = bench()?;
    if !(1..=suite::MAX_RUNS).contains(&args.runs) {
        let problem = format!("{} is not within 1 to {}", args.runs, suite::MAX_RUNS);
        return Err(failed(BenchError::Flag { flag: "--runs", problem }));
    }
    let loads: Vec<Load> = args
        .callers
        .iter()
        .flat_map(|callers| args.budgets.iter().map(|budgets| args.load.load(*callers, *budgets)))
        .collect();
    let each: Vec<(&Load, Kind)> =
        loads.iter().flat_map(|load| kinds.iter().map(move |kind| (load, *kind))).collect();
    for (load, kind) in &each {
        load.validate(kind.is_unary()).map_err(failed)?;
    }
    let of = args.runs * each.len();
    let view = View::new(of);
    let mut rows = Vec::new();
    for (load, kind) in (0..args.runs).flat_map(|_| each.iter().copied()) {
        let what = format!("{}, {} callers, {} budgets", kind.as_str(), load.callers, load.budgets);
        view.tell(rows.len() + 1, of, &what);
        let stage = if kind.is_floor() { args.stage.echo()? } else { args.stage.servers()? };
        rows.push(Box::pin(bench.measure(&stage, kind, load)).await.map_err(failed)?);
    }
    view.end();
    print(&suite::together(&rows), args.json)
}
