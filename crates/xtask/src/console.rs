//! Where progress goes: standard output, or standard error when standard output is for JSON.

use std::{
    io::{self, Write as _},
    process::Stdio,
    time::{Duration, Instant},
};

/// Writes to the terminal. That nobody reads it is no error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    json: bool,
}

impl Console {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line of progress.
    pub(crate) fn note(&self, text: &str) {
        if self.json {
            let _ = writeln!(io::stderr(), "{text}");
        } else {
            let _ = writeln!(io::stdout(), "{text}");
        }
    }

    /// A line that announces what comes.
    pub(crate) fn heading(&self, text: &str) {
        self.note(&format!("\n=== {text}"));
    }

    /// What the command was asked for, on standard output.
    pub(crate) fn result(&self, text: &str) {
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// Where a child process writes what it has to say.
    pub(crate) fn child_output(&self) -> Stdio {
        if self.json { Stdio::from(io::stderr()) } else { Stdio::inherit() }
    }
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "a chore measures real time; no decision depends on it")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn read(self) -> Duration {
        self.0.elapsed()
    }
}

/// A duration for a person: `0.3 s`, `12 s`, `4 min 05 s`.
pub(crate) fn spoken(span: Duration) -> String {
    match span.as_secs() {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
