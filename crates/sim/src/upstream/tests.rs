//! Over real HTTP, on a clock that moves when it is told to. Nothing here waits for time to pass.

use std::{sync::Arc, time::Duration};

use bursar_quota::ManualClock;
use reqwest::{Method, StatusCode, header::HeaderMap};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::*;

/// An upstream that runs, and the clock that it goes by.
struct Running {
    url: String,
    clock: ManualClock,
    http: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: serde_json::Value,
}

impl Answer {
    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Answers at once, and frees the slot with it; its windows end at whole multiples of their length.
fn config(profile: VendorProfile) -> UpstreamConfig {
    UpstreamConfig {
        latency: (Duration::ZERO, Duration::ZERO),
        linger: Some(Duration::ZERO),
        phase: Some(Duration::ZERO),
        ..UpstreamConfig::new(profile)
    }
}

/// Starts at 1,000,000,000 s since the epoch (40 s into a minute), on both of its clocks.
async fn start(config: UpstreamConfig) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let clock = ManualClock::at(Duration::from_secs(1_000_000_000));
    let shutdown = CancellationToken::new();
    let ended = shutdown.clone().cancelled_owned();
    let task = tokio::spawn(serve(listener, config, Arc::new(clock.clone()), ended));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Running { url, clock, http, shutdown, task }
}

impl Running {
    fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).header("authorization", token)
    }

    async fn call(&self, method: Method, path: &str) -> Answer {
        let response = self.request(method, path, "secret").send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        Answer { status, headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).await
    }

    async fn truth(&self) -> Truth {
        serde_json::from_value(self.get("/__truth").await.body).unwrap()
    }

    /// Asks until as many calls are under way.
    async fn until_under_way(&self, wanted: u64) {
        for _ in 0..100_000 {
            if self.truth().await.under_way == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never were {wanted} calls under way");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        drop(self.http);
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn autotask_says_what_remains_and_refuses_what_is_too_much() {
    let up = start(UpstreamConfig { capacity: Some(2), ..config(VendorProfile::Autotask) }).await;
    let first = up.get("/v1.0/Tickets").await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.text("x-ratelimit-limit"), Some("2"));
    assert_eq!(first.text("x-ratelimit-remaining"), Some("1"));
    assert_eq!(first.text("x-ratelimit-reset"), Some("1000000020"));
    assert_eq!(first.text("date"), Some("Sun, 09 Sep 2001 01:46:40 GMT"));
    assert_eq!(first.text("retry-after"), None);
    up.clock.advance(ms(19_500));
    assert_eq!(up.get("/v1.0/Tickets").await.text("x-ratelimit-remaining"), Some("0"));
    let refused = up.get("/v1.0/Tickets").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.text("retry-after"), Some("1"));
    assert_eq!(refused.text("x-ratelimit-remaining"), Some("0"));
    assert_eq!(refused.text("x-ratelimit-reset"), Some("1000000020"));
    assert_eq!(refused.body["error"]["code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.body["error"]["retryAfter"], 1);
    up.clock.advance(ms(500));
    let next = up.get("/v1.0/Tickets").await;
    assert_eq!(next.status, StatusCode::OK);
    assert_eq!(next.text("x-ratelimit-reset"), Some("1000000080"));
    let truth = up.truth().await;
    assert_eq!((truth.accepted, truth.refused, truth.capacity), (3, 1, 4));
    assert_eq!(truth.refused_by, [("requests".to_owned(), 1)].into());
    let token = truth.token(&token_label("secret")).unwrap();
    assert!(!serde_json::to_string(&truth).unwrap().contains("secret"));
    let windows: Vec<_> =
        token.limits[0].windows.iter().map(|w| (w.accepted, w.refused, w.complete)).collect();
    assert_eq!(windows, vec![(2, 1, true), (1, 0, false)]);
    assert_eq!(token.share(0.0, f64::MAX, |_| true), Some(1.0));
    assert_eq!(token.share(truth.now_ms, f64::MAX, |_| true), None);
    up.stop().await;
}

#[tokio::test]
async fn authentication_has_a_limit_of_its_own_and_counts_on_both() {
    let up = start(config(VendorProfile::Autotask)).await;
    for used in 1..=10 {
        let answer = up.get("/ATServicesRest/V1.0/zoneInformation").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.text("x-ratelimit-remaining"), Some(&*(600 - used).to_string()));
    }
    let refused = up.get("/auth").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.text("x-ratelimit-limit"), Some("10"));
    assert_eq!(refused.text("x-ratelimit-remaining"), Some("0"));
    assert_eq!(refused.text("retry-after"), Some("20"));
    let other = up.get("/v1.0/Tickets").await;
    assert_eq!(other.text("x-ratelimit-remaining"), Some("589"));
    let truth = up.truth().await;
    assert_eq!(truth.refused_by, [("auth".to_owned(), 1)].into());
    assert_eq!(truth.capacity, 600, "authentication adds nothing to what is offered");
    assert_eq!(truth.tokens[0].classes["auth"], ClassTruth { accepted: 10, refused: 1 });
    up.stop().await;
}

