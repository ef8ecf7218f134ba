//! Whatever a response contains: no panic, and everything within its bounds.

#![allow(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use bursar_dialect::Profiles;
use bursar_quota::{MAX_CAPACITY, Observation, ProfileName, ResponseView, Verdict};
use proptest::{collection::vec, prelude::*, sample::select};

const NAMES: [&str; 4] = ["autotask", "salestim", "ietf", "generic"];

/// 31 days, and the widest an interval's uncertainty is.
const MAX_SPAN_MS: i64 = 32 * 86_400_000;

/// A profile with what the compiled-in ones don't use.
const OWN: &str = r#"
name = "own"
title = "every form at once"
[[families]]
name = "fractions"
[[families.readings]]
used_of_limit = ["x-ratelimit-limit", "ratelimit#remaining"]
reset = { from = "x-ratelimit-reset", unit = "rfc3339", resolution = "1h" }
[[families.readings]]
for_limit = "named"
remaining_of_limit = "ratelimit"
reset = { from = "ratelimit-reset", unit = "duration", rounding = "nearest" }
window = { from = "/rateLimitExceeded/rateLimitWindow", unit = "duration" }
[[families]]
name = "body"
[[families.readings]]
limit = "/rateLimitExceeded/rateLimitMax"
used = "/error/retryAfter"
reset = { from = ["/error/retryAfter", "date"], unit = "http-date" }
[[costs]]
unit = "points"
from = ["/error/retryAfter", "retry-after", "x-ratelimit-remaining"]
[[retry_after]]
from = "/error/retryAfter"
unit = "duration"
[[retry_after]]
from = "x-ratelimit-reset"
unit = "epoch-milliseconds"
rounding = "unknown"
[[refusals.rules]]
from = ["/error/code", "x-ratelimit-limit"]
contains = ["1", "rate"]
statuses = [200]
"#;

/// The compiled-in profiles and [`OWN`], read once.
fn profiles() -> &'static Profiles {
    static PROFILES: LazyLock<Profiles> = LazyLock::new(|| {
        let mut profiles = Profiles::builtin();
        profiles.add_toml(OWN).unwrap();
        profiles
    });
    &PROFILES
}

