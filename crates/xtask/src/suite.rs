//! The tests that run the ledger's scripts on the embedded engine, as programs that are built once and run on scripts from
//! any folder: see `BURSAR_LUA_DIR` in the ledger's `testing`.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use crate::{
    command::{Run, Trouble},
    console::{Console, Stopwatch},
    json::field,
    workspace::Workspace,
};

/// The accounting's rules and histories.
const ACCOUNTING: &str = "crates/ledger/tests/accounting/main.rs";
/// The ledger as its callers see it; we leave out what needs a server.
const CONFORMANCE: &str = "crates/ledger/tests/conformance/main.rs";
/// The lanes over the production scripts.
const LANES: &str = "crates/coordinator/tests/it/main.rs";

/// A stage that takes longer hangs: several times what the slowest takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// The last stage plays so many times the histories of the first, with other seeds.
const DEEPER: u64 = 5;
/// So many stages are quick.
const QUICK: usize = 4;
/// The rules that take most of the time of all: of thousands of callers, and of shares over a long time.
const CROWDED: [&str; 2] = ["rules_fair::", "rules_requests::"];

/// Some tests of one program.
#[derive(Debug)]
struct Stage {
    /// Told with a failing test.
    name: &'static str,
    program: PathBuf,
    /// The package's folder, in which Cargo would run it.
    folder: PathBuf,
    tests: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All tests passed.
    Passed,
    /// The test that failed first, or how its program ended.
    Failed(String),
}

/// The stages, those first that answer soonest.
#[derive(Debug)]
pub(crate) struct Suite {
    stages: Vec<Stage>,
}

impl Suite {
    /// Builds the programs. `histories` are played of all kinds together.
    pub(crate) fn build(workspace: &Workspace, console: &Console, histories: u64) -> Result<Self, Trouble> {
        console.note("building the tests");
        let words = [
            "test",
            "--no-run",
            "--message-format",
            "json",
            "-p",
            "bursar-ledger",
            "-p",
            "bursar-coordinator",
        ];
        let messages = workspace.cargo(console).args(words).read()?;
        let kept = workspace.scratch("suite")?;
        let program = |source: &str| {
            let built = program_of(&messages, source)
                .ok_or_else(|| Trouble::Failed(format!("Cargo built no test of {source}")))?;
            // A copy: what is built while we run is not for us.
            let copy = kept.join(built.file_name().unwrap_or_default());
            // Another run may have it open: it keeps what it has.
            let _ = std::fs::remove_file(&copy);
            std::fs::copy(&built, &copy)
                .map_err(|error| Trouble::Failed(format!("copying {}: {error}", built.display())))?;
            Ok(copy)
        };
        let played = |count: u64, first: u64| {
            vec![("BURSAR_HISTORIES", count.to_string()), ("BURSAR_SEED", first.to_string())]
        };
        // The accounting's histories are its tests outside of modules.
        let is_crowded = |test: &str| CROWDED.iter().any(|module| test.starts_with(module));
        let is_rule = |test: &str| test.contains("::") && !is_crowded(test);
        let is_history = |test: &str| !test.contains("::");
        let is_embedded = |test: &str| test.contains("::embedded::");
        let stage = |name, source: &str, wanted: &dyn Fn(&str) -> bool, variables| {
            let program = program(source)?;
            let folder = workspace.path(source.split("/tests/").next().unwrap_or_default());
            let listed = Run::new(console, &program).args(["--list", "--format", "terse"]).capture()?;
            let tests: Vec<_> = listed
                .lines()
                .filter_map(|line| line.strip_suffix(": test"))
                .filter(|test| wanted(test))
                .map(str::to_owned)
                .collect();
            if tests.is_empty() {
                return Err(Trouble::Failed(format!("{source} has no test for the stage `{name}`")));
            }
            Ok(Stage { name, program, folder, tests, variables })
        };
        Ok(Self {
            stages: vec![
                stage("conformance", CONFORMANCE, &is_embedded, Vec::new())?,
                stage("accounting", ACCOUNTING, &is_rule, Vec::new())?,
                stage("crowds", ACCOUNTING, &is_crowded, Vec::new())?,
                stage("histories", ACCOUNTING, &is_history, played(histories, 1))?,
                stage("lanes", LANES, &|_| true, Vec::new())?,
                stage("more histories", ACCOUNTING, &is_history, played(histories * DEEPER, 1_000_000))?,
            ],
        })
    }

