//! The service as a process: started with nothing, steered by signals, used by the tools.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
    thread,
};

use support::{Server, bursar, json, stderr, text, until};

#[test]
fn with_nothing_configured_a_permit_is_acquired_settled_and_counted() {
    let server = Server::start(&[]);
    let listed = json(&server.run(&["budgets", "list", "--json"]));
    assert_eq!(listed, serde_json::json!({ "budgets": ["autotask", "salestim"] }));

    let granted = server.run(&["acquire", "autotask", "--json"]);
    assert_eq!(granted.status.code(), Some(0), "{}", stderr(&granted));
    let granted = json(&granted);
    assert_eq!(granted["granted"], true);
    assert!(granted["send_within_ms"].as_u64().unwrap() <= 5000);
    let permit = granted["permit_id"].as_str().unwrap();

    let settle = ["settle", "autotask", permit, "--json", "--status", "200"];
    // The window ends half a minute after the response was made.
    let headers = [
        "--header",
        "Date: Thu, 01 Jan 2026 00:00:00 GMT",
        "--header",
        "X-RateLimit-Limit: 600",
        "--header",
        "X-RateLimit-Remaining: 450",
        "--header",
        "X-RateLimit-Reset: 1767225630",
    ];
    let settled = json(&server.run(&[&settle[..], &headers[..]].concat()));
    assert_eq!(settled, serde_json::json!({ "result": "applied", "paused_for_ms": 0, "malformed": 0 }));
    let again = json(&server.run(&[&settle[..], &headers[..]].concat()));
    assert_eq!(again["result"], "already_settled");

    let stands = json(&server.run(&["budgets", "get", "autotask", "--json"]));
    assert_eq!(stands["budget"]["name"], "autotask");
    assert_eq!(stands["status"]["granted"], 1);
    assert_eq!(stands["status"]["settled"], 1);
    // The 149 that are not ours are somebody's: some of what is left is kept back for more of them, the later the more.
    let limit = &stands["status"]["limits"][0];
    assert_eq!(limit["available"].as_i64().unwrap() + limit["reserved"].as_i64().unwrap(), 450, "{limit}");
    let told = server.run(&["budgets", "get", "autotask"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("1 granted, 1 settled"), "{told:?}");

    assert_eq!(server.page("/healthz").0, 200);
    assert_eq!(server.page("/readyz").0, 200);
    let (status, metrics) = server.page("/metrics");
    assert!(status == 200 && metrics.contains("bursar_"), "{metrics}");
}

#[test]
fn a_fleet_is_spread_evenly_over_the_servers_that_are_named() {
    let servers: Vec<_> = (0..4).map(|_| Server::start(&[])).collect();
    let mut upstream = bursar(["upstream", "--scale", "100", "--listen", "127.0.0.1:0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(upstream.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let place: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}", place["listen"].as_str().unwrap());
    let named: Vec<_> = servers.iter().map(|server| format!("http://{}", server.grpc)).collect();
    let fleet = ["fleet", "--workers", "8", "--for", "2s", "--scale", "100", "--json", "--upstream", &url];
    let ran = bursar(fleet.into_iter().chain(["--server", &named.join(",")])).output().unwrap();
    let _ = upstream.kill();
    let _ = upstream.wait();
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let asked = servers.iter().map(|server| {
        let (_, metrics) = server.page("/metrics");
        let of = |line: &str| line.starts_with("bursar_permits_granted_total{") && !line.ends_with(" 0");
        metrics.lines().any(of)
    });
    assert_eq!(asked.collect::<Vec<_>>(), [true; 4]);
}

#[test]
fn exit_codes_tell_a_refusal_from_an_error() {
    let server = Server::start(&[]);
    // The second call of a cold budget that promises readings waits for the first one's.
    assert_eq!(server.run(&["acquire", "autotask"]).status.code(), Some(0));
    let refused = server.run(&["acquire", "autotask", "--max-wait", "0s", "--json"]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    let refused = json(&refused);
    assert_eq!((&refused["granted"], &refused["reason"]), (&false.into(), &"probing".into()));

    let unknown = server.run(&["acquire", "nothing", "--json"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert_eq!(json(&unknown)["reason"], "unknown_budget");

    let cases: [(&[&str], i32, &str); 8] = [
        (&["acquire", "Autotask"], 1, "budget: 'A' at byte 0 is outside [a-z0-9._/-]"),
        (
            &["acquire", "autotask", "--cost", "requests=0"],
            1,
            "costs[requests]: 0 is outside 1 to 1000000000000",
        ),
        (&["acquire", "autotask", "--cost", "requests=-1"], 2, "no whole number"),
        (&["acquire", "autotask", "--max-wait", "5"], 2, "write a unit, as in 5s"),
        (&["settle", "autotask", "b1.zz", "--lost"], 1, "permit_id"),
        (
            &["settle", "autotask", "b1.00000000.00000000000000000000000000000000.0", "--lost"],
            1,
            "another budget",
        ),
        (&["budgets", "get", "nothing"], 1, "no budget is named nothing"),
        (&["budgets", "frobnicate"], 2, "unrecognized subcommand"),
    ];
    for (args, code, says) in cases {
        let output = server.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
    let nobody = support::run(["budgets", "list", "--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("unavailable"), "{}", stderr(&nobody));
}

#[test]
fn a_command_runs_under_a_permit_and_its_code_is_passed_on() {
    let server = Server::start(&[]);
    let ran = server.run(&["acquire", "salestim", "--", "sh", "-c", "echo called; exit 7"]);
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(7), &b"called\n"[..]), "{}", stderr(&ran));
    let missing = server.run(&["acquire", "salestim", "--", "/nowhere/at-all"]);
    assert_eq!(missing.status.code(), Some(1), "{}", stderr(&missing));
    let stands = json(&server.run(&["budgets", "get", "salestim", "--json"]));
    assert_eq!((&stands["status"]["granted"], &stands["status"]["settled"]), (&2.into(), &2.into()));
    let used = stands["status"]["usage"].as_array().unwrap();
    assert!(used.iter().all(|used| used["cost"] == 1), "the call that was not made is given back: {used:?}");
}

#[test]
fn budgets_are_put_paused_watched_resumed_and_deleted() {
    let server = Server::start(&[]);
    let put = json(&server.run(&["budgets", "put", "--profile", "autotask", "autotask/prod", "--json"]));
    assert_eq!((&put["version"], &put["changed"]), (&1.into(), &true.into()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("budget.yaml");
    fs::write(&file, "name: mine\nlimits: [{name: all, kind: bucket, capacity: 5, refill_per_second: 1}]\n")
        .unwrap();
    let put = server.run(&["budgets", "put", "--file", text(&file)]);
    assert!(put.status.success(), "{}", stderr(&put));
    let wrong = folder.path().join("wrong.toml");
    fs::write(&wrong, "name = \"mine\"\nsend_within = 5\n").unwrap();
    let put = server.run(&["budgets", "put", "--file", text(&wrong)]);
    assert_eq!(put.status.code(), Some(1));
    assert!(stderr(&put).contains("wrong.toml:2:15: send_within: "), "{}", stderr(&put));

    let mut watch = server.tool(&["budgets", "watch", "mine", "--json", "--count", "2"]);
    let watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A watch tells nothing until something changes: pause and resume until it has seen enough.
    let watching = thread::spawn(move || watch.wait_with_output().unwrap());
    until("the watch saw two changes", || {
        let paused = server.run(&["budgets", "pause", "mine", "--for", "15min", "--json"]);
        assert!(paused.status.success(), "{}", stderr(&paused));
        let refused = json(&server.run(&["acquire", "mine", "--max-wait", "0s", "--json"]));
        assert_eq!(refused["reason"], "paused_by_operator");
        assert!(server.run(&["budgets", "resume", "mine"]).status.success());
        watching.is_finished()
    });
    let watched = watching.join().unwrap();
    assert!(watched.status.success(), "{}", stderr(&watched));
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&watched.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().all(|line| line["budget"] == "mine"), "{lines:?}");
    assert!(lines.iter().any(|line| line["event"] == "paused"), "{lines:?}");

    assert!(server.run(&["acquire", "mine"]).status.success());
    assert!(server.run(&["budgets", "delete", "mine"]).status.success());
    assert_eq!(server.run(&["budgets", "delete", "mine"]).status.code(), Some(1));
    assert_eq!(json(&server.run(&["acquire", "mine", "--json"]).clone())["reason"], "unknown_budget");
}

fn budget(capacity: u64) -> String {
    format!(
        "[[budgets]]\nname = \"mine\"\nlimits = [{{ name = \"all\", kind = \"concurrency\", capacity = {capacity} }}]\n"
    )
}

#[test]
fn a_hangup_declares_the_files_budgets_and_drops_no_waiter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bursar.toml");
    fs::write(&file, budget(1)).unwrap();
    let server = Server::start(&["--config", text(&file)]);
    let capacity = || {
        json(&server.run(&["budgets", "get", "mine", "--json"]))["budget"]["limits"][0]["capacity"].clone()
    };
    assert_eq!(capacity(), 1);
    let held = json(&server.run(&["acquire", "mine", "--json"]));
    assert_eq!(held["granted"], true);
    let mut waiter = server.tool(&["acquire", "mine", "--max-wait", "60s", "--json"]);
    let mut waiter = waiter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it waits", || {
        let stands = json(&server.run(&["budgets", "get", "mine", "--json"]));
        stands["status"]["waiting"]
            .as_object()
            .is_some_and(|waiting| waiting.values().any(|count| *count == 1))
    });

    // A file that is wrong changes nothing.
    fs::write(&file, budget(0)).unwrap();
    server.signal("HUP");
    assert!(server.logged("nothing is changed").contains("bursar.toml:3:"));
    assert_eq!((capacity(), waiter.try_wait().unwrap()), (1.into(), None));

    // One that is right lets the waiter in.
    fs::write(&file, budget(2)).unwrap();
    server.signal("HUP");
    server.logged("declared budget=mine version=2");
    let waited = waiter.wait_with_output().unwrap();
    assert_eq!(waited.status.code(), Some(0), "{}", stderr(&waited));
    assert_eq!(capacity(), 2);
}

#[test]
fn a_termination_drains_and_ends_with_zero() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bursar.toml");
    fs::write(&file, budget(1)).unwrap();
    let mut server = Server::start(&["--config", text(&file), "--drain", "20s"]);
    let held = json(&server.run(&["acquire", "mine", "--json"]));
    let mut waiter = server.tool(&["acquire", "mine", "--max-wait", "60s", "--json"]);
    let waiter = waiter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it waits", || {
        let stands = json(&server.run(&["budgets", "get", "mine", "--json"]));
        stands["status"]["waiting"]
            .as_object()
            .is_some_and(|waiting| waiting.values().any(|count| *count == 1))
    });
    server.signal("TERM");
    server.logged("draining");

    // New work is refused by a typed answer, and the probe says no; who waits is still served.
    let refused = server.run(&["acquire", "mine", "--json"]);
    assert_eq!((refused.status.code(), &json(&refused)["reason"]), (Some(3), &"draining".into()));
    assert_eq!(server.page("/readyz").0, 503);
    assert_eq!(server.page("/healthz").0, 200);
    let permit = held["permit_id"].as_str().unwrap();
    let settled = server.run(&["settle", "mine", permit, "--lost"]);
    assert!(settled.status.success(), "{}", stderr(&settled));
    let waited = waiter.wait_with_output().unwrap();
    assert_eq!(waited.status.code(), Some(0), "{}", stderr(&waited));
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bursar.toml");
    fs::write(&file, budget(1)).unwrap();
    let mut server = Server::start(&["--config", text(&file), "--drain", "1h"]);
    assert!(server.run(&["acquire", "mine"]).status.success());
    let mut waiter = server.tool(&["acquire", "mine", "--max-wait", "60s"]);
    let mut waiter = waiter.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("it waits", || {
        let stands = json(&server.run(&["budgets", "get", "mine", "--json"]));
        stands["status"]["waiting"]
            .as_object()
            .is_some_and(|waiting| waiting.values().any(|count| *count == 1))
    });
    server.signal("INT");
    server.logged("draining");
    server.signal("INT");
    assert_eq!(server.ended(), Some(1));
    let _ = waiter.kill();
    let _ = waiter.wait();
}

#[test]
fn a_store_that_cannot_be_reached_is_waited_for() {
    let server = Server::start(&["--store", "redis://:hunter2@127.0.0.1:1", "--log-format", "json"]);
    assert_eq!(server.page("/healthz").0, 200);
    assert_eq!(server.page("/readyz").0, 503);
    let line = server.logged("not declared yet");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["budget"]), (&"WARN".into(), &"autotask".into()));
    assert!(!line.to_string().contains("hunter2"));
    let failed = server.run(&["acquire", "autotask", "--timeout", "1s", "--max-wait", "0s"]);
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
}

