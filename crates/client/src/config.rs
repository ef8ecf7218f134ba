//! What a client is told at its start, checked before it opens anything.

use std::{fmt, sync::Arc, time::Duration};

use bursar_quota::{TenantName, Tier};
use tonic::metadata::{Ascii, MetadataValue};

use crate::{
    resolver::{Resolver, SystemResolver},
    tls::TlsConfig,
};

/// The most endpoints of one client, and the most addresses of all its names.
pub const MAX_ENDPOINTS: usize = 32;

/// A field of [`ClientConfig`] that cannot be as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// Which field, such as `endpoints[1]` or `retry.base`.
    pub field: String,
    /// What is wrong with it, and its bound.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

/// A bearer token. Its text is never printed: not by `Debug`, not in a log line, not in an error.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(MetadataValue<Ascii>);

impl Token {
    /// Takes the token, 1 to 8,192 visible ASCII characters; the error names the field `token` and keeps the text out.
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        let visible = |b: u8| b.is_ascii_graphic();
        if text.is_empty() || text.len() > 8192 || !text.bytes().all(visible) {
            return Err(ConfigError::new("token", "1 to 8192 visible ASCII characters are needed"));
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {text}")
            .parse()
            .map_err(|_| ConfigError::new("token", "it cannot be sent as a header"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The value of the `authorization` header, marked as sensitive.
    pub(crate) fn header(&self) -> &MetadataValue<Ascii> {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How often and how fast what failed is tried again.
///
/// Another endpoint is tried at once; only when every endpoint has failed does the client back off: by a uniform
/// random part of `base`, doubled each time, never more than `max`, after what the server asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryConfig {
    /// The most attempts of one call, 1 to 100. Default: 10.
    pub attempts: u32,
    /// The first back-off, 1 ms to `max`. Default: 50 ms.
    pub base: Duration,
    /// The longest back-off, at most 60 s. Default: 5 s.
    pub max: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts: 10, base: Duration::from_millis(50), max: Duration::from_secs(5) }
    }
}

/// Everything a [`Client`](crate::Client) is told. [`ClientConfig::new`] has sensible values for all but the endpoint.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Replicas to ask, 1 to 32 of `http://host:port` or `https://host:port`. Any of them serves any budget. A name stands for
    /// all of its addresses, each of them a replica; a certificate has to be for the name all the same.
    pub endpoints: Vec<String>,
    /// Begin with the first endpoint. Otherwise, which is the default, with a random one, so that a fleet spreads over
    /// the replicas.
    pub in_order: bool,
    /// What finds the addresses of names. Default: the operating system's, [`SystemResolver`].
    pub resolver: Arc<dyn Resolver>,
    /// How often names are resolved anew, 1 s to 1 h, less up to a quarter of it at random. Default: 30 s. After a failure it
    /// is done within two seconds; where that finds nothing new, less and less often.
    pub resolve_every: Duration,
    /// Needed for `https` endpoints, and only for them.
    pub tls: Option<TlsConfig>,
    /// Sent with every call. Over `http` anybody on the way can read it.
    pub token: Option<Token>,
    /// Who asks, unless an acquire says otherwise. `None`: the server's default tenant.
    pub tenant: Option<TenantName>,
    /// How urgent, unless an acquire says otherwise.
    pub tier: Tier,
    /// How long an acquire waits in Bursar unless it says otherwise, at most 1 h. Default: 30 s.
    pub max_wait: Duration,
    /// How long a connection may take to open, 1 ms to 60 s. Default: 2 s.
    pub connect_timeout: Duration,
    /// How long one call may take beyond what it waits in Bursar, 1 ms to 5 min. Default: 5 s.
    pub rpc_timeout: Duration,
    /// How long a settlement is tried again, in all; at least `rpc_timeout`, at most 1 h. Default: 30 s.
    pub settle_within: Duration,
    /// How long the answer to a settlement, alone or on an acquire, may take, 10 ms to 5 min; then it is sent by itself to
    /// another replica as well, where there is one. Settling twice changes nothing, and a slot is not held by a replica that
    /// keeps silent, until the permit's deadline. An acquire that waits longer than this costs a call more. Default: 1 s.
    pub settle_alone_after: Duration,
    /// How often a connection is checked, idle ones as well, 1 s to 1 h: a replica that keeps silent while a call waits there
    /// is found out by it. Default: 3 s.
    pub keep_alive: Duration,
    /// How long a check may take, 100 ms to 5 min; then the connection counts as broken. Default: 2 s.
    pub keep_alive_timeout: Duration,
    /// How much of `send_within` is left for the way to the upstream: [`Permit::is_sendable`](crate::Permit::is_sendable)
    /// turns false this much earlier, or a tenth of it if that is less. At most 60 s. Default: 100 ms.
    pub send_margin: Duration,
    /// Tries after a failure.
    pub retry: RetryConfig,
    /// The most acquires that wait on one session, 1 to 100,000, and as many settlements and renewals; who comes beyond waits
    /// for its turn within its own deadline. Default: 4,096.
    pub max_in_flight: usize,
    /// The most settlements that run in the background, for permits that were dropped, 1 to 100,000. Beyond it a dropped
    /// permit is left to its deadline. Default: 1,024.
    pub max_background: usize,
    /// Give every acquire a request id, so that it is granted once however often it is tried. Default: true. Without, what
    /// broke may be granted twice, and what is then unused is charged until it expires; never more than there is. In
    /// exchange Bursar counts equal acquires together: where many callers share a session, several times as many a second.
    pub request_ids: bool,
    /// Seed of the jitter. `None`: from the operating system.
    pub seed: Option<u64>,
    /// Begins every request id that this client makes; 1 to 64 visible ASCII characters that **no other client ever uses**, or
    /// two calls share one permit. `None`, which only a simulation wants to change: 128 random bits.
    pub instance: Option<String>,
}

impl ClientConfig {
    /// Asks one replica, at `http://host:port` or `https://host:port`.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoints: vec![endpoint.into()],
            in_order: false,
            resolver: Arc::new(SystemResolver),
            resolve_every: Duration::from_secs(30),
            tls: None,
            token: None,
            tenant: None,
            tier: Tier::default(),
            max_wait: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(2),
            rpc_timeout: Duration::from_secs(5),
            settle_within: Duration::from_secs(30),
            settle_alone_after: Duration::from_secs(1),
            keep_alive: Duration::from_secs(3),
            keep_alive_timeout: Duration::from_secs(2),
            send_margin: Duration::from_millis(100),
            retry: RetryConfig::default(),
            max_in_flight: 4096,
            max_background: 1024,
            request_ids: true,
            seed: None,
            instance: None,
        }
    }

    /// Checks every field; the error names the first that is wrong, and its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const MS: Duration = Duration::from_millis(1);
        const MINUTE: Duration = Duration::from_secs(60);
        const HOUR: Duration = Duration::from_secs(3600);
        count("endpoints", self.endpoints.len(), MAX_ENDPOINTS)?;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            self.validate_endpoint(endpoint)
                .map_err(|p| ConfigError::new(format!("endpoints[{index}]"), p))?;
        }
        if let Some(tls) = &self.tls {
            tls.validate()?;
        }
        between("resolve_every", self.resolve_every, Duration::from_secs(1), HOUR)?;
        between("max_wait", self.max_wait, Duration::ZERO, HOUR)?;
        between("connect_timeout", self.connect_timeout, MS, MINUTE)?;
        between("rpc_timeout", self.rpc_timeout, MS, 5 * MINUTE)?;
        between("settle_within", self.settle_within, self.rpc_timeout, HOUR)?;
        between("settle_alone_after", self.settle_alone_after, 10 * MS, 5 * MINUTE)?;
        between("keep_alive", self.keep_alive, 1000 * MS, HOUR)?;
        between("keep_alive_timeout", self.keep_alive_timeout, 100 * MS, 5 * MINUTE)?;
        between("send_margin", self.send_margin, Duration::ZERO, MINUTE)?;
        between("retry.max", self.retry.max, MS, MINUTE)?;
        between("retry.base", self.retry.base, MS, self.retry.max)?;
        count("retry.attempts", self.retry.attempts as usize, 100)?;
        count("max_in_flight", self.max_in_flight, 100_000)?;
        count("max_background", self.max_background, 100_000)?;
        match &self.instance {
            Some(text)
                if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                Err(ConfigError::new("instance", "1 to 64 visible ASCII characters are needed"))
            }
            _ => Ok(()),
        }
    }

    fn validate_endpoint(&self, endpoint: &str) -> Result<(), String> {
        let uri: http::Uri = endpoint.parse().map_err(|error| format!("{endpoint:?} is no URI: {error}"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("user and password do not belong here, use `token`".to_owned());
        }
        if uri.host().is_none_or(str::is_empty) || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(format!("{endpoint:?} is not of the form http://host:port or https://host:port"));
        }
        match (uri.scheme_str(), &self.tls) {
            (Some("http"), None) | (Some("https"), Some(_)) => Ok(()),
            (Some("http"), Some(_)) => Err("http with `tls` set: write https".to_owned()),
            (Some("https"), None) => Err("https needs `tls`, at least an authority to trust".to_owned()),
            _ => Err(format!("{endpoint:?} begins with neither http:// nor https://")),
        }
    }
}

