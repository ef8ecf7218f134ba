//! Fleets against a real upstream over HTTP, with a stand-in for Bursar. What is waited for is polled, with a bound.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bursar_client::Outcome;
use bursar_quota::ManualClock;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use super::*;
use crate::upstream::{ServeError, Truth, Upstream, UpstreamConfig, VendorProfile};

/// What the stand-in answers.
enum Reply {
    Permit { sendable: bool },
    Refusal(NotGranted),
}

/// Hands out as many permits at once as it has slots, and so many in all; then nobody gets an answer.
#[derive(Clone)]
struct StandIn {
    slots: Arc<Semaphore>,
    left: Arc<Semaphore>,
    /// Answered first.
    script: Arc<Mutex<VecDeque<Reply>>>,
    not_sent: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

struct StandInPermit {
    sendable: bool,
    _slot: OwnedSemaphorePermit,
}

impl StandIn {
    fn new(slots: usize, permits: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            left: Arc::new(Semaphore::new(permits)),
            script: Arc::default(),
            not_sent: Arc::default(),
            lost: Arc::default(),
            answered: Arc::default(),
        }
    }

    fn note(&self, outcome: &Outcome) {
        let counter = match outcome {
            _ if *outcome == Outcome::not_sent() => &self.not_sent,
            _ if *outcome == Outcome::lost() => &self.lost,
            _ => &self.answered,
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }

    /// Not sent, lost, answered.
    fn noted(&self) -> (u64, u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        (of(&self.not_sent), of(&self.lost), of(&self.answered))
    }
}

impl Broker for StandIn {
    type Permit = StandInPermit;

    async fn acquire(
        &self,
        ask: Ask,
        riding: Option<(StandInPermit, Outcome)>,
    ) -> Result<StandInPermit, NotGranted> {
        assert_eq!(ask.budget, "default");
        if let Some((settled, outcome)) = riding {
            drop(settled);
            self.note(&outcome);
        }
        let scripted = self.script.lock().unwrap().pop_front();
        let sendable = match scripted {
            Some(Reply::Refusal(refusal)) => return Err(refusal),
            Some(Reply::Permit { sendable }) => sendable,
            None => {
                self.left.clone().acquire_owned().await.unwrap().forget();
                true
            }
        };
        Ok(StandInPermit { sendable, _slot: self.slots.clone().acquire_owned().await.unwrap() })
    }

    fn is_sendable(&self, permit: &StandInPermit) -> bool {
        permit.sendable
    }

    async fn settle(&self, _permit: StandInPermit, outcome: Outcome) -> bool {
        self.note(&outcome);
        true
    }
}

/// An upstream whose clock stands still, so that its windows never end.
struct Running {
    url: String,
    upstream: Arc<Upstream>,
    down: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

/// Its times are so much shorter than true ones.
const SCALE: f64 = 60_000.0;

async fn start(profile: VendorProfile, capacity: u64) -> Running {
    let config = UpstreamConfig {
        scale: SCALE,
        capacity: Some(capacity),
        linger: Some(Duration::ZERO),
        latency: (Duration::ZERO, Duration::from_millis(1)),
        ..UpstreamConfig::new(profile)
    };
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_000_000)));
    let upstream = Upstream::new(config, clock).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let down = CancellationToken::new();
    let task = tokio::spawn(upstream.clone().serve(listener, down.clone().cancelled_owned()));
    Running { url, upstream, down, task }
}

impl Running {
    async fn stop(self) -> Truth {
        self.down.cancel();
        self.task.await.unwrap().unwrap();
        self.upstream.truth()
    }
}