    /// The same without the slow stages at its end: the lanes, and more histories.
    pub(crate) fn quick(mut self) -> Self {
        self.stages.truncate(QUICK);
        self
    }

    /// The same without the stage that plays more histories.
    pub(crate) fn without_more_histories(mut self) -> Self {
        self.stages.pop();
        self
    }

    /// Runs one test, `stage: test`; `None`: there is none of this name.
    pub(crate) fn run_one(&self, test: &str, folder: &Path) -> Result<Option<Verdict>, Trouble> {
        let Some((stage, test)) = test.split_once(": ") else { return Ok(None) };
        let Some(stage) = self.stages.iter().find(|known| known.name == stage) else { return Ok(None) };
        if !stage.tests.iter().any(|known| known == test) {
            return Ok(None);
        }
        stage.run(std::slice::from_ref(&test.to_owned()), folder, &[]).map(Some)
    }

    /// Runs the stages in order on the scripts in `folder`, with these variables set, until a test fails.
    pub(crate) fn run(&self, folder: &Path, variables: &[(&str, &Path)]) -> Result<Verdict, Trouble> {
        for stage in &self.stages {
            let verdict = stage.run(&stage.tests, folder, variables)?;
            if verdict != Verdict::Passed {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Passed)
    }
}

/// The program that Cargo says it built from `source`.
fn program_of(messages: &str, source: &str) -> Option<PathBuf> {
    messages.lines().find_map(|message| {
        let built_from = field(message, "src_path")?;
        let program = field(message, "executable")?;
        Path::new(&built_from).ends_with(source).then(|| PathBuf::from(program))
    })
}

impl Stage {
    fn run(&self, tests: &[String], scripts: &Path, variables: &[(&str, &Path)]) -> Result<Verdict, Trouble> {
        let broken = |error| Trouble::Failed(format!("running {}: {error}", self.program.display()));
        let mut child = Command::new(&self.program)
            .current_dir(&self.folder)
            .args(["--exact", "--test-threads", "1"])
            .args(tests)
            .env("BURSAR_LUA_DIR", scripts)
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(broken)?;
        let failed = self.first_failure(&mut child);
        if failed.is_some() {
            // It may have ended meanwhile.
            let _ = child.kill();
        }
        let status = child.wait().map_err(broken)?;
        Ok(match failed {
            Some(test) => Verdict::Failed(format!("{}: {test}", self.name)),
            None if status.success() => Verdict::Passed,
            None => Verdict::Failed(format!("{}: its program ended with {status}", self.name)),
        })
    }

    /// Reads what the tests say until one fails, all have ended, or time is up.
    fn first_failure(&self, child: &mut Child) -> Option<String> {
        let output = child.stdout.take()?;
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            // Ends with the program, or when nobody listens any more.
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        let watch = Stopwatch::start();
        loop {
            match told.recv_timeout(PATIENCE.saturating_sub(watch.read())) {
                Ok(line) => {
                    if let Some(test) = failed_test(&line) {
                        return Some(test.to_owned());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => return Some("a timeout".to_owned()),
            }
        }
    }
}

/// The test that a line says to have failed: `test name ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.trim().strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_test_is_heard() {
        assert_eq!(failed_test("test rules::a ... FAILED\r"), Some("rules::a"));
        for line in ["test rules::a ... ok", "test result: FAILED. 1 passed", "FAILED", ""] {
            assert_eq!(failed_test(line), None, "{line}");
        }
    }

    #[test]
    fn a_program_is_found_by_its_source() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"it","src_path":"/w/a/tests/it/main.rs"},"executable":"/w/it-1"}
{"reason":"compiler-artifact","target":{"name":"it","src_path":"/w/b/tests/it/main.rs"},"executable":"/w/it-2"}
{"reason":"compiler-artifact","target":{"name":"c","src_path":"/w/c/src/lib.rs"},"executable":null}"#;
        assert_eq!(program_of(messages, "b/tests/it/main.rs"), Some(PathBuf::from("/w/it-2")));
        assert_eq!(program_of(messages, "c/src/lib.rs"), None);
    }
}
