//! The steps that are one call of Cargo.

use super::{Context, Done};

/// Formatting.
pub(super) fn fmt(context: &mut Context<'_>) -> Done {
    context.workspace.cargo(&context.console).args(["fmt", "--all", "--check"]).stream()?;
    Ok(String::new())
}

/// Lints. Tests that need a Docker engine are no part of `--all-targets`: they are looked at by themselves.
pub(super) fn clippy(context: &mut Context<'_>) -> Done {
    let clippy = |targets: &[&str]| {
        let cargo = context
            .workspace
            .cargo(&context.console)
            .args(["clippy", "--workspace"])
            .args(context.features());
        cargo.args(targets).args(["--", "--deny", "warnings"]).stream()
    };
    clippy(&["--all-targets"])?;
    clippy(&["--test", "compose"])?;
    if context.with_containers() {
        clippy(&["--test", "containers"])?;
    }
    Ok(String::new())
}

/// Documentation.
pub(super) fn doc(context: &mut Context<'_>) -> Done {
    let cargo = context.workspace.cargo(&context.console).args(["doc", "--workspace", "--no-deps"]);
    cargo.args(context.features()).env("RUSTDOCFLAGS", "--deny warnings").stream()?;
    Ok(String::new())
}