/// Looks every millisecond or so until it is so; a minute at most.
async fn until(counters: &Counters, so: impl Fn(FleetSnapshot) -> bool) {
    for _ in 0..20_000 {
        if so(counters.snapshot()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("still {:?}", counters.snapshot());
}

#[tokio::test]
async fn an_independent_fleet_is_refused_and_gives_up() {
    let up = start(VendorProfile::Generic, 5).await;
    let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
    let config = FleetConfig::plain(4, "t", "/x", SCALE);
    let url = up.url.clone();
    let fleet = tokio::spawn({
        let (counters, stop) = (counters.clone(), stop.clone());
        async move { independent(&url, config, counters, stop).await }
    });
    until(&counters, |now| now.given_up >= 5).await;
    stop.cancel();
    let found = fleet.await.unwrap().unwrap();
    let truth = up.stop().await;
    assert_eq!((found.done, found.errors), (5, 0));
    assert_eq!((truth.accepted, truth.refused), (5, found.refused));
    assert_eq!(found.sent, 5 + found.refused);
    // Three tries each, but for calls that the end interrupted.
    assert!((0..=2 * 4).contains(&(found.refused - 3 * found.given_up)), "{found:?}");
    assert_eq!((found.waiting, found.under_way), (0, 0));
}

#[tokio::test]
async fn a_fleet_with_permits_is_not_refused_and_settles_each() {
    let up = start(VendorProfile::Autotask, 600).await;
    let broker = StandIn::new(3, 50);
    let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
    let config = FleetConfig::autotask(8, "t", 10, SCALE);
    let (url, ours) = (up.url.clone(), broker.clone());
    let fleet = tokio::spawn({
        let (counters, stop) = (counters.clone(), stop.clone());
        async move { through_bursar(ours, &url, config, counters, stop).await }
    });
    until(&counters, |now| now.done == 50 && now.waiting == 8).await;
    stop.cancel();
    let found = fleet.await.unwrap().unwrap();
    let truth = up.stop().await;
    assert_eq!((truth.accepted, truth.refused), (50, 0));
    assert!(truth.max_concurrent <= 3);
    assert_eq!(truth.tokens[0].classes.values().map(|class| class.accepted).sum::<u64>(), 50);
    assert_eq!((found.sent, found.refused, found.given_up, found.not_granted), (50, 0, 0, 0));
    assert_eq!(broker.noted(), (0, 0, 50));
    assert_eq!(broker.slots.available_permits(), 3, "every slot came back");
}

#[tokio::test]
async fn what_is_refused_is_asked_again_and_what_is_too_late_is_given_back() {
    let up = start(VendorProfile::Generic, 100).await;
    let broker = StandIn::new(1, 2);
    let retry_after = Some(Duration::from_millis(2));
    let refusal = NotGranted { retry_after, hopeless: false, message: "full".to_owned() };
    let unknown = NotGranted { retry_after: None, ..refusal.clone() };
    let script = [Reply::Refusal(refusal), Reply::Permit { sendable: false }, Reply::Refusal(unknown)];
    *broker.script.lock().unwrap() = script.into();
    let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
    let config = FleetConfig::plain(1, "t", "/", SCALE);
    let (url, ours) = (up.url.clone(), broker.clone());
    let fleet = tokio::spawn({
        let (counters, stop) = (counters.clone(), stop.clone());
        async move { through_bursar(ours, &url, config, counters, stop).await }
    });
    until(&counters, |now| now.done == 2 && now.waiting == 1).await;
    stop.cancel();
    let found = fleet.await.unwrap().unwrap();
    assert_eq!((found.not_granted, found.not_sent, found.sent), (2, 1, 2));
    assert_eq!(broker.noted(), (1, 0, 2));
    assert_eq!(up.stop().await.accepted, 2);
}

#[tokio::test]
async fn a_request_that_can_never_be_granted_ends_the_fleet() {
    let broker = StandIn::new(1, 0);
    let refusal = NotGranted { retry_after: None, hopeless: true, message: "no such class".to_owned() };
    broker.script.lock().unwrap().push_back(Reply::Refusal(refusal));
    let config = FleetConfig::plain(4, "t", "/", SCALE);
    let counters = Arc::new(Counters::default());
    let failed =
        through_bursar(broker, "http://127.0.0.1:1", config, counters, CancellationToken::new()).await;
    assert!(matches!(failed, Err(FleetError::Hopeless(message)) if message == "no such class"));
}

#[tokio::test]
async fn without_an_upstream_nothing_is_sent_and_permits_are_given_back() {
    // A port that was free a moment ago, and to which nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let broker = StandIn::new(1, 3);
    let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
    let config = FleetConfig::plain(1, "t", "/", SCALE);
    let fleet = tokio::spawn({
        let (broker, counters, stop) = (broker.clone(), counters.clone(), stop.clone());
        async move { through_bursar(broker, &url, config, counters, stop).await }
    });
    until(&counters, |now| now.given_up == 1 && now.waiting == 1).await;
    stop.cancel();
    let found = fleet.await.unwrap().unwrap();
    assert_eq!((found.errors, found.done), (3, 0));
    assert_eq!(broker.noted(), (3, 0, 0));
}

#[tokio::test]
async fn a_fleet_that_cannot_be_says_why() {
    let run = async |change: fn(&mut FleetConfig), url: &str| {
        let mut config = FleetConfig::plain(1, "t", "/", SCALE);
        change(&mut config);
        independent(url, config, Arc::default(), CancellationToken::new()).await.unwrap_err().to_string()
    };
    let url = "http://127.0.0.1:1";
    assert_eq!(run(|c| c.workers = 0, url).await, "workers: 0 is outside 1 to 10000");
    assert_eq!(run(|c| c.workers = 10_001, url).await, "workers: 10001 is outside 1 to 10000");
    assert!(run(|c| c.calls[0].weight = 0, url).await.starts_with("calls: "));
    assert!(run(|c| c.token = "a\nb".to_owned(), url).await.starts_with("token: "));
    assert!(run(|_| (), "nowhere").await.starts_with("url: "));
}

#[tokio::test]
async fn a_demo_compares_both_fleets_over_whole_windows() {
    use crate::demo::{Demo, DemoConfig, DemoEvent};

    let budget = bursar_quota::BudgetName::new("default").unwrap();
    let mut config = DemoConfig::quick(budget, 20, 7);
    config.upstream.window = Some(Duration::from_millis(200));
    config.windows = 3;
    let spec = config.budget().unwrap();
    assert_eq!(spec.validate(), Ok(()));
    let demo = Demo::new(config, Arc::new(bursar_quota::SystemClock::new())).await.unwrap();
    let events = Mutex::new(Vec::new());
    let tell = |event| events.lock().unwrap().push(event);
    // One at once, and one in all: whatever else happens, that is not refused.
    let outcome = demo.run(StandIn::new(1, 1), tell, CancellationToken::new()).await.unwrap();
    let (ours, theirs) = (outcome.report.bursar, outcome.report.independent);
    assert_eq!((ours.accepted, ours.refused, ours.given_up), (1, 0, 0));
    assert!(theirs.accepted > 0 && theirs.refused > 0, "{theirs:?}");
    assert!(ours.share > 0.0 && ours.share < 0.01 && theirs.share <= 1.0, "{:?}", outcome.report);
    assert_eq!(outcome.truth.accepted, ours.accepted + theirs.accepted);
    assert_eq!(outcome.truth.refused, outcome.independent.refused);
    let events = events.into_inner().unwrap();
    assert!(matches!(
        events[..],
        [
            DemoEvent::Listening { .. },
            DemoEvent::WaitingForEdge { .. },
            DemoEvent::Running { .. },
            DemoEvent::Stopping
        ]
    ));
}

#[tokio::test]
async fn a_demo_can_be_stopped() {
    use crate::demo::{Demo, DemoConfig, DemoError};

    let budget = bursar_quota::BudgetName::new("default").unwrap();
    let config = DemoConfig::real_time(budget.clone(), 2, 7);
    let clock = Arc::new(bursar_quota::SystemClock::new());
    let demo = Demo::new(config, clock.clone()).await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = demo.run(StandIn::new(1, 1), |_| (), stop).await;
    assert!(matches!(stopped, Err(DemoError::Stopped)));
    let none = DemoConfig { windows: 0, ..DemoConfig::quick(budget, 1, 1) };
    assert!(matches!(Demo::new(none, clock).await, Err(DemoError::Windows(0))));
}
