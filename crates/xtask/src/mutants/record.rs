//! Which test noticed each mutant last: it is tried first, so that a whole table takes minutes. Who is not noticed by that test
//! any more meets the whole suite, so the record can be old or empty and changes no verdict.

use std::{collections::BTreeMap, fmt::Write as _};

use super::Outcome;

const HEAD: &str = "# The test that noticed each mutant last, `mutant = stage: test`; `cargo xtask mutants --record` writes it.\n";

/// By mutant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record(BTreeMap<String, String>);

impl Record {
    /// Reads a record; an error names the line.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut record = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (mutant, by) =
                line.split_once(" = ").ok_or_else(|| format!("line {number}: not `mutant = stage: test`"))?;
            record.insert(mutant.to_owned(), by.to_owned());
        }
        Ok(Self(record))
    }

    /// The test that noticed a mutant last, with its stage.
    pub(super) fn of(&self, mutant: &str) -> Option<&str> {
        self.0.get(mutant).map(String::as_str)
    }

    /// Takes in what came of a run, and forgets mutants that are no more.
    pub(super) fn take(&mut self, outcomes: &[Outcome], known: impl Fn(&str) -> bool) {
        for Outcome { name, killed_by, .. } in outcomes {
            match killed_by {
                Some(by) => self.0.insert(name.clone(), by.clone()),
                None => self.0.remove(name),
            };
        }
        self.0.retain(|mutant, _| known(mutant));
    }

    pub(super) fn text(&self) -> String {
        self.0.iter().fold(HEAD.to_owned(), |mut text, (mutant, by)| {
            let _ = writeln!(text, "{mutant} = {by}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(name: &str, killed_by: Option<&str>) -> Outcome {
        Outcome {
            name: name.to_owned(),
            breaks: String::new(),
            file: String::new(),
            killed_by: killed_by.map(str::to_owned),
            stale: None,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut record =
            Record::read("# a note\n\na = accounting: x::y\nb = lanes: z\nc = lanes: w\n").unwrap();
        assert_eq!(record.of("a"), Some("accounting: x::y"));
        record.take(&[outcome("a", Some("histories: h")), outcome("b", None)], |name| name != "c");
        assert_eq!(record.of("a"), Some("histories: h"));
        assert_eq!((record.of("b"), record.of("c")), (None, None));
        assert_eq!(Record::read(&record.text()).unwrap(), record);
    }

    #[test]
    fn what_is_no_line_of_it_is_told() {
        assert_eq!(Record::read("a = b\nc").unwrap_err(), "line 2: not `mutant = stage: test`");
    }
}
