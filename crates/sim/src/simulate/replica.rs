//! Replicas: each a real coordinator; they crash, restart, and are cut off.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bursar_coordinator::{Config, Coordinator, CoordinatorError, WatchItem, Watcher};
use bursar_quota::{BudgetSpec, Clock, EventKind, ReplicaName};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{dice::Dice, link::Link, plan::Millis, world::World};

/// After so long without a sign of life a connection is given up, on both sides.
const SILENCE: Duration = Duration::from_secs(2);
/// How often a replica looks whether the store still knows its budgets, as `bursar serve` does.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long it waits before it tries to declare again, at first and at most.
pub(super) const PAUSE: (u64, u64) = (200, 1000);

/// From one start of a replica to its end.
#[derive(Debug)]
pub(crate) struct Life {
    /// Counts a replica's lives.
    pub(crate) number: u64,
    /// It crashed.
    pub(crate) ended: CancellationToken,
}

#[derive(Default)]
struct State {
    lives: u64,
    running: Option<(Coordinator, Arc<Life>)>,
    /// Cancelled when its workers are cut off; a new one when they are back.
    cut: CancellationToken,
    /// How many faults cut its workers off now.
    cuts: u32,
}

/// A replica's place in the world.
#[derive(Default)]
pub(crate) struct Replica {
    state: Mutex<State>,
    /// How many faults cut it from the store now.
    store_cuts: AtomicU32,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").finish_non_exhaustive()
    }
}

/// Why there was no answer: whoever asked cannot tell whether it was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Nobody listens there, or the connection broke.
    Broken,
    /// The load has ended, and with it the wait.
    Stopped,
}

impl Replica {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_cut_from_store(&self) -> bool {
        self.store_cuts.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn cut_from_store(&self, begins: bool) {
        if begins {
            self.store_cuts.fetch_add(1, Ordering::Relaxed);
        } else {
            self.store_cuts.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn cut_from_workers(&self, begins: bool) {
        let mut state = self.state();
        if begins {
            state.cuts += 1;
            state.cut.cancel();
        } else {
            state.cuts -= 1;
            if state.cuts == 0 {
                state.cut = CancellationToken::new();
            }
        }
    }

    /// ## running => gone. Wherever its tasks are: none of them reaches the store again.
    pub(crate) fn crash(&self) -> bool {
        let gone = self.state().running.take();
        if let Some((_, life)) = &gone {
            life.ended.cancel();
        }
        gone.is_some()
    }
}

impl World {
    /// ## gone => running, knowing nothing.
    pub(crate) fn start_replica(self: &Arc<Self>, replica: usize) {
        let mut state = self.replicas[replica].state();
        if state.running.is_some() {
            return;
        }
        state.lives += 1;
        let life = Arc::new(Life { number: state.lives, ended: CancellationToken::new() });
        let link = Arc::new(Link::new(Arc::clone(self), replica, Arc::clone(&life)));
        let Ok(name) = ReplicaName::new(&format!("r{replica}")) else { return };
        let seed = self.dice("replica", (replica as u64) << 32 | life.number).bits();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let coordinator = Coordinator::new(link, Arc::clone(&self.profiles), clock, Config::new(name, seed));
        coordinator.expect_budgets(self.scenario.budgets.iter().map(|budget| budget.spec.name.clone()));
        let declares = declare(Arc::clone(self), replica, coordinator.clone());
        let ended = life.ended.clone();
        state.running = Some((coordinator, life));
        drop(state);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = declares => {}
            }
        });
    }

    fn worker_range(&self, replica: usize) -> &Millis {
        let network = &self.scenario.network;
        network.replicas.get(replica).map_or(&network.worker_replica, |plan| &plan.worker_replica)
    }

    /// Asks a replica for something and waits for its answer.
    pub(crate) async fn call<T, F>(
        &self,
        replica: usize,
        dice: &mut Dice,
        waits_through_stop: bool,
        ask: impl FnOnce(Coordinator) -> F,
    ) -> Result<T, NoAnswer>
    where
        F: Future<Output = T>,
    {
        let range = self.worker_range(replica);
        self.pass(self.way(dice, range)).await;
        let (running, cut) = {
            let state = self.replicas[replica].state();
            (state.running.clone(), state.cut.clone())
        };
        if cut.is_cancelled() {
            sleep(SILENCE).await;
            return Err(NoAnswer::Broken);
        }
        let Some((coordinator, life)) = running else { return Err(NoAnswer::Broken) };
        let mut asking = Box::pin(ask(coordinator));
        let answer = tokio::select! {
            biased;
            () = life.ended.cancelled() => return Err(NoAnswer::Broken),
            answer = &mut asking => Some(answer),
            () = cut.cancelled() => None,
            () = self.stop.cancelled(), if !waits_through_stop => return Err(NoAnswer::Stopped),
        };
        let Some(answer) = answer else {
            // What was asked goes on until the replica notices; its answer reaches nobody.
            tokio::select! {
                biased;
                () = life.ended.cancelled() => {}
                _ = timeout(SILENCE, asking) => {}
            }
            return Err(NoAnswer::Broken);
        };
        self.pass(self.way(dice, range)).await;
        if cut.is_cancelled() {
            sleep(SILENCE).await;
            return Err(NoAnswer::Broken);
        }
        Ok(answer)
    }
}

/// What `bursar serve` does beside serving: declares its budgets, and again when the store has lost them.
async fn declare(world: Arc<World>, replica: usize, coordinator: Coordinator) {
    let mut dice = world.dice("declarer", replica as u64);
    let mut over = true;
    loop {
        let mut events = coordinator.watch();
        for budget in &world.scenario.budgets {
            let mut pause = PAUSE.0;
            while let Err(error) = put(&coordinator, &budget.spec, over).await {
                if let CoordinatorError::Invalid(error) = error {
                    world.note(format_args!("r{replica}"), format_args!("cannot declare: {error}"));
                    return;
                }
                sleep(Duration::from_millis(dice.within(&(pause / 2..=pause)))).await;
                pause = (pause * 2).min(PAUSE.1);
            }
            coordinator.budget_answered(&budget.spec.name);
        }
        match needed(&world, replica, &coordinator, &mut events).await {
            Some(need) => over = need,
            None => return,
        }
    }
}

/// Declares a budget; unless `over`, only if the store does not know it.
async fn put(coordinator: &Coordinator, spec: &BudgetSpec, over: bool) -> Result<(), CoordinatorError> {
    if over || !coordinator.knows_budget(&spec.name).await? {
        coordinator.put_budget(spec.clone()).await?;
    }
    Ok(())
}

/// Waits until budgets are to be declared again: whether over what is there, as when their state was lost. `None`: the replica
/// has ended.
async fn needed(
    world: &World,
    replica: usize,
    coordinator: &Coordinator,
    events: &mut Watcher,
) -> Option<bool> {
    let mut missed = pin!(coordinator.budget_missed_anew());
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = &mut missed => return Some(false),
            () = sleep(LOOK) => {
                for budget in &world.scenario.budgets {
                    if matches!(coordinator.knows_budget(&budget.spec.name).await, Ok(false)) {
                        return Some(false);
                    }
                }
                continue;
            }
        };
        match event {
            Some(WatchItem::Event(event)) => {
                world.note(
                    format_args!("r{replica}"),
                    format_args!("hears {}: {:?}", event.budget, event.kind),
                );
                if event.kind == EventKind::StateLost {
                    return Some(true);
                }
            }
            Some(WatchItem::Missed(_)) => {}
            None => return None,
        }
    }
}
