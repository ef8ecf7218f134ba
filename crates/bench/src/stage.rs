//! What a measurement runs against: servers of its own in processes of their own, or those that run already.

use std::{path::PathBuf, str::FromStr};

use bursar_client::Token;

use crate::{
    BenchError,
    child::{self, Nodes, Process},
    load::count,
    probe,
};

/// The most replicas.
pub(crate) const MAX_REPLICAS: usize = 64;

/// The programs that are started.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Bursar's own: `serve`, and `bench echo`.
    pub bursar: PathBuf,
    /// A Redis or Valkey server: a path, or a name on the PATH.
    pub redis: PathBuf,
}

impl Programs {
    /// Whether the store's server can be run here.
    pub fn has_redis(&self) -> Result<bool, BenchError> {
        child::runs(&self.redis)
    }
}

/// Where the budgets of a server that is started live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In its process.
    Embedded,
    /// In a Redis that is started for it, on loopback, which keeps nothing on disk.
    Redis,
    /// In a cluster of three masters that are started for it, on loopback, which keeps nothing.
    Cluster,
    /// In one that runs already.
    Url(String),
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "embedded" => Ok(Self::Embedded),
            "redis" => Ok(Self::Redis),
            "cluster" => Ok(Self::Cluster),
            url if url.contains("://") => Ok(Self::Url(url.to_owned())),
            other => Err(format!(
                "{other:?} is neither embedded, redis, cluster nor a URL such as redis://host:port"
            )),
        }
    }
}

impl Store {
    /// What rows call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
            Self::Redis | Self::Url(_) => "redis",
        }
    }
}

/// Servers that run already.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// `http://host:port` of each replica, at least one.
    pub endpoints: Vec<String>,
    /// `host:port` of their metrics; without them what they counted is not told.
    pub admins: Vec<String>,
    /// Who we are there; it must be allowed to declare budgets and to delete them.
    pub token: Option<Token>,
}

/// What a measurement runs against. What was started ends with it.
#[derive(Debug)]
pub struct Stage {
    pub(crate) target: Target,
    /// What rows call the store.
    pub(crate) store: &'static str,
    servers: Vec<Process>,
    /// The store's servers that were started.
    nodes: Nodes,
}

impl Stage {
    /// An echo, the floor.
    pub fn echo(programs: &Programs) -> Result<Self, BenchError> {
        let words = ["bench", "echo", "--listen", "127.0.0.1:0", "--json"];
        let (process, place) = child::announced(&programs.bursar, &words)?;
        let target = Target { endpoints: vec![endpoint(&place, "grpc")?], admins: Vec::new(), token: None };
        Ok(Self { target, store: "none", servers: vec![process], nodes: Nodes::default() })
    }

    /// Replicas over a store.
    pub fn servers(programs: &Programs, store: &Store, replicas: usize) -> Result<Self, BenchError> {
        count("--replicas", replicas, MAX_REPLICAS)?;
        if replicas > 1 && *store == Store::Embedded {
            let problem = "the embedded store is one replica's: give --store redis";
            return Err(BenchError::flag("--replicas", problem));
        }
        let nodes = Nodes::start(programs, store)?;
        let url = match store {
            Store::Url(url) => url.clone(),
            _ => nodes.url(),
        };
        let words = [
            "serve",
            "--json",
            "--grpc",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--log-level",
            "error",
            "--store",
            &url,
        ];
        let mut stage = Self { target: Target::default(), store: store.name(), servers: Vec::new(), nodes };
        for _ in 0..replicas {
            let (process, place) = child::announced(&programs.bursar, &words)?;
            stage.target.endpoints.push(endpoint(&place, "grpc")?);
            stage.target.admins.push(address(&place, "admin")?);
            stage.servers.push(process);
        }
        Ok(stage)
    }

    /// What runs already; `store` is what rows call it.
    pub fn running(target: Target) -> Self {
        Self { target, store: "target", servers: Vec::new(), nodes: Nodes::default() }
    }

    /// Whether it goes with this measurement, and with it what was left in it.
    pub(crate) fn is_own(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Processor time of the servers, microseconds; `None` where they are not ours.
    pub(crate) fn server_cpu_us(&self) -> Option<u64> {
        all(self.servers.iter().map(|server| probe::cpu(server.id())).map(|cpu| cpu.map(micros)))
    }

    /// Processor time of the store's servers that were started, microseconds.
    pub(crate) fn store_cpu_us(&self) -> Option<u64> {
        all(self.nodes.processes.iter().map(|process| probe::cpu(process.id()).map(micros)))
    }

    /// Bytes of the servers in memory; `None` where they are not ours.
    pub(crate) fn resident(&self) -> Option<u64> {
        all(self.servers.iter().map(|server| probe::resident(server.id())))
    }

    /// Bytes that the store's servers that were started say their data takes.
    pub(crate) fn store_memory(&self) -> Option<u64> {
        all(self.nodes.ports.iter().map(|port| child::info(*port, "used_memory")))
    }

    /// The address of the store, for whoever asks it directly: `embedded` or a URL.
    pub fn store_url(&self) -> String {
        self.nodes.url()
    }

    /// A store without a server before it.
    pub fn store_alone(programs: &Programs, store: &Store) -> Result<Self, BenchError> {
        let nodes = Nodes::start(programs, store)?;
        Ok(Self { target: Target::default(), store: store.name(), servers: Vec::new(), nodes })
    }
}

/// The sum, unless there is none or one is missing.
fn all(parts: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    parts.reduce(|sum, part| Some(sum? + part?)).flatten()
}

fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn address(place: &serde_json::Value, key: &str) -> Result<String, BenchError> {
    let problem = || BenchError::start("bursar", format!("it says {place}, without {key:?}"));
    place.get(key).and_then(serde_json::Value::as_str).map(str::to_owned).ok_or_else(problem)
}

fn endpoint(place: &serde_json::Value, key: &str) -> Result<String, BenchError> {
    Ok(format!("http://{}", address(place, key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_or_addressed() {
        assert_eq!("embedded".parse(), Ok(Store::Embedded));
        assert_eq!("cluster".parse(), Ok(Store::Cluster));
        assert_eq!("redis://h:1".parse(), Ok(Store::Url("redis://h:1".to_owned())));
        assert!("postgres".parse::<Store>().unwrap_err().contains("neither embedded"));
    }

    #[test]
    fn a_sum_with_a_gap_is_none() {
        assert_eq!(all([Some(1), Some(2)].into_iter()), Some(3));
        assert_eq!(all([Some(1), None].into_iter()), None);
        assert_eq!(all(std::iter::empty()), None);
    }

    #[test]
    fn an_embedded_store_has_one_replica() {
        let programs = Programs { bursar: "none".into(), redis: "none".into() };
        let problem = Stage::servers(&programs, &Store::Embedded, 2).unwrap_err().to_string();
        assert!(problem.starts_with("--replicas: "), "{problem}");
    }
}
