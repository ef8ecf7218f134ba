//! What came of each step.

use std::time::Duration;

use crate::{
    console::{Console, spoken},
    steps::Step,
    tally::Tally,
};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It found nothing wrong.
    Passed,
    /// It found something wrong, or broke.
    Failed,
    /// It could not run, for want of something.
    NotRun,
    /// It was not asked for.
    LeftOut,
}

impl Verdict {
    /// For people.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::NotRun => "NOT RUN",
            Self::LeftOut => "left out",
        }
    }

    /// The same for machines.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not_run",
            Self::LeftOut => "left_out",
        }
    }
}

/// One step's line.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) step: Step,
    pub(crate) verdict: Verdict,
    pub(crate) took: Duration,
    /// What it found, or why it did not run.
    pub(crate) note: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) entries: Vec<Entry>,
    pub(crate) tests: Tally,
    /// What the tests' server was, if one was looked for.
    pub(crate) server: Option<String>,
}

impl Report {
    pub(crate) fn has(&self, verdict: &Verdict) -> bool {
        self.entries.iter().any(|entry| entry.verdict == *verdict)
    }

    /// Whether all that was asked for passed; `allow_missing`: or could not run.
    pub(crate) fn good(&self, allow_missing: bool) -> bool {
        !self.has(&Verdict::Failed) && (allow_missing || !self.has(&Verdict::NotRun))
    }

    /// The table at the end.
    pub(crate) fn show(&self, console: &Console, total: Duration) {
        console.heading(&format!("summary, after {}", spoken(total)));
        for Entry { step, verdict, took, note } in &self.entries {
            let took = if *verdict == Verdict::LeftOut { String::new() } else { spoken(*took) };
            let line = format!("{:<11} {:<9} {took:>12}  {note}", step.name(), verdict.word());
            console.note(line.trim_end());
        }
        if let Some(server) = &self.server {
            console.note(&format!("\nRedis or Valkey: {server}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[Verdict]) -> Report {
        let entry = |verdict: &Verdict| Entry {
            step: Step::Fmt,
            verdict: verdict.clone(),
            took: Duration::ZERO,
            note: String::new(),
        };
        Report { entries: verdicts.iter().map(entry).collect(), ..Report::default() }
    }

    #[test]
    fn a_failure_is_never_good_and_what_did_not_run_only_where_that_is_allowed() {
        use Verdict::{Failed, LeftOut, NotRun, Passed};
        let cases: [(&[Verdict], bool, bool); 4] = [
            (&[Passed, LeftOut], true, true),
            (&[Passed, NotRun], false, true),
            (&[NotRun, Failed], false, false),
            (&[Failed], false, false),
        ];
        for (verdicts, strictly, leniently) in cases {
            let report = report(verdicts);
            assert_eq!((report.good(false), report.good(true)), (strictly, leniently), "{verdicts:?}");
        }
    }
}
