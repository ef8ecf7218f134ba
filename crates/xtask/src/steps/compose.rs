//! The compose file.

use super::{Context, Done, test::run_tests};
use crate::{docker, image::Images};

/// Builds the images, then runs `tests/tests/compose.rs`.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    docker::engine(&context.console)?;
    let compose = docker::compose(&context.console)?.join(" ");
    Images::has_redis_client()?;
    let images = context.images()?;
    let mut variables = images.variables();
    variables.push(("BURSAR_TEST_COMPOSE", compose.as_ref()));
    let passed = run_tests(context, &["test", "--workspace", "--test", "compose"], &variables)?;
    Ok(format!("{passed}, by `{compose}`"))
}
