//! What became of a call, and how much of its response is told.

use std::{collections::BTreeMap, time::Duration};

use bursar_quota::Settled;
use bursar_wire::v1::{self, settle_request};
use bytes::Bytes;

use crate::error::CallError;

/// The most header lines of a response that are told.
pub const MAX_HEADER_LINES: usize = 256;
/// The most bytes of header names and values that are told.
pub const MAX_HEADER_BYTES: usize = 65_536;
/// The most bytes of a body that are told.
pub const MAX_BODY_BYTES: usize = 16_384;

const MAX_NAME_BYTES: usize = 256;

/// Parts of names that rate limits are told under. Which of them mean something is the server's to know.
const RELEVANT: [&str; 9] =
    ["ratelimit", "rate-limit", "retry", "limit", "date", "quota", "remaining", "reset", "throttl"];

/// Credentials that an upstream hands out: no rate limit is told here, so they stay with the worker.
const PRIVATE: [&str; 4] = ["set-cookie", "set-cookie2", "authorization", "authentication-info"];

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    outcome: settle_request::Outcome,
    costs: BTreeMap<String, u64>,
    age: Duration,
}

impl Outcome {
    /// The upstream answered with `status`, 100 to 999.
    ///
    /// Give the headers as they were received, all of them: the server knows which matter. At most 256 lines and 65,536
    /// bytes are told; beyond that, the lines that do not look like rate limits are left out first. `Set-Cookie` and its
    /// like are never told. Of the body the first 16,384 bytes are told; of a success it may be left out (`&[]`) unless
    /// the upstream tells its limits there, as some GraphQL APIs do.
    pub fn response<N, V>(status: u16, headers: impl IntoIterator<Item = (N, V)>, body: &[u8]) -> Self
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let body = body.get(..MAX_BODY_BYTES).unwrap_or(body);
        Self::of(settle_request::Outcome::Response(v1::UpstreamResponse {
            status: status.into(),
            headers: told(headers),
            body: Bytes::copy_from_slice(body),
        }))
    }

    /// The call was not sent, and will not be: the permit is given back.
    pub fn not_sent() -> Self {
        Self::of(settle_request::Outcome::NotSent(v1::NotSent {}))
    }

    /// The call was sent, or may have been, and no answer came: it is charged.
    pub fn lost() -> Self {
        Self::of(settle_request::Outcome::Lost(v1::Lost {}))
    }

    fn of(outcome: settle_request::Outcome) -> Self {
        Self { outcome, costs: BTreeMap::new(), age: Duration::ZERO }
    }

    /// What the call really cost in `unit`, a name: 1 to 1,000,000,000,000; at most 8 units. It takes the place of the
    /// estimate, and wins over what the response says.
    #[must_use]
    pub fn cost(mut self, unit: impl Into<String>, amount: u64) -> Self {
        self.costs.insert(unit.into(), amount);
        self
    }

    /// How long ago the response was received, where it is not settled at once: by a monotonic clock, and never more than
    /// it was. What the settlement then takes is added.
    #[must_use]
    pub fn received_ago(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// The request, but for its age, which is told apart.
    pub(crate) fn into_request(self, budget: String, permit_id: String) -> (v1::SettleRequest, Duration) {
        let outcome = Some(self.outcome);
        (v1::SettleRequest { budget, permit_id, outcome, costs: self.costs, age_ms: 0 }, self.age)
    }
}

/// The response's status and headers, without its body.
impl<B> From<&http::Response<B>> for Outcome {
    fn from(response: &http::Response<B>) -> Self {
        Self::response(response.status().as_u16(), response.headers(), &[])
    }
}

/// Picks the header lines that are told, in the order received.
fn told<N: AsRef<str>, V: AsRef<[u8]>>(headers: impl IntoIterator<Item = (N, V)>) -> Vec<v1::Header> {
    let mut lines: Vec<_> = headers.into_iter().map(|line| (class(line.0.as_ref()), line)).collect();
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for class in [Class::Relevant, Class::Other] {
        for (marked, (name, value)) in lines.iter_mut().filter(|(marked, _)| *marked == class) {
            let size = name.as_ref().len() + value.as_ref().len();
            if count < MAX_HEADER_LINES && bytes + size <= MAX_HEADER_BYTES {
                (count, bytes) = (count + 1, bytes + size);
            } else {
                *marked = Class::Untold;
            }
        }
    }
    let told = lines.iter().filter(|(class, _)| *class != Class::Untold);
    told.map(|(_, (name, value))| v1::Header {
        name: name.as_ref().to_owned(),
        value: Bytes::copy_from_slice(value.as_ref()),
    })
    .collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Class {
    Relevant,
    Other,
    Untold,
}

fn class(name: &str) -> Class {
    let lower = name.to_ascii_lowercase();
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) || PRIVATE.contains(&lower.as_str()) {
        Class::Untold
    } else if RELEVANT.iter().any(|part| lower.contains(part)) {
        Class::Relevant
    } else {
        Class::Other
    }
}

