//! A replica: the real server over the real lanes over the real Redis client.

use std::{future::pending, sync::Arc, time::Duration};

use bursar_coordinator::{Config, Coordinator};
use bursar_dialect::Profiles;
use bursar_ledger::{RedisConfig, RedisHost, ScriptLedger};
use bursar_quota::{BudgetName, BudgetSpec, LimitKind, LimitName, LimitSpec, ReplicaName};
use bursar_server::{Options, serve};
use turmoil::net::TcpListener;

use super::{
    network::{Dialler, Door, PORT, SimClock},
    worker::{AT_ONCE, CAPACITY, SEND_WITHIN, WINDOW},
};

pub(crate) const BUDGET: &str = "vendor/prod";

fn budget() -> BudgetSpec {
    let limit = |name: &str, kind| LimitSpec::new(LimitName::new(name).unwrap(), kind);
    let window = LimitKind::Window { capacity: CAPACITY, window: WINDOW, aligned: true, on_clock: false };
    let at_once = LimitKind::Concurrency { capacity: AT_ONCE as u64, linger: Duration::ZERO };
    let window = LimitSpec { readings: true, ..limit("requests", window) };
    let limits = vec![window, limit("concurrency", at_once)];
    let mut spec = BudgetSpec::new(BudgetName::new(BUDGET).unwrap(), limits);
    spec.send_within = SEND_WITHIN;
    spec.permit_ttl = Duration::from_secs(6);
    spec.ramp = Duration::from_millis(200);
    spec
}

/// Runs until it is crashed. What it knew is gone then; it comes back as another.
pub(crate) async fn run(name: &'static str, seed: u64) -> turmoil::Result {
    let born = turmoil::sim_elapsed().unwrap_or_default().as_millis();
    let config = RedisConfig {
        connect_timeout: Duration::from_millis(500),
        response_timeout: Duration::from_millis(400),
        call_timeout: Duration::from_millis(1500),
        seed,
        ..RedisConfig::at("redis://store:6379")
    };
    let host = RedisHost::over(config, Arc::new(Dialler))?;
    let clock = Arc::new(SimClock);
    let ledger = Arc::new(ScriptLedger::new(host, "bursar:", clock.clone()));
    let profiles = Arc::new(Profiles::builtin());
    let replica = ReplicaName::new(&format!("{name}-{born}"))?;
    let config = Config::new(replica, seed.wrapping_add(u64::try_from(born)?));
    let coordinator = Coordinator::new(ledger, Arc::clone(&profiles), clock.clone(), config);
    let declaring = {
        let coordinator = coordinator.clone();
        async move {
            while coordinator.put_budget(budget()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    tokio::spawn(declaring);
    let door = Door(TcpListener::bind(("0.0.0.0", PORT)).await?);
    serve(door, None, coordinator, Options::new(profiles, clock), pending(), Duration::ZERO).await?;
    Ok(())
}
