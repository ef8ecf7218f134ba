//! The coordinator over the production scripts, under paused time, against upstreams that count for themselves.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use bursar_coordinator::{Acquire, Coordinator, Outcome, Settle};
use bursar_dialect::Profiles;
use bursar_ledger::{HostError, Reply, Script, ScriptCall, ScriptHost, ScriptLedger, Vm};
use bursar_quota::{
    BoxFuture, BoxStream, BudgetSpec, Clock, Ledger, LimitKind, ProfileName, Reason, Settled,
};
use futures_util::{StreamExt, stream};
use tokio::{sync::broadcast, time::sleep};

use crate::{fake::TokioClock, world::*};

type Job = (&'static Script, ScriptCall, Duration, mpsc::Sender<Ran>);
type Ran = (Result<Reply, HostError>, Vec<Vec<u8>>);

/// The embedded engine's machine on a thread that is waited for, so that paused time stands still meanwhile.
#[derive(Debug)]
struct Machine {
    jobs: Mutex<mpsc::Sender<Job>>,
    published: broadcast::Sender<Vec<u8>>,
    clock: Arc<TokioClock>,
}

impl Machine {
    fn new(clock: Arc<TokioClock>) -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            let mut vm = Vm::new().unwrap();
            while let Ok((script, call, now, done)) = todo.recv() {
                let result = vm.run(script, &call, now);
                let published = vm.take_published().into_iter().map(|(_, payload)| payload).collect();
                let _ = done.send((result, published));
            }
        });
        Self { jobs: Mutex::new(jobs), published: broadcast::channel(1024).0, clock }
    }
}

impl ScriptHost for Machine {
    fn run<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        Box::pin(async move {
            let (done, ran) = mpsc::channel();
            self.jobs.lock().unwrap().send((script, call, self.clock.unix(), done)).unwrap();
            let (result, published) = ran.recv().unwrap();
            for payload in published {
                let _ = self.published.send(payload);
            }
            // A reply takes a moment, in which others arrive.
            tokio::task::yield_now().await;
            result
        })
    }

    fn announcements(&self) -> BoxStream<Vec<u8>> {
        let published = tokio::sync::broadcast::Sender::subscribe(&self.published);
        Box::pin(
            stream::unfold(published, |mut published| async move {
                Some((published.recv().await.ok(), published))
            })
            .filter_map(|payload| async { payload }),
        )
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }
}

fn replicas(clock: &Arc<TokioClock>, names: &[&str]) -> Vec<Coordinator> {
    let machine = Machine::new(Arc::clone(clock));
    let ledger: Arc<dyn Ledger> = Arc::new(ScriptLedger::new(machine, "bursar", clock.clone()));
    let profiles = Arc::new(Profiles::builtin());
    (names.iter())
        .map(|name| Coordinator::new(ledger.clone(), profiles.clone(), clock.clone(), World::config(name)))
        .collect()
}

fn profile(name_of: &str) -> BudgetSpec {
    Profiles::builtin().get(&ProfileName::new(name_of).unwrap()).unwrap().budget(name())
}

/// An upstream that counts so many calls a window on its own clock, and so many at once.
#[derive(Debug)]
struct Upstream {
    capacity: u64,
    window: Duration,
    phase: Duration,
    at_once: usize,
    lag: Duration,
    counted: Mutex<(u128, u64, VecDeque<Option<Duration>>)>,
    refused: Mutex<HashMap<&'static str, u64>>,
    accepted: Mutex<u64>,
    clock: Arc<TokioClock>,
}

