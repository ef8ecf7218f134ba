//! What is being measured: a bar where somebody watches, lines otherwise.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

/// Tells what is being measured, on standard error.
pub(super) struct View {
    bar: Option<ProgressBar>,
}

impl View {
    /// A view of so many measurements.
    pub(super) fn new(steps: usize) -> Self {
        let bar = output::watched().then(|| {
            let bar = ProgressBar::new(steps as u64);
            let template = "{bar:30.green} {pos}/{len}, {elapsed}  {msg}";
            // A template that cannot be read is the default one: the view is worth less than the figures.
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar }
    }

    /// The `number`th measurement, from 1, begins.
    pub(super) fn tell(&self, number: usize, of: usize, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(number.saturating_sub(1) as u64);
                bar.set_message(what.to_owned());
            }
            None => output::note(&format!("{number}/{of}: {what}")),
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
