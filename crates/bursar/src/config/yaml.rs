//! YAML documents become trees.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::{
    origin::{Origin, Problem, shown},
    tree::{Entry, Node, Value},
};

/// A YAML document as a tree.
pub(crate) fn yaml(text: &str, path: &Arc<Path>) -> Result<Node, Problem> {
    let origin = |location: &serde_saphyr::Location| Origin::File {
        path: Arc::clone(path),
        line: usize::try_from(location.line()).unwrap_or(1).max(1),
        column: usize::try_from(location.column()).unwrap_or(1).max(1),
    };
    let options = serde_saphyr::options! { with_snippet: false,
        // They are told below, by their path.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
    };
    let root: Option<Spanned<Yaml>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let at = error
                .location()
                .map_or(Origin::File { path: Arc::clone(path), line: 1, column: 1 }, |at| origin(&at));
            Problem::new(at, "", without_place(&error.to_string()))
        })?;
    let start = Origin::File { path: Arc::clone(path), line: 1, column: 1 };
    Ok(match root {
        Some(root) if !matches!(root.value, Yaml::Null) => yaml_tree(root, "", &origin)?,
        _ => Node::empty(start),
    })
}

/// The first line of a message, less the place that it ends in: the place is told in front.
fn without_place(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line).trim_end_matches(':').to_owned()
}

/// A YAML value whose parts know where they stand.
enum Yaml {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Yaml>>),
    Map(Vec<(Spanned<String>, Spanned<Yaml>)>),
}

/// The tree of a value; `field` is its path.
fn yaml_tree(
    node: Spanned<Yaml>,
    field: &str,
    origin: &dyn Fn(&serde_saphyr::Location) -> Origin,
) -> Result<Node, Problem> {
    let value = match node.value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Int(value) => Value::Int(value),
        Yaml::Float(value) => Value::Float(value),
        Yaml::Text(value) => Value::Text(value),
        Yaml::List(items) => {
            let items = items.into_iter().enumerate();
            let items = items.map(|(index, item)| yaml_tree(item, &format!("{field}[{index}]"), origin));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Yaml::Map(entries) => {
            let mut read = Vec::with_capacity(entries.len());
            let mut seen = BTreeSet::new();
            for (key, value) in entries {
                let (at, key) = (origin(&key.referenced), key.value);
                let name = shown(&key);
                let path = if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
                if !seen.insert(key.clone()) {
                    return Err(Problem::new(at, path, format!("the key {name} is there twice")));
                }
                read.push(Entry { key, origin: at, node: yaml_tree(value, &path, origin)? });
            }
            Value::Map(read)
        }
    };
    Ok(Node { origin: origin(&node.referenced), value })
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Yaml;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Null)
            }
            fn visit_none<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
                Ok(Yaml::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
                Ok(Yaml::Int(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
                Ok(Yaml::Int(value.into()))
            }
            fn visit_i128<E>(self, value: i128) -> Result<Yaml, E> {
                Ok(Yaml::Int(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
                Ok(Yaml::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
                Ok(Yaml::Text(value.to_owned()))
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
                Yaml::deserialize(deserializer)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Yaml, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Yaml::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Yaml::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
