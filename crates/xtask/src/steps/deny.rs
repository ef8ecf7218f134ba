//! Dependencies, by cargo-deny.

use super::{Context, Done};
use crate::{command::Run, tools};

/// What may be depended on (`.deny.toml`: licences, sources, forbidden crates), and which room may import which
/// (`crates/.deny.toml`). Advisories are left out: they need a database that changes by the day, and a commit must not turn
/// bad by itself.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    let cargo_deny = tools::cargo_deny(&context.workspace, &context.console)?;
    // It is told to stay offline, so what the lock file names has to be here.
    context.workspace.cargo(&context.console).args(["fetch", "--locked", "--quiet"]).stream()?;
    let check = |config: &str, checks: &[&str]| {
        let run = Run::new(&context.console, &cargo_deny).folder(context.workspace.root());
        // A room that is still to come is named as an importer already.
        let allowed = ["--hide-inclusion-graph", "--allow", "unused-wrapper"];
        run.args(["--workspace", "--offline", "--locked", "--config", config, "check"])
            .args(allowed)
            .args(checks)
            .stream()
    };
    check(".deny.toml", &["bans", "licenses", "sources"])?;
    check("crates/.deny.toml", &["bans"])?;
    Ok("licences, sources, forbidden crates, rooms".to_owned())
}