impl Upstream {
    fn begin(&self) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
        let now = self.clock.unix();
        let at = (now - self.phase).as_nanos() / self.window.as_nanos();
        let mut counted = self.counted.lock().unwrap();
        let (window, count, slots) = &mut *counted;
        if *window != at {
            (*window, *count) = (at, 0);
        }
        slots.retain(|ended| ended.is_none_or(|ended| ended + self.lag > now));
        let refuse = |why| {
            *self.refused.lock().unwrap().entry(why).or_insert(0) += 1;
            Err(why)
        };
        if slots.len() >= self.at_once {
            return refuse("at once");
        }
        if *count >= self.capacity {
            return refuse("window");
        }
        *count += 1;
        *self.accepted.lock().unwrap() += 1;
        slots.push_back(None);
        let end = self.phase + self.window * u32::try_from(at + 1).unwrap();
        let header = |name: &str, value: u64| (name.to_owned(), value.to_string().into_bytes());
        Ok(vec![
            header("X-RateLimit-Limit", self.capacity),
            header("X-RateLimit-Remaining", self.capacity - *count),
            header("X-RateLimit-Reset", u64::try_from(end.as_millis().div_ceil(1000)).unwrap()),
            ("Date".to_owned(), http_date(now)),
        ])
    }

    fn end(&self) {
        let now = self.clock.unix();
        let mut counted = self.counted.lock().unwrap();
        if let Some(slot) = counted.2.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(now);
        }
    }
}

/// The date as HTTP writes it, without a library: the tests' clock begins on 15 January 2027, and stays in that day.
fn http_date(now: Duration) -> Vec<u8> {
    let seconds = now.as_secs() % 86_400;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("Fri, 15 Jan 2027 {hour:02}:{minute:02}:{second:02} GMT").into_bytes()
}

