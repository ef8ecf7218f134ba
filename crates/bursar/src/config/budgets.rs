//! Profiles and budgets of a configuration.

use std::{collections::BTreeMap, path::Path};

use bursar_dialect::Profiles;
use bursar_quota::{BudgetName, BudgetSpec, ProfileName};

use super::{
    de, file,
    origin::{Origin, Problem},
    tree::{self, Node, Value},
};

/// The most budgets that one file declares.
const MAX_BUDGETS: usize = 10_000;

/// Budgets of the profiles, where nothing is configured.
const UNCONFIGURED: [&str; 2] = ["autotask", "salestim"];

/// The compiled-in profiles and those of the configuration: each a path (from `folder`) or a table.
pub(crate) fn profiles(node: Option<&Node>, folder: &Path, problems: &mut Vec<Problem>) -> Profiles {
    let mut profiles = Profiles::builtin();
    let Some(node) = node else { return profiles };
    let Value::List(items) = &node.value else {
        let problem = "expected a list of paths, or of tables: [[profiles]]";
        problems.push(Problem::new(node.origin.clone(), "profiles", problem));
        return profiles;
    };
    for (index, item) in items.iter().enumerate() {
        let field = format!("profiles[{index}]");
        let added = match &item.value {
            Value::Text(path) => from_file(&mut profiles, &folder.join(path), item, &field),
            Value::Map(_) => from_table(&mut profiles, item, &field),
            other => {
                let problem = format!("{} stands here, expected a path or a table", other.kind());
                Err(Problem::new(item.origin.clone(), field, problem))
            }
        };
        problems.extend(added.err());
    }
    profiles
}

/// Adds a profile of a file of its own; what is wrong in it is told with its own lines.
fn from_file(profiles: &mut Profiles, path: &Path, item: &Node, field: &str) -> Result<(), Problem> {
    let text = file::read_text(path)
        .map_err(|error| Problem::new(item.origin.clone(), field, format!("{} {error}", path.display())))?;
    let origin = |line: Option<usize>| Origin::File { path: path.into(), line: line.unwrap_or(1), column: 1 };
    let added = profiles.add_toml(&text).map(drop);
    added.map_err(|error| Problem::new(origin(error.line), error.field, error.problem))
}

/// Adds a profile that stands in the configuration itself. The lines of its errors are of the text made here, so they
/// are found by field.
fn from_table(profiles: &mut Profiles, item: &Node, field: &str) -> Result<(), Problem> {
    let text =
        toml::to_string(item).map_err(|error| Problem::new(item.origin.clone(), field, error.to_string()))?;
    profiles.add_toml(&text).map(drop).map_err(|error| {
        let inner =
            if error.field.is_empty() { field.to_owned() } else { format!("{field}.{}", error.field) };
        Problem::new(item.locate(&error.field).clone(), inner, error.problem)
    })
}

/// The budgets that are declared, each checked. Names are distinct.
pub(crate) fn budgets(node: &Node, profiles: &Profiles, problems: &mut Vec<Problem>) -> Vec<BudgetSpec> {
    let Value::List(items) = &node.value else {
        let problem = format!("{} stands here, expected tables: [[budgets]]", node.value.kind());
        problems.push(Problem::new(node.origin.clone(), "budgets", problem));
        return Vec::new();
    };
    if items.len() > MAX_BUDGETS {
        let problem = format!("{} budgets are too many, at most {MAX_BUDGETS}", items.len());
        problems.push(Problem::new(node.origin.clone(), "budgets", problem));
        return Vec::new();
    }
    let mut seen: BTreeMap<BudgetName, Origin> = BTreeMap::new();
    let mut specs = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let field = format!("budgets[{index}]");
        match budget(item, &field, profiles) {
            Ok(spec) => {
                let origin = item.locate("name").clone();
                if let Some(first) = seen.get(&spec.name) {
                    let problem = format!("{} is declared twice, first at {first}", spec.name);
                    problems.push(Problem::new(origin, format!("{field}.name"), problem));
                } else {
                    seen.insert(spec.name.clone(), origin);
                    specs.push(spec);
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    specs
}

/// One budget; `field` is the path of `node`. Where it names a profile and no limits, all that it does not say is the
/// profile's.
pub(crate) fn budget(node: &Node, field: &str, profiles: &Profiles) -> Result<BudgetSpec, Problem> {
    let under = |key: &str| if field.is_empty() { key.to_owned() } else { format!("{field}.{key}") };
    let mut whole = node.clone();
    if let Some(given) = node.get("profile") {
        let name: ProfileName = de::read(given, &under("profile"))?;
        let profile = profiles.get(&name).ok_or_else(|| {
            let known: Vec<_> = profiles.names().map(ProfileName::as_str).collect();
            let problem = format!("no profile is named {name}; known are {}", known.join(", "));
            Problem::new(given.origin.clone(), under("profile"), problem)
        })?;
        if let (None, Some(name)) = (node.get("limits"), node.get("name")) {
            let name: BudgetName = de::read(name, &under("name"))?;
            whole = over(&profile.budget(name), node);
        }
    }
    let spec: BudgetSpec = de::read(&whole, field)?;
    spec.validate().map_err(|error| {
        let problem = match (&node.get("limits"), error.field.as_str()) {
            (None, "limits") => {
                format!("{}; its profile has none, so declare them: [[budgets.limits]]", error.problem)
            }
            _ => error.problem,
        };
        // Where a value came from its profile, the budget that takes it is what can be changed.
        let origin = match whole.locate(&error.field) {
            Origin::Profile(_) => &node.origin,
            origin => origin,
        };
        Problem::new(origin.clone(), under(&error.field), problem)
    })?;
    Ok(spec)
}

/// What `spec` says, with what `node` says over it.
fn over(spec: &BudgetSpec, node: &Node) -> Node {
    let profile = spec.profile.as_ref().map_or("generic", |name| name.as_str());
    let json = serde_json::to_value(spec).unwrap_or_default();
    let mut whole = tree::from_json(&json, &Origin::Profile(profile.into()));
    whole.origin = node.origin.clone();
    for entry in node.entries() {
        // An entry is replaced whole, but for a table such as `backoff`, of which one key may be given.
        match &entry.node.value {
            Value::Map(entries) if whole.get(&entry.key).is_some() => {
                for inner in entries {
                    whole.put(&[&entry.key, &inner.key], inner.node.clone());
                }
            }
            _ => whole.put(&[&entry.key], entry.node.clone()),
        }
    }
    whole
}

/// The budgets of a server that nothing is configured for.
pub(crate) fn unconfigured(profiles: &Profiles) -> Vec<BudgetSpec> {
    let names = UNCONFIGURED.iter().filter_map(|name| {
        let profile = profiles.get(&ProfileName::new(name).ok()?)?;
        Some(profile.budget(BudgetName::new(name).ok()?))
    });
    names.collect()
}
