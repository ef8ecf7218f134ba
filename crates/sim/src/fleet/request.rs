//! One request to the upstream.

use std::time::Duration;

use bursar_client::{MAX_BODY_BYTES, Outcome};
use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client as Http, Response, StatusCode, Url};

use super::{Counters, FleetConfig, FleetError, config::CallKind};

/// What became of a request.
#[derive(Debug)]
pub(super) enum Sent {
    /// An answer came.
    Response { status: StatusCode, headers: HeaderMap, body: Vec<u8> },
    /// It never left.
    Unsent,
    /// It left, or may have, and no answer came.
    Lost,
}

/// Sends the requests of a fleet.
#[derive(Clone)]
pub(super) struct Sender {
    http: Http,
    base: Url,
    token: HeaderValue,
}

impl Sender {
    pub(super) fn new(url: &str, config: &FleetConfig) -> Result<Self, FleetError> {
        let mut token = HeaderValue::from_str(&config.token).map_err(|_| FleetError::Token)?;
        token.set_sensitive(true);
        let base = Url::parse(url).map_err(|error| FleetError::Url(error.to_string()))?;
        let http = Http::builder()
            .no_proxy()
            .timeout(config.request_timeout.max(Duration::from_millis(1)))
            .pool_max_idle_per_host(config.workers)
            .build()?;
        Ok(Self { http, base, token })
    }

    /// Makes a call and counts it.
    pub(super) async fn send(&self, kind: &CallKind, counters: &Counters) -> Sent {
        let _under_way = counters.send();
        let Ok(url) = self.base.join(&kind.path) else {
            counters.error();
            return Sent::Unsent;
        };
        let request = self.http.request(kind.method.clone(), url);
        let request = request.header(header::AUTHORIZATION, self.token.clone());
        match request.send().await {
            Ok(mut response) => {
                let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
                let body = first_bytes(response).await;
                if status == StatusCode::TOO_MANY_REQUESTS {
                    counters.refused();
                }
                Sent::Response { status, headers, body }
            }
            Err(error) => {
                counters.error();
                tracing::debug!(%error, "a call got no answer");
                // Whoever could not connect has sent nothing.
                if error.is_connect() { Sent::Unsent } else { Sent::Lost }
            }
        }
    }
}

/// As much of the body as Bursar is told; less if it ends or breaks.
async fn first_bytes(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_BODY_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    body.truncate(MAX_BODY_BYTES);
    body
}

impl Sent {
    /// Whether the upstream refused it.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Response { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether the upstream took it.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Response { .. }) && !self.is_refused()
    }

    /// What Retry-After says, in seconds with or without a fraction. A date is not read: the handlers that are played
    /// here do not read one either.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let Self::Response { headers, .. } = self else { return None };
        let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse::<f64>().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// What Bursar is told.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Response { status, headers, body } => Outcome::response(status.as_u16(), headers, body),
            Self::Unsent => Outcome::not_sent(),
            Self::Lost => Outcome::lost(),
        }
    }
}
