//! The same operations on the embedded engine and on every server that can be had.

use std::ffi::OsStr;

use super::{Context, Done, test::run_tests};
use crate::{
    command::Trouble,
    server::{self, VARIABLE},
};

/// What names more servers to the test.
const SERVERS: &str = "BURSAR_SERVERS";

/// The usual server and those that come as wheels. One of these must be there; which are not is told.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    let usual = context.server()?;
    let (others, missing) = server::others(&context.workspace, &context.console);
    for why in &missing {
        context.console.note(&format!("not compared with: {why}"));
    }
    if others.is_empty() {
        return Err(Trouble::Missing(format!("no server but the usual one: {}", missing.join("; "))));
    }
    let paths = std::env::join_paths(others.iter().map(|server| &server.program))
        .map_err(|error| Trouble::Failed(format!("{SERVERS}: {error}")))?;
    // Of the whole workspace, so that nothing is built a second time with other features.
    let words = ["test", "--workspace", "--test", "differential"];
    let variables: [(&str, &OsStr); 2] = [(VARIABLE, usual.program.as_os_str()), (SERVERS, &paths)];
    let done = run_tests(context, &words, &variables)?;
    let names: Vec<&str> = (std::iter::once(&usual).chain(&others))
        .map(|server| server.described.split(',').next().unwrap_or_default())
        .collect();
    Ok(format!("{done}; on {}", names.join(", ")))
}
