//! What is alerted on exists, and the runbook says what to do about it.

use std::{collections::BTreeSet, fs, path::Path};

const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yaml");
const RUNBOOK: &str = include_str!("../../../deploy/RUNBOOK.md");

/// What stands before and behind a metric's registered name.
const BEFORE: &str = "server_";
const ADDED: [&str; 3] = ["_total", "_bucket", "_seconds"];

/// What stands behind `mark` in each of the lines that begin with it.
fn behind<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(mark)).map(str::trim).collect()
}

#[test]
fn every_alert_has_its_own_entry_in_the_runbook_and_every_entry_its_alert() {
    let alerts = behind(ALERTS, "- alert: ");
    let entries: Vec<_> =
        behind(RUNBOOK, "## ").into_iter().filter(|title| title.starts_with("Bursar")).collect();
    assert!(alerts.len() > 10, "the alerts are not read any more: {alerts:?}");
    let unique = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(unique(&alerts), unique(&entries));
    assert_eq!((unique(&alerts).len(), alerts.len()), (alerts.len(), entries.len()), "one is there twice");
    let links = behind(ALERTS, "runbook: ");
    let wanted: Vec<_> =
        alerts.iter().map(|alert| format!("deploy/RUNBOOK.md#{}", alert.to_lowercase())).collect();
    assert_eq!(links, wanted);
}

#[test]
fn every_metric_of_an_alert_is_registered() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = String::new();
    for file in ["coordinator/src/metrics.rs", "coordinator/src/store_metrics.rs", "server/src/metrics.rs"] {
        sources += &fs::read_to_string(crates.join(file)).expect(file);
    }
    let mut seen = 0;
    for expression in behind(ALERTS, "expr: ") {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter_map(|word| word.strip_prefix("bursar_")) {
            let metric = metric.strip_prefix(BEFORE).unwrap_or(metric);
            let name = ADDED.iter().fold(metric, |name, added| name.strip_suffix(added).unwrap_or(name));
            assert!(
                sources.contains(&format!("\"{name}\"")),
                "bursar_{metric} is in `{expression}` and not registered"
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "the expressions are not read any more: {seen} metrics");
}
