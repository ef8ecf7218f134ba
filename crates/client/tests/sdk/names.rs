//! A name is all of its addresses, and they are followed as they change.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bursar_client::{AcquireError, AcquireOptions, CallError, Client, ClientConfig, Resolver, Resolving};
use bursar_quota::Clock;
use tokio::{sync::watch, time::timeout};

use crate::support::{Act, Fake, Seen, TokioClock, config, ms};

/// What the name leads to, until it is told otherwise; `None`: nobody knows. It remembers when it was asked.
#[derive(Debug)]
struct Names {
    leads_to: Mutex<Option<Vec<SocketAddr>>>,
    asked: watch::Sender<Vec<Duration>>,
    clock: Arc<TokioClock>,
}

impl Names {
    fn new(leads_to: Option<Vec<SocketAddr>>) -> Arc<Self> {
        let (asked, clock) = (watch::Sender::default(), TokioClock::shared());
        Arc::new(Self { leads_to: Mutex::new(leads_to), asked, clock })
    }

    fn lead_to(&self, addresses: &[SocketAddr]) {
        *self.leads_to.lock().unwrap() = Some(addresses.to_vec());
    }

    fn fail(&self) {
        *self.leads_to.lock().unwrap() = None;
    }

    fn asked(&self) -> Vec<Duration> {
        self.asked.borrow().clone()
    }

    /// Waits until it was asked once more, and what it said has been taken.
    async fn again(&self) {
        let before = self.asked().len();
        self.asked.subscribe().wait_for(|asked| asked.len() > before).await.unwrap();
        tokio::time::sleep(ms(1)).await;
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        assert_eq!((host, port), ("replicas.test", 7411));
        self.asked.send_modify(|asked| asked.push(self.clock.monotonic()));
        let found = self.leads_to.lock().unwrap().clone();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("nobody knows")) })
    }
}

/// The address that stands for a server.
fn address(number: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, number), 7411).into()
}

fn named(names: &Arc<Names>) -> ClientConfig {
    let mut config = config();
    config.endpoints = vec!["http://replicas.test:7411".to_owned()];
    config.resolver = names.clone();
    config
}

/// A client of these servers, which are at addresses 1, 2, ...
fn client_of(config: ClientConfig, fakes: &[&Fake]) -> Client {
    let wires: Vec<_> = fakes.iter().map(|fake| fake.wire.clone()).collect();
    Client::dialing(config, TokioClock::shared(), move |uri, address| {
        assert_eq!(uri.host(), Some("replicas.test"));
        let SocketAddr::V4(address) = address else { panic!("{address}") };
        wires[usize::from(address.ip().octets()[3]) - 1].channel()
    })
    .unwrap()
}

fn options() -> AcquireOptions {
    AcquireOptions::new("autotask")
}

fn acquires(fake: &Fake) -> usize {
    fake.seen().acquires.len()
}

