//! The configuration: a file, the environment and flags, each over the one before, checked as a whole.

mod budgets;
mod de;
mod de_error;
mod file;
mod layers;
mod origin;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod yaml;

use std::path::{Path, PathBuf};

use bursar_dialect::Profiles;
use bursar_quota::BudgetSpec;

pub(crate) use file::read_text;
pub(crate) use layers::FlagValue;
pub(crate) use origin::{Origin, Problem, Problems};
pub(crate) use settings::{ListenTls, Log, LogFormat, Role, Settings, Token};
pub(crate) use store::Store;
use tree::{Node, Value};

/// What a configuration is read from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// A TOML or YAML file; absent: none.
    pub(crate) file: Option<PathBuf>,
    /// Variables of the environment; those that are no settings are left alone.
    pub(crate) environment: Vec<(String, String)>,
    /// Flags, which win over all.
    pub(crate) flags: Vec<FlagValue>,
}

impl Sources {
    /// A file alone.
    pub(crate) fn file(path: &Path) -> Self {
        Self { file: Some(path.to_owned()), ..Self::default() }
    }
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// All but profiles and budgets.
    pub(crate) settings: Settings,
    /// The compiled-in profiles and the configuration's.
    pub(crate) profiles: Profiles,
    /// The budgets to declare.
    pub(crate) budgets: Vec<BudgetSpec>,
    /// Whether `budgets` were declared; otherwise they are those of a server that nothing is configured for.
    pub(crate) declared: bool,
    /// The folder that relative paths start from: the file's.
    pub(crate) folder: PathBuf,
}

/// Reads and checks a configuration; every problem that can be told apart is told.
pub(crate) fn load(sources: &Sources) -> Result<Config, Problems> {
    let mut root = match &sources.file {
        Some(path) => file::load(path)?,
        None => Node::empty(Origin::Nothing),
    };
    layers::environment(&mut root, &settings::SECTIONS, sources.environment.iter().cloned())?;
    layers::flags(&mut root, &sources.flags)?;
    let folder = sources.file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();

    let mut problems = Vec::new();
    let mut settings = de::read::<Settings>(&root, "").map_err(|problem| problems.push(problem)).ok();
    match Store::read(root.get("store")) {
        Ok(store) => settings.iter_mut().for_each(|settings| settings.store = store.clone()),
        Err(problem) => problems.push(problem),
    }
    for (field, problem) in settings.iter().flat_map(Settings::wrongs) {
        problems.push(Problem::new(root.locate(&field).clone(), field, problem));
    }
    let profiles = budgets::profiles(root.get("profiles"), &folder, &mut problems);
    // A file without budgets declares none: whoever wrote it puts them by other means.
    let declared = sources.file.is_some() || root.get("budgets").is_some();
    let budgets = match root.get("budgets") {
        Some(node) => budgets::budgets(node, &profiles, &mut problems),
        None if declared => Vec::new(),
        None => budgets::unconfigured(&profiles),
    };
    match settings {
        Some(settings) if problems.is_empty() => Ok(Config { settings, profiles, budgets, declared, folder }),
        _ => Err(Problems(problems)),
    }
}

/// Reads one budget from a file of its own, TOML (JSON is read as YAML, which contains it) or YAML. `name`, where given,
/// is the budget's, whatever the file says.
pub(crate) fn load_budget(
    path: &Path,
    name: Option<&str>,
    profiles: &Profiles,
) -> Result<BudgetSpec, Problem> {
    let mut node = file::load(path)?;
    if let Some(name) = name {
        let origin = Origin::Flag("NAME".into());
        node.put(&["name"], Node { origin, value: Value::Text(name.to_owned()) });
    }
    budgets::budget(&node, "", profiles)
}
