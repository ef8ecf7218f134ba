//! Tells all values of a section that cannot be read, not the first alone.

use super::{
    origin::{Problem, shown},
    tree::{Node, Value},
};

/// The most problems that are told of one section: whoever wrote more has seen the pattern.
const MOST: usize = 100;

/// Reads `node`, whose own path is `field`. A key that cannot be read is told, taken away, and the rest is read again.
/// None: there is no reading it, even so.
pub(super) fn each<T>(
    node: &Node,
    field: &str,
    problems: &mut Vec<Problem>,
    read: impl Fn(&Node) -> Result<T, Problem>,
) -> Option<T> {
    let mut rest = node.clone();
    let mut gone: Vec<String> = Vec::new();
    for _ in 0..MOST {
        let problem = match read(&rest) {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        // It is missing because it was taken away, and has been told.
        if gone.contains(&problem.field) {
            return None;
        }
        let path = problem.field.strip_prefix(field).unwrap_or(&problem.field).to_owned();
        gone.push(problem.field.clone());
        problems.push(problem);
        if !take(&mut rest, &path) {
            return None;
        }
    }
    None
}

/// Takes a key of a table away. Items of lists stay: without one, the path of the next would be another.
fn take(node: &mut Node, path: &str) -> bool {
    let steps: Vec<_> = path.split(['.', '[']).filter(|step| !step.is_empty()).collect();
    let Some((last, around)) = steps.split_last() else { return false };
    let mut at = node;
    for step in around {
        let next = match (&mut at.value, step.strip_suffix(']').map(str::parse::<usize>)) {
            (Value::List(items), Some(Ok(index))) => items.get_mut(index),
            (Value::Map(entries), _) => {
                entries.iter_mut().find(|entry| shown(&entry.key) == *step).map(|entry| &mut entry.node)
            }
            _ => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    let Value::Map(entries) = &mut at.value else { return false };
    let before = entries.len();
    entries.retain(|entry| shown(&entry.key) != *last);
    entries.len() < before
}
