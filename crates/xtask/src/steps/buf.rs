//! The wire contract, by buf and `proto/buf.yaml`.

use super::{Context, Done};
use crate::{
    command::{Run, Trouble},
    tools::{BUF, Venv},
};

/// Where the contract is.
const FOLDER: &str = "proto";

/// Style, then what breaks.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    let buf = Venv::with(&context.workspace, &context.console, &[BUF])?.program("buf");
    let buf = || Run::new(&context.console, &buf).folder(context.workspace.root());
    buf().args(["lint", FOLDER]).stream()?;
    let Some(base) = base(context)? else {
        return Ok("lint; there is no commit to compare with".to_owned());
    };
    let against = format!(".git#ref={base},subdir={FOLDER}");
    buf().args(["breaking", FOLDER, "--against", &against]).stream()?;
    Ok(format!("lint; breaks nothing of {}", base.get(..12).unwrap_or(&base)))
}

/// The commit to compare with: the one that was asked for; else the commit itself, if the contract has been changed since;
/// else where this branch left origin/main; else the commit before. None if that one has no contract.
fn base(context: &Context<'_>) -> Result<Option<String>, Trouble> {
    let git = |words: &[&str]| {
        Run::new(&context.console, "git").folder(context.workspace.root()).args(words).capture()
    };
    let commit = |name: &str| git(&["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")]);
    if let Some(asked) = &context.args.against {
        return commit(asked).map(Some);
    }
    let head = match commit("HEAD") {
        Ok(head) => head,
        Err(Trouble::Missing(why)) => return Err(Trouble::Missing(why)),
        // No commit yet, or no repository at all: a copy of the sources.
        Err(Trouble::Failed(_)) => return Ok(None),
    };
    let changed = !git(&["status", "--porcelain", "--", FOLDER])?.is_empty();
    let base = if changed {
        Some(head)
    } else {
        let fork = git(&["merge-base", "HEAD", "origin/main"]).ok().filter(|fork| *fork != head);
        fork.or_else(|| commit("HEAD~1").ok())
    };
    Ok(base.filter(|base| git(&["cat-file", "-e", &format!("{base}:{FOLDER}/buf.yaml")]).is_ok()))
}
