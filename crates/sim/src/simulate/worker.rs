//! Workers: each wants a permit, makes its call, settles, and begins again.

use std::{sync::Arc, time::Duration};

use bursar_coordinator::{Acquire, AcquireError, Granted, Outcome, Renew};
use bursar_quota::{BudgetName, ClassName, Reason, TenantName, Tier, UnitName};
use tokio::time::{sleep, timeout};

use super::{
    book::{Arrival, PermitKey},
    dice::Dice,
    replica::NoAnswer,
    settlement::{Settlement, costs},
    upstream::{Answer, Call},
    world::World,
};

/// Until when a worker that was told nothing tries again.
pub(crate) const AGAIN: (u64, u64) = (20, 200);
/// The longest that a refused worker stays away, however long it is told.
const AWAY_MOST: Duration = Duration::from_secs(10);
/// How often a request is sent in vain before another takes its place.
pub(crate) const TRIES: u32 = 12;
/// How long until another worker takes the place of one that died.
const REPLACED_AFTER: Duration = Duration::from_secs(1);
/// Within what time a message is repeated, at most.
const REPEATED_WITHIN: u64 = 2_000;

/// A worker.
pub(crate) struct Worker {
    world: Arc<World>,
    number: usize,
    budget: usize,
    name: BudgetName,
    home: usize,
    tenant: TenantName,
    tier: Tier,
    dice: Dice,
    /// Counts its requests.
    asked: u64,
    /// What it has to settle with its next request, if it is of those that do so.
    riding: Option<Settlement>,
}

/// What it wants to call.
#[derive(Debug, Clone)]
struct Wanted {
    class: Option<ClassName>,
    estimate: Vec<(UnitName, u64)>,
    actual: Vec<(String, u64)>,
    request: String,
}

/// A permit that it holds.
struct Held {
    granted: Granted,
    wanted: Wanted,
}

impl Held {
    fn key(&self) -> PermitKey {
        (self.granted.permit.lease(), self.granted.permit.index())
    }
}

impl Worker {
    pub(crate) fn new(world: &Arc<World>, number: usize) -> Self {
        let scenario = &world.scenario;
        let budget = number % scenario.budgets.len();
        let tenant = scenario.tenant(number);
        Self {
            number,
            budget,
            name: scenario.budgets[budget].spec.name.clone(),
            home: scenario.home(number),
            tenant: TenantName::new(&format!("t{tenant}")).unwrap_or_else(|_| TenantName::default_tenant()),
            tier: scenario.tier(number),
            dice: world.dice("worker", number as u64),
            asked: 0,
            riding: None,
            world: Arc::clone(world),
        }
    }

    /// Works until the load ends.
    pub(crate) async fn work(mut self) {
        while let Some(since) = self.want().await {
            let Some(held) = self.acquire(since).await else { break };
            if self.call(held).await {
                self.world.pass(REPLACED_AFTER).await;
            }
        }
        if let Some(riding) = self.riding.take() {
            riding.tell().await;
        }
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.world.note(format_args!("w{}", self.number), what);
    }

