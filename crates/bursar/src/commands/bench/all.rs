//! `bursar bench all`.

use std::{fs, path::PathBuf};

use bursar_bench::{
    Store, chart,
    suite::{Step, Suite},
};

use super::{
    args::{LoadArgs, ProgramArgs, bench, failed},
    print,
    view::View,
};
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Both floors, acquire and session, on both stores, in turn: one table, with ratios to the floor of the same run.
///
/// Every measurement has servers of its own. Without a redis-server its rows are left out, and that is said.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each row is an object in a line: {\"kind\": \"floor|session_floor|acquire|session\", \"store\": \"none|embedded|redis\",
\"callers\", \"permits_per_s\", \"ratio_to_floor\" (the unary floor with the same callers), \"p50_us\", \"p99_us\", \"p999_us\",
\"store_calls_per_permit\", and more behind these}.")]
pub(super) struct Args {
    /// How many call at once, 1 to 65,536; several by commas, each measured in turn.
    #[arg(long, value_name = "N", default_value = "1,64,1024", value_delimiter = ',')]
    callers: Vec<usize>,
    /// Budgets that the calls are spread over evenly, 1 to 100,000, 1: one hot budget; several by commas, each measured in
    /// turn.
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',')]
    budgets: Vec<usize>,
    /// Which stores: embedded, redis, or the URL of one that runs; several by commas. Without it both.
    #[arg(long, value_name = "STORE", value_delimiter = ',')]
    store: Vec<Store>,
    /// How many replicas share the load, 1 to 64, over Redis; several by commas, each measured in turn.
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',')]
    replicas: Vec<usize>,
    /// After each row an open loop at half its rate, beside the floor at that rate.
    #[arg(long, conflicts_with = "rate")]
    half_rate: bool,
    /// How often to measure all of it, 1 to 1,000; told are medians, of ratios taken within a run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    programs: ProgramArgs,
    /// Draw throughput and latency there, as SVG: against replicas where there are several numbers of them, else against
    /// callers.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Print one JSON object a row.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let programs = args.programs.programs()?;
    let stores = match args.store.is_empty() {
        false => args.store,
        true if programs.has_redis().map_err(failed)? => vec![Store::Embedded, Store::Redis],
        true => {
            output::note(&format!(
                "{} cannot be run here: the rows of Redis are left out (--redis-server names another)",
                programs.redis.display()
            ));
            vec![Store::Embedded]
        }
    };
    let suite = Suite {
        programs,
        stores,
        load: args.load.load(1, 1),
        callers: args.callers,
        budgets: args.budgets,
        replicas: args.replicas,
        half_rate: args.half_rate,
        runs: args.runs,
    };
    suite.validate().map_err(failed)?;
    let view = View::new(suite.steps());
    let told = |step: Step<'_>| {
        let what = format!("{} ({}), {} callers", step.kind.as_str(), step.store, step.callers);
        view.tell(step.number, step.of, &what);
    };
    let rows = Box::pin(suite.run(bench()?, told)).await.map_err(failed);
    view.end();
    let rows = rows?;
    if let Some(file) = &args.chart {
        fs::write(file, chart::svg(&rows))
            .map_err(|error| Failure::doing(format_args!("writing {}", file.display()), error))?;
    }
    print(&rows, args.json)
}