fn header_name() -> impl Strategy<Value = String> {
    let known = [
        "Date",
        "Age",
        "Retry-After",
        "retry-after-ms",
        "RateLimit",
        "RateLimit-Policy",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "X-RateLimit-Limit",
        "x-ratelimit-remaining",
        "X-RATELIMIT-RESET",
        "X-RateLimit-Used",
        "X-Rate-Limit-Reset",
    ];
    prop_oneof![9 => select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "0",
        "1",
        "600",
        "-1",
        "1e9",
        "NaN",
        "99999999999999",
        "999999999999999999999",
        "1795316430",
        "1795316430123",
        "0.5",
        "6m0s",
        "2026-11-22T03:00:30Z",
        "Sun, 22 Nov 2026 03:00:30 GMT",
        "Sun Nov 22 03:00:30 2026",
        ",",
        ";",
        "=",
        "/",
        "\"a\"",
        ";r=5",
        ";t=30",
        ";q=100",
        ";w=60",
        ";qu=\"content-bytes\"",
        "limit=",
        "remaining=",
        " ",
        "(",
        ":",
        "?1",
        "@1",
        "32/40",
        "\u{b5}s",
    ];
    prop_oneof![
        4 => vec(select(pieces.to_vec()), 0..8).prop_map(|pieces| pieces.concat().into_bytes()),
        1 => vec(any::<u8>(), 0..80),
        1 => "[0-9]{1,30}(\\.[0-9]{1,30})?".prop_map(String::into_bytes),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let scalar = prop_oneof![
        any::<f64>().prop_map(|it| it.to_string()),
        any::<i64>().prop_map(|it| it.to_string()),
        "\"[0-9a-z.:+-]{0,20}\"",
        Just("null".to_owned()),
        Just("[1]".to_owned()),
        Just("\"RATE_LIMIT_EXCEEDED\"".to_owned()),
    ];
    let filled = (scalar.clone(), scalar.clone(), scalar.clone(), scalar).prop_map(|(code, after, window, max)| {
        format!(
            r#"{{"error":{{"code":{code},"retryAfter":{after}}},"rateLimitExceeded":{{"rateLimitWindow":{window},"rateLimitMax":{max}}}}}"#
        )
        .into_bytes()
    });
    prop_oneof![filled, vec(any::<u8>(), 0..200), Just(vec![b'['; 16_384])]
}

fn check(observation: &Observation) -> Result<(), TestCaseError> {
    prop_assert!(observation.readings.len() <= 16);
    for reading in &observation.readings {
        prop_assert!(reading.capacity.is_none_or(|it| (1..=MAX_CAPACITY).contains(&it)));
        prop_assert!(reading.remaining.is_none_or(|it| it <= MAX_CAPACITY));
        if let (Some(capacity), Some(remaining)) = (reading.capacity, reading.remaining) {
            prop_assert!(remaining <= capacity);
        }
        if let Some(reset) = reading.reset {
            prop_assert!(reset.earliest_ms <= reset.latest_ms && reset.latest_ms >= 0);
            prop_assert!(reset.earliest_ms.abs() <= MAX_SPAN_MS && reset.latest_ms <= MAX_SPAN_MS);
        }
    }
    prop_assert!(observation.retry_after_ms.is_none_or(|ms| ms <= 31 * 86_400_000));
    prop_assert!(observation.verdict != Verdict::Accepted || observation.retry_after_ms.is_none());
    prop_assert!(observation.costs.iter().all(|(_, cost)| (1..=MAX_CAPACITY).contains(cost)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_response_panics_or_leaves_the_bounds(
        status in prop_oneof![select(vec![200_u16, 403, 429, 503]), any::<u16>()],
        headers in vec((header_name(), header_value()), 0..12),
        body in body(),
        received_unix_ms in prop_oneof![Just(1_795_316_400_000_u64), any::<u64>()],
    ) {
        let profiles = profiles();
        let view = ResponseView { status, headers: &headers, body: &body, received_unix_ms };
        for name in profiles.names() {
            check(&profiles.get(name).unwrap().observe(&view))?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Invariant: whatever upstream a response comes from, the interval of its reset holds the true end of the window.
    /// The upstream's clock is any; ours is any where the response is dated, otherwise at most 5 s off, latency included.
    #[test]
    fn a_reset_holds_the_true_end(
        made_ms in 1_000_000_000_000_u64..4_000_000_000_000,
        ahead_ms in prop_oneof![0_u64..3_000, 0..3_600_000_u64],
        round in 0_u64..3,
        dated: bool,
        our_clock: u64,
        off_ms in 0_u64..=10_000,
        form in 0_usize..5,
    ) {
        let add = [0, 500, 999][usize::try_from(round).unwrap()];
        let seconds = |ms: u64| (ms + add) / 1000;
        let end_ms = made_ms + ahead_ms;
        let epoch = seconds(end_ms).to_string();
        let (profile, name, value) = match form {
            0 => ("autotask", "X-RateLimit-Reset", epoch),
            1 => ("generic", "x-ratelimit-reset", epoch),
            2 => ("generic", "ratelimit-reset", format!("{}.{:03}", end_ms / 1000, end_ms % 1000)),
            3 => ("ietf", "RateLimit-Reset", seconds(ahead_ms).to_string()),
            _ => ("ietf", "RateLimit", format!("\"a\";r=5;t={}", seconds(ahead_ms))),
        };
        let mut headers = vec![(name.to_owned(), value.clone().into_bytes())];
        let remaining = if form == 2 || form == 3 { "RateLimit-Remaining" } else { "X-RateLimit-Remaining" };
        headers.push((remaining.to_owned(), b"5".to_vec()));
        if dated {
            let date = std::time::UNIX_EPOCH + Duration::from_millis(made_ms);
            headers.push(("Date".to_owned(), httpdate::fmt_http_date(date).into_bytes()));
        }
        let received_unix_ms = if dated { our_clock } else { made_ms - 5_000 + off_ms };
        let view = ResponseView { status: 200, headers: &headers, body: b"", received_unix_ms };
        let observation = profiles().get(&ProfileName::new(profile).unwrap()).unwrap().observe(&view);
        prop_assert_eq!(observation.readings.len(), 1);
        let truth = i64::try_from(ahead_ms).unwrap();
        match observation.readings[0].reset {
            Some(reset) => prop_assert!(
                reset.earliest_ms <= truth && truth <= reset.latest_ms,
                "{} in {}: {} outside {:?}", value, profile, truth, reset
            ),
            // "generic" takes a nought for unknown.
            None => prop_assert!(profile == "generic" && value == "0"),
        }
    }
}

/// Far more than the server lets through, in shapes that a quadratic reader would choke on.
#[test]
fn work_is_linear_in_the_response() {
    let line = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let long = |piece: &str| piece.repeat(4 * 1024 * 1024 / piece.len());
    let shapes = [
        vec![line("X-RateLimit-Limit", "600"); 200_000],
        vec![line("RateLimit", "\"a\";r=1"); 200_000],
        (0..200_000).map(|i| line(&format!("x-{i}"), "1")).collect(),
        vec![line("Retry-After", &long("1,"))],
        vec![line("X-RateLimit-Remaining", &long("9"))],
        vec![line("RateLimit-Policy", &long("\"a\";q=1;w=1,")), line("RateLimit", &long("\"a\";r=1,"))],
        vec![line("RateLimit-Limit", &long("1;w=1,")), line("RateLimit-Remaining", "1")],
        vec![line("RateLimit", &long("remaining=1;"))],
    ];
    let profiles = Profiles::builtin();
    for (shape, headers) in shapes.iter().enumerate() {
        for name in NAMES {
            let profile = profiles.get(&ProfileName::new(name).unwrap()).unwrap();
            let view = ResponseView { status: 429, headers, body: b"", received_unix_ms: 0 };
            #[allow(clippy::disallowed_methods, reason = "the time that the work takes is what is measured")]
            let start = Instant::now();
            check(&profile.observe(&view)).unwrap();
            // Quadratic work on these would take hours; linear work a second or two without optimization.
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "shape {shape} in {name}: {:?}",
                start.elapsed()
            );
        }
    }
}
