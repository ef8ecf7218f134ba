//! Tools that need no server.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
};

use support::{bursar, json, run, stderr, text};

#[test]
fn the_annotated_example_is_right() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/bursar.toml");
    let checked = run(["check", example, "--json"]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let summary = json(&checked);
    assert_eq!((&summary["valid"], &summary["store"]), (&true.into(), &"embedded".into()));
    assert_eq!(summary["budgets"].as_array().unwrap().len(), 3);
    let told = run(["check", example]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("at-once 8 at once"), "{told:?}");

    // What is commented out is right as well.
    let text = fs::read_to_string(example).unwrap();
    let shown: Vec<_> = text.lines().map(uncommented).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bursar.toml");
    let all = shown
        .join("\n")
        .replace("url = \"embedded\"", "url = \"rediss+sentinel://a:1/main\"")
        .replace("password = \"...\"", "")
        .replace("token_sha256 = ", "# token_sha256 = ")
        .replace("sentinel_\n", "\n");
    fs::write(&file, all).unwrap();
    let checked = run(["check", support::text(&file), "--json"]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    assert_eq!(json(&checked)["tokens"], 1);
}

/// A line that is a setting or a table in a comment, without the `#`.
fn uncommented(line: &str) -> String {
    let mut inner = line;
    while let Some(rest) = inner.strip_prefix("# ") {
        inner = rest;
    }
    let key = inner.split([' ', '=']).next().unwrap_or_default();
    let is_key =
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let is_setting = is_key && inner[key.len()..].starts_with(" = ");
    let is_table = inner.starts_with('[') && inner.ends_with(']') && !inner.contains(' ');
    if is_setting || is_table { inner.to_owned() } else { line.to_owned() }
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bursar.toml");
    fs::write(&file, "[server]\ndrain = 20\n").unwrap();
    let checked = run(["check", text(&file)]);
    assert_eq!(checked.status.code(), Some(1));
    let told = stderr(&checked);
    assert!(
        told.contains("bursar.toml:2:9: server.drain: a bare number stands here, expected a duration"),
        "{told}"
    );
    let checked = run(["check", "--json", text(&file)]);
    assert_eq!(checked.status.code(), Some(1));
    let told = json(&checked);
    let error = &told["errors"][0];
    assert_eq!((&told["valid"], &error["line"], &error["column"]), (&false.into(), &2.into(), &9.into()));
    assert_eq!(error["field"], "server.drain");

    // `serve` says the same, and does not start.
    let served = run(["serve", "--config", text(&file)]);
    assert_eq!(served.status.code(), Some(1));
    assert!(stderr(&served).contains("bursar.toml:2:9: server.drain"), "{}", stderr(&served));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = run(["completions", shell]);
        assert!(printed.status.success());
        let script = String::from_utf8_lossy(&printed.stdout);
        assert!(script.contains("bursar") && script.contains("upstream"), "{shell}");
    }
    assert_eq!(run(["completions", "cmd"]).status.code(), Some(2));
}

#[test]
fn help_has_examples_and_exit_codes() {
    for args in [&["--help"][..], &["acquire", "--help"], &["settle", "--help"], &["check", "--help"]] {
        let help = run(args);
        let help = String::from_utf8_lossy(&help.stdout);
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{args:?}: {help}");
    }
    assert_eq!(run::<&str>([]).status.code(), Some(2));
}

#[test]
fn an_upstream_limits_and_tells_the_truth() {
    let mut upstream =
        bursar(["upstream", "--profile", "autotask", "--listen", "127.0.0.1:0", "--capacity", "1", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut line = String::new();
    BufReader::new(upstream.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let place: serde_json::Value = serde_json::from_str(&line).unwrap();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(place["listen"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let (first, second, truth) = (get("/v1.0/Tickets"), get("/v1.0/Tickets"), get("/__truth"));
    let _ = upstream.kill();
    let _ = upstream.wait();
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    assert!(second.starts_with("HTTP/1.1 429") && second.to_lowercase().contains("retry-after:"), "{second}");
    let truth: serde_json::Value = serde_json::from_str(truth.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&truth["accepted"], &truth["refused"]), (&1.into(), &1.into()));
    assert_eq!(run(["upstream", "--scale", "0", "--listen", "127.0.0.1:0"]).status.code(), Some(2));
}

#[test]
fn a_demo_prints_one_object() {
    let shown = run(["demo", "--json", "--workers", "8", "--windows", "1"]);
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let report = json(&shown);
    for fleet in ["bursar", "independent"] {
        for figure in ["accepted", "refused", "given_up", "share"] {
            assert!(report[fleet][figure].is_number(), "{report}");
        }
    }
    assert_eq!(report["bursar"]["refused"], 0, "{report}");
}
