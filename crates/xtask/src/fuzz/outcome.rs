//! What came of a target.

use std::{fmt::Write as _, time::Duration};

use crate::{command::Trouble, console::spoken, json};

/// How one target ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) target: String,
    /// How many inputs were tried.
    pub(super) executions: u64,
    /// How many branches they reached.
    pub(super) branches: u64,
    /// Kept inputs it began with.
    pub(super) kept: usize,
    /// Inputs that reached what none of those did.
    pub(super) new: usize,
    pub(super) took: Duration,
    /// Why it did not hold; empty: it did.
    pub(super) why: String,
    /// The input that broke it.
    pub(super) input: Option<String>,
}

impl Outcome {
    /// Reads what libFuzzer wrote.
    pub(super) fn read(target: &str, said: &str, success: bool, took: Duration) -> Self {
        let number = |words: &str| words.split_whitespace().next()?.parse().ok();
        let behind = |key: &str| said.lines().rev().find_map(|line| number(line.split_once(key)?.1));
        let executions = behind("stat::number_of_executed_units:").unwrap_or_default();
        let branches = behind(" cov: ").unwrap_or_default();
        let input =
            said.lines().rev().find_map(|line| line.split_once("Test unit written to ")).map(|it| it.1);
        let why = match (success, executions, branches) {
            (true, 1.., 1..) => String::new(),
            // That would be a run that cannot find anything.
            (true, 0, _) => "no input was tried".to_owned(),
            (true, _, 0) => "no branch was seen: it is not instrumented".to_owned(),
            (false, ..) => complaint(said),
        };
        let input = input.map(str::to_owned);
        Self { target: target.to_owned(), executions, branches, took, why, input, ..Self::default() }
    }

    pub(super) fn held(&self) -> bool {
        self.why.is_empty()
    }

    /// For a person.
    pub(super) fn line(&self) -> String {
        let Self { target, executions, branches, kept, new, took, why, input } = self;
        let rate = per_second(*executions, *took);
        let mut line = format!(
            "{target:<12} {} after {}: {executions} inputs ({rate}/s), {branches} branches, {kept} kept, {new} new",
            if self.held() { "held" } else { "BROKE" },
            spoken(*took)
        );
        if !self.held() {
            let _ = write!(line, "\n  {}", why.replace('\n', "\n  "));
        }
        if let Some(input) = input {
            let _ = write!(line, "\n  again: cargo xtask fuzz --target {target} --input {input}");
        }
        line
    }
}

fn per_second(executions: u64, took: Duration) -> u64 {
    executions / took.as_secs().max(1)
}

/// What a panic said, or else the last word.
fn complaint(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.contains(" panicked at "));
    let panic: Vec<_> =
        lines.by_ref().take_while(|line| !line.starts_with("stack backtrace")).take(8).collect();
    if !panic.is_empty() {
        return panic.join("\n");
    }
    let error = said.lines().rev().find(|line| line.contains("ERROR: ") || line.contains("panicked"));
    error.or_else(|| said.lines().last()).unwrap_or("it said nothing").to_owned()
}

/// One object on one line: `good`, `seconds`, `seed`, `targets`.
pub(super) fn json(outcomes: &[Outcome], seed: u32, total: Duration) -> String {
    let targets: Vec<_> = outcomes
        .iter()
        .map(|it| {
            format!(
                r#"{{"target":{},"held":{},"executions":{},"per_second":{},"branches":{},"kept":{},"new":{},"seconds":{:.3},"why":{},"input":{}}}"#,
                json::text(&it.target),
                it.held(),
                it.executions,
                per_second(it.executions, it.took),
                it.branches,
                it.kept,
                it.new,
                it.took.as_secs_f64(),
                json::text(&it.why),
                it.input.as_deref().map_or_else(|| "null".to_owned(), json::text),
            )
        })
        .collect();
    format!(
        r#"{{"good":{},"seconds":{:.3},"seed":{seed},"targets":[{}]}}"#,
        outcomes.iter().all(Outcome::held),
        total.as_secs_f64(),
        targets.join(",")
    )
}

/// In a few words; fails if a target did not hold.
pub(super) fn judge(outcomes: &[Outcome]) -> Result<String, Trouble> {
    let broken: Vec<_> = outcomes.iter().filter(|it| !it.held()).map(|it| it.target.as_str()).collect();
    if !broken.is_empty() {
        return Err(Trouble::Failed(format!(
            "{} of {} targets broke: {}",
            broken.len(),
            outcomes.len(),
            broken.join(", ")
        )));
    }
    let inputs: u64 = outcomes.iter().map(|it| it.executions).sum();
    Ok(format!("{} targets held, {inputs} inputs", outcomes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#2\tINITED cov: 11 ft: 12 corp: 1/1b exec/s: 0 rss: 30Mb\n\
        #41537\tDONE   cov: 280 ft: 542 corp: 154/6823b lim: 3095 exec/s: 46152 rss: 32Mb\n\
        stat::number_of_executed_units: 41537\nstat::new_units_added:          9\n";

    fn read(said: &str, success: bool) -> Outcome {
        Outcome::read("name", said, success, Duration::from_secs(2))
    }

    #[test]
    fn a_run_that_held_is_counted() {
        let outcome = read(GOOD, true);
        assert!(outcome.held());
        assert_eq!((outcome.executions, outcome.branches, outcome.input.clone()), (41_537, 280, None));
        assert!(judge(&[outcome]).is_ok());
    }

    #[test]
    fn a_run_that_could_not_find_anything_did_not_hold() {
        assert_eq!(read("", true).why, "no input was tried");
        assert_eq!(
            read(&GOOD.replace(" cov: ", " "), true).why,
            "no branch was seen: it is not instrumented"
        );
        assert_eq!(read("", false).why, "it said nothing");
    }

    #[test]
    fn a_panic_is_told_with_its_input() {
        let said = "\nthread '<unnamed>' (1) panicked at crates/fuzz/src/a.rs:1:2:\nnot so\nstack backtrace:\n  0: x\n\
            artifact_prefix='/t/'; Test unit written to /t/crash-1\nstat::number_of_executed_units: 7\n";
        let outcome = read(said, false);
        assert!(outcome.why.ends_with("a.rs:1:2:\nnot so"), "{}", outcome.why);
        assert_eq!(outcome.input.as_deref(), Some("/t/crash-1"));
        let json = json(std::slice::from_ref(&outcome), 1, Duration::ZERO);
        assert!(json.contains(r#""good":false"#) && json.contains(r#""input":"/t/crash-1""#), "{json}");
        assert!(judge(&[outcome]).is_err());
    }
}