#[tokio::test]
async fn three_at_once_and_a_slot_outlasts_its_response() {
    let slow = Duration::from_secs(3600);
    let slow = UpstreamConfig { latency: (slow, slow), linger: None, ..config(VendorProfile::Autotask) };
    let up = start(slow).await;
    let calls: Vec<_> =
        (0..3).map(|_| tokio::spawn(up.request(Method::GET, "/v1.0/Tickets", "secret").send())).collect();
    up.until_under_way(3).await;
    let refused = up.get("/v1.0/Tickets").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.text("x-ratelimit-remaining"), Some("597"), "the window has room");
    assert_eq!(refused.text("retry-after"), Some("1"));
    // A caller that goes away gives its slot back, once it has lingered.
    for call in calls {
        call.abort();
    }
    up.until_under_way(0).await;
    up.clock.advance(ms(49));
    assert_eq!(up.get("/v1.0/Tickets").await.status, StatusCode::TOO_MANY_REQUESTS);
    up.clock.advance(ms(1));
    let next = tokio::spawn(up.request(Method::GET, "/v1.0/Tickets", "secret").send());
    up.until_under_way(1).await;
    next.abort();
    let truth = up.truth().await;
    assert_eq!((truth.accepted, truth.refused, truth.max_concurrent), (4, 2, 3));
    assert_eq!(truth.refused_by, [("concurrency".to_owned(), 2)].into());
    up.stop().await;
}

#[tokio::test]
async fn salestim_throttles_reads_and_writes_apart_and_counts_what_it_refuses() {
    let up = start(config(VendorProfile::Salestim)).await;
    for remaining in (0..6).rev() {
        let answer = up.get("/teams").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.text("x-ratelimit-limit"), Some("6"));
        assert_eq!(answer.text("x-ratelimit-remaining"), Some(&*remaining.to_string()));
        assert_eq!(answer.text("x-ratelimit-reset"), None);
        up.clock.advance(ms(1000));
    }
    assert_eq!(up.call(Method::POST, "/teams").await.text("x-ratelimit-remaining"), Some("5"));
    let refused = up.get("/teams").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let told = &refused.body["rateLimitExceeded"];
    assert_eq!((&told["rateLimitWindow"], &told["rateLimitMax"]), (&900_000.into(), &6.into()));
    assert!(told["tier"].is_string());
    // The oldest drops out 895 s from now, but the refused call has just filled its place.
    assert_eq!(refused.text("retry-after"), Some("895"));
    up.clock.advance(ms(894_000));
    let refused = up.get("/teams").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "it would have had room but for the refusal");
    up.stop().await;
}

#[tokio::test]
async fn scaled_windows_have_a_resolution_that_is_scaled_as_well() {
    let scaled = UpstreamConfig { scale: 10.0, capacity: Some(1), ..config(VendorProfile::Autotask) };
    let up = start(scaled).await;
    up.clock.advance(ms(1234));
    // The window of 6 s ends at 1,000,000,002 s; times are right to the millisecond.
    assert_eq!(up.get("/x").await.text("x-ratelimit-reset"), Some("1000000002"));
    let refused = up.get("/x").await;
    assert_eq!(refused.text("retry-after"), Some("0.766"));
    assert_eq!(refused.body["error"]["retryAfter"], 0.766);
    let truth = up.truth().await;
    assert_eq!((truth.window_ms, truth.next_window_in_ms), (6000.0, 766.0));
    up.stop().await;
}

