//! Inputs to begin with: what the project has recorded, written and documented anyway.

use std::{fs, path::PathBuf};

use bursar_wire::v1;
use prost::Message as _;
use serde::Deserialize;

use crate::folder;

/// A file of the dialect's recorded exchanges.
#[derive(Deserialize)]
pub(crate) struct Exchanges {
    profile: String,
    /// Profiles of the file's own.
    #[serde(default)]
    pub(crate) profiles: Vec<String>,
    exchange: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    profile: Option<String>,
    response: String,
}

/// The text files of a folder of the workspace, in order of their names.
fn texts(inside: &str, end: &str) -> Vec<String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder().join("../..").join(inside))
        .unwrap_or_else(|error| panic!("{inside}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The dialect's recorded exchanges.
pub(crate) fn exchanges() -> Vec<Exchanges> {
    texts("crates/dialect/tests/exchanges", ".toml")
        .iter()
        .map(|text| toml::from_str(text).unwrap())
        .collect()
}

/// Inputs of the target of this name that need not be kept, since they are made from what is kept elsewhere.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "dialect" => exchanges().iter().flat_map(Exchanges::to_dialect).collect(),
        "profile" => profiles().into_iter().map(String::into_bytes).collect(),
        "config-toml" => {
            let mut texts = [texts("deploy", ".toml"), texts("deploy/compose", ".toml")].concat();
            texts.extend(profiles().iter().map(|profile| in_configuration(profile)));
            texts.into_iter().map(String::into_bytes).collect()
        }
        "config-yaml" => {
            // JSON is YAML, and TOML becomes JSON.
            let json =
                |text: String| serde_json::to_vec(&toml::from_str::<toml::Value>(&text).unwrap()).unwrap();
            texts("deploy/compose", ".toml").into_iter().chain(texts("deploy", ".toml")).map(json).collect()
        }
        "retry-after" | "number" => exchanges().iter().flat_map(Exchanges::values).collect(),
        "session" => vec![session().encode_to_vec()],
        _ => Vec::new(),
    }
}

/// Every profile there is: those that are compiled in, and those that the recorded exchanges bring.
fn profiles() -> Vec<String> {
    let own = exchanges().into_iter().flat_map(|file| file.profiles);
    texts("crates/dialect/profiles", ".toml").into_iter().chain(own).collect()
}

/// A profile as a table of a configuration.
fn in_configuration(profile: &str) -> String {
    let table: toml::Table = toml::from_str(profile).unwrap();
    toml::to_string(&toml::Table::from_iter([("profiles".to_owned(), vec![table].into())])).unwrap()
}

impl Exchanges {
    fn to_dialect(&self) -> Vec<Vec<u8>> {
        let of = |exchange: &Exchange| {
            let profile = exchange.profile.as_ref().unwrap_or(&self.profile);
            format!("{profile}\n{}", exchange.response).into_bytes()
        };
        self.exchange.iter().map(of).collect()
    }

    /// Every header value, for targets that read one.
    fn values(&self) -> Vec<Vec<u8>> {
        let lines = self.exchange.iter().flat_map(|exchange| exchange.response.lines().skip(1));
        let mut values: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(_, value)| [b"000", value.as_bytes()].concat())
            .collect();
        values.sort();
        values.dedup();
        values
    }
}

/// One request of each kind.
fn session() -> v1::SessionRequest {
    let budget = String::from("autotask/prod");
    let acquire = v1::AcquireRequest { budget: budget.clone(), max_wait_ms: 1000, ..Default::default() };
    let settle = v1::SettleRequest { budget: budget.clone(), ..Default::default() };
    v1::SessionRequest {
        acquires: vec![v1::SessionAcquire { id: 1, request: Some(acquire) }],
        settles: vec![v1::SessionSettle { id: 2, request: Some(settle) }],
        renews: vec![v1::SessionRenew {
            id: 3,
            request: Some(v1::RenewRequest { budget, ..Default::default() }),
        }],
        cancels: vec![1],
    }
}
