//! A response as text, so that what the fuzzer found can be read.

use bursar_dialect::Profile;
use bursar_quota::{Observation, ResponseView};

use crate::checks;

/// 2026-11-22T03:00:00Z: when responses are received that say nothing of it.
pub(crate) const RECEIVED_UNIX_MS: u64 = 1_795_316_400_000;

/// The same as an HTTP date.
pub(crate) const DATE: &[u8] = b"Sun, 22 Nov 2026 03:00:00 GMT";

/// Bytes of a header's name that no profile can give, since it is too long: any shorter one a fuzzer sooner or later
/// makes a profile read.
const UNREADABLE_LEN: usize = 257;

/// A status line, header lines up to an empty one, a body.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// What stands before the first `end`, and what behind it.
pub(crate) fn cut<'a>(bytes: &'a [u8], end: &[u8]) -> (&'a [u8], &'a [u8]) {
    match bytes.windows(end.len()).position(|window| window == end) {
        Some(at) => (&bytes[..at], &bytes[at + end.len()..]),
        None => (bytes, &[]),
    }
}

impl Response {
    /// Reads one; of any bytes something is made.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let (head, body) = cut(bytes, b"\n\n");
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default());
        let status = first.split(' ').find_map(|word| word.parse().ok()).unwrap_or(429);
        // What the wire lets in: at most 256 lines, names of 1 to 256 bytes.
        let headers = lines.take(256).filter_map(|line| {
            let (name, value) = cut(line, b":");
            let name = String::from_utf8_lossy(name).into_owned();
            (1..=256).contains(&name.len()).then(|| (name, value.to_vec()))
        });
        Self { status, headers: headers.collect(), body: body[..body.len().min(16_384)].to_vec() }
    }

    fn seen(&self, profile: &Profile, received_unix_ms: u64) -> Observation {
        let Self { status, headers, body } = self;
        profile.observe(&ResponseView { status: *status, headers, body, received_unix_ms })
    }

    /// What `profile` sees in it, with all that must hold of that.
    pub(crate) fn observe(&self, profile: &Profile) -> Observation {
        let seen = self.seen(profile, RECEIVED_UNIX_MS);
        checks::observation(&seen);
        // ## Whatever the case of names, and whatever else stands beside them
        let mut other = self.clone();
        other.headers.iter_mut().for_each(|(name, _)| *name = name.to_ascii_uppercase());
        other.headers.push(("x".repeat(UNREADABLE_LEN), b"1".to_vec()));
        assert_eq!(other.seen(profile, RECEIVED_UNIX_MS), seen);
        // ## By any clock
        for received in [0, u64::MAX] {
            checks::observation(&self.seen(profile, received));
        }
        // ## Where the response is dated, our clock does not matter
        other.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
        other.headers.push(("Date".into(), DATE.to_vec()));
        let [early, late] = [0, RECEIVED_UNIX_MS].map(|received| other.seen(profile, received));
        assert_eq!(early, late);
        // ## A cache knows nothing of now
        other.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("age"));
        other.headers.push(("Age".into(), b"1".to_vec()));
        assert!(other.seen(profile, RECEIVED_UNIX_MS).readings.is_empty());
        seen
    }
}
