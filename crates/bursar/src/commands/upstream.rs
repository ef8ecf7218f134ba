//! `bursar upstream`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bursar_quota::SystemClock;
use bursar_sim::upstream::{Upstream, UpstreamConfig, VendorProfile, WindowKind};
use serde_json::json;
use tokio::{net::TcpListener, signal};

use super::connect::duration;
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Run an HTTP server that limits as a vendor does, to try things on.
///
/// Every path is an API call of whoever the Authorization header names; GET /__truth tells what was really counted. It
/// has the vendor's windows with a phase of their own, its concurrency rule, its headers, its bodies, and its refusals.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar upstream --profile autotask --listen 127.0.0.1:8080
  bursar upstream --profile salestim --scale 100
  bursar upstream --profile autotask --drop-headers 0.2 --garble-headers 0.1 --clock-offset -90s
  curl -s 127.0.0.1:8080/__truth | jq .refused_by")]
pub(crate) struct Args {
    /// Which vendor: autotask, salestim, ietf, polli or generic.
    #[arg(long, default_value = "autotask")]
    profile: VendorProfile,
    /// Where it listens; port 0: any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// How many times faster than the vendor: its times are divided by this.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    scale: f64,
    /// Instead of the capacity of the vendor's windows.
    #[arg(long, value_name = "N")]
    capacity: Option<u64>,
    /// Instead of the vendor's window, not scaled.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    window: Option<Duration>,
    /// How windows begin and end: clock, first_call, rolling or bucket.
    #[arg(long, value_name = "KIND")]
    windows: Option<WindowKind>,
    /// When its first window ends; without it by the seed.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    phase: Option<Duration>,
    /// Instead of how many calls a token has at once; 0: any number.
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Instead of the time by which a slot outlasts its response, not scaled.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    linger: Option<Duration>,
    /// How long an accepted call takes: a duration, or the least and the most.
    #[arg(long, value_name = "LEAST[,MOST]", value_parser = latency)]
    latency: Option<Latency>,
    /// Share of the responses without any reading, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    drop_headers: f64,
    /// Share of the responses with one of their readings garbled, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    garble_headers: f64,
    /// Share of the refusals without a Retry-After, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    omit_retry_after: f64,
    /// How far its clock is ahead; -90s: behind.
    #[arg(long, value_name = "DURATION", value_parser = offset, allow_hyphen_values = true, default_value = "0s")]
    clock_offset: i64,
    /// Calls of others with the same token in each window, on average.
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    foreign: f64,
    /// What everything random follows from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Say where it listens as one JSON object: {"listen": …}.
    #[arg(long)]
    json: bool,
}

/// The least and the most that a call takes.
#[derive(Debug, Clone, Copy)]
struct Latency(Duration, Duration);

fn latency(text: &str) -> Result<Latency, String> {
    let (least, most) = text.split_once(',').unwrap_or((text, text));
    Ok(Latency(duration(least)?, duration(most)?))
}

/// Milliseconds ahead; negative: behind.
fn offset(text: &str) -> Result<i64, String> {
    let (sign, span) = text.strip_prefix('-').map_or((1, text), |span| (-1, span));
    let ms = i64::try_from(duration(span)?.as_millis()).map_err(|_| "that is too far".to_owned())?;
    Ok(sign * ms)
}

impl Args {
    fn config(&self) -> UpstreamConfig {
        let usual = UpstreamConfig::new(self.profile);
        UpstreamConfig {
            scale: self.scale,
            capacity: self.capacity,
            window: self.window,
            windows: self.windows,
            phase: self.phase,
            concurrency: self.concurrency,
            linger: self.linger,
            latency: self.latency.map_or(usual.latency, |Latency(least, most)| (least, most)),
            drop_headers: self.drop_headers,
            garble_headers: self.garble_headers,
            omit_retry_after: self.omit_retry_after,
            clock_offset_ms: self.clock_offset,
            foreign_per_window: self.foreign,
            seed: self.seed,
            ..usual
        }
    }
}

pub(crate) async fn run(args: Args) -> Outcome {
    let upstream = Upstream::new(args.config(), Arc::new(SystemClock::new()))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())
        .map_err(|error| Failure::doing("listening for signals", error))?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Failure::doing(format_args!("listening on {}", args.listen), error))?;
    let address = listener.local_addr().map_err(Failure::of)?;
    if args.json {
        output::json(&json!({ "listen": address.to_string() }))?;
    } else {
        output::line(&format!(
            "{} on http://{address}, the truth on http://{address}/__truth",
            args.profile
        ))?;
    }
    let shutdown = async {
        tokio::select! {
            _ = signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    upstream.serve(listener, shutdown).await.map_err(Failure::of)
}
