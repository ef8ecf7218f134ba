//! `bursar check`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    config::{self, Config, PemError, Problem, Problems, Sources},
    exit::{Failure, Outcome},
    output,
};

/// Check a configuration file and say what is in it.
///
/// The file is read as `serve` reads it, without the environment. Profiles that it names are read as well, and the
/// files of listen.tls where they are at hand; files of other secrets (tokens, the store's password) are not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar check bursar.toml
  bursar check --json bursar.yaml | jq .errors

Exit codes: 0 the file is right, 1 it is not: the problems are told with line and field. All of them, but of a\nfile that is not TOML or YAML, and of each profile and budget, the first; of TLS files, once all else is right.")]
pub(crate) struct Args {
    /// The file: TOML, or YAML where it ends in .yaml or .yml.
    file: PathBuf,
    /// Print one JSON object: {"valid": true, …} or {"valid": false, "errors": [{file, line, column, field, problem}]}.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    match load(args) {
        Ok(config) if args.json => output::json(&summary(&config)),
        Ok(config) => output::line(&text(&config)),
        Err(problems) if args.json => {
            let errors: Vec<_> = problems.0.iter().map(|problem| error(problem, args)).collect();
            output::json(&json!({ "valid": false, "errors": errors }))?;
            Err(Failure::Passed(1))
        }
        Err(problems) => Err(Failure::Failed(problems.to_string())),
    }
}

/// The configuration, and what is wrong with its TLS files where they are at hand.
fn load(args: &Args) -> Result<Config, Problems> {
    let config = config::load(&Sources::file(&args.file))?;
    match config.server_pem() {
        Err(PemError::Unusable(problem)) => Err(problem.into()),
        Ok(_) | Err(PemError::Unread(_)) => Ok(config),
    }
}

fn error(problem: &Problem, args: &Args) -> Value {
    json!({
        "file": args.file.display().to_string(),
        "line": problem.origin.line(),
        "column": problem.origin.column(),
        "field": problem.field,
        "problem": problem.problem,
    })
}

fn summary(config: &Config) -> Value {
    let settings = &config.settings;
    let profiles: Vec<_> = config.profiles.names().map(|name| name.as_str()).collect();
    json!({
        "valid": true,
        "listen": {
            "grpc": settings.listen.grpc.to_string(),
            "admin": settings.listen.admin.to_string(),
            "tls": settings.listen.tls.is_some(),
        },
        "store": settings.store.place(),
        "tokens": settings.auth.tokens.len(),
        "profiles": profiles,
        "budgets": config.budgets,
    })
}

fn text(config: &Config) -> String {
    let settings = &config.settings;
    let tls = if settings.listen.tls.is_some() { " with TLS" } else { "" };
    let tokens = match settings.auth.tokens.len() {
        0 => "none: whoever reaches the port may do everything".to_owned(),
        count => count.to_string(),
    };
    let head = [
        ("listen", format!("{}{tls}, admin {}", settings.listen.grpc, settings.listen.admin)),
        ("store", settings.store.place()),
        ("tokens", tokens),
        ("budgets", config.budgets.len().to_string()),
    ];
    let head: Vec<_> = head.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect();
    let mut rows = vec![["budget", "profile", "limits"].map(str::to_owned).to_vec()];
    for spec in &config.budgets {
        let limits: Vec<_> = spec.limits.iter().map(super::budgets::describe_limit).collect();
        let profile = spec.profile.as_ref().map_or("generic", |name| name.as_str());
        rows.push(vec![spec.name.to_string(), profile.to_owned(), limits.join(", ")]);
    }
    let budgets =
        if config.budgets.is_empty() { String::new() } else { format!("\n\n{}", output::table(&rows, &[])) };
    format!("{}{budgets}", output::table(&head, &[]))
}
