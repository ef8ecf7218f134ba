//! Two replicas and Redis as containers.

use super::{Context, Done, test::run_tests};
use crate::docker;

/// Builds the images, then runs `tests/tests/containers.rs`.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    let engine = docker::engine(&context.console)?;
    let images = context.images()?;
    let test = ["test", "--workspace", "--test", "containers"];
    let passed = run_tests(context, &test, &images.variables())?;
    Ok(format!("{passed}, on Docker Engine {engine}"))
}