/// A worker that asks, calls and settles for as long as it is let.
async fn work(coordinator: Coordinator, upstream: Arc<Upstream>, who: &'static str, took: Duration) {
    loop {
        let ask = Acquire { tenant: tenant(who), ..patient(secs(3600)) };
        let Ok(granted) = coordinator.acquire(ask).await else {
            sleep(ms(100)).await;
            continue;
        };
        let begun = upstream.begin();
        sleep(took).await;
        let outcome = match begun {
            Ok(headers) => {
                upstream.end();
                Outcome::Response { status: 200, headers, body: Vec::new() }
            }
            Err(_) => answered(429, &[("Retry-After", "1")]),
        };
        coordinator.settle(settle(&granted, outcome)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_workers_on_two_replicas_use_the_whole_quota_and_are_never_refused() {
    let clock = Arc::new(TokioClock::new());
    let replicas = replicas(&clock, &["r1", "r2"]);
    replicas[0].put_budget(profile("autotask")).await.unwrap();
    let upstream = Arc::new(Upstream {
        capacity: 600,
        window: secs(60),
        phase: ms(23_400),
        at_once: 3,
        lag: ms(60),
        counted: Mutex::default(),
        refused: Mutex::default(),
        accepted: Mutex::default(),
        clock: clock.clone(),
    });
    for n in 0..50 {
        let coordinator = replicas[n % 2].clone();
        let who = ["a", "b", "c", "d", "e"][n / 2 % 5];
        tokio::spawn(work(coordinator, upstream.clone(), who, ms(120)));
    }
    // The rest of the window in which it begins, and six whole ones.
    let first =
        upstream.window.as_nanos() - (clock.unix() - upstream.phase).as_nanos() % upstream.window.as_nanos();
    sleep(Duration::from_nanos(u64::try_from(first).unwrap())).await;
    let before = *upstream.accepted.lock().unwrap();
    sleep(secs(360)).await;
    let accepted = *upstream.accepted.lock().unwrap() - before;
    assert_eq!(*upstream.refused.lock().unwrap(), HashMap::new(), "{accepted} were accepted");
    assert!(accepted * 1000 >= 3600 * 995, "{accepted} of 3600");
}

#[tokio::test(start_paused = true)]
async fn what_one_replica_learns_stops_the_other() {
    let clock = Arc::new(TokioClock::new());
    let replicas = replicas(&clock, &["r1", "r2"]);
    replicas[0].put_budget(budget(vec![limit("w", window(100, secs(60)))])).await.unwrap();
    let (a, b) = (&replicas[0], &replicas[1]);
    let granted = a.acquire(ask()).await.unwrap();
    let waiting = spawn(b, patient(secs(30))).await;
    let _other = waiting.await.unwrap().unwrap();
    let report = a.settle(settle(&granted, answered(429, &[("Retry-After", "7")]))).await.unwrap();
    assert_eq!(report.result, Settled::Applied);
    assert!(report.paused_for >= secs(7), "{report:?}");
    let refusal = refused(b.acquire(ask()).await);
    assert_eq!(refusal.reason, Reason::PausedByUpstream);
    assert!(refusal.retry_after.is_some_and(|after| after >= secs(7) && after <= ms(7010)), "{refusal:?}");
    // One probe, then the rest.
    let first = spawn(a, patient(secs(30))).await;
    let second = spawn(b, patient(secs(30))).await;
    sleep(ms(7_100)).await;
    assert_eq!(usize::from(first.is_finished()) + usize::from(second.is_finished()), 1);
    let (probe, rest, on) = if first.is_finished() { (first, second, a) } else { (second, first, b) };
    let probe = probe.await.unwrap().unwrap();
    on.settle(settle(&probe, answered(200, &[]))).await.unwrap();
    assert!(rest.await.unwrap().is_ok());
    assert!(clock.monotonic() < secs(10), "the rest was woken by the probe's answer");
}

#[tokio::test(start_paused = true)]
async fn a_wait_over_the_scripts_is_exact() {
    let clock = Arc::new(TokioClock::new());
    let replicas = replicas(&clock, &["r1"]);
    let mut spec = budget(vec![limit("w", window(2, secs(60)))]);
    spec.send_within = secs(1);
    replicas[0].put_budget(spec).await.unwrap();
    for _ in 0..2 {
        let granted = replicas[0].acquire(ask()).await.unwrap();
        replicas[0].settle(settle(&granted, Outcome::Lost)).await.unwrap();
    }
    let refusal = refused(replicas[0].acquire(patient(secs(30))).await);
    let after = refusal.retry_after.unwrap();
    assert!(after >= secs(60) && after < ms(60_300), "a slot of the window later at most: {after:?}");
    let granted = replicas[0].acquire(patient(secs(90))).await.unwrap();
    assert!(granted.waited >= after - ms(2) && granted.waited <= after + ms(5), "{after:?} {granted:?}");
    // A request id finds its permit again, and once only.
    sleep(secs(130)).await;
    let request = Acquire { request_id: Some("x".into()), ..ask() };
    let first = replicas[0].acquire(request.clone()).await.unwrap();
    assert_eq!(first.permit, replicas[0].acquire(request).await.unwrap().permit);
}

#[tokio::test(start_paused = true)]
async fn replicas_settle_each_others_permits_over_the_scripts() {
    let clock = Arc::new(TokioClock::new());
    let replicas = replicas(&clock, &["r1", "r2"]);
    replicas[0].put_budget(budget(vec![limit("c", at_once(2))])).await.unwrap();
    let mut held = VecDeque::new();
    for n in 0..20 {
        let (here, there) = (&replicas[n % 2], &replicas[(n + 1) % 2]);
        held.push_back(here.acquire(ask()).await.unwrap());
        if held.len() == 2 {
            // Who waits on one replica is woken by what is settled on the other.
            let waiting = spawn(here, patient(secs(20))).await;
            let first: Settle = not_sent(&held.pop_front().unwrap());
            assert_eq!(there.settle(first.clone()).await.unwrap().result, Settled::Applied);
            held.push_back(waiting.await.unwrap().unwrap());
            assert_eq!(here.settle(first).await.unwrap().result, Settled::Already);
            let next = not_sent(&held.pop_front().unwrap());
            there.settle(next).await.unwrap();
        }
    }
    assert!(clock.monotonic() < ms(100));
}

/// A budget of one aligned window that responses speak of.
fn aligned(capacity: u64, span: Duration) -> BudgetSpec {
    let kind = LimitKind::Window { capacity, window: span, aligned: true, on_clock: false };
    let mut spec = budget(vec![limit("w", kind)]);
    spec.send_within = secs(1);
    spec
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_names_an_earlier_end_lets_who_waits_through() {
    let clock = Arc::new(TokioClock::new());
    let replicas = replicas(&clock, &["r1"]);
    let coordinator = &replicas[0];
    coordinator.put_budget(aligned(5, secs(20))).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(coordinator.acquire(ask()).await.unwrap());
    }
    let waiting = spawn(coordinator, patient(secs(15))).await;
    let impatient = refused(coordinator.acquire(ask()).await);
    assert!(impatient.retry_after.is_some_and(|after| after >= secs(20)), "{impatient:?}");
    assert!(!waiting.is_finished(), "a settlement may say more");
    let headers = [("RateLimit-Limit", "5"), ("RateLimit-Remaining", "0"), ("RateLimit-Reset", "2")];
    for granted in &held {
        coordinator.settle(settle(granted, answered(200, &headers))).await.unwrap();
    }
    settle_down().await;
    assert!(!waiting.is_finished());
    let granted = waiting.await.unwrap().unwrap();
    assert!(granted.waited >= secs(2) && granted.waited < secs(5), "{granted:?}");
}

#[tokio::test(start_paused = true)]
async fn once_nothing_is_out_a_wait_in_vain_ends() {
    let clock = Arc::new(TokioClock::new());
    let replicas = replicas(&clock, &["r1", "r2"]);
    replicas[0].put_budget(aligned(5, secs(20))).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(replicas[0].acquire(ask()).await.unwrap());
    }
    // Ten, of whom not all are asked for in one commit; on a replica that settles nothing itself.
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(spawn(&replicas[1], patient(secs(15))).await);
    }
    for granted in &held {
        settle_down().await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        replicas[0].settle(settle(granted, answered(200, &[]))).await.unwrap();
    }
    settle_down().await;
    assert!(clock.monotonic() < ms(100));
    for waiting in waiting {
        assert!(waiting.is_finished());
        let refusal = refused(waiting.await.unwrap());
        assert_eq!(refusal.reason, Reason::QuotaExhausted);
        assert!(refusal.retry_after.is_some_and(|after| after > secs(15)), "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_only_those_wait_who_have_a_turn_in_time() {
    let clock = Arc::new(TokioClock::new());
    let replicas = replicas(&clock, &["r1"]);
    let coordinator = &replicas[0];
    let bucket = LimitKind::Bucket { capacity: 5, refill_per_second: 2.0 };
    // In 5 s a window of 3 s gives back once, a bucket ten times one.
    for (kind, turns) in [(window(5, secs(3)), 5), (bucket, 10)] {
        coordinator.delete_budget(&name()).await.unwrap();
        coordinator.put_budget(budget(vec![limit("w", kind)])).await.unwrap();
        for _ in 0..5 {
            let granted = coordinator.acquire(ask()).await.unwrap();
            coordinator.settle(settle(&granted, answered(200, &[]))).await.unwrap();
        }
        let start = clock.monotonic();
        let mut asked = Vec::new();
        for _ in 0..20 {
            let coordinator = coordinator.clone();
            asked.push(tokio::spawn(async move { coordinator.acquire(patient(secs(5))).await }));
        }
        settle_down().await;
        assert_eq!(clock.monotonic(), start);
        assert_eq!(asked.iter().filter(|asked| asked.is_finished()).count(), 20 - turns);
        let mut granted = 0;
        for asked in asked {
            match asked.await.unwrap() {
                Ok(permit) => {
                    // Settled at once: it takes no more than its place.
                    coordinator.settle(settle(&permit, answered(200, &[]))).await.unwrap();
                    granted += 1;
                }
                refusal => {
                    let after = refused(refusal).retry_after.unwrap();
                    assert!(after > secs(5) && after < ms(6100), "{after:?}");
                }
            }
        }
        // A slot or two of the ledger's clock may cost the bucket's last one its turn.
        assert!(granted + 1 >= turns && granted <= turns, "{granted} of {turns}");
    }
}