#[test]
fn settings_come_from_the_environment_too() {
    let server = Server::start_with(
        &[],
        &[
            (
                "BURSAR_AUTH__TOKENS",
                "[{ name = \"ops\", token_sha256 = \"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\", role = \"admin\" }]",
            ),
            ("BURSAR_SERVER__REPLICA", "here"),
        ],
    );
    server.logged("replica=here");
    let nobody = server.run(&["budgets", "list"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("not allowed"), "{}", stderr(&nobody));
    let known = server.tool(&["budgets", "list"]).env("BURSAR_TOKEN", "secret").output().unwrap();
    assert!(known.status.success(), "{}", stderr(&known));
}

#[test]
fn tls_and_tokens_are_files_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(at("server.pem"), made.cert.pem()).unwrap();
    fs::write(at("server.key"), made.signing_key.serialize_pem()).unwrap();
    let file = at("bursar.yaml");
    let settings = "listen:\n  tls: {cert: server.pem, key: server.key}\nauth:\n  tokens:\n    - name: worker\n      \
                    token_file: worker.token\n      budgets: [mine]\nbudgets:\n  - name: mine\n    profile: autotask\n";
    fs::write(&file, settings).unwrap();
    fs::write(at("worker.token"), "opensesame\n").unwrap();
    let server = Server::start(&["--config", text(&file)]);
    let port = server.grpc.rsplit(':').next().unwrap();
    let place = format!("https://localhost:{port}");
    let (ca, token) = (at("server.pem"), at("worker.token"));
    let shown = ["--server", &place, "--ca", text(&ca), "--token-file", text(&token)];
    let granted = support::run([&["acquire", "mine"][..], &shown].concat());
    assert_eq!(granted.status.code(), Some(0), "{}", stderr(&granted));
    let paused = support::run([&["budgets", "pause", "mine"][..], &shown].concat());
    assert_eq!(paused.status.code(), Some(1));
    assert!(stderr(&paused).contains("role admin"), "{}", stderr(&paused));
    let plain = server.run(&["budgets", "list"]);
    assert_eq!(plain.status.code(), Some(1));
}