#[tokio::test(start_paused = true)]
async fn each_address_is_a_replica_to_turn_to() {
    let names = Names::new(Some(vec![address(1), address(2)]));
    let (first, second) = (Fake::start(), Fake::start());
    let client = client_of(named(&names), &[&first, &second]);
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    first.wire.refuse(true);
    first.wire.cut();
    let clock = TokioClock::shared();
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    assert_eq!((clock.monotonic(), acquires(&first), acquires(&second)), (Duration::ZERO, 1, 1));
    // And a settlement that is late goes to another of them by itself.
    first.wire.refuse(false);
    let permit = client.acquire(options()).await.unwrap();
    second.wire.stall();
    permit.lost().await.unwrap();
    assert_eq!(clock.monotonic(), ms(1_000));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_gone_is_drained_and_not_cut() {
    let names = Names::new(Some(vec![address(1)]));
    let (first, second) = (Fake::start(), Fake::start());
    first.on_acquire(|_| Act::GrantAfter(ms(40_000)));
    let client = client_of(named(&names), &[&first, &second]);
    let session = client.session();
    let patient = || options().max_wait(ms(60_000));
    let alone = tokio::spawn({
        let client = client.clone();
        async move { client.acquire(patient()).await.unwrap() }
    });
    let shared = tokio::spawn({
        let session = session.clone();
        async move { session.acquire(patient()).await.unwrap() }
    });
    first.until(|seen| seen.acquires.len() == 2).await;
    names.lead_to(&[address(2)]);
    names.again().await;
    // What is asked from now on is asked elsewhere, over the session too.
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    session.acquire(options()).await.unwrap().not_sent().await.unwrap();
    assert_eq!((acquires(&first), acquires(&second)), (2, 2));
    // What waited there is granted there, once, and settled where everything is.
    let (alone, shared) = (alone.await.unwrap(), shared.await.unwrap());
    assert_eq!((acquires(&first), first.seen().cancels.len(), first.seen().gone), (2, 0, 0));
    alone.lost().await.unwrap();
    shared.lost().await.unwrap();
    assert_eq!((first.seen().settles.len(), second.seen().settles.len()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_every_half_a_minute_and_soon_after_a_failure() {
    let names = Names::new(Some(vec![address(1)]));
    let (first, second) = (Fake::start(), Fake::start());
    let client = client_of(named(&names), &[&first, &second]);
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    for _ in 0..20 {
        names.again().await;
    }
    let asked = names.asked();
    for pair in asked.windows(2) {
        let gap = pair[1].checked_sub(pair[0]).unwrap();
        assert!((ms(22_500)..=ms(30_000)).contains(&gap), "{gap:?}");
    }
    // The only replica ends, and there is another: callers hardly notice.
    names.lead_to(&[address(2)]);
    first.wire.refuse(true);
    first.wire.cut();
    let clock = TokioClock::shared();
    client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    assert!(clock.monotonic() < ms(4_000), "{:?}", clock.monotonic());
    assert_eq!(acquires(&second), 1);
}

#[tokio::test(start_paused = true)]
async fn failures_that_go_on_do_not_besiege_the_resolver() {
    let names = Names::new(Some(vec![address(1)]));
    let fake = Fake::start();
    fake.wire.refuse(true);
    let client = client_of(named(&names), &[&fake]);
    let clock = TokioClock::shared();
    while clock.monotonic() < ms(600_000) {
        let error = client.acquire(options()).await.unwrap_err();
        assert!(matches!(&error, AcquireError::Failed(CallError::Unavailable { .. })), "{error:?}");
    }
    let asked = names.asked().len();
    assert!((20..=40).contains(&asked), "{asked} times in ten minutes");
    // Nor does a resolver that fails.
    names.fail();
    tokio::time::sleep(ms(600_000)).await;
    let asked = names.asked().len() - asked;
    assert!((19..=40).contains(&asked), "{asked} times in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_fails_takes_nothing_away() {
    let names = Names::new(None);
    let fake = Fake::start();
    let client = client_of(named(&names), &[&fake]);
    let error = client.acquire(options().max_wait(ms(0)).deadline(ms(100))).await.unwrap_err();
    assert!(error.to_string().contains("nobody knows"), "{error}");
    let error = client.budgets().get(&"autotask".parse().unwrap()).await.unwrap_err();
    let wanted = "replicas.test was not resolved: nobody knows";
    assert!(matches!(&error, CallError::Unavailable { message, .. } if message == wanted), "{error:?}");
    // As soon as it answers, so does the replica; whoever asked meanwhile has waited for it.
    let early = tokio::spawn({
        let session = client.session();
        async move { session.acquire(options()).await }
    });
    tokio::time::sleep(ms(500)).await;
    names.lead_to(&[address(1)]);
    early.await.unwrap().unwrap().not_sent().await.unwrap();
    for nothing in [None, Some(vec![])] {
        *names.leads_to.lock().unwrap() = nothing;
        names.again().await;
        client.acquire(options()).await.unwrap().not_sent().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_came_is_taken_by_its_part_of_the_clients() {
    let names = Names::new(Some(vec![address(1), address(2), address(3)]));
    let fakes: Vec<_> = (0..4).map(|_| Fake::start()).collect();
    let fakes: Vec<_> = fakes.iter().collect();
    let mut workers = Vec::new();
    for seed in 0..400 {
        let mut config = named(&names);
        (config.in_order, config.seed, config.instance) = (false, Some(seed), None);
        let client = client_of(config, &fakes);
        workers.push((client.session(), client));
    }
    let round = async || {
        let before: Vec<_> = fakes.iter().map(|fake| acquires(fake)).collect();
        for (session, client) in &workers {
            client.acquire(options()).await.unwrap().not_sent().await.unwrap();
            session.acquire(options()).await.unwrap().not_sent().await.unwrap();
        }
        fakes.iter().zip(before).map(|(fake, before)| acquires(fake) - before).collect::<Vec<_>>()
    };
    let near = |found: &[usize], wanted: &[usize]| {
        found.iter().zip(wanted).all(|(found, wanted)| found.abs_diff(*wanted) <= 60)
    };
    let spread = round().await;
    assert!(near(&spread, &[267, 267, 267, 0]), "{spread:?}");
    names.lead_to(&[address(1), address(2), address(3), address(4)]);
    tokio::time::sleep(ms(31_000)).await;
    let spread = round().await;
    assert!(near(&spread, &[200, 200, 200, 200]), "{spread:?}");
    names.lead_to(&[address(2), address(3), address(4)]);
    tokio::time::sleep(ms(31_000)).await;
    let spread = round().await;
    assert!(near(&spread, &[0, 267, 267, 267]), "{spread:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_32_addresses_are_used_and_those_stay() {
    let all: Vec<_> = (1..=100).map(address).collect();
    let names = Names::new(Some(all.clone()));
    let fakes: Vec<_> = (0..100).map(|_| Fake::start()).collect();
    for fake in &fakes {
        fake.on_acquire(|_| Act::Fail(tonic::Status::unavailable("ending")));
    }
    let mut config = named(&names);
    (config.in_order, config.retry.attempts) = (false, 32);
    let client = client_of(config, &fakes.iter().collect::<Vec<_>>());
    let asked = async || {
        client.acquire(options()).await.unwrap_err();
        let asked: Vec<_> = fakes.iter().map(acquires).collect();
        asked.iter().filter(|times| **times > 0).count()
    };
    assert_eq!(asked().await, 32);
    let mut reversed = all;
    reversed.reverse();
    names.lead_to(&reversed);
    timeout(ms(60_000), names.again()).await.unwrap();
    assert_eq!(asked().await, 32, "who is known stays");
    assert!(fakes.iter().map(Fake::seen).all(|Seen { acquires, .. }| matches!(acquires.len(), 0 | 2)));
}
