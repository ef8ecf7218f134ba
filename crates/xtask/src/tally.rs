//! Adding up what `cargo test` says at the end of each of its programs.

use std::ops::AddAssign;

/// How many tests there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Tests that are there but were not run.
    pub(crate) ignored: u64,
}

impl Tally {
    /// What a line says, if it is the closing line of a test program:
    /// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let part = counts.split(';').map(str::trim).find(|part| part.ends_with(what))?;
            part.split_once(' ')?.0.parse().ok()
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
    }

    /// For a person.
    pub(crate) fn spoken(self) -> String {
        let Self { passed, failed, ignored } = self;
        let tests = if passed == 1 { "test" } else { "tests" };
        match (failed, ignored) {
            (0, 0) => format!("{passed} {tests} passed"),
            (_, 0) => format!("{passed} {tests} passed, {failed} failed"),
            _ => format!("{passed} {tests} passed, {failed} failed, {ignored} ignored"),
        }
    }

    /// The plain closing line that machines look for. An ignored test is a skipped one.
    pub(crate) fn closing_line(self) -> String {
        let Self { passed, failed, ignored } = self;
        let skipped = if ignored == 0 { String::new() } else { format!(", {ignored} skipped") };
        format!("{passed} passed, {failed} failed{skipped}")
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let mut sum = Tally::default();
        let lines = [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "running 3 tests",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 3.20s",
            "test parser::test_result ... ok",
        ];
        for tally in lines.into_iter().filter_map(Tally::of_line) {
            sum += tally;
        }
        assert_eq!(sum, Tally { passed: 14, failed: 1, ignored: 1 });
        assert_eq!(sum.closing_line(), "14 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn other_lines_say_nothing() {
        for line in ["", "test result: ", "test result: ok. many passed; 0 failed; 0 ignored", "ok. 1 passed"]
        {
            assert_eq!(Tally::of_line(line), None, "{line}");
        }
    }
}