    /// Waits until it wants to call: since when it does. `None`: the load has ended.
    async fn want(&mut self) -> Option<Duration> {
        let world = Arc::clone(&self.world);
        let load = &world.scenario.load;
        let think = Duration::from_millis(self.dice.within(&load.think));
        let wait = async {
            world.pass(think).await;
            let now = world.now();
            match load.spikes.iter().find(|(_, to)| now < *to) {
                Some((from, _)) => world.until(*from).await,
                None if load.spikes.is_empty() => {}
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = world.closing.cancelled() => None,
            () = wait => Some(world.now()),
        }
    }

    /// What it calls next.
    fn draw(&mut self) -> Wanted {
        let load = &self.world.scenario.load;
        let class = self.dice.weighted(load.classes.iter().map(|class| u64::from(class.weight)));
        let class = load.classes.get(class).and_then(|class| ClassName::new(class.name.as_deref()?).ok());
        let (mut estimate, mut actual) = (Vec::new(), Vec::new());
        for cost in &load.costs {
            let reserved = self.dice.within(&cost.estimate);
            let share = self.dice.within(&(u64::from(*cost.actual.start())..=u64::from(*cost.actual.end())));
            if let Ok(unit) = UnitName::new(&cost.unit) {
                estimate.push((unit, reserved));
                actual.push((cost.unit.clone(), (reserved * share / 1000).max(1)));
            }
        }
        Wanted { class, estimate, actual, request: self.request() }
    }

    fn request(&mut self) -> String {
        self.asked += 1;
        format!("w{}.{}", self.number, self.asked)
    }

    /// Asks until it has a permit. `None`: the load has ended.
    async fn acquire(&mut self, since: Duration) -> Option<Held> {
        let mut wanted = self.draw();
        let (mut tries, mut replica) = (0, self.home);
        while !self.world.stop.is_cancelled() {
            let asked_at = self.world.now();
            match self.ask(&wanted, replica).await {
                Ok(Ok(granted)) => return Some(self.got(granted, wanted, since, asked_at)),
                Ok(Err(AcquireError::Refused(refusal))) => {
                    self.note(format_args!("is {refusal}"));
                    let away = refusal.retry_after.unwrap_or(Duration::from_millis(100));
                    if matches!(refusal.reason, Reason::Draining | Reason::UnknownBudget) {
                        replica = (replica + 1) % self.world.replicas.len();
                    }
                    self.away(away.clamp(Duration::from_millis(1), AWAY_MOST)).await;
                    wanted.request = self.request();
                    tries = 0;
                }
                Ok(Err(AcquireError::Failed(error))) => {
                    self.note(format_args!("has no answer: {error}"));
                    self.fails(&mut wanted, &mut tries, &mut replica).await;
                }
                Err(NoAnswer::Broken) => {
                    self.note(format_args!("has lost r{replica}"));
                    self.fails(&mut wanted, &mut tries, &mut replica).await;
                }
                Err(NoAnswer::Stopped) => break,
            }
            self.world.book().waited(self.world.now(), self.number, since);
        }
        self.world.book().waited(self.world.now(), self.number, since);
        None
    }

    /// Stays away for a while, at most until the load ends.
    async fn away(&self, span: Duration) {
        tokio::select! {
            biased;
            () = self.world.stop.cancelled() => {}
            () = sleep(span) => {}
        }
    }

    /// There was no answer: the same request goes elsewhere, so that what it got there is found.
    async fn fails(&mut self, wanted: &mut Wanted, tries: &mut u32, replica: &mut usize) {
        *replica = (*replica + 1) % self.world.replicas.len();
        *tries += 1;
        if *tries >= TRIES {
            wanted.request = self.request();
            *tries = 0;
        }
        let pause = self.dice.within(&(AGAIN.0..=AGAIN.1));
        self.away(Duration::from_millis(pause)).await;
    }

    /// Asks once, and perhaps the same again in parallel, or gives up on the answer.
    async fn ask(
        &mut self,
        wanted: &Wanted,
        replica: usize,
    ) -> Result<Result<Granted, AcquireError>, NoAnswer> {
        let faults = &self.world.scenario.faults;
        let (retried, doubled) = (faults.retried, faults.doubled);
        let request = self.message(wanted);
        self.note(format_args!("asks r{replica}: {}", wanted.request));
        if self.world.goes_wrong(&mut self.dice, doubled) {
            self.repeat(request.clone(), replica, 50);
        }
        if self.world.goes_wrong(&mut self.dice, retried) {
            if self.dice.happens(500) {
                let other = self.any_replica();
                self.repeat(request.clone(), other, REPEATED_WITHIN);
            } else {
                let patience = Duration::from_millis(self.dice.within(&(0..=REPEATED_WITHIN)));
                let asking = send(Arc::clone(&self.world), replica, self.dice_of_message(), request);
                return timeout(patience, asking).await.unwrap_or(Err(NoAnswer::Broken));
            }
        }
        let Some(riding) = self.riding.take() else {
            return send(Arc::clone(&self.world), replica, self.dice_of_message(), request).await;
        };
        self.send_with(riding, replica, request).await
    }

    /// Settles and asks in one message. Whether the settlement was understood is known when the answer comes; else it is told
    /// again by itself.
    async fn send_with(
        &mut self,
        riding: Settlement,
        replica: usize,
        request: Acquire,
    ) -> Result<Result<Granted, AcquireError>, NoAnswer> {
        let (world, mut dice) = (Arc::clone(&self.world), self.dice_of_message());
        let settle = riding.settle();
        let asked = world.call(replica, &mut dice, false, |coordinator| async move {
            // What is settled first takes effect before the acquire is decided.
            let settled = coordinator.settle(settle);
            let granted = coordinator.acquire(request);
            futures_util::join!(settled, granted)
        });
        match asked.await {
            Ok((Ok(report), granted)) => {
                riding.settled(&report);
                Ok(granted)
            }
            Ok((Err(error), granted)) => {
                riding.note(format_args!("cannot settle {}: {error}", riding.permit));
                world.spawn(riding.tell());
                Ok(granted)
            }
            Err(no_answer) => {
                world.spawn(riding.tell());
                Err(no_answer)
            }
        }
    }

    fn message(&self, wanted: &Wanted) -> Acquire {
        let load = &self.world.scenario.load;
        Acquire {
            class: wanted.class.clone(),
            tenant: self.tenant.clone(),
            tier: self.tier,
            costs: wanted.estimate.clone(),
            max_wait: load.max_wait,
            ttl: load.ttl,
            request_id: Some(wanted.request.clone()),
            ..Acquire::new(self.name.clone())
        }
    }

    fn any_replica(&mut self) -> usize {
        let replicas = self.world.replicas.len() as u64;
        usize::try_from(self.dice.below(replicas)).unwrap_or(0)
    }

    /// Each message's fate is its own: those that overtake each other share no dice.
    fn dice_of_message(&mut self) -> Dice {
        Dice::of(self.dice.bits(), "message", 0)
    }

    /// The same message reaches a replica once more; nobody hears its answer.
    fn repeat(&mut self, request: Acquire, replica: usize, within: u64) {
        let after = Duration::from_millis(self.dice.within(&(0..=within)));
        let (world, dice) = (Arc::clone(&self.world), self.dice_of_message());
        self.world.spawn(async move {
            sleep(after).await;
            // Whoever sent it has gone on.
            if let Ok(Ok(granted)) = send(Arc::clone(&world), replica, dice, request).await {
                world.book().unheard((granted.permit.lease(), granted.permit.index()));
            }
        });
    }

    fn got(&self, granted: Granted, wanted: Wanted, since: Duration, asked_at: Duration) -> Held {
        let key = (granted.permit.lease(), granted.permit.index());
        self.note(format_args!("gets {}", granted.permit));
        // The answer may have been under way for long: it was made once it had waited, at the earliest.
        let told_by = asked_at + granted.waited + granted.send_within;
        self.world.book().got(self.world.now(), key, self.number, (since, told_by));
        Held { granted, wanted }
    }

    /// Makes its call and settles; whether it died.
    async fn call(&mut self, held: Held) -> bool {
        let world = Arc::clone(&self.world);
        let (faults, load) = (&world.scenario.faults, &world.scenario.load);
        let key = held.key();
        let Some(send_by) = world.book().permit(key).map(|permit| permit.told_by) else { return false };
        let dies = world.goes_wrong(&mut self.dice, faults.death);
        let sends = !dies || self.dice.happens(500);
        if world.goes_wrong(&mut self.dice, faults.stall) {
            world.pass(Duration::from_millis(self.dice.within(&faults.stall_for))).await;
        }
        if !sends {
            self.note(format_args!("dies before it sends"));
            return true;
        }
        let way = world.way(&mut self.dice, &world.scenario.network.worker_upstream);
        if world.now() + way > send_by {
            self.note(format_args!("is too late to send"));
            self.settle(&held, Outcome::NotSent, Vec::new(), world.now()).await;
            return false;
        }
        world.pass(way).await;
        let answer = self.arrive(&held);
        let quick = self.dice.happens(load.quick);
        let service = if quick { &load.quick_service } else { &load.service };
        let service = Duration::from_millis(self.dice.within(service));
        if dies {
            self.note(format_args!("dies after it sent"));
            let (ending, budget) = (Arc::clone(&world), self.budget);
            if answer.accepted {
                world.spawn(async move {
                    sleep(service).await;
                    finish(&ending, budget, answer.call);
                });
            }
            return true;
        }
        if answer.accepted {
            self.serve(&held, service).await;
            finish(&world, self.budget, answer.call);
            self.note(format_args!("is answered after {} ms", service.as_millis()));
        }
        world.pass(world.way(&mut self.dice, &world.scenario.network.worker_upstream)).await;
        let received = world.now();
        let lost = world.goes_wrong(&mut self.dice, faults.lost_answer);
        let costs = if lost { Vec::new() } else { costs(&answer) };
        let outcome = match lost {
            true => Outcome::Lost,
            false => Outcome::Response { status: answer.status, headers: answer.headers, body: answer.body },
        };
        self.settle(&held, outcome, costs, received).await;
        false
    }

    /// The call arrives at its upstream.
    fn arrive(&self, held: &Held) -> Answer {
        let (world, now) = (&self.world, self.world.now());
        let spec = &world.scenario.budgets[self.budget].spec;
        let class = spec.class_or_default(held.wanted.class.clone());
        let call = Call { class: class.as_str(), units: &held.wanted.actual };
        let answer = world.upstream(self.budget).arrive(now, &call);
        let verdict = if answer.accepted { "accepted" } else { "refused" };
        let by = answer.refused_by.as_deref().unwrap_or_default();
        let told = answer.told();
        self.note(format_args!("calls {}: {verdict} {by} {}{told}", held.granted.permit, answer.status));
        let arrival = Arrival { key: held.key(), answer: &answer, units: &held.wanted.actual };
        world.book().arrived(now, &arrival);
        if answer.accepted {
            world.count_accepted(self.number);
        }
        answer
    }

    /// The upstream works; where that takes long, the permit is renewed.
    async fn serve(&mut self, held: &Held, service: Duration) {
        let spec = &self.world.scenario.budgets[self.budget].spec;
        let half = self.world.scenario.load.ttl.unwrap_or(spec.permit_ttl) / 2;
        let mut left = service;
        while left > half {
            self.world.pass(half).await;
            left -= half;
            let renew = Renew {
                budget: self.name.clone(),
                permit: held.granted.permit,
                ttl: self.world.scenario.load.ttl,
            };
            let (world, home, mut dice) = (Arc::clone(&self.world), self.home, self.dice_of_message());
            self.world.spawn(async move {
                for replica in (0..world.replicas.len()).map(|at| (home + at) % world.replicas.len()) {
                    let (ask, renew) = (&world, renew.clone());
                    let renewed = ask.call(replica, &mut dice, true, |coordinator| async move {
                        coordinator.renew(renew).await
                    });
                    if let Ok(Ok(_)) = renewed.await {
                        return;
                    }
                }
            });
        }
        self.world.pass(left).await;
    }

    /// Says what became of the permit. Of three workers one waits until it has been understood, one goes on meanwhile, and one
    /// says it with its next request.
    async fn settle(
        &mut self,
        held: &Held,
        outcome: Outcome,
        costs: Vec<(UnitName, u64)>,
        received: Duration,
    ) {
        let world = Arc::clone(&self.world);
        let faults = &world.scenario.faults;
        let late = world.goes_wrong(&mut self.dice, faults.late);
        let late =
            if late { Duration::from_millis(self.dice.within(&faults.late_by)) } else { Duration::ZERO };
        let knows = self.dice.happens(500);
        world.book().let_go(self.budget, held.key());
        let times = 1
            + u64::from(world.goes_wrong(&mut self.dice, faults.twice))
            + u64::from(world.goes_wrong(&mut self.dice, faults.doubled));
        let mut settlement = Settlement {
            world: Arc::clone(&world),
            worker: self.number,
            budget: self.name.clone(),
            permit: held.granted.permit,
            outcome,
            costs,
            received: knows.then_some(received),
            replica: self.home,
            after: late,
            dice: self.dice_of_message(),
        };
        for _ in 1..times {
            let again = Settlement {
                replica: self.any_replica(),
                after: Duration::from_millis(self.dice.within(&(0..=REPEATED_WITHIN))),
                dice: self.dice_of_message(),
                ..settlement.clone()
            };
            world.spawn(again.tell());
        }
        settlement.dice = self.dice_of_message();
        match self.number % 3 {
            _ if !late.is_zero() => world.spawn(settlement.tell()),
            0 => settlement.tell().await,
            1 => world.spawn(settlement.tell()),
            _ if is_steady(&self.world) => self.riding = Some(settlement),
            _ => settlement.tell().await,
        }
    }
}

/// Whether a worker asks again at once, so that what it has to say does not wait.
fn is_steady(world: &World) -> bool {
    let load = &world.scenario.load;
    *load.think.end() == 0 && load.spikes.is_empty() && !world.closing.is_cancelled()
}

fn finish(world: &World, budget: usize, call: u64) {
    let now = world.now();
    world.upstream(budget).finish(now, call);
    world.book().finished(now, budget, call);
}

async fn send(
    world: Arc<World>,
    replica: usize,
    mut dice: Dice,
    request: Acquire,
) -> Result<Result<Granted, AcquireError>, NoAnswer> {
    world
        .call(replica, &mut dice, false, |coordinator| async move { coordinator.acquire(request).await })
        .await
}
