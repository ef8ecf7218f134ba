//! What is alerted on exists, and the runbook says what to do about it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it cannot go on")]

mod support;

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

/// A counter in an expression, and what its labels must be: name and the values of which it has one.
struct Counter {
    name: String,
    labels: Vec<(String, Vec<String>)>,
}

/// The counters of which an expression takes the increase or the rate, unless it also looks for new ones.
fn counters(expression: &str) -> Vec<Counter> {
    if expression.contains(" unless ") {
        return Vec::new();
    }
    let taken = expression.match_indices("rate(").chain(expression.match_indices("increase("));
    taken
        .map(|(at, function)| {
            let of = &expression[at + function.len()..];
            let of = &of[..of.find('[').unwrap_or_else(|| panic!("no span in `{expression}`"))];
            let (name, matchers) = of.split_once('{').unwrap_or((of, ""));
            let matchers = matchers.trim_end_matches('}').split(',').filter(|matcher| !matcher.is_empty());
            let labels = matchers.map(|matcher| {
                let (label, values) = matcher.split_once('=').unwrap();
                let values = values.trim_start_matches('~').trim_matches('"').split('|').map(str::to_owned);
                (label.to_owned(), values.collect())
            });
            Counter { name: name.to_owned(), labels: labels.collect() }
        })
        .collect()
}

impl Counter {
    /// Its values on a page, of this budget where it tells budgets apart.
    fn values(&self, page: &str, budget: &str) -> Vec<f64> {
        let of = |line: &&str| {
            let Some(rest) = line.strip_prefix(&self.name) else { return false };
            if !rest.starts_with(['{', ' ']) || rest.contains("budget=") && !has(rest, "budget", budget) {
                return false;
            }
            self.labels.iter().all(|(label, values)| values.iter().any(|value| has(rest, label, value)))
        };
        page.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    }
}

fn has(labels: &str, label: &str, value: &str) -> bool {
    labels.contains(&format!("{label}=\"{value}\""))
}

#[test]
fn what_an_alert_takes_the_increase_of_is_there_before_it_happens() {
    let server = support::Server::start(&[]);
    let put = server.run(&["budgets", "put", "--profile", "autotask", "mine"]);
    assert!(put.status.success(), "{}", support::stderr(&put));
    let granted = server.run(&["acquire", "mine"]);
    assert!(granted.status.success(), "{}", support::stderr(&granted));
    let (_, page) = server.page("/metrics");
    let counters: Vec<_> = behind(ALERTS, "expr: ").into_iter().flat_map(counters).collect();
    assert!(counters.len() >= 10, "the expressions are not read any more: {} counters", counters.len());
    for counter in counters {
        // One was declared when the process began, and was not asked for; the other is new, and was.
        for (budget, is_asked) in [("autotask", false), ("mine", true)] {
            let values = counter.values(&page, budget);
            assert!(!values.is_empty(), "{} of {budget} is not in\n{page}", counter.name);
            // A commit was made, and lasted.
            let is_zero = values.iter().all(|value| *value == 0.0);
            let is_commit = counter.name == "bursar_commit_duration_seconds_bucket";
            assert!(is_zero || is_asked && is_commit, "{} of {budget}: {values:?}", counter.name);
        }
    }
}
