//! What can be configured, beside profiles and budgets. Every key has a default; every default is stated here.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bursar_quota::{ReplicaName, TenantName, duration_text};
use serde::{Deserialize, de::IgnoredAny};

use super::store::Store;

const HOUR: Duration = Duration::from_secs(3600);

/// All sections. `store`, `profiles` and `budgets` are read by themselves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Where it listens.
    pub(crate) listen: Listen,
    /// Where budgets live.
    #[serde(deserialize_with = "read_elsewhere")]
    pub(crate) store: Store,
    /// How it serves.
    pub(crate) server: Server,
    /// Who may ask.
    pub(crate) auth: Auth,
    /// What it writes to standard error.
    pub(crate) log: Log,
    #[allow(dead_code, reason = "known as a key here, read elsewhere")]
    profiles: IgnoredAny,
    #[allow(dead_code, reason = "known as a key here, read elsewhere")]
    budgets: IgnoredAny,
}

/// A key that is known here, and read elsewhere.
fn read_elsewhere<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Store, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| Store::default())
}

/// Sections, for errors about a variable whose section there is not.
pub(crate) const SECTIONS: [&str; 5] = ["listen", "store", "server", "auth", "log"];

/// Where it listens. On loopback unless told otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// Address and port of gRPC; port 0: any free one.
    #[serde(deserialize_with = "address")]
    pub(crate) grpc: SocketAddr,
    /// Address and port of `/metrics`, `/healthz` and `/readyz`; port 0: any free one.
    #[serde(deserialize_with = "address")]
    pub(crate) admin: SocketAddr,
    /// TLS of the gRPC port; absent: none.
    pub(crate) tls: Option<ListenTls>,
}

/// An address to listen on, and never a name: what it would be looked up as may change from start to start.
fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.trim().parse().map_err(|_| {
        let wanted = "an address and port such as 127.0.0.1:7411; names are not looked up";
        serde::de::Error::custom(format!("{text:?} stands here, expected {wanted}"))
    })
}

impl Default for Listen {
    fn default() -> Self {
        Self { grpc: ([127, 0, 0, 1], 7411).into(), admin: ([127, 0, 0, 1], 7412).into(), tls: None }
    }
}

/// TLS of the gRPC port. PEM files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenTls {
    /// The server's certificate, with the chain to its authority.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// The authority that clients' certificates must come from; absent: clients need none.
    #[serde(default)]
    pub(crate) client_ca: Option<PathBuf>,
}

/// How it serves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// This replica's name, unique among those of one store; absent: a random one for each start.
    pub(crate) replica: Option<ReplicaName>,
    /// How long waiters have to finish once it shuts down: 0 s to 1 h.
    #[serde(with = "duration_text")]
    pub(crate) drain: Duration,
    /// The most connections at once, 1 to 1,000,000; what is beyond is closed at once.
    pub(crate) max_connections: usize,
    /// The most callers that wait in this replica, over all budgets, 1 to 10,000,000.
    pub(crate) max_waiting: usize,
    /// The longest that a caller may wait, whatever it asks for: 0 s to 1 h.
    #[serde(with = "duration_text")]
    pub(crate) max_wait: Duration,
    /// Whether tenants and tiers share across replicas, wherever they wait; without it replicas take turns. Of all replicas
    /// or of none.
    pub(crate) shares_across_replicas: bool,
    /// The longest request in bytes, 4,096 to 16,777,216.
    pub(crate) max_request_bytes: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            replica: None,
            drain: Duration::from_secs(20),
            max_connections: 10_000,
            max_waiting: 1_000_000,
            max_wait: HOUR,
            shares_across_replicas: true,
            max_request_bytes: 4 * 1024 * 1024,
        }
    }
}

/// Who may ask. No token: everybody who reaches the port.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Auth {
    /// Bearer tokens, at most 1000.
    pub(crate) tokens: Vec<Token>,
}

