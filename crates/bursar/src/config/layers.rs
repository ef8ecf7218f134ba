//! What lies over the file: the environment, then flags.

use super::{
    file::toml_value,
    origin::{Origin, Problem},
    tree::{Node, Value},
};

/// What the names of variables begin with.
const PREFIX: &str = "BURSAR_";

/// A value from a flag: `path` is dotted, as in `listen.grpc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlagValue {
    /// The flag as the user wrote it, dashes included.
    pub(crate) flag: String,
    /// Which setting.
    pub(crate) path: String,
    /// What it shall be.
    pub(crate) text: String,
}

/// Lays variables over the tree. `BURSAR_LISTEN__GRPC` is `listen.grpc`: two underscores part the steps. A name without
/// them is no setting (an orchestrator makes such ones for a service of this name), nor is what lies under no section.
pub(crate) fn environment(
    root: &mut Node,
    sections: &[&str],
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(), Problem> {
    let mut variables: Vec<_> = variables.into_iter().collect();
    variables.sort();
    for (name, text) in variables {
        let Some(path) = name.strip_prefix(PREFIX).filter(|rest| rest.contains("__")) else { continue };
        let path = path.to_ascii_lowercase().replace("__", ".");
        let section = path.split('.').next().unwrap_or_default();
        let origin = Origin::Env(name.into());
        if !sections.contains(&section) {
            let problem = format!("unknown section {section}; known are {}", sections.join(", "));
            return Err(Problem::new(origin, path, problem));
        }
        put(root, &path, &text, origin)?;
    }
    Ok(())
}

/// Lays flags over the tree, in their order.
pub(crate) fn flags(root: &mut Node, flags: &[FlagValue]) -> Result<(), Problem> {
    for FlagValue { flag, path, text } in flags {
        put(root, path, text, Origin::Flag(flag.as_str().into()))?;
    }
    Ok(())
}

/// Puts one value: text, or a list or an inline table in TOML's form where it begins like one.
fn put(root: &mut Node, path: &str, text: &str, origin: Origin) -> Result<(), Problem> {
    let steps: Vec<_> = path.split('.').collect();
    if steps.iter().any(|step| step.is_empty()) {
        return Err(Problem::new(origin, path, "a setting is named section.key"));
    }
    let node = if text.starts_with(['[', '{']) {
        toml_value(text, &origin).map_err(|problem| Problem { field: path.to_owned(), ..problem })?
    } else {
        Node { origin, value: Value::Loose(text.to_owned()) }
    };
    root.put(&steps, node);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Result<Node, Problem> {
        let mut root = Node::empty(Origin::Nothing);
        let pairs = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        environment(&mut root, &["listen", "auth"], pairs).map(|()| root)
    }

    #[test]
    fn two_underscores_part_the_steps() {
        let root = variables(&[("BURSAR_LISTEN__TLS__CLIENT_CA", "ca.pem")]).unwrap();
        let ca = root.get("listen").and_then(|n| n.get("tls")).and_then(|n| n.get("client_ca")).unwrap();
        assert_eq!(ca.value, Value::Loose("ca.pem".into()));
    }

    #[test]
    fn lists_are_written_as_in_toml() {
        let root = variables(&[("BURSAR_AUTH__TOKENS", "[{ name = \"a\" }]")]).unwrap();
        let tokens = root.get("auth").and_then(|n| n.get("tokens")).unwrap();
        assert!(matches!(&tokens.value, Value::List(items) if items.len() == 1));
        let problem = variables(&[("BURSAR_AUTH__TOKENS", "[{ name = ")]).unwrap_err();
        assert_eq!(problem.field, "auth.tokens");
        assert_eq!(problem.origin, Origin::Env("BURSAR_AUTH__TOKENS".into()));
    }

    #[test]
    fn a_service_of_this_name_does_not_disturb_and_a_misspelt_section_does() {
        let foreign =
            [("BURSAR_PORT", "tcp://10.0.0.1:7411"), ("BURSAR_SERVICE_HOST", "10.0.0.1"), ("HOME", "/")];
        assert_eq!(variables(&foreign).unwrap(), Node::empty(Origin::Nothing));
        let problem = variables(&[("BURSAR_LISTEM__GRPC", "x")]).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "environment variable BURSAR_LISTEM__GRPC: listem.grpc: unknown section listem; known are listen, auth"
        );
    }
}
