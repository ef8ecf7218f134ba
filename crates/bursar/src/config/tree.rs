//! A configuration as a tree in which every value knows where it came from. Files of either language, the
//! environment and flags all become this, are laid over each other, and are read by one deserializer.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::origin::Origin;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where.
    pub(crate) origin: Origin,
    /// What.
    pub(crate) value: Value,
}

/// What a file can say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// YAML's null.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// Text from the environment or a flag, where numbers and truth values are text as well.
    Loose(String),
    /// A list.
    List(Vec<Node>),
    /// A table; keys are distinct.
    Map(Vec<Entry>),
}

/// A key of a table and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) origin: Origin,
    /// Its value.
    pub(crate) node: Node,
}

impl Value {
    /// What kind of value it is, for an error. Never the value itself: it may be a secret.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) | Self::Loose(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a table",
        }
    }
}

impl Node {
    /// An empty table.
    pub(crate) fn empty(origin: Origin) -> Self {
        Self { origin, value: Value::Map(Vec::new()) }
    }

    /// The entries of a table; nothing of anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The entry of a table under `key`.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a table under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Puts `node` at `path`, making the tables on the way; a value that stands where a table is needed gives way.
    pub(crate) fn put(&mut self, path: &[&str], node: Self) {
        let Some((key, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Map(_)) {
            *self = Self::empty(node.origin.clone());
        }
        let Value::Map(entries) = &mut self.value else { return };
        match entries.iter_mut().find(|entry| entry.key == *key) {
            Some(entry) => {
                if rest.is_empty() {
                    entry.origin = node.origin.clone();
                }
                entry.node.put(rest, node);
            }
            None => {
                let origin = node.origin.clone();
                let mut inner = Self::empty(origin.clone());
                inner.put(rest, node);
                entries.push(Entry { key: (*key).to_owned(), origin, node: inner });
            }
        }
    }

    /// Where the value at `field` stands (`limits[1].window`), or the nearest value around it that there is.
    pub(crate) fn locate(&self, field: &str) -> &Origin {
        let mut at = self;
        let mut origin = &self.origin;
        for step in field.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&at.value, step.strip_suffix(']')) {
                (Value::List(items), Some(index)) => index
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get(index))
                    .map(|node| (node, &node.origin)),
                _ => at.entry(step).map(|entry| (&entry.node, &entry.origin)),
            };
            let Some((node, place)) = next else { break };
            at = node;
            origin = place;
        }
        origin
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_none(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_i128(*value),
            },
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) | Value::Loose(value) => serializer.serialize_str(value),
            Value::List(items) => serializer.collect_seq(items),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for entry in entries {
                    map.serialize_entry(&entry.key, &entry.node)?;
                }
                map.end()
            }
        }
    }
}

/// Makes a tree of JSON, all of it from `origin`.
pub(crate) fn from_json(value: &serde_json::Value, origin: &Origin) -> Node {
    let value = match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match number.as_i128() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => {
            Value::List(items.iter().map(|item| from_json(item, origin)).collect())
        }
        serde_json::Value::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    origin: origin.clone(),
                    node: from_json(value, origin),
                })
                .collect(),
        ),
    };
    Node { origin: origin.clone(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_later_wins_and_is_found_where_it_stands() {
        let text = |name: &str| Node { origin: Origin::Env(name.into()), value: Value::Loose("x".into()) };
        let mut root = Node::empty(Origin::Nothing);
        root.put(&["listen", "grpc"], text("A"));
        root.put(&["listen", "grpc"], text("B"));
        root.put(&["listen", "admin"], text("C"));
        assert_eq!(root.locate("listen.grpc"), &Origin::Env("B".into()));
        assert_eq!(root.locate("listen.admin.more"), &Origin::Env("C".into()));
        assert_eq!(root.locate("listen[3]"), &Origin::Env("A".into()));
    }
}
