//! `bursar bench cluster`.

use bursar_bench::{cluster::Versus, suite::Step};

use super::{
    args::{LoadArgs, ProgramArgs, bench, failed},
    print,
    view::View,
};
use crate::exit::Outcome;

/// A cluster of three masters beside one server: acquire and session on each, in turn, with their ratio.
///
/// A budget lives on one master, so the calls are spread over many. Load, replicas and servers share this machine: what a
/// cluster gives shows where each of its masters has a core to itself, and else what it costs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar bench cluster
  bursar bench cluster --budgets 1,1024 --runs 3 --json | jq -c '[.kind, .store, .budgets, .ratio_to_one_server]'

With --json each row is an object in a line: {\"kind\": \"acquire|session\", \"store\": \"redis|cluster\", \"callers\", \"budgets\",
\"permits_per_s\", \"ratio_to_one_server\" (of the cluster's rows), \"p50_us\", \"p99_us\", \"store_cpu_us_per_permit\", and more.")]
pub(super) struct Args {
    /// How many call at once, 1 to 65,536.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    callers: usize,
    /// Budgets that the calls are spread over evenly, 1 to 100,000; several by commas, each measured in turn.
    #[arg(long, value_name = "N", default_value = "1024", value_delimiter = ',')]
    budgets: Vec<usize>,
    /// How many replicas share the load, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: usize,
    /// How often to measure all of it, 1 to 1,000; told are medians, of ratios taken within a run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    programs: ProgramArgs,
    /// Print one JSON object a row.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let programs = args.programs.programs()?;
    let each: Vec<Versus> = args
        .budgets
        .iter()
        .map(|budgets| Versus {
            programs: programs.clone(),
            load: args.load.load(args.callers, *budgets),
            replicas: args.replicas,
            runs: args.runs,
        })
        .collect();
    each.iter().try_for_each(Versus::validate).map_err(failed)?;
    let (of, bench) = (each.iter().map(Versus::steps).sum(), bench()?);
    let (view, mut before, mut rows) = (View::new(of), 0, Vec::new());
    for versus in &each {
        let told = |step: Step<'_>| {
            let what = format!("{} ({}), {} budgets", step.kind.as_str(), step.store, versus.load.budgets);
            view.tell(before + step.number, of, &what);
        };
        rows.extend(Box::pin(versus.run(bench, told)).await.map_err(failed)?);
        before += versus.steps();
    }
    view.end();
    print(&rows, args.json)
}
