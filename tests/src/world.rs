//! Replicas over a store, an upstream that counts the truth, and a fleet between them, for as long as a fault takes.

use std::{sync::Arc, time::Duration};

use bursar_client::{Client, ClientConfig};
use bursar_ledger::RedisTls;
use bursar_quota::{BudgetName, BudgetSnapshot, BudgetSpec, SystemClock};
use bursar_sim::{
    fleet::{Counters, FleetConfig, FleetError, FleetSnapshot, through_bursar},
    upstream::{Upstream, UpstreamConfig, VendorProfile, token_label},
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::{Asker, Book, Noted},
    process::Replica,
    proxy::FaultProxy,
    report::Report,
};

const TOKEN: &str = "one-token";
const BUDGET: &str = "faults";
/// The longest for what is no subject of a test.
const PATIENCE: Duration = Duration::from_secs(30);
/// For whole milliseconds and the store's slots of time.
const MARGIN: Duration = Duration::from_millis(100);
/// How often what is waited for is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a world is like.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Workers, each without pause.
    pub workers: u64,
    /// Of each five workers so many make a call an acquire; the others share sessions.
    pub unary: u64,
    /// Whether there is a proxy between the fleet and each replica: [`World::ways`].
    pub proxied: bool,
    /// How long a worker waits in Bursar.
    pub max_wait: Duration,
    /// The upstream.
    pub upstream: UpstreamConfig,
    /// Files for TLS to the store.
    pub store_tls: RedisTls,
    /// Further arguments of the replicas.
    pub arguments: Vec<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 24,
            unary: 2,
            proxied: false,
            max_wait: Duration::from_secs(20),
            // 450 a window of 3 s, 6 at once: a fleet that asks without pause would use up more of either, so that an
            // account that is forgotten shows as a refusal.
            upstream: UpstreamConfig {
                scale: 20.0,
                capacity: Some(450),
                concurrency: Some(6),
                ..UpstreamConfig::new(VendorProfile::Autotask)
            },
            store_tls: RedisTls::default(),
            arguments: Vec::new(),
        }
    }
}

/// All of it, running.
pub struct World {
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// The proxies between the fleet and them, in their order; none unless the setup says so.
    pub ways: Vec<FaultProxy>,
    /// What the fleet was given.
    pub book: Arc<Book>,
    /// Where the replicas listen.
    uris: Vec<String>,
    budget: BudgetName,
    spec: BudgetSpec,
    clients: Vec<Client>,
    counters: Arc<Counters>,
    upstream: Arc<Upstream>,
    serving: JoinHandle<()>,
    fleet: Vec<JoinHandle<Result<FleetSnapshot, FleetError>>>,
    end: CancellationToken,
    memory_kib: Vec<u64>,
    /// Where the replicas' configuration stands.
    _folder: Option<TempDir>,
}

/// The specification of the budget.
fn specification(setup: &Setup) -> BudgetSpec {
    setup.upstream.budget(BudgetName::new(BUDGET).expect("a name")).expect("a budget")
}

