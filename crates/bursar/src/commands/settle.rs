//! `bursar settle`.

use std::{path::PathBuf, time::Duration};

use bursar_client::{Client, Outcome as Became, Settled};
use serde_json::json;

use super::connect::{ServerArgs, duration};
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Say what became of a permit that `acquire` printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar settle autotask b1.… --status 200 --header 'X-RateLimit-Remaining: 599'
  bursar settle autotask b1.… --status 429 --header 'Retry-After: 30'
  bursar settle autotask b1.… --not-sent

Exit codes: 0 settled (now or before), 1 an error or an unknown permit, 2 wrong usage.")]
#[command(group(clap::ArgGroup::new("became").required(true).args(["status", "not_sent", "lost"])))]
pub(crate) struct Args {
    /// The permit's budget.
    budget: String,
    /// The permit, as it was printed.
    permit: String,
    /// The status of the upstream's answer, 100 to 999.
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(100..=999))]
    status: Option<u16>,
    /// A header line of the answer; may be repeated.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, requires = "status")]
    header: Vec<(String, String)>,
    /// A file with the answer's body, of which the first 16 KiB matter.
    #[arg(long, value_name = "FILE", requires = "status")]
    body: Option<PathBuf>,
    /// The call was not sent and will not be: the permit is given back.
    #[arg(long)]
    not_sent: bool,
    /// The call was sent, or may have been, and no answer came: the permit is charged.
    #[arg(long)]
    lost: bool,
    /// What the call really cost in a unit; may be repeated.
    #[arg(long, value_name = "UNIT=N", value_parser = super::acquire::cost)]
    cost: Vec<(String, u64)>,
    /// How long ago the answer came; never more than it was.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    age: Option<Duration>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write a header line, as in 'Retry-After: 30'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Args {
    fn outcome(&self) -> Result<Became, Failure> {
        let mut outcome = match self.status {
            Some(status) => {
                let body = match &self.body {
                    Some(path) => std::fs::read(path)
                        .map_err(|error| Failure::doing(format_args!("reading {}", path.display()), error))?,
                    None => Vec::new(),
                };
                let headers = self.header.iter().map(|(name, value)| (name, value));
                Became::response(status, headers, &body)
            }
            None if self.not_sent => Became::not_sent(),
            None => Became::lost(),
        };
        for (unit, amount) in &self.cost {
            outcome = outcome.cost(unit, *amount);
        }
        Ok(match self.age {
            Some(age) => outcome.received_ago(age),
            None => outcome,
        })
    }
}

pub(crate) async fn run(args: Args) -> Outcome {
    let outcome = args.outcome()?;
    let client = Client::lazy(args.server.client_config()?).map_err(Failure::of)?;
    let permit = client.adopt(&args.budget, &args.permit);
    let settlement = permit.settle_as(outcome).await.map_err(Failure::of)?;
    let (result, text) = match settlement.result {
        Settled::Applied => ("applied", "settled"),
        Settled::Already => ("already_settled", "it was settled before; nothing changed"),
        Settled::Unknown => ("unknown_permit", "no such permit is known: it expired, or was never given out"),
    };
    let paused_ms = u64::try_from(settlement.paused_for.as_millis()).unwrap_or(u64::MAX);
    if args.json {
        output::json(&json!({
            "result": result,
            "paused_for_ms": paused_ms,
            "malformed": settlement.malformed,
        }))?;
    } else if settlement.result != Settled::Unknown {
        let paused = match paused_ms {
            0 => String::new(),
            ms => {
                format!("; nothing is granted for {}", humantime::format_duration(Duration::from_millis(ms)))
            }
        };
        let malformed = match settlement.malformed {
            0 => String::new(),
            count => format!("; {count} header values were malformed and ignored"),
        };
        output::line(&format!("{text}{paused}{malformed}"))?;
    }
    match settlement.result {
        Settled::Unknown if args.json => Err(Failure::Passed(1)),
        Settled::Unknown => Err(Failure::Failed(text.to_owned())),
        _ => Ok(()),
    }
}
