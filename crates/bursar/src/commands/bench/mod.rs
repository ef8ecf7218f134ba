//! `bursar bench`.

mod all;
mod args;
mod cluster;
mod echo;
mod memory;
mod one;
mod script;
mod soak;
mod view;
mod wake;

use bursar_bench::{Kind, Row, table};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Measure what a permit costs, beside a floor that decides nothing.
///
/// The load comes from this process; the servers are others, started and ended by it unless --target names some. Figures
/// of one machine say little of another: what holds is their ratio to the floor, a server that answers the same messages at
/// once, measured in the same minutes. A run in which one call fails has no figure.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar bench all                                       both floors, acquire and session, on both stores
  bursar bench all --callers 64 --runs 5 --json | jq -c '[.kind, .store, .ratio_to_floor]'
  bursar bench floor --callers 64
  bursar bench acquire --store redis --callers 1,64,1024
  bursar bench session --store redis --callers 1024 --budgets 1,1024
  bursar bench acquire --rate 5000 --seconds 30          an open loop: latency counts from when a call was due
  bursar bench all --callers 1,4,16,64,256,1024,4096 --chart callers.svg
  bursar bench script --store redis                      one EVALSHA by itself
  bursar bench cluster                                   a cluster of three beside one server, 1,024 budgets
  bursar bench wake                                      how soon one replica acts on what another was told
  bursar bench memory --store redis                      bytes of a budget, a session, a waiter
  bursar bench soak --store redis --seconds 600 --chart memory.svg
  bursar bench session --target http://10.0.0.7:7411 --metrics 10.0.0.7:7412

Exit codes: 0 measured, 1 an error (a failed call is one), 2 wrong usage.")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[allow(missing_docs, reason = "help shows the documentation of what each holds")]
enum What {
    All(all::Args),
    /// The floors: unary calls to an echo with the same messages, and the SDK's sessions with an echo.
    Floor(one::Args),
    /// Unary acquires with the SDK; the settlement of the last permit rides on the next acquire.
    Acquire(one::Args),
    /// Acquires over the SDK's sessions, one a connection, whose messages its callers share; settlements ride along.
    Session(one::Args),
    Cluster(cluster::Args),
    Script(script::Args),
    Wake(wake::Args),
    Memory(memory::Args),
    Soak(soak::Args),
    #[command(hide = true)]
    Echo(echo::Args),
}

pub(crate) async fn run(args: Args) -> Outcome {
    let work = async {
        match args.what {
            What::All(args) => Box::pin(all::run(args)).await,
            What::Floor(args) => Box::pin(one::run(args, &[Kind::Floor, Kind::SessionFloor])).await,
            What::Acquire(args) => Box::pin(one::run(args, &[Kind::Acquire])).await,
            What::Session(args) => Box::pin(one::run(args, &[Kind::Session])).await,
            What::Cluster(args) => Box::pin(cluster::run(args)).await,
            What::Script(args) => Box::pin(script::run(args)).await,
            What::Wake(args) => Box::pin(wake::run(args)).await,
            What::Memory(args) => Box::pin(memory::run(args)).await,
            What::Soak(args) => Box::pin(soak::run(args)).await,
            What::Echo(args) => echo::run(args).await,
        }
    };
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| Failure::doing("listening for signals", error))?;
    // Whatever was started ends with the work, when it is dropped.
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::Passed(130)),
        _ = terminate.recv() => Err(Failure::Passed(143)),
    }
}

/// Prints rows: a table, or an object a line.
fn print(rows: &[Row], as_json: bool) -> Outcome {
    if as_json {
        return rows.iter().try_for_each(|row| output::json(&json!(row)));
    }
    let cells = table(rows);
    let right: Vec<usize> = (2..cells.first().map_or(0, Vec::len)).collect();
    output::line(&output::table(&cells, &right))
}
