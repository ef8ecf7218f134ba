//! Flags that the benches share.

use std::{path::PathBuf, time::Duration};

use bursar_bench::{Bench, BenchError, Load, Programs, Stage, Store, Target};

use crate::{
    commands::connect::{duration, token},
    exit::Failure,
    identity,
};

/// What load.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadArgs {
    /// Connections that the callers share, 1 to 1,024; no more than there are callers are opened.
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,
    /// An open loop: so many calls are due a second, evenly spaced, above 0 to 1,000,000; each latency counts from when
    /// its call was due. Without it a closed loop: a caller's next call begins when its last has ended.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How long to measure, 10 ms to a day; a bare number is seconds.
    #[arg(long, value_name = "N|DURATION", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// What runs before, unmeasured; a bare number is seconds.
    #[arg(long, value_name = "N|DURATION", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Acquires bear no request id, so that equal ones fold; a retry of one may be granted twice. By default each has one,
    /// as with the SDK.
    #[arg(long)]
    without_request_ids: bool,
}

impl LoadArgs {
    /// The load with so many callers and budgets.
    pub(super) fn load(&self, callers: usize, budgets: usize) -> Load {
        Load {
            callers,
            connections: self.connections,
            budgets,
            rate: self.rate,
            warmup: self.warmup,
            span: self.seconds,
            request_ids: !self.without_request_ids,
        }
    }
}

/// Against what.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct StageArgs {
    /// Replicas that run already, http://host:port, several by commas. Without it servers are started, as processes of
    /// their own on loopback, and ended.
    #[arg(long, value_name = "URI", value_delimiter = ',')]
    target: Vec<String>,
    /// Where those show their metrics, host:port, several by commas; without it what they counted is not told.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', requires = "target")]
    metrics: Vec<String>,
    /// A file with the bearer token of an admin there; the token itself may be in the environment as BURSAR_TOKEN.
    #[arg(long, value_name = "FILE", env = "BURSAR_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    started: StoreArgs,
    /// How many replicas are started, 1 to 64; over Redis.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "target")]
    replicas: usize,
}

/// What is started.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StoreArgs {
    /// Where a server that is started keeps its budgets: embedded, redis (one is started too, on loopback, keeping nothing
    /// on disk), cluster (three masters are), or the URL of one that runs.
    #[arg(long, value_name = "STORE", default_value = "embedded")]
    store: Store,
    #[command(flatten)]
    programs: ProgramArgs,
}

impl StoreArgs {
    /// So many replicas.
    pub(super) fn servers(&self, replicas: usize) -> Result<Stage, Failure> {
        Stage::servers(&self.programs.programs()?, &self.store, replicas).map_err(failed)
    }
}

/// Which programs are started.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ProgramArgs {
    /// The program that is started as Redis. [default: redis-server or valkey-server on the PATH]
    #[arg(long, value_name = "PROGRAM", env = "BURSAR_TEST_REDIS_SERVER")]
    redis_server: Option<PathBuf>,
}

impl ProgramArgs {
    /// This binary, and the store's server.
    pub(super) fn programs(&self) -> Result<Programs, Failure> {
        let bursar =
            std::env::current_exe().map_err(|error| Failure::doing("finding this program", error))?;
        Ok(Programs { bursar, redis: self.redis_server.clone().unwrap_or_else(on_path) })
    }
}

impl StageArgs {
    /// What runs already, if that is asked for.
    fn running(&self) -> Result<Option<Target>, Failure> {
        if self.target.is_empty() {
            return Ok(None);
        }
        Ok(Some(Target {
            endpoints: self.target.iter().map(|uri| uri.trim().to_owned()).collect(),
            admins: self.metrics.clone(),
            token: token(self.token_file.as_deref())?,
        }))
    }

    /// An echo, or what was given instead of one.
    pub(super) fn echo(&self) -> Result<Stage, Failure> {
        match self.running()? {
            Some(target) => Ok(Stage::running(target)),
            None => Stage::echo(&self.started.programs.programs()?).map_err(failed),
        }
    }

    /// Servers.
    pub(super) fn servers(&self) -> Result<Stage, Failure> {
        match self.running()? {
            Some(target) => Ok(Stage::running(target)),
            None => self.started.servers(self.replicas),
        }
    }
}

/// The first of the stores' servers that is on the PATH; where there is none, the one that a person would install.
fn on_path() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    ["redis-server", "valkey-server"]
        .into_iter()
        .flat_map(|name| std::env::split_paths(&folders).map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("redis-server"))
}

/// A bench whose budgets have names of their own.
pub(super) fn bench() -> Result<Bench, Failure> {
    Ok(Bench { tag: identity::entropy()? })
}

/// A duration; a bare number is seconds, and may have a fraction.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) => Duration::try_from_secs_f64(number).map_err(|error| error.to_string()),
        Err(_) => duration(text),
    }
}

/// A wrong flag is wrong usage; all else is an error.
pub(super) fn failed(error: BenchError) -> Failure {
    match error {
        BenchError::Flag { .. } => Failure::Usage(error.to_string()),
        error => Failure::of(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_seconds_unless_they_say_otherwise() {
        assert_eq!(seconds("3"), Ok(Duration::from_secs(3)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("10min"), Ok(Duration::from_secs(600)));
        assert!(seconds("-1").is_err() && seconds("soon").is_err());
    }
}
