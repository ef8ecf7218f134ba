//! How to reach the store, and how long to try. Every number has a unit and a bound.

use std::{fmt, path::PathBuf, time::Duration};

use bursar_quota::duration_text;
use serde::Deserialize;

use super::{
    secret::Secret,
    url::{StoreUrl, Topology},
};

/// Where Redis or Valkey is, who we are there, and the bounds of every wait.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:port[/db]`, `redis+sentinel://[user:password@]host:port,host:port/service[/db]` or
    /// `redis+cluster://[user:password@]host:port,host:port`; `rediss`, `rediss+sentinel`, `rediss+cluster` for TLS.
    /// User and password are those of the servers that keep the data, percent-encoded.
    pub url: String,
    /// The user; wins over the address's.
    pub user: Option<String>,
    /// The password; wins over the address's.
    pub password: Option<Secret>,
    /// The user at the sentinels.
    pub sentinel_user: Option<String>,
    /// The password at the sentinels.
    pub sentinel_password: Option<Secret>,
    /// Files for TLS; without them the system's authorities are trusted and no certificate is shown.
    pub tls: RedisTls,
    /// The longest that connecting takes, TLS and login included: 10 ms to 60 s. Asking sentinels adds up to 1.5 s.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// The longest to wait for one answer: 10 ms to 60 s. A script that was not answered in time may have run.
    #[serde(with = "duration_text")]
    pub response_timeout: Duration,
    /// The longest that a call takes in all, every retry and reconnection included: `response_timeout` to 120 s.
    #[serde(with = "duration_text")]
    pub call_timeout: Duration,
    /// How often a call is tried again: 0 to 10.
    pub retries: u32,
    /// The first back-off before trying again, jittered: 1 ms to `retry_max`.
    #[serde(with = "duration_text")]
    pub retry_base: Duration,
    /// The longest back-off: at most 10 s.
    #[serde(with = "duration_text")]
    pub retry_max: Duration,
    /// Store drivers, a connection each: 1 to 16. The calls of one budget go through one of them, in
    /// order but for those that are tried again.
    pub drivers: usize,
    /// The most calls that wait at one driver beyond those under way: 1 to 65,536. What comes on top is refused at once.
    pub queue: usize,
    /// What all keys and channels begin with: 1 to 64 characters of `[a-z0-9._:/-]`.
    pub prefix: String,
    /// Seed of the jitter: let each process have its own, so that they do not come back in step.
    #[serde(skip)]
    pub seed: u64,
}

