//! Against the real server: coordinator, scripts and embedded store, over loopback.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bursar_client::{
    AcquireError, AcquireOptions, CallError, Client, ClientConfig, ConnectError, Reason, Resolver, Resolving,
    Settled, TlsConfig, Token,
};
use bursar_coordinator::{Config, Coordinator};
use bursar_dialect::Profiles;
use bursar_ledger::{Embedded, ScriptLedger};
use bursar_quota::{BudgetSpec, Ledger, LimitKind, LimitSpec, ReplicaName, SystemClock};
use bursar_server::{Options, Role, Tls, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::oneshot,
    task::JoinSet,
};

use crate::support::ms;

/// No test waits longer.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it should not take so long")
}

fn ledger() -> Arc<dyn Ledger> {
    let clock = Arc::new(SystemClock::new());
    let host = Embedded::new(clock.clone()).unwrap();
    Arc::new(ScriptLedger::new(host, "test:", clock))
}

struct Replica {
    address: SocketAddr,
    /// Dropped: it drains and ends.
    stop: Option<oneshot::Sender<()>>,
}

impl Replica {
    /// A replica over this ledger, with a budget `slots` of so many calls at once.
    async fn start(ledger: Arc<dyn Ledger>, slots: u64, change: impl FnOnce(&mut Options)) -> Self {
        Self::start_at("127.0.0.1:0", ledger, slots, change).await
    }

    /// The same, at this address.
    async fn start_at(
        address: impl ToSocketAddrs,
        ledger: Arc<dyn Ledger>,
        slots: u64,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = ReplicaName::new(&format!("replica-{number}")).unwrap();
        let (profiles, clock) = (Arc::new(Profiles::builtin()), Arc::new(SystemClock::new()));
        let config = Config::new(name, number as u64);
        let coordinator = Coordinator::new(ledger, Arc::clone(&profiles), clock.clone(), config);
        let kind = LimitKind::Concurrency { capacity: slots, linger: Duration::ZERO };
        let limit = LimitSpec::new("slots".parse().unwrap(), kind);
        coordinator.put_budget(BudgetSpec::new("slots".parse().unwrap(), vec![limit])).await.unwrap();
        let mut options = Options::new(profiles, clock);
        change(&mut options);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        tokio::spawn(serve(listener, None, coordinator, options, shutdown, Duration::from_secs(5)));
        Self { address, stop: Some(stop) }
    }

