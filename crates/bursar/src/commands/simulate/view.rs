//! How many seeds have run: a bar where somebody watches, lines otherwise.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bursar_quota::{Clock, SystemClock};
use bursar_sim::simulate::Report;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// How often a line is written.
const LINES: Duration = Duration::from_secs(10);

/// Tells how many have run, on standard error.
pub(super) struct View {
    bar: Option<ProgressBar>,
    scenario: String,
    seeds: u64,
    clock: SystemClock,
    ran: AtomicU64,
    events: AtomicU64,
    told: Arc<Mutex<Duration>>,
}

impl View {
    pub(super) fn new(scenario: &str, range: &Range<u64>) -> Self {
        let seeds = range.end.saturating_sub(range.start);
        let bar = output::watched().then(|| {
            let bar = ProgressBar::new(seeds);
            let template = "{bar:40.green} {pos}/{len} seeds, {elapsed}, {eta} left  {msg}";
            // A template that cannot be read is the default one: the view is worth less than the seeds.
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self {
            bar,
            scenario: scenario.to_owned(),
            seeds,
            clock: SystemClock::new(),
            ran: AtomicU64::new(0),
            events: AtomicU64::new(0),
            told: Arc::default(),
        }
    }

    /// A seed has run.
    pub(super) fn tell(&self, report: &Report) {
        let ran = self.ran.fetch_add(1, Ordering::Relaxed) + 1;
        let events = self.events.fetch_add(report.events, Ordering::Relaxed) + report.events;
        let now = self.clock.monotonic();
        let a_minute = u128::from(events) * 60_000 / now.as_millis().max(1);
        if let Some(bar) = &self.bar {
            bar.set_position(ran);
            return bar.set_message(format!("{events} events, {a_minute} a minute"));
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *told + LINES {
            *told = now;
            output::note(&format!(
                "{}: {ran} of {} seeds, {events} events, {a_minute} a minute",
                self.scenario, self.seeds
            ));
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
