//! Workers with the real client, and the upstream that they call.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use bursar_client::{AcquireError, AcquireOptions, Client, ClientConfig, Permit, Session};
use bursar_quota::Clock as _;
use bursar_sim::model::{Account, Answer, ClockWindow, Concurrency, Rule};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::sleep;

use super::{
    REPLICAS, WORKERS,
    network::{PORT, SimClock, channel},
    replica::BUDGET,
};

pub(crate) const CAPACITY: u64 = 60;
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
pub(crate) const AT_ONCE: usize = 6;
pub(crate) const SEND_WITHIN: Duration = Duration::from_secs(2);

struct Truth {
    account: Account,
    accepted: Vec<u64>,
    refused: Vec<String>,
}

/// The upstream, and what came of all calls.
pub(crate) struct Upstream(RefCell<Truth>);

impl Upstream {
    pub(crate) fn new(seed: u64) -> Self {
        // A phase that nobody is told.
        let phase = Duration::from_millis(seed * 7919 % 5000);
        let rule = Rule {
            name: "requests",
            classes: &[],
            refusals_count: false,
            model: Box::new(ClockWindow::new(CAPACITY, WINDOW, phase)),
        };
        let account = Account::new(vec![rule], Some(Concurrency::new(AT_ONCE, Duration::ZERO)));
        Self(RefCell::new(Truth { account, accepted: vec![0; WORKERS], refused: Vec::new() }))
    }

    /// Accepted calls by worker.
    pub(crate) fn accepted(&self) -> Vec<u64> {
        self.0.borrow().accepted.clone()
    }

    /// Refused calls, in words.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.0.borrow().refused.clone()
    }

    /// What it takes in so long, at the least.
    pub(crate) fn possible(&self, span: Duration) -> u64 {
        CAPACITY * span.as_secs() / WINDOW.as_secs()
    }

    /// A call arrives: its status and its headers.
    fn call(&self, worker: usize, permit: &Permit) -> (u16, Vec<(&'static str, String)>) {
        let now = SimClock.monotonic();
        let truth = &mut *self.0.borrow_mut();
        let answer = truth.account.call(now, "default", 1);
        let standing = truth.account.standing(now, 0).unwrap();
        let reset = standing.reset.unwrap_or(now).saturating_sub(now);
        let mut headers = vec![
            ("ratelimit-limit", standing.capacity.to_string()),
            ("ratelimit-remaining", standing.remaining.to_string()),
            ("ratelimit-reset", reset.as_millis().div_ceil(1000).to_string()),
        ];
        if answer == Answer::Accepted {
            truth.accepted[worker] += 1;
            return (200, headers);
        }
        truth.refused.push(format!(
            "{:.3} s: {} of worker {worker}: {answer:?}",
            now.as_secs_f64(),
            permit.id()
        ));
        headers.push(("retry-after", "1".to_owned()));
        (429, headers)
    }

    fn finish(&self) {
        self.0.borrow_mut().account.finish(SimClock.monotonic());
    }
}

/// Calls of their own, or a session.
enum Line {
    Unary(Client),
    Session(Session),
}

impl Line {
    async fn acquire(&self) -> Result<Permit, AcquireError> {
        let options = AcquireOptions::new(BUDGET).max_wait(Duration::from_secs(8));
        match self {
            Self::Unary(client) => client.acquire(options).await,
            Self::Session(session) => session.acquire(options).await,
        }
    }
}

/// Acquires, calls and settles for ever.
pub(crate) async fn run(index: usize, seed: u64, upstream: Rc<Upstream>) -> turmoil::Result {
    let mut random = SmallRng::seed_from_u64(seed);
    let endpoints: Vec<_> = REPLICAS.iter().map(|replica| format!("http://{replica}:{PORT}")).collect();
    let config = ClientConfig {
        endpoints,
        rpc_timeout: Duration::from_secs(2),
        seed: Some(seed),
        instance: Some(format!("worker-{index}")),
        ..ClientConfig::new("http://unused")
    };
    let channels = REPLICAS.iter().map(|replica| channel(replica)).collect();
    let client = Client::over(config, Arc::new(SimClock), channels)?;
    let line = match index % 2 {
        0 => Line::Session(client.session()),
        _ => Line::Unary(client),
    };
    loop {
        let Ok(permit) = line.acquire().await else {
            sleep(Duration::from_millis(random.random_range(10..200))).await;
            continue;
        };
        // On the way to the upstream.
        sleep(Duration::from_millis(random.random_range(1..150))).await;
        if !permit.is_sendable() {
            let _ = permit.not_sent().await;
            continue;
        }
        let (status, headers) = upstream.call(index, &permit);
        if status == 200 {
            sleep(Duration::from_millis(random.random_range(20..350))).await;
            upstream.finish();
        }
        // Bursar may not be reached: then the permit stays charged until its deadline.
        let _ = permit.settle(status, headers, b"").await;
    }
}
