//! Recorded exchanges: what upstreams sent, and what it means. One file a source, under `exchanges/`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test's helper fails the test")]

use std::{fmt::Write as _, fs, path::Path};

use bursar_dialect::Profiles;
use bursar_quota::{Hit, LimitSelector, Observation, ProfileName, ResponseView, Verdict};
use serde::Deserialize;

/// A file of exchanges.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The profile of those that name none.
    profile: ProfileName,
    /// Profiles of the file's own.
    #[serde(default)]
    profiles: Vec<String>,
    exchange: Vec<Exchange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    what: String,
    profile: Option<ProfileName>,
    /// The response as it came; `\xNN` in a header's value is that byte.
    response: String,
    /// The observation, a line a thing.
    expect: String,
}

/// 2026-11-22T03:00:00Z: where the response has no `Date`, it was received then.
const RECEIVED_UNIX_MS: u64 = 1_795_316_400_000;

struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: String,
}

/// Undoes `\xNN`.
fn bytes(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    bytes
}

fn parse(text: &str) -> Response {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
        (name.to_owned(), bytes(value))
    };
    Response { status, headers: lines.map(header).collect(), body: body.to_owned() }
}

fn selector(selector: &LimitSelector) -> String {
    match selector {
        LimitSelector::Named(name) => format!("limit {name}"),
        LimitSelector::Like { unit, capacity, window_ms, .. } => {
            let capacity = capacity.map(|it| format!("{it} ")).unwrap_or_default();
            let window = window_ms.map(|it| format!(" per {it} ms")).unwrap_or_default();
            format!("{capacity}{unit}{window}")
        }
    }
}

fn render(observation: &Observation) -> String {
    let mut text = String::new();
    match &observation.verdict {
        Verdict::Accepted => text.push_str("accepted"),
        Verdict::Refused { counted, hit } => {
            let hit = match hit {
                Hit::Limit(limit) => selector(limit),
                Hit::Class(class) => format!("class {class}"),
                Hit::CallClass => "the call's class".to_owned(),
                Hit::Budget => "the budget".to_owned(),
            };
            write!(text, "refused{}: {hit}", if *counted { " and counted" } else { "" }).unwrap();
        }
    }
    if let Some(ms) = observation.retry_after_ms {
        write!(text, "\nretry after {ms} ms").unwrap();
    }
    for reading in &observation.readings {
        let named = matches!(reading.limit, LimitSelector::Named(_));
        let of = reading.capacity.filter(|_| named).map(|it| format!(" of {it}")).unwrap_or_default();
        let remaining = reading.remaining.map_or("?".to_owned(), |it| it.to_string());
        write!(text, "\n{}: {remaining}{of} left", selector(&reading.limit)).unwrap();
        if let Some(reset) = reading.reset {
            write!(text, ", ends in {}..{} ms", reset.earliest_ms, reset.latest_ms).unwrap();
        }
    }
    for (unit, cost) in &observation.costs {
        write!(text, "\ncost {cost} {unit}").unwrap();
    }
    if observation.malformed > 0 {
        write!(text, "\nmalformed {}", observation.malformed).unwrap();
    }
    text
}

#[test]
fn every_recorded_exchange_means_what_it_is_known_to_mean() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchanges");
    let mut failures = String::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file: File = toml::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut profiles = Profiles::builtin();
        for profile in &file.profiles {
            profiles.add_toml(profile).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        for exchange in &file.exchange {
            count += 1;
            let name = exchange.profile.as_ref().unwrap_or(&file.profile);
            let response = parse(&exchange.response);
            let view = ResponseView {
                status: response.status,
                headers: &response.headers,
                body: response.body.as_bytes(),
                received_unix_ms: RECEIVED_UNIX_MS,
            };
            let seen = render(&profiles.get(name).unwrap().observe(&view));
            if seen != exchange.expect.trim_end() {
                let file = path.file_name().unwrap().display();
                writeln!(
                    failures,
                    "{file}: {}\n--- expected\n{}--- seen\n{seen}\n",
                    exchange.what, exchange.expect
                )
                .unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(count >= 100, "only {count} exchanges were found");
}
