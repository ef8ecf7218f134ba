//! Whether this replica should be asked: its store can be written, and it is not shutting down.

use std::{sync::Arc, time::Duration};

use bursar_coordinator::Coordinator;
use bursar_quota::Eviction;
use bursar_wire::v1::{budget_service_server, permit_service_server};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

/// The names under which the health service knows this server: as a whole, and by service.
const SERVICES: [&str; 3] = ["", permit_service_server::SERVICE_NAME, budget_service_server::SERVICE_NAME];

/// The longest rest between two looks while it is not ready: at its start it is as soon as its budgets are declared.
const UNREADY_REST: Duration = Duration::from_millis(250);

/// Answers whether this replica is ready.
pub(crate) struct Readiness {
    pub(crate) coordinator: Coordinator,
    /// How long the store may take to answer.
    pub(crate) bound: Duration,
    /// Cancelled when the drain begins.
    pub(crate) draining: CancellationToken,
}

impl Readiness {
    /// Why it is not ready, for a person to read.
    pub(crate) async fn check(&self) -> Result<(), String> {
        if self.draining.is_cancelled() {
            return Err("draining".into());
        }
        match timeout(self.bound, self.coordinator.ready()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) if self.coordinator.would_ration() => Ok(()),
            Err(_) => {
                let trouble = self.coordinator.store_trouble();
                let trouble = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
                Err(format!("the store gave no answer within {} ms{trouble}", self.bound.as_millis()))
            }
        }
    }

    /// What whoever runs it should know though it is ready.
    pub(crate) fn warning(&self) -> Option<String> {
        let trouble = self.coordinator.store_trouble();
        let rationed =
            trouble.map(|cause| format!("the store cannot be reached, rations are granted: {cause}"));
        let eviction = self.coordinator.eviction();
        let evicts = matches!(eviction, Eviction::May { .. } | Eviction::Unseen { .. });
        rationed.or_else(|| evicts.then(|| eviction.to_string()))
    }

    // ## SERVING <=> NOT_SERVING, until draining => NOT_SERVING
    /// Keeps the health service's answer up to date until the drain begins.
    pub(crate) async fn follow(self: Arc<Self>, reporter: HealthReporter, interval: Duration) {
        let mut was = None;
        loop {
            let is = tokio::select! {
                is = self.check() => is,
                () = self.draining.cancelled() => break,
            };
            if was != Some(is.is_ok()) {
                was = Some(is.is_ok());
                match &is {
                    Ok(()) => tracing::info!("ready"),
                    Err(cause) => tracing::warn!(%cause, "not ready"),
                }
                report(&reporter, is.is_ok()).await;
            }
            let rest = if is.is_ok() { interval } else { interval.min(UNREADY_REST) };
            tokio::select! {
                () = sleep(rest) => {}
                () = self.draining.cancelled() => break,
            }
        }
        report(&reporter, false).await;
    }
}

async fn report(reporter: &HealthReporter, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Ends the streams of those who watch the health service, so that their connections can end.
pub(crate) async fn silence(mut reporter: HealthReporter) {
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}