/// One bearer token: the secret is in a file, or only its digest is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// What logs call it.
    pub(crate) name: String,
    /// A file with the secret; white space around it is dropped.
    #[serde(default)]
    pub(crate) token_file: Option<PathBuf>,
    /// The SHA-256 of the secret, 64 hex digits.
    #[serde(default)]
    pub(crate) token_sha256: Option<Digest>,
    /// What its bearer may do; absent: what a worker may.
    #[serde(default)]
    pub(crate) role: Role,
    /// Its bearer is this tenant and no other; absent: any.
    #[serde(default)]
    pub(crate) tenant: Option<TenantName>,
    /// Budgets it is for: names, or beginnings of names followed by `*`; absent: all.
    #[serde(default)]
    pub(crate) budgets: Vec<String>,
}

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Acquire, settle and renew; read, list and watch budgets.
    #[default]
    Worker,
    /// That, and change budgets.
    Admin,
}

/// A SHA-256. It does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut digest = [0_u8; 32];
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(|| {
            serde::de::Error::custom("64 hex digits are wanted here, as `sha256sum` prints them")
        })?;
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] * 16 + pair[1]).unwrap_or_default();
        }
        Ok(Self(digest))
    }
}

/// What it writes to standard error.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// For people or for machines.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,bursar_ledger=debug`; absent: `info`.
    pub(crate) level: Option<String>,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// What is wrong with a setting: its path and what would be right.
pub(crate) type Wrong = (String, String);

impl Settings {
    /// Checks every bound that the fields' documentation states. Secret files are not read: where the file is checked
    /// they need not exist.
    pub(crate) fn wrongs(&self) -> Vec<Wrong> {
        let mut wrongs = Vec::new();
        let mut wrong = |field: String, problem: &str| wrongs.push((field, problem.to_owned()));
        let server = &self.server;
        let bounds = [
            ("drain", server.drain <= HOUR, "must be within 0s to 1h"),
            ("max_wait", server.max_wait <= HOUR, "must be within 0s to 1h"),
            (
                "max_connections",
                (1..=1_000_000).contains(&server.max_connections),
                "must be within 1 to 1000000",
            ),
            ("max_waiting", (1..=10_000_000).contains(&server.max_waiting), "must be within 1 to 10000000"),
            (
                "max_request_bytes",
                (4096..=16_777_216).contains(&server.max_request_bytes),
                "must be within 4096 to 16777216",
            ),
        ];
        for (key, _, problem) in bounds.iter().filter(|(_, holds, _)| !holds) {
            wrong(format!("server.{key}"), problem);
        }
        if self.listen.grpc == self.listen.admin && self.listen.grpc.port() != 0 {
            wrong("listen.admin".into(), "is the address of listen.grpc: they need two");
        }
        if self.auth.tokens.len() > 1000 {
            wrong("auth.tokens".into(), "at most 1000 tokens");
        }
        for (index, token) in self.auth.tokens.iter().enumerate() {
            let at = |key: &str| format!("auth.tokens[{index}].{key}");
            match (&token.token_file, &token.token_sha256) {
                (Some(_), None) | (None, Some(_)) => {}
                (None, None) => wrong(at("token_file"), "give token_file or token_sha256"),
                (Some(_), Some(_)) => wrong(at("token_sha256"), "give token_file or token_sha256, not both"),
            }
            if token.name.is_empty() || token.name.len() > 128 || token.name.chars().any(char::is_control) {
                wrong(at("name"), "must be 1 to 128 bytes of printable text");
            }
            for (place, pattern) in token.budgets.iter().enumerate() {
                if let Err(error) = bursar_server::BudgetPattern::new(pattern) {
                    wrong(at(&format!("budgets[{place}]")), &error.to_string());
                }
            }
        }
        if let Some(Err(problem)) = self.log.level.as_deref().map(super::level::targets) {
            wrong("log.level".into(), &problem);
        }
        wrongs
    }
}
