//! The server as a whole: from the first connection to the end of the last.

use std::{sync::Arc, time::Duration};

use bursar_coordinator::Coordinator;
use bursar_wire::{
    DESCRIPTORS,
    v1::{budget_service_server::BudgetServiceServer, permit_service_server::PermitServiceServer},
};
use tokio::{
    net::TcpListener,
    pin,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::{Routes, interceptor::InterceptedService},
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::{
    Options, Tls,
    admin::{self, Admin},
    auth::Door,
    budgets::Budgets,
    desk::Desk,
    listen::{Accept, connections},
    metrics::Metrics,
    permits::Permits,
    readiness::{Readiness, silence},
};

/// HTTP/2 windows: wide enough for a few of the largest messages of a session at once.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its certificate, key or client CA is of no use.
    #[error("the TLS certificate, key or client CA cannot be used")]
    Tls(#[source] tonic::transport::Error),
    /// The descriptors of its services cannot be reflected.
    #[error("reflection cannot be set up")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// Its gRPC side failed.
    #[error("the gRPC server failed")]
    Grpc(#[source] tonic::transport::Error),
    /// Its admin side failed.
    #[error("the admin server failed")]
    Admin(#[source] std::io::Error),
}

/// Serves gRPC on `grpc` and, where given, the admin pages on `admin`, until `shutdown` ends. Then, in this order:
/// `/readyz` and the health service say no; acquires get the refusal DRAINING while those that wait have
/// `drain_bound` to finish; sessions and watchers end; connections have [`Options::close_timeout`] to close, and
/// what has not closed by then ends with the process. Settlements are taken to the last.
///
/// Fails at once if the options are of no use, and whenever a listener's server fails.
pub async fn serve(
    grpc: impl Accept,
    admin: Option<TcpListener>,
    coordinator: Coordinator,
    mut options: Options,
    shutdown: impl Future<Output = ()> + Send,
    drain_bound: Duration,
) -> Result<(), ServeError> {
    warn_if_open(grpc.is_local(), &options);
    let metrics = Metrics::registered(&mut options.registry);
    coordinator.register_metrics(options.registry.sub_registry_with_prefix("bursar"));
    let draining = CancellationToken::new();
    let ending = CancellationToken::new();
    let readiness = Arc::new(Readiness {
        coordinator: coordinator.clone(),
        bound: options.ready_timeout,
        draining: draining.clone(),
    });
    let registry = Arc::new(std::mem::take(&mut options.registry));
    let pages = admin::pages(Admin { registry, readiness: Arc::clone(&readiness) });
    let (reporter, health) = health_reporter();
    let close_timeout = options.close_timeout;
    let following = readiness.follow(reporter.clone(), options.ready_interval);

    let server = transport(&options)?;
    let incoming = connections(grpc, options.max_connections, Arc::clone(&metrics));
    let routes = services(&coordinator, options, metrics, ending.clone())?.add_service(health);
    let serving =
        server.serve_with_incoming_shutdown(routes.prepare(), incoming, ending.clone().cancelled_owned());

    let closed = CancellationToken::new();
    let admin = {
        let closed = closed.clone().cancelled_owned();
        async move {
            match admin {
                Some(listener) => axum::serve(listener, pages).with_graceful_shutdown(closed).await,
                None => {
                    closed.await;
                    Ok(())
                }
            }
        }
    };
    let draining = drain(shutdown, draining, coordinator, drain_bound, reporter, ending);

    // The health service is told by `following`, which ends when the drain begins.
    let grpc = async {
        tokio::join!(following, draining);
        sleep(close_timeout).await;
        tracing::warn!("some connections did not close in time");
        Ok(())
    };
    pin!(admin);
    let result = tokio::select! {
        result = serving => result.map_err(ServeError::Grpc),
        result = grpc => result,
        result = &mut admin => result.map_err(ServeError::Admin),
    };
    closed.cancel();
    if result.is_ok() {
        let _ = timeout(Duration::from_secs(1), admin).await;
    }
    tracing::info!("stopped");
    result
}

// ## serving => draining => ending => stopped
async fn drain(
    shutdown: impl Future<Output = ()>,
    draining: CancellationToken,
    coordinator: Coordinator,
    bound: Duration,
    reporter: HealthReporter,
    ending: CancellationToken,
) {
    shutdown.await;
    tracing::info!(bound_ms = bound.as_millis(), "draining");
    draining.cancel();
    coordinator.drain(bound).await;
    silence(reporter).await;
    ending.cancel();
    tracing::info!("drained");
}

fn warn_if_open(local: bool, options: &Options) {
    if !local && options.tokens.is_empty() && options.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none()) {
        tracing::warn!(
            "everybody who reaches this address may do everything: configure tokens or client certificates"
        );
    } else if !local && options.tls.is_none() {
        tracing::warn!("tokens cross the network in plain text: configure TLS");
    }
}

fn transport(options: &Options) -> Result<Server, ServeError> {
    let server = Server::builder()
        .trace_fn(|request| tracing::debug_span!("call", path = request.uri().path()))
        .max_concurrent_streams(options.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(options.keepalive_interval))
        .http2_keepalive_timeout(Some(options.keepalive_timeout));
    match &options.tls {
        Some(tls) => server.tls_config(tls_config(tls, options.handshake_timeout)).map_err(ServeError::Tls),
        None => Ok(server),
    }
}

fn tls_config(tls: &Tls, handshake_timeout: Duration) -> ServerTlsConfig {
    let identity = Identity::from_pem(&tls.certificate, &tls.key);
    let config = ServerTlsConfig::new().identity(identity).timeout(handshake_timeout);
    match &tls.client_ca {
        Some(ca) => config.client_ca_root(Certificate::from_pem(ca)),
        None => config,
    }
}

/// The services but health. Reflection and health are open to everybody; the rest stands behind the door.
fn services(
    coordinator: &Coordinator,
    options: Options,
    metrics: Arc<Metrics>,
    ending: CancellationToken,
) -> Result<Routes, ServeError> {
    let streams = usize::try_from(options.max_streams).unwrap_or(usize::MAX);
    let door = Door::new(options.tokens, metrics.turned_away.clone());
    let desk = Arc::new(Desk {
        coordinator: coordinator.clone(),
        profiles: options.profiles,
        clock: options.clock,
        metrics,
        session_acquires: options.session_acquires,
        connection_acquires: (streams - streams / 8).max(1),
        ending,
    });
    let permits = PermitServiceServer::new(Permits::new(Arc::clone(&desk)))
        .max_decoding_message_size(options.request_bytes_max);
    let budgets =
        BudgetServiceServer::new(Budgets::new(desk)).max_decoding_message_size(options.request_bytes_max);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(InterceptedService::new(permits, door.clone()))
        .add_service(InterceptedService::new(budgets, door))
        .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
        .add_service(reflection().build_v1alpha().map_err(ServeError::Reflection)?))
}
