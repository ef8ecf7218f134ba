//! What was reached, by file.

use std::collections::{BTreeMap, BTreeSet};

use super::parser::{Event, Probe};
use crate::{console::Console, json::text};

/// Reached of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    hit: usize,
    total: usize,
}

impl Share {
    fn add(&mut self, is_hit: bool) {
        self.total += 1;
        self.hit += usize::from(is_hit);
    }

    fn join(&mut self, other: Self) {
        self.hit += other.hit;
        self.total += other.total;
    }

    #[allow(clippy::cast_precision_loss, reason = "a percentage for people; counts are small")]
    fn percent(self) -> f64 {
        if self.total == 0 { 100.0 } else { self.hit as f64 * 100.0 / self.total as f64 }
    }

    fn spoken(self) -> String {
        format!("{:>5}/{:<5} {:>5.1} %", self.hit, self.total, self.percent())
    }

    fn json(self) -> String {
        format!(r#"{{"hit":{},"total":{}}}"#, self.hit, self.total)
    }
}

/// One file's account.
#[derive(Debug)]
pub(super) struct File {
    name: String,
    lines: Share,
    branches: Share,
    /// Line, and what never happened there.
    missing: Vec<(usize, String)>,
}

impl File {
    /// The account of a file whose probes are numbered from `first`.
    pub(super) fn of(name: &str, probes: &[Probe], first: usize, reached: &BTreeSet<usize>) -> Self {
        let mut lines: BTreeMap<usize, bool> = BTreeMap::new();
        let (mut branches, mut missing) = (Share::default(), Vec::new());
        for (number, probe) in (first..).zip(probes) {
            let is_hit = reached.contains(&number);
            let what = match &probe.event {
                Event::Statement => {
                    *lines.entry(probe.line).or_default() |= is_hit;
                    continue;
                }
                Event::Outcome { condition, was } => {
                    format!("never {}: {condition}", if *was { "true" } else { "false" })
                }
                Event::Loop { ran: true } => "the loop never ran".to_owned(),
                Event::Loop { ran: false } => "the loop always ran".to_owned(),
            };
            branches.add(is_hit);
            if !is_hit {
                missing.push((probe.line, what));
            }
        }
        let mut share = Share::default();
        for (line, is_hit) in &lines {
            share.add(*is_hit);
            if !is_hit {
                missing.push((*line, "never reached".to_owned()));
            }
        }
        // Of a line that was not reached it goes without saying what did not happen there.
        missing.retain(|(line, what)| what == "never reached" || lines.get(line) != Some(&false));
        missing.sort();
        Self { name: name.to_owned(), lines: share, branches, missing }
    }
}

fn sum(files: &[File]) -> (Share, Share) {
    let mut all = (Share::default(), Share::default());
    for file in files {
        all.0.join(file.lines);
        all.1.join(file.branches);
    }
    all
}

/// The table, and what is missing if that was asked for.
pub(super) fn show(console: &Console, files: &[File], with_missing: bool) {
    if with_missing {
        console.heading("what the suite never does");
        for file in files {
            for (line, what) in &file.missing {
                console.note(&format!("{}.lua:{line}: {what}", file.name));
            }
        }
    }
    console.heading("the scripts, as the suite reaches them");
    console.note(&format!("{:<20} {:>19}  {:>19}", "file", "lines", "branches"));
    for file in files {
        console.note(&format!("{:<20} {}  {}", file.name, file.lines.spoken(), file.branches.spoken()));
    }
    let (lines, branches) = sum(files);
    console.note(&format!("{:<20} {}  {}", "all", lines.spoken(), branches.spoken()));
}

/// The report for machines: `lines`, `branches`, `files`, each with `missing`.
pub(super) fn json(files: &[File]) -> String {
    let (lines, branches) = sum(files);
    let each: Vec<_> = files
        .iter()
        .map(|file| {
            let missing: Vec<_> = file
                .missing
                .iter()
                .map(|(line, what)| format!(r#"{{"line":{line},"what":{}}}"#, text(what)))
                .collect();
            format!(
                r#"{{"file":{},"lines":{},"branches":{},"missing":[{}]}}"#,
                text(&file.name),
                file.lines.json(),
                file.branches.json(),
                missing.join(",")
            )
        })
        .collect();
    format!(r#"{{"lines":{},"branches":{},"files":[{}]}}"#, lines.json(), branches.json(), each.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_counted_by_lines_and_outcomes() {
        let source = "if a then\n  b() c()\nelse\n  d = e or 1\nend";
        let (_, probes) = super::super::parser::furnish(source, 10).unwrap();
        // The condition was only ever true; `d` was never assigned.
        let reached = [10, 11, 13, 14].into();
        let file = File::of("x", &probes, 10, &reached);
        assert_eq!((file.lines, file.branches), (Share { hit: 2, total: 3 }, Share { hit: 1, total: 4 }));
        assert_eq!(file.missing, [(1, "never false: a".to_owned()), (4, "never reached".to_owned())]);
        let json = json(&[file]);
        assert!(json.starts_with(r#"{"lines":{"hit":2,"total":3},"branches":{"hit":1,"total":4},"files":["#));
        assert!(json.contains(r#"{"line":4,"what":"never reached"}"#), "{json}");
    }
}
