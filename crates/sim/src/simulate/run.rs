//! One simulation from its start to its report.

use std::{fmt, sync::Arc, time::Duration};

use bursar_ledger::HostError;
use bursar_quota::{Clock, Ledger, LimitKind, SystemClock};
use tokio::{runtime, task::JoinSet, time::timeout};

use super::{
    book::Rest,
    faults,
    invariants::Invariant,
    log::Keep,
    plan::Scenario,
    replica::{LOOK, PAUSE},
    report::{Report, jain, quantile, rounded},
    store::Machine,
    worker::Worker,
    world::World,
};

/// How long after the last worker has gone replicas may still be at it.
const LAST_COMMITS: Duration = Duration::from_secs(2);
/// Moments over two windows at which what is at rest is looked at.
const LOOKS: u32 = 24;

/// Why a simulation did not run.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The scenario cannot be: what is wrong with it.
    #[error("the scenario cannot be simulated: {0}")]
    Scenario(String),
    /// There is no runtime to run in.
    #[error("no runtime")]
    Runtime(#[source] std::io::Error),
    /// There is no engine to run scripts in.
    #[error("no engine")]
    Engine(#[source] HostError),
}

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome {
    /// Its figures.
    pub report: Report,
    /// The lines of its event log that were kept, oldest first.
    pub log: Vec<String>,
}

/// Runs `scenario` under virtual time, in this thread, and keeps `keep` of its event log. The same scenario and seed give
/// the same log, whatever else happens on the machine.
///
/// # Errors
/// The scenario cannot be, or there is no memory. A violated invariant is no error: it is in the report.
pub fn run(scenario: &Scenario, seed: u64, keep: Keep) -> Result<Outcome, SimulateError> {
    for budget in &scenario.budgets {
        budget.spec.validate().map_err(|error| SimulateError::Scenario(error.to_string()))?;
    }
    if scenario.budgets.is_empty() || scenario.window.is_zero() {
        return Err(SimulateError::Scenario("it has no budget or no window".to_owned()));
    }
    let wall = SystemClock::new();
    let machine = Machine::start().map_err(SimulateError::Engine)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(SimulateError::Runtime)?;
    let mut outcome = runtime.block_on(Box::pin(live(scenario, seed, keep)));
    // What still waits is dropped while the store is there.
    drop(runtime);
    drop(machine);
    outcome.report.wall_ms = u64::try_from(wall.monotonic().as_millis()).unwrap_or(u64::MAX);
    Ok(outcome)
}

/// What the upstreams accepted and would have accepted.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    accepted: u64,
    offered: u64,
}

/// Opens the log with what the world is like, so that it can be read without its seed.
fn describe(world: &World) {
    let scenario = &world.scenario;
    let about = |part: &str, plan: &dyn fmt::Debug| {
        world.note(format_args!("world"), format_args!("{part}: {plan:?}"));
    };
    about("window", &(scenario.window, scenario.replicas, scenario.workers));
    for budget in &scenario.budgets {
        about("budget", &budget.spec);
        about("upstream", &budget.upstream);
    }
    about("load", &scenario.load);
    about("network", &scenario.network);
    about("faults", &scenario.faults);
    about("expects", &scenario.expects);
}

async fn live(scenario: &Scenario, seed: u64, keep: Keep) -> Outcome {
    let world = Arc::new(World::new(scenario, seed, keep));
    describe(&world);
    for replica in 0..world.replicas.len() {
        world.start_replica(replica);
    }
    faults::begin(&world);
    for budget in 0..scenario.budgets.len() {
        tokio::spawn(drive_upstream(Arc::clone(&world), budget));
    }
    let mut working: JoinSet<()> = JoinSet::new();
    for worker in 0..usize::from(scenario.workers.max(1)) {
        working.spawn(Worker::new(&world, worker).work());
    }

    let watching = tokio::spawn(watch(Arc::clone(&world)));

    let ms = Duration::from_millis(1);
    // The very end of a window belongs to the next one.
    world.until(scenario.from.saturating_sub(ms)).await;
    let before = if scenario.from.is_zero() { Measured::default() } else { measure(&world) };
    let before_by_worker = world.accepted();
    world.until(scenario.span().saturating_sub(ms)).await;
    let after = measure(&world);
    let by_tier = by_tier(&world, &before_by_worker);
    let measured = Measured {
        accepted: after.accepted - before.accepted,
        offered: after.offered.saturating_sub(before.offered),
    };
    world.until(scenario.span().max(scenario.faults.heal_at)).await;
    world.note(format_args!("world"), format_args!("the load ends"));
    world.closing.cancel();
    // Who waits is to be served within the bound, or at least somebody.
    let bound = scenario.expects.wait_bound.max(scenario.expects.idle_bound);
    let patience = bound.map_or(Duration::ZERO, |bound| bound + Duration::from_secs(1));
    // A worker that panicked is seen in what it did not do.
    let served = async { while working.join_next().await.is_some() {} };
    if timeout(patience, served).await.is_err() {
        world.stop.cancel();
        while working.join_next().await.is_some() {}
    }
    let stopped = world.now();
    world.idle().await;
    world.pass(LAST_COMMITS).await;
    watching.abort();
    declared(&world).await;
    rest(&world, stopped).await;
    let foreign_seen = end(&world, stopped).await;
    world.book().at_most_offered(world.now(), after.accepted, after.offered);
    report(&world, measured, by_tier, foreign_seen)
}