fn between(field: &str, found: Duration, least: Duration, most: Duration) -> Result<(), ConfigError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::new(field, format_args!("{found:?} is not between {least:?} and {most:?}")))
}

fn count(field: &str, found: usize, most: usize) -> Result<(), ConfigError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::new(field, format_args!("{found} is not between 1 and {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut ClientConfig)) -> String {
        let mut config = ClientConfig::new("http://127.0.0.1:7411");
        assert_eq!(config.validate(), Ok(()));
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn every_field_is_named_with_its_bound() {
        let zero = Duration::ZERO;
        let table: [(&str, String); 16] = [
            ("endpoints: 0 is not between 1 and 32", wrong(|c| c.endpoints.clear())),
            ("endpoints[1]: \"ftp://x\" begins with", wrong(|c| c.endpoints.push("ftp://x".into()))),
            ("endpoints[1]: \"\" is no URI", wrong(|c| c.endpoints.push(String::new()))),
            (
                "endpoints[1]: \"http://x/path\" is not of",
                wrong(|c| c.endpoints.push("http://x/path".into())),
            ),
            ("endpoints[0]: https needs `tls`", wrong(|c| c.endpoints = vec!["https://x".into()])),
            ("endpoints[0]: http with `tls`", wrong(|c| c.tls = Some(TlsConfig::new("CERTIFICATE-----")))),
            ("resolve_every: 0ns is not between 1s and 3600s", wrong(|c| c.resolve_every = zero)),
            (
                "max_wait: 3601s is not between 0ns and 3600s",
                wrong(|c| c.max_wait = Duration::from_secs(3601)),
            ),
            ("connect_timeout: 0ns is not between 1ms and 60s", wrong(|c| c.connect_timeout = zero)),
            ("rpc_timeout: 0ns is not", wrong(|c| c.rpc_timeout = zero)),
            ("settle_within: 0ns is not between 5s and 3600s", wrong(|c| c.settle_within = zero)),
            ("settle_alone_after: 0ns is not between 10ms and 300s", wrong(|c| c.settle_alone_after = zero)),
            ("retry.base: 6s is not between 1ms and 5s", wrong(|c| c.retry.base = Duration::from_secs(6))),
            ("retry.attempts: 0 is not between 1 and 100", wrong(|c| c.retry.attempts = 0)),
            ("max_in_flight: 0 is not", wrong(|c| c.max_in_flight = 0)),
            ("instance: 1 to 64", wrong(|c| c.instance = Some("a b".into()))),
        ];
        for (wanted, found) in table {
            assert!(found.starts_with(wanted), "{found:?} instead of {wanted:?}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let mut config = ClientConfig::new("https://127.0.0.1:7411");
        config.token = Some(Token::new("s3cret").unwrap());
        config.tls =
            Some(TlsConfig::new("-----BEGIN CERTIFICATE-----").identity("CERTIFICATE-----", "s3cret"));
        let printed = format!("{config:?} {}", config.validate().unwrap_err());
        assert!(!printed.contains("s3cret"), "{printed}");
        assert!(printed.contains("tls.identity.key"), "{printed}");
        let error = Token::new("s3cret\n").unwrap_err().to_string();
        assert!(error.starts_with("token: ") && !error.contains("s3cret"), "{error}");
        let user = ClientConfig::new("http://me:s3cret@127.0.0.1").validate().unwrap_err().to_string();
        assert!(!user.contains("s3cret"), "{user}");
    }
}