    fn uri(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn options() -> AcquireOptions {
    AcquireOptions::new("slots")
}

/// How many hold a permit now, and the most at once.
#[derive(Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Workers of one client, half of them over a session, each so many calls.
async fn fleet(client: &Client, workers: usize, each: usize, mut after: impl AsyncFnMut(usize)) -> Arc<Held> {
    let (held, session) = (Arc::new(Held::default()), client.session());
    let (told, mut heard) = tokio::sync::mpsc::channel(workers * each);
    let mut set = JoinSet::new();
    for worker in 0..workers {
        let (client, session, held, told) =
            (client.clone(), session.clone(), Arc::clone(&held), told.clone());
        set.spawn(async move {
            for _ in 0..each {
                let permit = match worker % 2 {
                    0 => client.acquire(options()).await.unwrap(),
                    _ => session.acquire(options()).await.unwrap(),
                };
                held.most.fetch_max(held.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                held.now.fetch_sub(1, Ordering::SeqCst);
                let settlement = permit.settle(200, [("date", "now")], b"").await.unwrap();
                assert!(matches!(settlement.result, Settled::Applied | Settled::Already));
                told.try_send(()).unwrap();
            }
        });
    }
    drop(told);
    let mut calls = 0;
    while heard.recv().await.is_some() {
        calls += 1;
        after(calls).await;
    }
    set.join_all().await;
    assert_eq!(calls, workers * each);
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_holds_no_more_than_there_is() {
    let replica = Replica::start(ledger(), 3, |_| ()).await;
    let client = soon(Client::connect(ClientConfig::new(replica.uri()))).await.unwrap();
    let held = soon(fleet(&client, 60, 5, async |_| ())).await;
    assert_eq!(held.most.load(Ordering::SeqCst), 3);
    let mut permits = Vec::new();
    for _ in 0..3 {
        permits.push(soon(client.acquire(options().max_wait(ms(0)))).await.unwrap());
    }
    let error = soon(client.acquire(options().max_wait(ms(0)))).await.unwrap_err();
    assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(Reason::ConcurrencyExhausted), "{error}");
    // A dropped permit frees its slot, and whoever waits gets it.
    let waiter = tokio::spawn({
        let client = client.clone();
        async move { client.acquire(options()).await }
    });
    drop(permits);
    soon(waiter).await.unwrap().unwrap().not_sent().await.unwrap();
    let error = soon(client.acquire(options().cost("requests", 0))).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Failed(CallError::Invalid { .. })), "{error:?}");
    let error = soon(client.acquire(AcquireOptions::new("none"))).await.unwrap_err();
    assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(Reason::UnknownBudget));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_ends_is_left_without_a_failed_call() {
    let ledger = ledger();
    let mut first = Replica::start(Arc::clone(&ledger), 5, |_| ()).await;
    let second = Replica::start(ledger, 5, |_| ()).await;
    let mut config = ClientConfig::new(first.uri());
    config.endpoints.push(second.uri());
    config.in_order = true;
    let client = soon(Client::connect(config)).await.unwrap();
    let stop = std::sync::Mutex::new(first.stop.take());
    let held = fleet(&client, 20, 10, async |calls| {
        if calls == 60 {
            drop(stop.lock().unwrap().take());
        }
    });
    assert!(soon(held).await.most.load(Ordering::SeqCst) <= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_both_sides_are_checked_and_the_token_too() {
    let issuer = authority();
    let ca = issuer.pem();
    let (certificate, key) = issued(&issuer);
    let (tls_certificate, tls_key, client_ca) = (certificate.clone(), key.clone(), ca.clone());
    let replica = Replica::start(ledger(), 3, move |options| {
        let client_ca = Some(client_ca.into_bytes());
        options.tls =
            Some(Tls { certificate: tls_certificate.into_bytes(), key: tls_key.into_bytes(), client_ca });
        options.tokens.push(bursar_server::Token::from_secret("worker", "s3cret", Role::Worker));
    })
    .await;
    let uri = format!("https://{}", replica.address);
    let trusted = TlsConfig::new(ca).domain("bursar.test");
    let mut config = ClientConfig::new(uri);
    config.tls = Some(trusted.clone().identity(certificate.clone(), key.clone()));
    let nobody = soon(Client::connect(config.clone())).await.unwrap();
    let error = soon(nobody.acquire(options())).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Failed(CallError::Unauthorized { .. })), "{error:?}");
    config.token = Some(Token::new("s3cret").unwrap());
    let client = soon(Client::connect(config.clone())).await.unwrap();
    soon(client.acquire(options())).await.unwrap().not_sent().await.unwrap();
    soon(client.session().acquire(options())).await.unwrap().not_sent().await.unwrap();
    // A server for another name is none of ours.
    config.tls = Some(trusted.domain("elsewhere.test").identity(certificate, key));
    let error = soon(Client::connect(config)).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Unreachable(_)), "{error:?}");
}

/// Leads to what it holds.
#[derive(Debug)]
struct Name(std::sync::Mutex<Vec<SocketAddr>>);

impl Resolver for Name {
    fn resolve<'a>(&'a self, host: &'a str, _port: u16) -> Resolving<'a> {
        assert_eq!(host, "bursar.test");
        let found = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_tls_is_followed_from_address_to_address_without_a_failed_call() {
    let (ledger, issuer) = (ledger(), authority());
    let (certificate, key) = issued(&issuer);
    let secure = |options: &mut Options| {
        let (certificate, key) = (certificate.clone().into_bytes(), key.clone().into_bytes());
        options.tls = Some(Tls { certificate, key, client_ca: None });
    };
    let mut first = Replica::start(Arc::clone(&ledger), 5, secure).await;
    let port = first.address.port();
    let second = Replica::start_at(("127.0.0.2", port), Arc::clone(&ledger), 5, secure).await;
    let third = Replica::start_at(("127.0.0.3", port), ledger, 5, secure).await;
    let name = Arc::new(Name(std::sync::Mutex::new(vec![first.address, second.address])));
    // The certificate is for the name, and for no address.
    let mut config = ClientConfig::new(format!("https://bursar.test:{port}"));
    config.tls = Some(TlsConfig::new(issuer.pem()));
    (config.resolver, config.resolve_every) = (name.clone(), Duration::from_secs(1));
    config.in_order = true;
    let client = soon(Client::connect(config.clone())).await.unwrap();
    let held = fleet(&client, 20, 10, async |calls| {
        if calls == 60 {
            // A roll-out: the first ends, the second is not named any more and lives, the third has come.
            *name.0.lock().unwrap() = vec![third.address];
            drop(first.stop.take());
        }
    });
    assert!(soon(held).await.most.load(Ordering::SeqCst) <= 5);
    drop(second);
    soon(client.acquire(options())).await.unwrap().not_sent().await.unwrap();
    // What is there for another name is none of ours.
    config.tls = Some(TlsConfig::new(issuer.pem()).domain("elsewhere.test"));
    let error = soon(Client::connect(config)).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Unreachable(_)), "{error:?}");
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, in PEM.
fn issued(by: &Issuer) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["bursar.test".to_owned()]).unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}