/// Lets an upstream do what it does by itself.
async fn drive_upstream(world: Arc<World>, budget: usize) {
    loop {
        let next = world.upstream(budget).next();
        let Some(next) = next else { return };
        // Time is cut to milliseconds.
        let then =
            Duration::from_millis(u64::try_from(next.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        world.until(then).await;
        let told = world.upstream(budget).happen(world.now());
        for line in told {
            world.note(format_args!("u{budget}"), format_args!("{line}"));
        }
    }
}

/// What all upstreams accepted and would have accepted so far.
fn measure(world: &World) -> Measured {
    let now = world.now();
    let mut measured = Measured::default();
    for budget in 0..world.scenario.budgets.len() {
        let mut upstream = world.upstream(budget);
        measured.accepted += upstream.accepted();
        measured.offered += upstream.offered(now);
    }
    measured
}

/// What share each tier had of what was accepted since `before`.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn by_tier(world: &World, before: &[u64]) -> [f64; 3] {
    let (mut got, mut all) = ([0, 0, 0], 0);
    for (worker, (now, before)) in world.accepted().iter().zip(before).enumerate() {
        got[world.scenario.tier(worker).index()] += now - before;
        all += now - before;
    }
    got.map(|got| rounded(got as f64 / all.max(1) as f64, 4))
}

/// Waits until a store that came back empty was told of its budgets again: for as long as a replica's look and its longest
/// pause may take. One that still lacks some is found to.
async fn declared(world: &Arc<World>) {
    let patience = world.now() + LOOK + Duration::from_millis(PAUSE.1) + LAST_COMMITS;
    for budget in &world.scenario.budgets {
        while !matches!(world.ledger.get(&budget.spec.name).await, Ok(Some(_))) && world.now() < patience {
            world.pass(Duration::from_millis(100)).await;
        }
    }
}

/// Holds what is available against the truth, at several moments: whatever ends meanwhile.
async fn rest(world: &Arc<World>, stopped: Duration) {
    let window = world.scenario.window;
    for _ in 0..LOOKS {
        for budget in 0..world.scenario.budgets.len() {
            look(world, budget, stopped, Look::AtRest).await;
        }
        world
            .pass(Duration::from_millis(u64::try_from((window * 2 / LOOKS).as_millis()).unwrap_or(1).max(1)))
            .await;
    }
}

/// Holds what is available against the truth while calls are under way.
async fn watch(world: Arc<World>) {
    let between = world.scenario.window * 2 / LOOKS;
    loop {
        world.pass(between.max(Duration::from_millis(1))).await;
        for budget in 0..world.scenario.budgets.len() {
            look(&world, budget, world.now(), Look::UnderWay).await;
        }
    }
}

/// What is going on where what is available is held against the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    UnderWay,
    AtRest,
    AtEnd,
}

/// Every deadline passes; what others used, as far as the ledger saw it.
async fn end(world: &Arc<World>, stopped: Duration) -> u64 {
    let specs = || world.scenario.budgets.iter().map(|budget| &budget.spec);
    let deadlines =
        specs().map(|spec| spec.permit_ttl.max(world.scenario.load.ttl.unwrap_or_default())).max();
    let lingers = specs().flat_map(|spec| &spec.limits).map(|limit| match limit.kind {
        LimitKind::Concurrency { linger, .. } => linger,
        _ => Duration::ZERO,
    });
    let longest = lingers.max().unwrap_or_default();
    world.pass(deadlines.unwrap_or_default() + longest + LAST_COMMITS).await;
    let mut foreign = 0;
    for budget in 0..world.scenario.budgets.len() {
        foreign += look(world, budget, stopped, Look::AtEnd).await;
    }
    foreign
}

