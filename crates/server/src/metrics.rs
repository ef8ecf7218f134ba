//! What this room counts. What permits do is counted by the coordinator.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tonic::Code;

use crate::{desk::Desk, failure::Failure};

/// Labels of a finished call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    code: CodeLabel,
}

/// Label of a call's duration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

/// A gRPC status code as a label: `Ok`, `InvalidArgument`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CodeLabel(Code);

impl EncodeLabelValue for CodeLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        use std::fmt::Write;
        write!(encoder, "{:?}", self.0)
    }
}

/// Counters and gauges of a server.
#[derive(Debug)]
pub(crate) struct Metrics {
    calls: Family<Call, Counter>,
    seconds: Family<Method, Histogram, fn() -> Histogram>,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Connections that were closed at once, since there were too many.
    pub(crate) connections_refused: Counter,
    /// Calls that bore no known token.
    pub(crate) turned_away: Counter,
    /// Sessions that are open.
    pub(crate) sessions: Gauge,
    /// Watchers that are open.
    pub(crate) watchers: Gauge,
}

impl Metrics {
    pub(crate) fn registered(registry: &mut Registry) -> Arc<Self> {
        let metrics = Arc::new(Self {
            calls: Family::default(),
            // 100 us to 105 s: from an answer at once to a long wait.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 4.0, 11))),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            turned_away: Counter::default(),
            sessions: Gauge::default(),
            watchers: Gauge::default(),
        });
        let registry = registry.sub_registry_with_prefix("bursar_server");
        registry.register("calls", "Calls answered, by method and gRPC code", metrics.calls.clone());
        registry.register_with_unit(
            "call_duration",
            "How long unary calls took, waiting included",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register(
            "connections_refused",
            "Connections closed at once, beyond the most that may be",
            metrics.connections_refused.clone(),
        );
        registry.register("turned_away", "Calls that bore no known token", metrics.turned_away.clone());
        registry.register("sessions", "Open sessions", metrics.sessions.clone());
        registry.register("watchers", "Open watch streams", metrics.watchers.clone());
        metrics
    }

    /// Counts a call that is over.
    pub(crate) fn count<T>(&self, method: &'static str, result: &Result<T, Failure>) {
        let code = result.as_ref().map_or_else(Failure::code, |_| Code::Ok);
        if let (Code::Internal, Err(failure)) = (code, result) {
            tracing::error!(method, error = %failure.facts().message, "a call failed that should not");
        }
        self.calls.get_or_create(&Call { method, code: CodeLabel(code) }).inc();
    }

    /// Measures how long a call took.
    pub(crate) fn took(&self, method: &'static str, duration: Duration) {
        self.seconds.get_or_create(&Method { method }).observe(duration.as_secs_f64());
    }
}

/// Runs a unary call, counts and measures it, and turns its failure into a status.
pub(crate) async fn answered<T>(
    desk: &Desk,
    method: &'static str,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<tonic::Response<T>, tonic::Status> {
    let began = desk.clock.monotonic();
    let result = call.await;
    desk.metrics.took(method, desk.clock.monotonic().saturating_sub(began));
    desk.metrics.count(method, &result);
    result.map(tonic::Response::new).map_err(|failure| failure.status())
}

/// Counts in a gauge for as long as it is held.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    pub(crate) fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
