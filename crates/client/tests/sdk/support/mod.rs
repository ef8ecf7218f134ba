//! A Bursar to test against: the generated service over in-memory connections that can be cut, in paused time. It
//! grants unless it is told otherwise, and remembers what it was asked.

mod fake;
mod wire;

use std::{sync::Arc, time::Duration};

use bursar_client::{Client, ClientConfig};
use bursar_quota::Clock;

pub(crate) use fake::{Act, Fake, Seen, refusal};
pub(crate) use wire::Wire;

/// tokio's time, which stands still while anything can be done.
#[derive(Debug)]
pub(crate) struct TokioClock(tokio::time::Instant);

impl TokioClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that the tests inject")]
    pub(crate) fn shared() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl Clock for TokioClock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn unix(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Milliseconds.
pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A configuration in which nothing is left to chance.
pub(crate) fn config() -> ClientConfig {
    let mut config = ClientConfig::new("http://fake");
    config.in_order = true;
    config.seed = Some(7);
    config.instance = Some("test".to_owned());
    config
}

/// A client of these servers.
pub(crate) fn client_of(config: ClientConfig, fakes: &[&Fake]) -> Client {
    let channels = fakes.iter().map(|fake| fake.wire.channel()).collect();
    Client::over(config, TokioClock::shared(), channels).unwrap()
}

/// One server and a client of it.
pub(crate) fn pair() -> (Fake, Client) {
    let fake = Fake::start();
    let client = client_of(config(), &[&fake]);
    (fake, client)
}