/// The configuration of the replicas, as a file of YAML.
pub fn configuration(setup: &Setup) -> String {
    let RedisTls { ca_file, cert_file, key_file } = &setup.store_tls;
    let files = [("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)];
    let tls: serde_json::Map<_, _> = files
        .into_iter()
        .filter_map(|(key, path)| Some((key.to_owned(), path.as_ref()?.to_str()?.into())))
        .collect();
    serde_json::json!({ "budgets": [specification(setup)], "store": { "tls": tls } }).to_string()
}

impl World {
    /// Starts a replica over each of these addresses of the store, and the fleet; returns once it has had 150 permits.
    ///
    /// # Panics
    /// If that does not come to pass.
    pub async fn start(stores: &[String], setup: Setup) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let config = folder.path().join("bursar.yaml");
        std::fs::write(&config, configuration(&setup)).expect("the temporary folder can be written");
        let mut arguments = vec!["--config", config.to_str().expect("a path of Unicode")];
        arguments.extend(&setup.arguments);
        let replicas: Vec<_> = stores.iter().map(|store| Replica::start_with(store, &arguments)).collect();
        let uris = replicas.iter().map(|replica| replica.uri.clone()).collect();
        Self::begin(uris, replicas, Some(folder), setup).await
    }

    /// The same over replicas that somebody else starts and ends, with [`configuration`].
    ///
    /// # Panics
    /// If that does not come to pass.
    pub async fn over(uris: Vec<String>, setup: Setup) -> Self {
        Self::begin(uris, Vec::new(), None, setup).await
    }

    async fn begin(uris: Vec<String>, replicas: Vec<Replica>, folder: Option<TempDir>, setup: Setup) -> Self {
        let spec = specification(&setup);
        let budget = spec.name.clone();
        let upstream =
            Upstream::new(setup.upstream.clone(), Arc::new(SystemClock::new())).expect("an upstream");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let end = CancellationToken::new();
        let (served, ended) = (Arc::clone(&upstream), CancellationToken::new());
        let serving = tokio::spawn(async move {
            let _ = served.serve(listener, ended.cancelled_owned()).await;
        });
        let mut ways = Vec::new();
        for uri in uris.iter().filter(|_| setup.proxied) {
            let address = uri.trim_start_matches("http://");
            ways.push(FaultProxy::start(address.parse().expect("an address")).await);
        }
        let mut world = Self {
            ways,
            clients: Vec::new(),
            memory_kib: Vec::new(),
            book: Arc::default(),
            counters: Arc::default(),
            fleet: Vec::new(),
            replicas,
            uris,
            budget,
            spec,
            upstream,
            serving,
            end,
            _folder: folder,
        };
        world.declared().await;
        world.send(&setup, &url);
        let start = Duration::ZERO;
        world.granted_after(start, 150, PATIENCE).await;
        world.memory_kib = world.replicas.iter().map(Replica::resident_kib).collect();
        world
    }

    /// Waits until each replica has the budget.
    async fn declared(&self) {
        for uri in &self.uris {
            let client = Client::lazy(ClientConfig::new(uri.clone())).expect("a client");
            let declaring = async {
                while !matches!(client.budgets().get(&self.budget).await, Ok(Some(_))) {
                    sleep(LOOK).await;
                }
            };
            timeout(PATIENCE, declaring).await.expect("the budget is declared");
        }
    }

    /// Sends the workers: over as many clients as there are replicas, each of which begins with another one.
    fn send(&mut self, setup: &Setup, url: &str) {
        let mut endpoints = self.endpoints();
        for seed in 0..self.uris.len() {
            let mut config = ClientConfig::new(String::new());
            config.endpoints = endpoints.clone();
            config.in_order = true;
            config.seed = u64::try_from(seed).ok();
            self.clients.push(Client::lazy(config).expect("a client"));
            endpoints.rotate_left(1);
        }
        let sessions: Vec<_> = self.clients.iter().map(Client::session).collect();
        let ways = self.clients.iter().zip(&sessions).cycle();
        for (number, (client, session)) in (0..setup.workers).zip(ways) {
            let asker = if number % 5 < setup.unary {
                Asker::Unary(client.clone())
            } else {
                Asker::Session(session.clone())
            };
            let config = FleetConfig {
                budget: BUDGET.to_owned(),
                seed: number,
                max_wait: setup.max_wait,
                ..FleetConfig::autotask(1, TOKEN, 0, setup.upstream.scale)
            };
            let broker = Noted::new(asker, Arc::clone(&self.book));
            let (url, counters, end) = (url.to_owned(), Arc::clone(&self.counters), self.end.clone());
            self.fleet
                .push(tokio::spawn(async move { through_bursar(broker, &url, config, counters, end).await }));
        }
    }

    /// Where the replicas are asked: through their proxies, if there are any.
    pub fn endpoints(&self) -> Vec<String> {
        match self.ways.as_slice() {
            [] => self.uris.clone(),
            ways => ways.iter().map(|way| format!("http://{}", way.address())).collect(),
        }
    }

    /// The name of the budget.
    pub fn budget(&self) -> &BudgetName {
        &self.budget
    }

    /// Now, by the clock of [`Self::book`].
    pub fn now(&self) -> Duration {
        self.book.now()
    }

    /// Waits until `count` permits were granted after `moment`.
    ///
    /// # Panics
    /// If that takes longer than `within`.
    pub async fn granted_after(&self, moment: Duration, count: usize, within: Duration) {
        let granted = async {
            while self.book.granted_after(moment) < count {
                sleep(LOOK).await;
            }
        };
        if timeout(within, granted).await.is_err() {
            let stands = self.stands().await;
            panic!(
                "{} of {count} permits were granted within {within:?}; failures: {:?}; it stands {stands:#?}",
                self.book.granted_after(moment),
                self.book.failures()
            );
        }
    }

    /// How the budget stands, asked of the first replica that answers.
    pub async fn stands(&self) -> Option<BudgetSnapshot> {
        for client in &self.clients {
            let asked = timeout(Duration::from_secs(7), client.budgets().get(&self.budget)).await;
            if let Ok(Ok(Some(stored))) = asked {
                return Some(stored.snapshot);
            }
        }
        None
    }

    /// Ends the fleet, and waits until nothing is out: at most as long as a permit lives, and 2 s. `healed` is when the fault
    /// was over, `bound` how long from then to the next grant at most; `forgot`: the store may have lost something, so that its
    /// counts may have begun anew.
    ///
    /// # Panics
    /// If the fleet does not end.
    pub async fn finish(
        mut self,
        fault: &str,
        (began, healed): (Duration, Duration),
        bound: Duration,
        forgot: bool,
    ) -> Report {
        let counts = self.book.counts();
        let resumed = self.book.first_after(healed).map_or(Duration::MAX, |first| first - healed);
        // What the fault left behind has passed its deadline; what is out is under way.
        sleep((healed + self.spec.permit_ttl + MARGIN).saturating_sub(self.now())).await;
        let meanwhile = self.stands().await.expect("a replica answers once the fault is over");
        let slots = meanwhile.limits.iter().find(|limit| limit.rung == "concurrency");
        let under_way = slots.expect("the upstream bounds concurrency").out;
        let of = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let lost = of(meanwhile.granted) - of(meanwhile.settled) - of(under_way);
        self.end.cancel();
        for worker in self.fleet.drain(..) {
            timeout(PATIENCE, worker).await.expect("a worker ends").expect("it runs").expect("it could work");
        }
        for client in &self.clients {
            timeout(PATIENCE, client.settled()).await.expect("what is dropped is settled");
        }
        let snapshot = self.at_rest().await;
        let truth = self.upstream.truth();
        let counted = truth.token(&token_label(TOKEN)).expect("the fleet has called");
        let now = self.replicas.iter().map(Replica::resident_kib);
        let before = || counts.grants.iter().copied().filter(|at| *at < began);
        Report {
            fault: fault.to_owned(),
            accepted: counted.accepted,
            refused_upstream: counted.refused,
            failed: counts.failed,
            failures: counts.texts.clone(),
            refused: counts.refused,
            unsettled: counts.unsettled,
            lost: (!forgot).then_some(lost),
            doubled: counts.doubled,
            gap_before: longest(before()),
            gap: longest(counts.grants.iter().copied()),
            resumed,
            bound,
            longest_wait: counts.longest_wait,
            out: snapshot.limits.iter().map(|limit| limit.out).sum(),
            memory_kib: self.memory_kib.iter().copied().zip(now).collect(),
        }
    }

    async fn at_rest(&self) -> BudgetSnapshot {
        let began = self.now();
        loop {
            let snapshot = self.stands().await.expect("a replica answers once the fault is over");
            let rests = snapshot.limits.iter().all(|limit| limit.out == 0);
            if rests || self.now().saturating_sub(began) > self.spec.permit_ttl + Duration::from_secs(2) {
                return snapshot;
            }
            sleep(LOOK).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end.cancel();
        self.serving.abort();
    }
}

/// The longest span between two moments that follow each other.
fn longest(mut moments: impl Iterator<Item = Duration>) -> Duration {
    let Some(mut last) = moments.next() else { return Duration::ZERO };
    moments.fold(Duration::ZERO, |longest, at| {
        let span = at - last;
        last = at;
        longest.max(span)
    })
}
