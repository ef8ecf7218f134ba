//! What files that people read say of each other, and of the scripts, is so.
#![allow(clippy::expect_used, reason = "a test ends where it cannot go on")]

use std::{fs, path::Path};

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).expect(path)
}

/// What stands behind `mark`, in the only line that has it.
fn the<'a>(text: &'a str, mark: &str) -> &'a str {
    let mut found = text.lines().filter_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim());
    let one = found.next().expect(mark);
    assert_eq!(found.next(), None, "{mark} is there twice");
    one
}

#[test]
fn the_scrape_sets_each_label_by_which_the_autoscalers_metric_is_told() {
    let (scrape, adapter) = (read("deploy/prometheus/scrape.yaml"), read("deploy/prometheus/adapter.yaml"));
    let job = scrape.split("- job_name: ").find(|job| job.starts_with("bursar-kubernetes")).expect("the job");
    let wanted: Vec<_> = the(&adapter, "seriesQuery: ")
        .split(['{', ','])
        .skip(1)
        .filter_map(|label| label.split_once("!=").map(|(label, _)| label))
        .collect();
    assert_eq!(wanted, ["namespace", "pod"]);
    for label in wanted {
        assert!(job.contains(&format!("target_label: {label}\n")), "{label} is not set");
    }
    // They are what only the discovery of pods knows, of pods as they are.
    let deployment = read("deploy/kubernetes/deployment.yaml");
    assert!(job.contains("- role: pod\n"));
    assert!(deployment.contains("- name: admin\n") && job.contains("regex: admin\n"));
    let label = the(job, " label: ").replace('=', ": ");
    assert!(deployment.contains(&format!("      labels:\n        {label}\n")), "no pod has {label}");
    let autoscaler = read("deploy/kubernetes/autoscaler.yaml");
    assert!(autoscaler.contains(&format!("name: {}\n", the(&adapter, "as: "))));
}

#[test]
fn a_ration_is_shared_by_as_many_as_the_autoscaler_and_a_rollout_run() {
    let number = |text: &str| text.parse::<u32>().expect(text);
    let most = number(the(&read("deploy/kubernetes/autoscaler.yaml"), "maxReplicas: "));
    let surge = number(the(&read("deploy/kubernetes/deployment.yaml"), "maxSurge: "));
    let settings = read("deploy/bursar.toml");
    let ration = the(&settings, "ration = { ");
    let replicas = ration.split(", ").find_map(|part| part.strip_prefix("replicas = ")).expect("replicas");
    assert_eq!(number(replicas), most + surge);
}

#[test]
fn a_request_is_known_for_as_long_as_the_protocol_says() {
    let (script, protocol) =
        (read("crates/ledger/lua/lib/requests.lua"), read("proto/bursar/v1/permits.proto"));
    let grouped = |text: &str| {
        let (thousands, rest) = text.split_at(text.len() - 3);
        format!("{thousands},{rest}")
    };
    let (kept, most) = (grouped(the(&script, "local KEPT = ")), grouped(the(&script, "local MOST = ")));
    assert!(protocol.contains(&format!("{kept} ms after its deadline at the latest")), "{kept} ms");
    assert!(protocol.contains(&format!("the budget's last {most} requests")), "{most} requests");
}