/// Files for TLS, PEM each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisTls {
    /// The authorities to trust, and no others.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show, with its chain; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// A configuration that cannot be: which field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RedisConfigError {
    /// The field, such as `tls.ca_file`.
    pub field: &'static str,
    /// What is wrong with it and what would be right; never a secret.
    pub problem: String,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            user: None,
            password: None,
            sentinel_user: None,
            sentinel_password: None,
            tls: RedisTls::default(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_secs(5),
            retries: 2,
            retry_base: Duration::from_millis(20),
            retry_max: Duration::from_millis(500),
            drivers: 2,
            queue: 1024,
            prefix: "bursar:".into(),
            seed: 0,
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = StoreUrl::parse(&self.url).map_or_else(|_| "(malformed)".to_owned(), |url| url.place());
        f.debug_struct("RedisConfig")
            .field("url", &place)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("sentinel_user", &self.sentinel_user)
            .field("sentinel_password", &self.sentinel_password)
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("retries", &self.retries)
            .field("retry_base", &self.retry_base)
            .field("retry_max", &self.retry_max)
            .field("drivers", &self.drivers)
            .field("queue", &self.queue)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

fn demand(holds: bool, field: &'static str, problem: impl Into<String>) -> Result<(), RedisConfigError> {
    if holds { Ok(()) } else { Err(RedisConfigError { field, problem: problem.into() }) }
}

fn within(value: Duration, least_ms: u64, most_ms: u64, field: &'static str) -> Result<(), RedisConfigError> {
    let holds = (u128::from(least_ms)..=u128::from(most_ms)).contains(&value.as_millis());
    demand(holds, field, format!("{value:?} is outside {least_ms}ms to {most_ms}ms"))
}

impl RedisConfig {
    /// The default, at this address.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Checks every bound that the fields' documentation states. Files are read only when connecting.
    pub fn validate(&self) -> Result<(), RedisConfigError> {
        self.address().map(|_| ())
    }

    /// The channel on which scripts announce what changed.
    pub fn announce_channel(&self) -> String {
        format!("{}announce", self.prefix)
    }

    /// Checks all fields; the address taken apart, with the overrides applied.
    pub(super) fn address(&self) -> Result<StoreUrl, RedisConfigError> {
        within(self.connect_timeout, 10, 60_000, "connect_timeout")?;
        within(self.response_timeout, 10, 60_000, "response_timeout")?;
        let least = u64::try_from(self.response_timeout.as_millis()).unwrap_or(u64::MAX);
        within(self.call_timeout, least, 120_000, "call_timeout")?;
        demand(self.retries <= 10, "retries", format!("{} is outside 0 to 10", self.retries))?;
        within(self.retry_max, 1, 10_000, "retry_max")?;
        let most = u64::try_from(self.retry_max.as_millis()).unwrap_or(u64::MAX);
        within(self.retry_base, 1, most, "retry_base")?;
        demand((1..=16).contains(&self.drivers), "drivers", format!("{} is outside 1 to 16", self.drivers))?;
        demand((1..=65_536).contains(&self.queue), "queue", format!("{} is outside 1 to 65536", self.queue))?;
        let letter = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'/' | b'-');
        demand(
            (1..=64).contains(&self.prefix.len()) && self.prefix.bytes().all(letter),
            "prefix",
            "must be 1 to 64 characters of [a-z0-9._:/-]",
        )?;
        let mut url =
            StoreUrl::parse(&self.url).map_err(|problem| RedisConfigError { field: "url", problem })?;
        url.user = self.user.clone().or(url.user);
        url.password = self.password.clone().or(url.password);
        demand(url.user.is_none() || url.password.is_some(), "password", "a user needs a password")?;
        let sentinels = matches!(url.topology, Topology::Sentinel { .. });
        demand(
            sentinels || (self.sentinel_user.is_none() && self.sentinel_password.is_none()),
            "sentinel_password",
            "means nothing unless the address is redis+sentinel://",
        )?;
        demand(
            self.sentinel_user.is_none() || self.sentinel_password.is_some(),
            "sentinel_password",
            "a user needs a password",
        )?;
        let RedisTls { ca_file, cert_file, key_file } = &self.tls;
        let any = ca_file.is_some() || cert_file.is_some() || key_file.is_some();
        demand(url.tls || !any, "tls", "means nothing unless the address begins with rediss")?;
        demand(cert_file.is_some() || key_file.is_none(), "tls.cert_file", "a key needs its certificate")?;
        demand(key_file.is_some() || cert_file.is_none(), "tls.key_file", "a certificate needs its key")?;
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_its_bound_is_named() {
        assert_eq!(RedisConfig::default().validate(), Ok(()));
        let ms = Duration::from_millis;
        type Spoil = fn(&mut RedisConfig);
        let cases: [(&str, Spoil); 14] = [
            ("url", |c| c.url = "http://a".into()),
            ("connect_timeout", |c| c.connect_timeout = Duration::ZERO),
            ("response_timeout", |c| c.response_timeout = Duration::from_secs(61)),
            ("call_timeout", |c| c.call_timeout = c.response_timeout / 2),
            ("retries", |c| c.retries = 11),
            ("retry_max", |c| c.retry_max = Duration::from_secs(11)),
            ("retry_base", |c| c.retry_base = c.retry_max * 2),
            ("drivers", |c| c.drivers = 0),
            ("queue", |c| c.queue = 65_537),
            ("prefix", |c| c.prefix = "A b".into()),
            ("password", |c| c.user = Some("u".into())),
            ("sentinel_password", |c| c.sentinel_password = Some("p".into())),
            ("tls", |c| c.tls.ca_file = Some("ca.pem".into())),
            ("tls.key_file", |c| {
                c.url = "rediss://a".into();
                c.tls.cert_file = Some("cert.pem".into());
            }),
        ];
        for (field, spoil) in cases {
            let mut config = RedisConfig { retry_max: ms(500), ..RedisConfig::default() };
            spoil(&mut config);
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn the_file_form_wants_units_and_knows_its_keys() {
        let read = |json: &str| serde_json::from_str::<RedisConfig>(json);
        let config =
            read(r#"{"url": "redis://a", "connect_timeout": "250ms", "password": "hunter2"}"#).unwrap();
        assert_eq!(config.connect_timeout, Duration::from_millis(250));
        assert!(read(r#"{"connect_timeout": 250}"#).unwrap_err().to_string().contains("unit"));
        assert!(read(r#"{"pasword": "x"}"#).unwrap_err().to_string().contains("unknown field"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = RedisConfig {
            password: Some("hunter2".into()),
            sentinel_password: Some("hunter2".into()),
            ..RedisConfig::at("redis+sentinel://me:hunter2@a/main")
        };
        assert!(!format!("{config:?}").contains("hunter2"));
        let malformed = RedisConfig::at("redis://:hunter2@a:b:c:d");
        assert!(!format!("{malformed:?}").contains("hunter2"));
        assert!(!malformed.validate().unwrap_err().to_string().contains("hunter2"));
    }
}
