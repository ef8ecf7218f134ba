//! What a server is told.

use std::{fmt, sync::Arc, time::Duration};

use bursar_dialect::Profiles;
use bursar_quota::Clock;
use prometheus_client::registry::Registry;

use crate::auth::Token;

/// Options of a server. [`Options::new`] has the defaults.
pub struct Options {
    /// The profiles that a declaration may name.
    pub profiles: Arc<Profiles>,
    /// Measures how long calls take, for the metrics.
    pub clock: Arc<dyn Clock>,
    /// Where the metrics of this server and its coordinator are registered, and what `/metrics` shows.
    pub registry: Registry,
    /// Known bearer tokens. None: everybody may do everything, so listen on loopback.
    pub tokens: Vec<Token>,
    /// TLS; `None`: plain text.
    pub tls: Option<Tls>,
    /// The most connections at once; what is beyond is closed at once, so that its client tries another replica.
    /// Default 10,000.
    pub max_connections: usize,
    /// The most streams at once on a connection, HTTP/2's own bound. Default 4,096. Acquires may fill 7/8 of it (then
    /// RESOURCE_EXHAUSTED): the rest is kept for the settlements that let them go on.
    pub max_streams: u32,
    /// The most acquires under way on a session; those beyond get RESOURCE_EXHAUSTED. Default 4,096.
    pub session_acquires: usize,
    /// The longest request message in bytes; a longer one is OUT_OF_RANGE. Default 4 MiB.
    pub request_bytes_max: usize,
    /// How often an idle connection is pinged. Default 30 s.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered until the connection is given up. Default 20 s.
    pub keepalive_timeout: Duration,
    /// How long a TLS handshake may take. Default 10 s.
    pub handshake_timeout: Duration,
    /// How often the store is asked whether it can be written, for the health service. Default 2 s.
    pub ready_interval: Duration,
    /// How long an answer about readiness may take until it counts as no. Default 3 s.
    pub ready_timeout: Duration,
    /// How long connections may take to end once the drain is over. Default 5 s.
    pub close_timeout: Duration,
}

/// A server's side of TLS, all in PEM. The key is never printed.
#[derive(Clone)]
pub struct Tls {
    /// The server's certificate, then what leads to its root.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Who signs the certificates that clients must show (mTLS); `None`: they show none.
    pub client_ca: Option<Vec<u8>>,
}

impl Options {
    /// Every default, for these profiles.
    pub fn new(profiles: Arc<Profiles>, clock: Arc<dyn Clock>) -> Self {
        Self {
            profiles,
            clock,
            registry: Registry::default(),
            tokens: Vec::new(),
            tls: None,
            max_connections: 10_000,
            max_streams: 4096,
            session_acquires: 4096,
            request_bytes_max: 4 * 1024 * 1024,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(10),
            ready_interval: Duration::from_secs(2),
            ready_timeout: Duration::from_secs(3),
            close_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("tokens", &self.tokens)
            .field("tls", &self.tls)
            .field("max_connections", &self.max_connections)
            .field("max_streams", &self.max_streams)
            .field("session_acquires", &self.session_acquires)
            .field("request_bytes_max", &self.request_bytes_max)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("key", &"redacted")
            .field("client_ca", &self.client_ca.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn options_print_no_secret() {
        let clock = Arc::new(bursar_quota::SystemClock::new());
        let mut options = Options::new(Arc::new(Profiles::builtin()), clock);
        options.tokens = vec![Token::from_secret("fleet", "open sesame", Role::Worker)];
        options.tls = Some(Tls { certificate: b"CERT".to_vec(), key: b"KEY".to_vec(), client_ca: None });
        let text = format!("{options:?}");
        assert!(text.contains("fleet") && !text.contains("sesame"), "{text}");
        assert!(!text.contains("KEY") && !text.contains(&format!("{:?}", b"KEY")), "{text}");
    }
}
