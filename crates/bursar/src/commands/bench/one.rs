//! `bursar bench floor`, `acquire`, `session`.

use bursar_bench::{BenchError, Kind, suite};

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
    let of = args.runs * args.callers.len() * kinds.len();
    for callers in &args.callers {
        for kind in kinds {
            args.load.load(*callers).validate(kind.is_unary()).map_err(failed)?;
        }
    }
    let view = View::new(of);
    let mut rows = Vec::new();
    for _ in 0..args.runs {
        for callers in &args.callers {
            for kind in kinds {
                view.tell(rows.len() + 1, of, &format!("{}, {callers} callers", kind.as_str()));
                let stage = if kind.is_floor() { args.stage.echo()? } else { args.stage.servers()? };
                let row = Box::pin(bench.measure(&stage, *kind, &args.load.load(*callers))).await;
                rows.push(row.map_err(failed)?);
            }
        }
    }
    view.end();
    print(&suite::together(&rows), args.json)
}