/// What settling did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Whether it took effect, had been done before, or came for a permit that is not known any more.
    pub result: Settled,
    /// For how long the scope of the permit now grants nothing; zero: it is not paused.
    pub paused_for: Duration,
    /// How many header values were malformed and ignored.
    pub malformed: u32,
}

impl Settlement {
    /// Reads a settlement from the wire; `Err` if it was not taken, with what the server said.
    pub(crate) fn read(response: v1::SettleResponse) -> Result<Self, CallError> {
        let result = match response.result() {
            v1::SettleResult::Applied => Settled::Applied,
            v1::SettleResult::AlreadySettled => Settled::Already,
            v1::SettleResult::UnknownPermit => Settled::Unknown,
            v1::SettleResult::Failed | v1::SettleResult::Unspecified => {
                let message = format!("settle result {}: {}", response.result, response.problem);
                return Err(CallError::Protocol { message, retry_after: None });
            }
        };
        let paused_for = Duration::from_millis(response.paused_for_ms);
        Ok(Self { result, paused_for, malformed: response.malformed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(outcome: Outcome) -> Vec<String> {
        match outcome.outcome {
            settle_request::Outcome::Response(response) => {
                response.headers.into_iter().map(|header| header.name).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_fits_is_told_whole_and_in_order() {
        let headers = [("Server", "x"), ("X-RateLimit-Limit", "600"), ("date", "now"), ("Server", "y")];
        assert_eq!(
            names(Outcome::response(200, headers, b"")),
            ["Server", "X-RateLimit-Limit", "date", "Server"]
        );
    }

    #[test]
    fn credentials_and_names_that_no_server_takes_are_not_told() {
        let long = "x-ratelimit".repeat(30);
        let headers =
            [("Set-Cookie", "secret"), ("", "nameless"), (long.as_str(), "1"), ("Retry-After", "1")];
        assert_eq!(names(Outcome::response(200, headers, b"")), ["Retry-After"]);
    }

    #[test]
    fn beyond_the_lines_rate_limits_go_first() {
        let noise = (0..400).map(|n| (format!("x-noise-{n}"), "1"));
        let headers =
            noise.chain([("Retry-After".to_owned(), "30"), ("X-RateLimit-Remaining".to_owned(), "0")]);
        let told = names(Outcome::response(429, headers, b""));
        assert_eq!(told.len(), MAX_HEADER_LINES);
        assert_eq!(told[..254], (0..254).map(|n| format!("x-noise-{n}")).collect::<Vec<_>>()[..]);
        assert_eq!(told[254..], ["Retry-After", "X-RateLimit-Remaining"]);
    }

    #[test]
    fn beyond_the_bytes_rate_limits_go_first() {
        let big = vec![b'x'; 40_000];
        let headers: [(&str, &[u8]); 4] = [("a", &big), ("b", &big), ("x-limit", &big), ("date", b"now")];
        assert_eq!(names(Outcome::response(200, headers, b"")), ["x-limit", "date"]);
        let exact = vec![b'x'; MAX_HEADER_BYTES - 1];
        assert_eq!(names(Outcome::response(200, [("a", &exact)], b"")), ["a"]);
        let above = vec![b'x'; MAX_HEADER_BYTES];
        assert!(names(Outcome::response(200, [("a", &above)], b"")).is_empty());
    }

    #[test]
    fn a_value_needs_not_be_text_and_a_body_is_cut() {
        let outcome = Outcome::response(500, [("x-limit", [0xff, 0x00])], &[7; 20_000]);
        let settle_request::Outcome::Response(response) = outcome.outcome else { panic!("a response") };
        assert_eq!(response.headers[0].value[..], [0xff, 0x00]);
        assert_eq!(response.body.len(), MAX_BODY_BYTES);
    }

    #[test]
    fn an_http_response_is_taken_as_it_is() {
        let response =
            http::Response::builder().status(429).header("retry-after", "7").body("ignored").unwrap();
        assert_eq!(Outcome::from(&response), Outcome::response(429, [("retry-after", "7")], b""));
    }
}
