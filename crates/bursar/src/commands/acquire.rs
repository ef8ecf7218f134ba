//! `bursar acquire`.

use std::{ffi::OsString, process::ExitStatus, time::Duration};

use bursar_client::{AcquireError, AcquireOptions, Client, Outcome as Became, Permit, Tier};
use serde_json::json;

use super::connect::{ServerArgs, duration};
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Ask for a permit, to use by hand or to run a command under.
///
/// Without a command it prints the permit, to be settled by `bursar settle`. With one it runs the command once the permit
/// is there, and settles: as lost, which charges the permit and frees its slot, since a command's end does not tell what
/// the upstream said; as not sent if the command could not be started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar acquire autotask
  bursar acquire autotask --class auth --max-wait 30s --json
  bursar acquire openai --cost tokens=1500 --tier batch
  bursar acquire autotask -- curl -fsS https://example.invalid/tickets

Exit codes: 0 granted, 1 an error, 2 wrong usage, 3 refused; with a command, once granted, the command's own.")]
pub(crate) struct Args {
    /// The budget to draw from.
    budget: String,
    /// What kind of call it is; without it the budget's default class.
    #[arg(long)]
    class: Option<String>,
    /// Who asks.
    #[arg(long)]
    tenant: Option<String>,
    /// How urgent it is: interactive, standard or batch.
    #[arg(long, default_value = "standard")]
    tier: Tier,
    /// What the call costs in a unit; may be repeated.
    #[arg(long, value_name = "UNIT=N", value_parser = cost)]
    cost: Vec<(String, u64)>,
    /// How long to wait for it; 0s: not at all.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    max_wait: Duration,
    /// How long you need to settle it; without it as long as the budget gives.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// Makes a retry safe: asking again with it gets the same permit.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
    /// A command to run under the permit.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn cost(text: &str) -> Result<(String, u64), String> {
    let (unit, amount) = text.split_once('=').ok_or("write unit=number, as in tokens=1500")?;
    let amount = amount.parse().map_err(|error| format!("{amount:?} is no whole number: {error}"))?;
    Ok((unit.to_owned(), amount))
}

impl Args {
    fn options(&self) -> AcquireOptions {
        let mut options = AcquireOptions::new(&self.budget).tier(self.tier).max_wait(self.max_wait);
        for (unit, amount) in &self.cost {
            options = options.cost(unit, *amount);
        }
        if let Some(class) = &self.class {
            options = options.class(class);
        }
        if let Some(tenant) = &self.tenant {
            options = options.tenant(tenant);
        }
        if let Some(ttl) = self.ttl {
            options = options.ttl(ttl);
        }
        if let Some(id) = &self.request_id {
            options = options.request_id(id);
        }
        options
    }
}

pub(crate) async fn run(args: Args) -> Outcome {
    let client = Client::lazy(args.server.client_config()?).map_err(Failure::of)?;
    let permit = match client.acquire(args.options()).await {
        Ok(permit) => permit,
        Err(AcquireError::Refused(refusal)) => {
            let after_ms = refusal.retry_after.map(|after| after.as_millis());
            if args.json {
                output::json(&json!({
                    "granted": false,
                    "reason": refusal.reason,
                    "limit": refusal.limit,
                    "retry_after_ms": after_ms,
                    "message": refusal.message,
                }))?;
            } else {
                output::note(&refusal.to_string());
            }
            return Err(Failure::Refused);
        }
        Err(error) => return Err(Failure::of(error)),
    };
    if args.command.is_empty() { print(permit, args.json) } else { under(permit, &args).await }
}

/// Prints a permit and leaves it to whoever reads that.
fn print(permit: Permit, json: bool) -> Outcome {
    let budget = permit.budget().to_owned();
    let (send_within, deadline, waited) = (permit.send_within(), permit.deadline(), permit.waited());
    let rationed = permit.is_rationed();
    let id = permit.detach();
    if json {
        return output::json(&json!({
            "granted": true,
            "budget": budget,
            "permit_id": id,
            "send_within_ms": millis(send_within),
            "deadline_ms": millis(deadline),
            "waited_ms": millis(waited),
            "rationed": rationed,
        }));
    }
    output::line(&id)?;
    output::note(&format!(
        "granted{} after {}; send within {}, settle within {}:\n  bursar settle {budget} {id} --status 200 --header \
         'X-RateLimit-Remaining: 599'",
        if rationed { " by ration, the store is out of reach," } else { "" },
        whole(waited),
        whole(send_within),
        whole(deadline),
    ));
    Ok(())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A duration for a person, to the millisecond.
fn whole(span: Duration) -> impl std::fmt::Display {
    humantime::format_duration(Duration::from_millis(millis(span)))
}

/// Runs the command under the permit, settles, and ends as the command did.
async fn under(mut permit: Permit, args: &Args) -> Outcome {
    let mut words = args.command.iter();
    let Some(program) = words.next() else { return Ok(()) };
    let mut child = match std::process::Command::new(program).args(words).spawn() {
        Ok(child) => child,
        Err(error) => {
            settle(permit, Became::not_sent()).await;
            return Err(Failure::doing(format_args!("running {}", program.display()), error));
        }
    };
    let ttl = args.ttl.unwrap_or_else(|| permit.deadline());
    let mut waiting = tokio::task::spawn_blocking(move || child.wait());
    let ended = permit.hold(ttl, async {
        tokio::select! {
            ended = &mut waiting => return ended,
            _ = tokio::signal::ctrl_c() => {}
        }
        // The terminal interrupts the command as well; what is left is to wait for it, and to settle.
        waiting.await
    });
    let ended = ended.await.map_err(std::io::Error::other).and_then(|ended| ended);
    settle(permit, Became::lost()).await;
    passed(ended.map_err(|error| Failure::doing("waiting for the command", error))?)
}

async fn settle(permit: Permit, outcome: Became) {
    if let Err(error) = permit.settle_as(outcome).await {
        output::note(&format!("warning: the permit was not settled: {error}"));
    }
}

/// Ends as a command did: with its code, or with 128 and its signal as shells do.
fn passed(status: ExitStatus) -> Outcome {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None;
    match (status.code(), signal) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Failure::Passed(u8::try_from(code).unwrap_or(1))),
        (None, Some(signal)) => Err(Failure::Passed(u8::try_from(128 + signal).unwrap_or(1))),
        (None, None) => Err(Failure::Passed(1)),
    }
}
