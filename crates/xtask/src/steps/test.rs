//! The tests that need no Docker engine: unit, integration, documentation.

use super::{Context, Done};
use crate::{command::Trouble, server::VARIABLE, tally::Tally, workspace::in_ci};

/// All tests, also after one has failed: the sum at the end must be of all.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    let server = context.server()?;
    let tests = ["test", "--workspace", "--no-fail-fast"];
    run_tests(context, &tests, &[(VARIABLE, server.program.as_os_str())])
}

/// Runs tests and adds them to the sum.
pub(super) fn run_tests(
    context: &mut Context<'_>,
    words: &[&str],
    variables: &[(&str, &std::ffi::OsStr)],
) -> Done {
    let mut cargo = context.workspace.cargo(&context.console).args(words).args(context.features());
    for (name, value) in variables {
        cargo = cargo.env(name, value);
    }
    let mut sum = Tally::default();
    let ran = cargo.lines(|line| {
        if let Some(tally) = Tally::of_line(line) {
            sum += tally;
        }
    });
    context.report.tests += sum;
    match ran {
        Err(Trouble::Failed(why)) => Err(Trouble::Failed(format!("{}; {why}", sum.spoken()))),
        Err(missing) => Err(missing),
        Ok(()) if sum.passed == 0 => Err(Trouble::Failed("no test was run".to_owned())),
        Ok(()) if in_ci() && sum.ignored > 0 => {
            Err(Trouble::Failed(format!("{}: CI ignores none", sum.spoken())))
        }
        Ok(()) => Ok(sum.spoken()),
    }
}
