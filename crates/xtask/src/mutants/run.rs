//! One mutant: a copy of the scripts with one change, and the suite on it until a test fails.

use std::path::Path;

use super::{Judge, report::Outcome, table::Mutant};
use crate::{command::Trouble, console::Stopwatch, scripts::Scripts, suite::Verdict};

/// Runs `mutant` in `folder`, which is written over: the test that noticed it last, then the whole suite.
pub(super) fn one(judge: &Judge<'_>, mutant: &Mutant, folder: &Path) -> Result<Outcome, Trouble> {
    let Judge { suite, scripts, record } = judge;
    let watch = Stopwatch::start();
    let outcome = |killed_by, stale| Outcome {
        name: mutant.name.clone(),
        breaks: mutant.breaks.clone(),
        file: mutant.file.clone(),
        killed_by,
        stale,
        took: watch.read(),
    };
    let broken = match mutate(scripts, mutant) {
        Ok(broken) => broken,
        Err(why) => return Ok(outcome(None, Some(why))),
    };
    broken.write(folder)?;
    let first = record.of(&mutant.name).map(|test| suite.run_one(test, folder)).transpose()?.flatten();
    let verdict = match first {
        Some(failed @ Verdict::Failed(_)) => failed,
        _ => suite.run(folder, &[])?,
    };
    match verdict {
        Verdict::Passed => Ok(outcome(None, None)),
        Verdict::Failed(by) => Ok(outcome(Some(by), None)),
    }
}

/// The scripts with the one change, or why it cannot be made.
fn mutate(scripts: &Scripts, mutant: &Mutant) -> Result<Scripts, String> {
    let Some(text) = scripts.text(&mutant.file) else {
        return Err(format!("there is no file {}.lua", mutant.file));
    };
    match text.matches(&mutant.find).count() {
        1 => Ok(scripts.with(&mutant.file, text.replace(&mutant.find, &mutant.put))),
        times => Err(format!("its text occurs {times} times in {}.lua", mutant.file)),
    }
}
