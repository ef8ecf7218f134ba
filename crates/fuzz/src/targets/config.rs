//! Input: a configuration.

use bursar::fuzzing::{Checked, Fault, Format, configuration};

use crate::checks;

/// In TOML.
pub(crate) fn toml(data: &[u8]) {
    run(data, Format::Toml);
}

/// In YAML.
pub(crate) fn yaml(data: &[u8]) {
    run(data, Format::Yaml);
}

fn run(data: &[u8], format: Format) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match configuration(text, format) {
        Ok(checked) => right(&checked),
        Err(faults) => wrong(text, &faults),
    }
}

/// Every bound is kept, and budgets that are written as JSON are the same when they are read again.
fn right(checked: &Checked) {
    assert!(checked.spans.iter().all(|span| span.as_secs_f64() <= 3600.0), "{checked:?}");
    let [connections, waiting, bytes] = checked.counts;
    assert!((1..=1_000_000).contains(&connections) && (1..=10_000_000).contains(&waiting), "{checked:?}");
    assert!((4096..=16_777_216).contains(&bytes) && checked.tokens <= 1000, "{checked:?}");
    checked.budgets.iter().for_each(checks::spec);
    let mut budgets = checked.budgets.clone();
    // Their profiles may be the text's own.
    budgets.iter_mut().for_each(|budget| budget.profile = None);
    let json = serde_json::json!({ "budgets": budgets }).to_string();
    assert_eq!(configuration(&json, Format::Yaml).unwrap().budgets, budgets, "{json}");
}

/// Each fault says where, what, and of which field; of the text as a whole there is one at most.
fn wrong(text: &str, faults: &[Fault]) {
    assert!(!faults.is_empty());
    // YAML ends lines with either; a syntax error may be found at the end, on a line that has not begun.
    let lines = text.matches(['\n', '\r']).count() + 2;
    for fault in faults {
        assert!(!fault.problem.is_empty() && !fault.problem.contains('\n'), "{fault:?}");
        assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)), "of {lines} lines: {fault:?}");
        assert!(fault.column.is_none_or(|column| column >= 1), "{fault:?}");
        assert!(!fault.field.is_empty() || faults.len() == 1, "{faults:?}");
    }
}
