//! Fleets: many workers that call one upstream with one token, as fast as they are let.
//!
//! [`through_bursar`] asks Bursar for a permit for each request and tells it what the upstream answered;
//! [`independent`] has a retry handler in each worker instead, the one that the Autotask guide shows: sleep Retry-After,
//! otherwise back off exponentially; three tries, then the call is given up. Both run until they are told to stop, or
//! their future is dropped. What they were accepted and refused, the upstream counts.

mod broker;
mod bursar;
mod config;
mod counters;
mod independent;
mod request;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::upstream::Truth;

pub use broker::{Ask, Broker, NotGranted};
pub use bursar::through_bursar;
pub use config::{CallKind, FleetConfig, MAX_WORKERS, RetryHandler};
pub use counters::{Counters, FleetSnapshot};
pub use independent::independent;

/// Why a fleet cannot run.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// `workers` is outside its bounds.
    #[error("workers: {0} is outside 1 to {MAX_WORKERS}")]
    Workers(usize),
    /// There is nothing to call.
    #[error("calls: at least one of a weight above 0 is needed")]
    NoCalls,
    /// The token cannot be a header value.
    #[error("token: it has characters that a header cannot carry")]
    Token,
    /// The upstream's address is none.
    #[error("url: {0}")]
    Url(String),
    /// There is no HTTP client.
    #[error("no HTTP client could be made")]
    Http(#[from] reqwest::Error),
    /// Bursar says that a request is wrong, so that asking again cannot help.
    #[error("bursar: {0}")]
    Hopeless(String),
    /// The upstream does not tell what it counted.
    #[error("{url} tells no truth: {problem}")]
    Truth {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A worker ended by itself.
    #[error("a worker panicked")]
    Worker,
}

/// Asks the upstream at `url` (without a path) what it counted.
pub async fn read_truth(url: &str) -> Result<Truth, FleetError> {
    let url = format!("{}/__truth", url.trim_end_matches('/'));
    let text = async { reqwest::get(&url).await?.error_for_status()?.text().await }.await;
    let text = text.map_err(|error| FleetError::Truth { url: url.clone(), problem: error.to_string() })?;
    serde_json::from_str(&text).map_err(|error| FleetError::Truth { url, problem: error.to_string() })
}

fn validate(config: &FleetConfig) -> Result<(), FleetError> {
    if !(1..=MAX_WORKERS).contains(&config.workers) {
        return Err(FleetError::Workers(config.workers));
    }
    if config.calls.iter().all(|kind| kind.weight == 0) {
        return Err(FleetError::NoCalls);
    }
    Ok(())
}

/// Runs `worker`, given its number, as often as there are workers; the first that fails stops all.
async fn run<W>(
    workers: usize,
    counters: Arc<Counters>,
    worker: impl Fn(usize) -> W,
) -> Result<FleetSnapshot, FleetError>
where
    W: Future<Output = Result<(), FleetError>> + Send + 'static,
{
    let mut tasks: JoinSet<_> = (0..workers).map(worker).collect();
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|_| FleetError::Worker)??;
    }
    Ok(counters.snapshot())
}

/// Sleeps, or less if told to stop. Whether it was.
async fn sleep(time: Duration, stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(time)).await.is_none()
}
