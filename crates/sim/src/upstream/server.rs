//! The HTTP shell around the state.

use std::{
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, extract::State as Shared, response::Response, routing::get};
use bursar_quota::Clock;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    config::{ConfigError, UpstreamConfig},
    headers::{self, Moment},
    state::{Arrival, Said, State, key_of},
    truth::Truth,
    vendor::Vendor,
};

/// How long a client may take to send the head of a request, and a connection to end once it should.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often accepting may fail in a row, such as for want of file handles, and how long to wait after each time.
const MAX_FAILURES: u32 = 100;
const BREATH: Duration = Duration::from_millis(50);
/// The most bytes that a connection buffers.
const MAX_BUFFER: usize = 64 * 1024;

/// Why an upstream cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its configuration is not valid.
    #[error("the upstream's configuration is not valid")]
    Config(#[from] ConfigError),
    /// It cannot accept connections any more.
    #[error("the upstream cannot accept connections")]
    Accept(#[source] io::Error),
}

/// A simulated upstream. It serves HTTP with [`Upstream::serve`].
pub struct Upstream {
    config: UpstreamConfig,
    vendor: Vendor,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Serves an upstream on `listener` until `shutdown` is done: [`Upstream::new`] and [`Upstream::serve`] in one.
pub async fn serve(
    listener: TcpListener,
    config: UpstreamConfig,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Upstream::new(config, clock)?.serve(listener, shutdown).await
}

impl Upstream {
    /// An upstream that nobody has called. Fails if a value of the configuration is outside its bounds.
    pub fn new(config: UpstreamConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>, ConfigError> {
        config.validate()?;
        let vendor = Vendor::new(&config);
        let state = Mutex::new(State::new(config.clone()));
        Ok(Arc::new(Self { config, vendor, clock, state }))
    }

    /// What it counted so far; the same as `GET /__truth`.
    pub fn truth(&self) -> Truth {
        self.with_state(|state, now| state.truth(&self.vendor, now))
    }

    /// Serves on `listener` until `shutdown` is done; then connections have 10 s to end. Fails if the listener does.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let router =
            Router::new().route("/__truth", get(answer_truth)).fallback(answer_call).with_state(self.clone());
        let places = Arc::new(Semaphore::new(self.config.max_connections));
        let mut connections = JoinSet::new();
        let ending = CancellationToken::new();
        let mut shutdown = pin!(shutdown);
        let mut failures = 0;
        let outcome = loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break Ok(()),
                accepted = accept(&listener, &places) => accepted,
            };
            let (stream, place) = match accepted {
                Ok(accepted) => accepted,
                // The connection failed, not the listener.
                Err(error) if is_of_connection(&error) => continue,
                Err(error) if failures < MAX_FAILURES => {
                    failures += 1;
                    tracing::debug!(%error, failures, "the upstream cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
                Err(error) => break Err(ServeError::Accept(error)),
            };
            failures = 0;
            while connections.try_join_next().is_some() {}
            let (router, ending) = (router.clone(), ending.clone());
            connections.spawn(async move {
                converse(stream, router, ending).await;
                drop(place);
            });
        };
        ending.cancel();
        while connections.join_next().await.is_some() {}
        outcome
    }

    /// One lock, one reading of the clock: decisions are in the order of their moments.
    fn with_state<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        act(&mut state, now)
    }

    fn moment(&self) -> Moment {
        let offset = Duration::from_millis(self.config.clock_offset_ms.unsigned_abs());
        let unix = self.clock.unix();
        let behind = self.config.clock_offset_ms < 0;
        Moment {
            now: self.clock.monotonic(),
            unix: if behind { unix.saturating_sub(offset) } else { unix + offset },
            scale: self.config.scale,
        }
    }

    /// A response that is made now.
    fn response(&self, status: StatusCode, said: Option<&Said>, body: &serde_json::Value) -> Response {
        let moment = self.moment();
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let lines = response.headers_mut();
        lines.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        lines.insert(header::DATE, headers::date(moment));
        for (name, value) in
            said.map(|said| headers::readings(&self.vendor, said, moment)).into_iter().flatten()
        {
            lines.append(name, value);
        }
        response
    }
}

/// Waits for a place, then for a connection.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Answers what comes over one connection, until it ends or has to.
async fn converse(stream: TcpStream, router: Router, ending: CancellationToken) {
    // Small answers go out at once; where that can't be had, they go out a little later.
    let _ = stream.set_nodelay(true);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_BUFFER)
        // The Date is the upstream's own, right or wrong.
        .auto_date_header(false);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = ending.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the upstream ended early");
    }
}

async fn answer_truth(Shared(upstream): Shared<Arc<Upstream>>) -> Response {
    match serde_json::to_value(upstream.truth()) {
        Ok(truth) => upstream.response(StatusCode::OK, None, &truth),
        Err(error) => {
            let problem = serde_json::json!({ "error": error.to_string() });
            upstream.response(StatusCode::INTERNAL_SERVER_ERROR, None, &problem)
        }
    }
}

/// Holds a slot; gives it back when the call is answered, or when its caller goes away and it is dropped.
struct UnderWay {
    upstream: Arc<Upstream>,
    key: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.upstream.with_state(|state, now| state.finish(now, self.key));
    }
}

async fn answer_call(Shared(upstream): Shared<Arc<Upstream>>, request: Request<Body>) -> Response {
    let key = key_of(token_of(request.headers()));
    let class = class_of(&upstream.vendor, request.method(), request.uri());
    let arrival = upstream.with_state(|state, now| state.arrive(&upstream.vendor, now, key, class));
    match arrival {
        Arrival::Accepted { latency, said } => {
            let under_way = UnderWay { upstream: upstream.clone(), key };
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            drop(under_way);
            upstream.response(StatusCode::OK, Some(&said), &serde_json::json!({ "ok": true }))
        }
        Arrival::Refused { by, retry_after, said } => {
            let body = headers::refusal_body(&upstream.vendor, by, retry_after, upstream.moment());
            let mut response = upstream.response(StatusCode::TOO_MANY_REQUESTS, Some(&said), &body);
            if !said.omit_retry_after {
                let value = headers::retry_after(upstream.moment(), retry_after);
                response.headers_mut().insert(headers::RETRY_AFTER, value);
            }
            response
        }
        Arrival::UnknownToken => {
            let problem = format!("{} tokens are known already", upstream.config.max_tokens);
            let body = serde_json::json!({ "error": { "code": "UNKNOWN_TOKEN", "message": problem } });
            upstream.response(StatusCode::FORBIDDEN, None, &body)
        }
    }
}

fn class_of(vendor: &Vendor, method: &Method, uri: &Uri) -> &'static str {
    vendor.class_of(method, uri.path())
}

/// The token that a call was made with; empty: none was sent.
fn token_of(headers: &HeaderMap) -> &[u8] {
    let sent = headers.get(header::AUTHORIZATION).or_else(|| headers.get("apiintegrationcode"));
    sent.map(HeaderValue::as_bytes).unwrap_or_default()
}
