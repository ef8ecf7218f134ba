//! `bursar bench soak`.

use std::{fs, path::PathBuf, time::Duration};

use bursar_bench::{
    Kind, chart,
    soak::{self, Sample},
};
use serde_json::json;

use super::{
    args::{LoadArgs, StageArgs, bench, failed, seconds},
    print,
    view::View,
};
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// A long run, and what memory does meanwhile: give --seconds 600.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What calls: acquire (unary) or session.
    #[arg(long, value_name = "KIND", default_value = "session", value_parser = kind)]
    kind: Kind,
    /// How many call at once, 1 to 65,536.
    #[arg(long, value_name = "N", default_value_t = 64)]
    callers: usize,
    /// Budgets that the calls are spread over evenly, 1 to 100,000; 1: one hot budget.
    #[arg(long, value_name = "N", default_value_t = 1)]
    budgets: usize,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    stage: StageArgs,
    /// How often memory is looked at, 100 ms to a day; a bare number is seconds.
    #[arg(long, value_name = "N|DURATION", default_value = "10", value_parser = seconds)]
    every: Duration,
    /// Draw the memory over time there, as SVG.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Print one JSON object: {"row": as of the other benches, "samples": [{"at_s", "server_bytes", "store_bytes"}]}.
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<Kind, String> {
    [Kind::Acquire, Kind::Session]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| format!("{text:?} is neither acquire nor session"))
}

pub(super) async fn run(args: Args) -> Outcome {
    let load = args.load.load(args.callers, args.budgets);
    load.validate(args.kind.is_unary()).map_err(failed)?;
    let stage = args.stage.servers()?;
    let total = load.warmup + load.span;
    let looks = usize::try_from(total.as_millis() / args.every.as_millis().max(1)).unwrap_or(usize::MAX);
    let view = View::new(looks);
    let tell = |sample: &Sample| {
        let number = (sample.at_s / args.every.as_secs_f64()).round();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of looks")]
        view.tell(number as usize + 1, looks + 1, &memory(sample));
    };
    let soaked = soak::soak(bench()?, &stage, args.kind, &load, args.every, tell);
    let soaked = Box::pin(soaked).await.map_err(failed);
    view.end();
    let soaked = soaked?;
    if let Some(file) = &args.chart {
        fs::write(file, chart::memory(&soaked.samples))
            .map_err(|error| Failure::doing(format_args!("writing {}", file.display()), error))?;
    }
    if args.json {
        return output::json(&json!(soaked));
    }
    print(std::slice::from_ref(&soaked.row), false)?;
    let mut cells = vec![["at s", "server MB", "store MB"].map(str::to_owned).to_vec()];
    for sample in &soaked.samples {
        let at = format!("{:.0}", sample.at_s);
        cells.push(vec![at, megabytes(sample.server_bytes), megabytes(sample.store_bytes)]);
    }
    output::line("")?;
    output::line(&output::table(&cells, &[0, 1, 2]))
}

fn memory(sample: &Sample) -> String {
    let (server, store) = (megabytes(sample.server_bytes), megabytes(sample.store_bytes));
    format!("{:.0} s: server {server} MB, store {store} MB", sample.at_s)
}

/// Megabytes, 10^6 bytes each, with one decimal.
fn megabytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_megabytes() {
        assert_eq!(megabytes(Some(13_460_000)), "13.4");
        assert_eq!(megabytes(None), "-");
        assert!(kind("floor").is_err());
    }
}
