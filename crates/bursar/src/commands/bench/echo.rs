//! `bursar bench echo`: the server of the floors. `bench` starts it by itself.

use std::net::SocketAddr;

use bursar_bench::echo;
use serde_json::json;
use tokio::net::TcpListener;

use super::args::failed;
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Answer every call at once, and decide nothing: the floor's server, for a floor across a network by --target.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where it listens; port 0: any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Say where it listens as one JSON object: {"grpc": …}.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Failure::doing(format_args!("listening on {}", args.listen), error))?;
    let address = listener.local_addr().map_err(Failure::of)?.to_string();
    if args.json {
        output::json(&json!({ "grpc": address }))?;
    } else {
        output::line(&format!("an echo on http://{address}"))?;
    }
    // Until a signal ends the command.
    echo::serve(listener, std::future::pending()).await.map_err(failed)
}
