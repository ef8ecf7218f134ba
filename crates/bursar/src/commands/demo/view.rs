//! The live view of a demo: bars where somebody watches, lines otherwise.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bursar_sim::{demo::DemoEvent, fleet::Counters};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output;

/// How often bars move, and how often a line is written.
const BARS: Duration = Duration::from_millis(100);
const LINES: Duration = Duration::from_secs(5);

/// Both fleets' counters, once they run.
type Fleets = (Arc<Counters>, Arc<Counters>);

/// Tells how a demo goes, on standard error.
pub(super) struct View {
    bars: Option<Bars>,
    fleets: Mutex<Option<Fleets>>,
    workers: usize,
    store: String,
}

struct Bars {
    all: MultiProgress,
    time: ProgressBar,
    ours: ProgressBar,
    theirs: ProgressBar,
}

impl View {
    /// A view that has nothing to show yet.
    pub(super) fn new(store: &str, workers: usize) -> Self {
        let bars = output::watched().then(Bars::new);
        // An address may have a password in it.
        let store = if store == "embedded" { "the embedded store" } else { "Redis" };
        Self { bars, fleets: Mutex::new(None), workers, store: store.to_owned() }
    }

    fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.time.set_message(text.to_owned()),
            None => output::note(text),
        }
    }

    /// Shows what happens.
    pub(super) fn tell(&self, event: DemoEvent) {
        match event {
            DemoEvent::Listening { url } => {
                self.say(&format!(
                    "an Autotask on {url}, a Bursar on {}, two fleets of {} workers",
                    self.store, self.workers
                ));
            }
            DemoEvent::WaitingForEdge { left } => {
                self.say(&format!("waiting {:.1} s for a window to begin", left.as_secs_f64()));
            }
            DemoEvent::Running { left, bursar, independent } => {
                self.say(&format!("calling for {:.0} s", left.as_secs_f64()));
                if let Some(bars) = &self.bars {
                    bars.time.set_length(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
                    bars.time.reset_elapsed();
                }
                *self.fleets() = Some((bursar, independent));
            }
            DemoEvent::Stopping => self.say("done; finishing what is under way"),
        }
    }

    /// Shows the counters, again and again. Never ends.
    pub(super) async fn follow(&self) {
        let every = if self.bars.is_some() { BARS } else { LINES };
        loop {
            tokio::time::sleep(every).await;
            let fleets = self.fleets().clone();
            let Some((ours, theirs)) = fleets else { continue };
            match &self.bars {
                Some(bars) => {
                    let passed = u64::try_from(bars.time.elapsed().as_millis()).unwrap_or(u64::MAX);
                    bars.time.set_position(passed.min(bars.time.length().unwrap_or(0)));
                    bars.ours.set_message(counts(&ours));
                    bars.theirs.set_message(counts(&theirs));
                }
                None => {
                    output::note(&format!("through Bursar        {}", counts(&ours)));
                    output::note(&format!("independent handlers  {}", counts(&theirs)));
                }
            }
        }
    }

    /// Takes the bars away.
    pub(super) fn end(&self) {
        if let Some(bars) = &self.bars {
            // Where the terminal is gone there is nothing to clear.
            let _ = bars.all.clear();
        }
    }

    fn fleets(&self) -> std::sync::MutexGuard<'_, Option<Fleets>> {
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let line = |template: &str, prefix: &'static str| {
            let bar = all.add(ProgressBar::no_length().with_prefix(prefix));
            // A template that cannot be read is the default one: the view is worth less than the demo.
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        };
        Self {
            time: line("{bar:40.green} {msg}", ""),
            ours: line("{prefix:.green} {msg}", "through Bursar      "),
            theirs: line("{prefix:.red} {msg}", "independent handlers"),
            all,
        }
    }
}

/// A fleet's counts in a line.
fn counts(counters: &Counters) -> String {
    let now = counters.snapshot();
    format!(
        "{:>7} done {:>7} refused {:>6} given up {:>5} waiting",
        now.done, now.refused, now.given_up, now.waiting
    )
}
