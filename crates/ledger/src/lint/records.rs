//! The parts of a record keep their numbers in one table: each name is one part's alone.

use std::collections::BTreeMap;

use super::{Finding, told};
use crate::scripts::{FILES, file};

/// The names between the braces that follow `start`, without their quotes; empty where it is not there.
fn names_after<'a>(source: &'a str, start: &str) -> Vec<&'a str> {
    let Some(at) = source.find(start) else { return Vec::new() };
    let list = &source[at + start.len()..];
    let list = list.split_once('}').map_or("", |(list, _)| list);
    list.split(',').map(|name| name.trim().trim_matches('\'')).filter(|name| !name.is_empty()).collect()
}

/// Names that two parts of the record of `name` (`lib/<name>`) both have.
fn findings<'a>(name: &str, source_of: impl Fn(&str) -> Option<&'a str>) -> Vec<Finding> {
    let source = |name: &str| source_of(&format!("lib/{name}")).unwrap_or_default();
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for part in names_after(source(name), &format!("{name}.parts = {{")) {
        let mut named = names_after(source(part), &format!("{part}.fields = {{"));
        named.extend(names_after(source(part), &format!("{part}.texts = {{")));
        for field in named {
            if let Some(owner) = owners.insert(field, part) {
                let file = format!("lib/{part}");
                found.push(Finding::new(&file, 1, format!("`{field}` is in the fields of {owner} as well")));
            }
        }
    }
    found
}

#[test]
fn no_two_parts_of_a_record_share_a_name() {
    let kinds: Vec<&str> = FILES
        .iter()
        .filter_map(|(name, text)| name.strip_prefix("lib/").map(|name| (name, text)))
        .filter(|(name, text)| text.contains(&format!("{name}.parts = {{")))
        .map(|(name, _)| name)
        .collect();
    assert!(kinds.len() >= 4, "{kinds:?}");
    let found: Vec<_> = kinds.iter().flat_map(|name| findings(name, file)).collect();
    assert!(found.is_empty(), "\n{}", told(&found));
}

#[test]
fn a_shared_name_is_found() {
    let sources = |b: &'static str| {
        move |name: &str| match name {
            "lib/a" => Some("a.fields = { 'n',\n 'lag' }\na.texts = { 'held' }\na.parts = { a, b }"),
            "lib/b" => Some(b),
            _ => None,
        }
    };
    assert_eq!(findings("a", sources("b.fields = { 'rate' }")), []);
    assert_eq!(findings("a", sources("b.fields = { 'rate', 'lag' }")).len(), 1);
    assert_eq!(findings("a", sources("b.fields = { 'held' }")).len(), 1);
}