/// Answers how much of the budget the ledger believes that others used.
async fn look(world: &Arc<World>, budget: usize, stopped: Duration, at: Look) -> u64 {
    let name = &world.scenario.budgets[budget].spec.name;
    let seen = world.book().seen();
    // The store is asked directly: this is nobody's message.
    let now = world.now();
    let stored = world.ledger.get(name).await;
    let is_over = !matches!(stored, Ok(Some(_))) || world.now() != now || world.book().seen() != seen;
    if at == Look::UnderWay && is_over {
        // It could not tell, or what it told of is over.
        return 0;
    }
    let Ok(Some(stored)) = stored else {
        world.book().violate(now, Invariant::SlotsReturn, format!("the store does not know {name}"));
        return 0;
    };
    let (truths, slots_taken) = {
        let mut upstream = world.upstream(budget);
        (upstream.truth(now), upstream.slots_taken(now))
    };
    let rest = Rest { budget, stopped, snapshot: &stored.snapshot, truths: &truths, slots_taken };
    let mut book = world.book();
    match at {
        Look::UnderWay => book.under_way(now, &rest),
        Look::AtRest => book.at_rest(now, &rest),
        Look::AtEnd => book.at_end(now, &rest),
    }
    stored.snapshot.limits.iter().map(|limit| limit.foreign).sum()
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn report(world: &Arc<World>, measured: Measured, tier_shares: [f64; 3], foreign_seen: u64) -> Outcome {
    let (scenario, now) = (&world.scenario, world.now());
    let by_worker = world.accepted();
    // A tenant without a worker wants nothing.
    let tenants = usize::from(scenario.load.tenants.max(1)).min(by_worker.len());
    let got: Vec<u64> = if tenants > 1 {
        let mut got = vec![0; tenants];
        by_worker.iter().enumerate().for_each(|(worker, n)| got[scenario.tenant(worker)] += n);
        got
    } else {
        by_worker
    };
    // A call that comes in the last millisecond before the measured windows is of the window before them, of which all was
    // offered by then. That no more was accepted than was offered in all is an invariant of its own.
    let utilisation = match measured.offered {
        0 => 1.0,
        offered => (measured.accepted as f64 / offered as f64).min(1.0),
    };
    let (utilisation, jain) = (rounded(utilisation, 6), rounded(jain(&got), 6));
    let mut book = world.book();
    book.at_last(now, utilisation, jain, tier_shares);
    for violation in book.violations.told() {
        world.log().note(
            now,
            format_args!("world"),
            format_args!("{}: {}", violation.invariant, violation.text),
        );
    }
    let mut waits = std::mem::take(&mut book.waits);
    waits.sort_unstable();
    let tally = book.tally;
    let log = std::mem::replace(&mut *world.log(), super::log::Log::new(Keep::Last(0)));
    let report = Report {
        scenario: scenario.name.to_owned(),
        seed: world.seed,
        granted: tally.granted,
        accepted: tally.accepted,
        refused_upstream: tally.refused,
        utilisation,
        jain,
        tier_shares,
        wait_p50_ms: quantile(&waits, 500),
        wait_p99_ms: quantile(&waits, 990),
        violations: book.violations.told().to_vec(),
        virtual_seconds: rounded(now.as_secs_f64(), 3),
        events: log.events(),
        wall_ms: 0,
        log_hash: log.hash(),
        replicas: scenario.replicas,
        workers: scenario.workers,
        windows: scenario.windows,
        commits: tally.commits,
        permits_per_commit: rounded(tally.permits as f64 / tally.commits.max(1) as f64, 3),
        refused_secondary: tally.secondary,
        refused_in_recovery: tally.recovering,
        congestion_epochs: tally.epochs,
        foreign_seen,
        commands_most: tally.commands_most,
        instructions_most: tally.instructions_most,
        bytes_most: tally.bytes_most,
        rest_checks: tally.rest_checks,
        under_way_checks: tally.under_way_checks,
        exact_checks: tally.exact_checks,
        refusal_checks: tally.refusal_checks,
    };
    Outcome { report, log: log.into_lines() }
}
