//! `bursar budgets`.

mod describe;
mod events;
mod put;
mod status;

use std::time::Duration;

use bursar_client::{BudgetsClient, CallError, Client};
use bursar_quota::BudgetName;
use clap::Subcommand;
use serde_json::json;

pub(crate) use describe::describe_limit;

use super::connect::{ServerArgs, duration};
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Look at budgets, and change them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar budgets list
  bursar budgets get autotask
  bursar budgets put --profile autotask autotask/prod
  bursar budgets put --file budget.toml
  bursar budgets pause autotask --for 15min
  bursar budgets watch --json autotask | jq -c .

Exit codes: 0 done, 1 an error, 2 wrong usage.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    server: ServerArgs,
    /// Print JSON: one object, and with `watch` one a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the names of all budgets.
    List,
    /// Show a budget's declaration and how it stands.
    Get {
        /// The budget.
        budget: BudgetName,
    },
    /// Declare a budget, or change its declaration. What weighs stays, and nobody who waits is dropped.
    Put(put::Args),
    /// Stop all grants of a budget.
    Pause {
        /// The budget.
        budget: BudgetName,
        /// For how long, such as 15min; without it until it is resumed.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        span: Option<Duration>,
    },
    /// End all pauses of a budget, the upstream's as well.
    Resume {
        /// The budget.
        budget: BudgetName,
    },
    /// Forget a budget. Permits that are out become unknown.
    Delete {
        /// The budget.
        budget: BudgetName,
    },
    /// Tell what changes, until interrupted.
    Watch {
        /// Only of these budgets; without any of all.
        budgets: Vec<BudgetName>,
        /// End after this many changes.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}

pub(crate) async fn run(args: Args) -> Outcome {
    let json = args.json;
    // What is wrong with a file is told whether a server can be reached or not.
    let declaration = match &args.action {
        Action::Put(put) => Some(put.declaration()?),
        _ => None,
    };
    let client = Client::lazy(args.server.client_config()?).map_err(Failure::of)?;
    let client = BudgetsClient::of(&client);
    match args.action {
        Action::List => list(&client, json).await,
        Action::Get { budget } => get(&client, &budget, json).await,
        Action::Put(_) => match declaration {
            Some(declaration) => declaration.put(&client, json).await,
            None => Ok(()),
        },
        Action::Pause { budget, span } => {
            let known = client.pause(&budget, span).await;
            let until = span.map_or("until it is resumed".to_owned(), |span| {
                format!("for {}", humantime::format_duration(span))
            });
            done(known, &budget, "paused", &format!("{budget} is paused {until}"), json)
        }
        Action::Resume { budget } => {
            done(client.resume(&budget).await, &budget, "resumed", &format!("{budget} is resumed"), json)
        }
        Action::Delete { budget } => {
            let deleted = client.delete(&budget).await.map_err(Failure::of)?;
            if !deleted {
                return Err(unknown(&budget));
            }
            done(Ok(()), &budget, "deleted", &format!("{budget} is deleted"), json)
        }
        Action::Watch { budgets, count } => events::watch(&client, &budgets, count, json).await,
    }
}

/// gRPC's status for what there is not.
const NOT_FOUND: i32 = 5;

fn unknown(budget: &BudgetName) -> Failure {
    Failure::Failed(format!("no budget is named {budget}"))
}

/// Says that something was done to a budget.
fn done(result: Result<(), CallError>, budget: &BudgetName, what: &str, text: &str, json: bool) -> Outcome {
    result.map_err(|error| match &error {
        CallError::Failed { code, .. } if i32::from(*code) == NOT_FOUND => unknown(budget),
        _ => Failure::of(error),
    })?;
    if json { output::json(&json!({ "budget": budget, "done": what })) } else { output::line(text) }
}

async fn list(client: &BudgetsClient, json: bool) -> Outcome {
    let mut names: Vec<BudgetName> = Vec::new();
    let mut page = String::new();
    loop {
        let (more, next) = client.list(&page, 1000).await.map_err(Failure::of)?;
        names.extend(more);
        match next {
            Some(next) => page = next,
            None => break,
        }
    }
    if json {
        return output::json(&json!({ "budgets": names }));
    }
    names.iter().try_for_each(|name| output::line(name.as_str()))
}

async fn get(client: &BudgetsClient, budget: &BudgetName, json: bool) -> Outcome {
    let stored = client.get(budget).await.map_err(Failure::of)?;
    let stored = stored.ok_or_else(|| unknown(budget))?;
    if json { output::json(&status::json(&stored)) } else { output::line(&status::text(&stored)) }
}
