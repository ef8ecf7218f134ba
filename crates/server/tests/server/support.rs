//! A server, its clients, and what they say.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bursar_coordinator::{Config, Coordinator};
use bursar_dialect::Profiles;
use bursar_quota::{BudgetSpec, LimitKind, LimitSpec, ReplicaName, SystemClock};
use bursar_server::{Options, ServeError, serve};
use bursar_wire::v1::{
    self, budget_service_client::BudgetServiceClient, permit_service_client::PermitServiceClient,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use super::ledger::Slots;

/// No test waits longer.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// The future's result, within [`BOUND`].
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(BOUND, future).await.expect("it should not take so long")
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) ledger: Arc<Slots>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

/// A server with one budget, `b`, that has so many slots.
pub(crate) async fn start(free: u64) -> Running {
    start_with(free, |_| ()).await
}

pub(crate) async fn start_with(free: u64, change: impl FnOnce(&mut Options)) -> Running {
    let ledger = Slots::new(free);
    let profiles = Arc::new(Profiles::builtin());
    let clock = Arc::new(SystemClock::new());
    let config = Config::new(ReplicaName::new("here").unwrap(), 7);
    let coordinator = Coordinator::new(ledger.clone(), profiles.clone(), clock.clone(), config);
    let kind = LimitKind::Concurrency { capacity: 1000, linger: Duration::ZERO };
    let limit = LimitSpec::new("slots".parse().unwrap(), kind);
    coordinator.put_budget(BudgetSpec::new("b".parse().unwrap(), vec![limit])).await.unwrap();
    let mut options = Options::new(profiles, clock);
    options.ready_interval = Duration::from_millis(20);
    options.close_timeout = Duration::from_secs(2);
    change(&mut options);
    let listen = || TcpListener::bind("127.0.0.1:0");
    let (grpc, admin) = (listen().await.unwrap(), listen().await.unwrap());
    let (address, admin_address) = (grpc.local_addr().unwrap(), admin.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let bound = Duration::from_secs(5);
    let task = tokio::spawn(serve(grpc, Some(admin), coordinator, options, shutdown, bound));
    Running { address, admin: admin_address, ledger, stop: Some(stop), task }
}

impl Running {
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        soon(endpoint.connect()).await.unwrap()
    }

    pub(crate) async fn permits(&self) -> PermitServiceClient<Channel> {
        PermitServiceClient::new(self.channel().await)
    }

    pub(crate) async fn budgets(&self) -> BudgetServiceClient<Channel> {
        BudgetServiceClient::new(self.channel().await)
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the end of the server.
    pub(crate) async fn ended(self) -> Result<(), ServeError> {
        soon(self.task).await.unwrap()
    }
}

pub(crate) fn acquire() -> v1::AcquireRequest {
    v1::AcquireRequest { budget: "b".into(), ..Default::default() }
}

pub(crate) fn waiting() -> v1::AcquireRequest {
    v1::AcquireRequest { max_wait_ms: 600_000, ..acquire() }
}

pub(crate) fn lost(permit_id: &str) -> v1::SettleRequest {
    v1::SettleRequest {
        budget: "b".into(),
        permit_id: permit_id.into(),
        outcome: Some(v1::settle_request::Outcome::Lost(v1::Lost {})),
        ..Default::default()
    }
}

pub(crate) fn answered(permit_id: &str, response: v1::UpstreamResponse) -> v1::SettleRequest {
    v1::SettleRequest { outcome: Some(v1::settle_request::Outcome::Response(response)), ..lost(permit_id) }
}

pub(crate) fn permit(response: v1::AcquireResponse) -> v1::Permit {
    match response.result {
        Some(v1::acquire_response::Result::Permit(permit)) => permit,
        other => panic!("no permit: {other:?}"),
    }
}

pub(crate) fn refusal(response: v1::AcquireResponse) -> v1::Refusal {
    match response.result {
        Some(v1::acquire_response::Result::Refusal(refusal)) => refusal,
        other => panic!("no refusal: {other:?}"),
    }
}

/// The field that an INVALID_ARGUMENT names, and what it says of it.
pub(crate) fn violation(status: &Status) -> (String, String) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let request = status.get_details_bad_request().expect("it names the field");
    let [violation] = request.field_violations.as_slice() else { panic!("{request:?}") };
    (violation.field.clone(), violation.description.clone())
}