#[tokio::test]
async fn the_standards_are_spelled_as_they_are_written() {
    let up = start(config(VendorProfile::Ietf)).await;
    let answer = up.get("/").await;
    assert_eq!(answer.text("ratelimit-policy"), Some("\"requests\";q=100;w=60"));
    assert_eq!(answer.text("ratelimit"), Some("\"requests\";r=99;t=20"));
    up.stop().await;
    let up = start(config(VendorProfile::Polli)).await;
    let answer = up.get("/").await;
    assert_eq!(answer.text("ratelimit-policy"), Some("100;w=60"));
    assert_eq!(answer.text("ratelimit-limit"), Some("100"));
    assert_eq!(answer.text("ratelimit-remaining"), Some("99"));
    assert_eq!(answer.text("ratelimit-reset"), Some("20"));
    up.stop().await;
}

#[tokio::test]
async fn its_clock_may_be_wrong_and_its_headers_missing_or_garbled() {
    let wrong = UpstreamConfig { clock_offset_ms: -40_000, ..config(VendorProfile::Autotask) };
    let up = start(wrong).await;
    let answer = up.get("/x").await;
    assert_eq!(answer.text("date"), Some("Sun, 09 Sep 2001 01:46:00 GMT"));
    assert_eq!(answer.text("x-ratelimit-reset"), Some("999999980"), "wrong by as much");
    up.stop().await;

    let dropped = UpstreamConfig {
        drop_headers: 1.0,
        omit_retry_after: 1.0,
        capacity: Some(1),
        ..config(VendorProfile::Autotask)
    };
    let up = start(dropped).await;
    assert!(!up.get("/x").await.headers.contains_key("x-ratelimit-limit"));
    let refused = up.get("/x").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        !refused.headers.contains_key("x-ratelimit-reset") && !refused.headers.contains_key("retry-after")
    );
    up.stop().await;

    let garbled = UpstreamConfig { garble_headers: 1.0, ..config(VendorProfile::Autotask) };
    let up = start(garbled).await;
    for _ in 0..50 {
        let answer = up.get("/x").await;
        let good = |name: &str| {
            let value = answer.headers.get(name).unwrap();
            value.to_str().is_ok_and(|text| text.parse::<u32>().is_ok())
        };
        let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
        assert_eq!(names.iter().filter(|name| good(name)).count(), 2);
    }
    up.stop().await;
}

#[tokio::test]
async fn others_use_what_is_then_not_left() {
    let shared = UpstreamConfig { foreign_per_window: 60.0, ..config(VendorProfile::Autotask) };
    let up = start(shared).await;
    up.get("/x").await;
    up.clock.advance(ms(20_000));
    up.get("/x").await;
    up.clock.advance(ms(59_000));
    let truth = up.truth().await;
    assert!((30..130).contains(&truth.foreign), "{}", truth.foreign);
    let limit = &truth.tokens[0].limits[0];
    assert_eq!(limit.foreign, truth.foreign);
    let answer = up.get("/x").await;
    let remaining = 600 - limit.windows[1].foreign - 2;
    assert_eq!(answer.text("x-ratelimit-remaining"), Some(&*remaining.to_string()));
    up.stop().await;
}

#[tokio::test]
async fn each_token_has_an_account_and_there_are_only_so_many() {
    let few = UpstreamConfig { capacity: Some(1), max_tokens: 2, ..config(VendorProfile::Generic) };
    let up = start(few).await;
    let status = async |token: &str| up.request(Method::GET, "/x", token).send().await.unwrap().status();
    assert_eq!(status("a").await, StatusCode::OK);
    assert_eq!(status("a").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status("b").await, StatusCode::OK);
    assert_eq!(status("c").await, StatusCode::FORBIDDEN);
    let truth = up.truth().await;
    assert_eq!((truth.accepted, truth.refused, truth.unknown_tokens), (2, 1, 1));
    up.stop().await;
}

#[tokio::test]
async fn a_configuration_out_of_bounds_does_not_serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = UpstreamConfig { scale: -1.0, ..UpstreamConfig::default() };
    let clock = Arc::new(ManualClock::default());
    let error = serve(listener, config, clock, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, ServeError::Config(ConfigError { field: "scale", .. })));
}
