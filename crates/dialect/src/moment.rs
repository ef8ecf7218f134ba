//! Times as upstreams write them, and what they say seen from the moment the response was made.

use std::time::UNIX_EPOCH;

use bursar_quota::Span;

use crate::{
    number::{MAX_TEXT, Number, ONE},
    time::{Rounding, TimeUnit},
};

/// The farthest a reset or a Retry-After may lie ahead: 31 days, the longest window a limit has.
pub(crate) const MAX_AHEAD_MS: i64 = 31 * 86_400_000;

/// The coarsest that a written duration is taken to be, nanoseconds.
const COARSEST: i128 = 3600 * ONE;

/// What a sniffed number is read as seconds up to: beyond an hour it may as well be milliseconds.
const SNIFFED_DELTA: i128 = 3600 * ONE;

/// Nanoseconds in a millisecond.
const MS: i128 = 1_000_000;

/// How far, where a response has no `Date`, the moment of its receipt by our clock may lie from the moment it was
/// made by the upstream's: latency and skew together.
const UNDATED: i128 = 5 * ONE;

/// When the response was made, on the upstream's clock, nanoseconds since the Unix epoch: an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    earliest: i128,
    latest: i128,
}

impl Made {
    /// By the response's own `Date`, which is cut to the second.
    pub(crate) fn dated(date: i128) -> Self {
        Self { earliest: date, latest: date + ONE }
    }

    /// By our clock.
    pub(crate) fn received(unix_ms: u64) -> Self {
        let received = i128::from(unix_ms) * MS;
        Self { earliest: received - UNDATED, latest: received + UNDATED }
    }
}

/// A written time, in nanoseconds, and what its last digit is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    nanos: i128,
    resolution: i128,
}

/// A time as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    written: Written,
    /// Since the Unix epoch on the upstream's clock, and not from the moment the response was made.
    absolute: bool,
}

impl Moment {
    fn after(written: Written) -> Self {
        Self { written, absolute: false }
    }

    fn at(written: Written) -> Self {
        Self { written, absolute: true }
    }

    /// So many seconds from the moment the response was made.
    pub(crate) fn seconds(number: Number) -> Self {
        Self::after(scaled(number, ONE))
    }

    /// Reads `text` in `unit`. `None`: it is none.
    pub(crate) fn read(text: &str, unit: TimeUnit, made: Made) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let seconds = |text| Number::parse(text).map(|n| scaled(n, ONE));
        let millis = |text| Number::parse(text).map(|n| scaled(n, MS));
        match unit {
            TimeUnit::Seconds => Number::parse(text).map(Self::seconds),
            TimeUnit::Milliseconds => millis(text).map(Self::after),
            TimeUnit::EpochSeconds => seconds(text).map(Self::at),
            TimeUnit::EpochMilliseconds => millis(text).map(Self::at),
            TimeUnit::Duration => duration(text).map(Self::after),
            TimeUnit::Rfc3339 => rfc3339(text).map(Self::at),
            TimeUnit::HttpDate => http_date(text).map(Self::date),
            TimeUnit::RetryAfter => seconds(text)
                .map(Self::after)
                .or_else(|| http_date(text).map(Self::date))
                .or_else(|| rfc3339(text).map(Self::at)),
            TimeUnit::Sniff => sniff(text, made),
            TimeUnit::Ignored => None,
        }
    }

    fn date(date: i128) -> Self {
        Self::at(Written { nanos: date, resolution: ONE })
    }

    /// Whether it is nought, which some upstreams write for "unknown".
    pub(crate) fn is_zero(self) -> bool {
        self.written.nanos == 0
    }

    /// The interval that holds the true moment, milliseconds from the moment the response was made, widened to whole
    /// ones. It is taken to be as coarse as its digits show, and at least as coarse as `resolution` (nanoseconds) says.
    /// `None`: it is certainly past, or certainly more than 31 days ahead.
    pub(crate) fn span(self, rounding: Rounding, resolution: Option<i128>, made: Made) -> Option<Span> {
        let Written { nanos, resolution: shown } = self.written;
        let step = shown.max(resolution.unwrap_or_default());
        let half = (step + 1) / 2;
        let (mut earliest, mut latest) = match rounding {
            Rounding::Up => (nanos - step, nanos),
            Rounding::Down => (nanos, nanos + step),
            Rounding::Nearest => (nanos - half, nanos + half),
            Rounding::Unknown => (nanos - step, nanos + step),
        };
        if self.absolute {
            earliest -= made.latest;
            latest -= made.earliest;
        }
        let earliest = i64::try_from(earliest.div_euclid(MS)).ok()?;
        let latest = i64::try_from((latest + MS - 1).div_euclid(MS)).ok()?;
        (latest >= 0 && earliest <= MAX_AHEAD_MS).then_some(Span { earliest_ms: earliest, latest_ms: latest })
    }

    /// How long to stay away so that the moment has certainly come, milliseconds. `None`: past, or beyond 31 days.
    pub(crate) fn wait(self, rounding: Rounding, resolution: Option<i128>, made: Made) -> Option<u64> {
        let latest = self.span(rounding, resolution, made)?.latest_ms;
        u64::try_from(latest).ok().filter(|_| latest <= MAX_AHEAD_MS)
    }

    /// A length of time as written, whole milliseconds, 1 to 31 days; that of a moment is none.
    pub(crate) fn length(self) -> Option<u64> {
        let ms = self.written.nanos / MS;
        let plausible = !self.absolute && 0 < ms && ms <= i128::from(MAX_AHEAD_MS);
        plausible.then(|| u64::try_from(ms).ok()).flatten()
    }
}

/// A number of units of `unit` nanoseconds.
fn scaled(number: Number, unit: i128) -> Written {
    Written { nanos: number.nanos * unit / ONE, resolution: (number.resolution * unit / ONE).max(1) }
}

/// An HTTP date in any of its three forms, nanoseconds since the Unix epoch.
pub(crate) fn http_date(text: &str) -> Option<i128> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i128::try_from(since.as_nanos()).ok()
}

/// `6m0s`, `12ms`, `1h2m3.5s`, `1d12h`: parts that add up, exact to what the last digit of the last part is worth, an
/// hour at most.
fn duration(text: &str) -> Option<Written> {
    let mut total = Written { nanos: 0, resolution: COARSEST };
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "d" => 86_400 * ONE,
            "h" => 3_600 * ONE,
            "m" => 60 * ONE,
            "s" => ONE,
            "ms" => MS,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let part = scaled(Number::parse(number)?, unit);
        // Beyond any bound: not worth adding up, and sums stay far from overflow.
        if part.nanos > i128::from(MAX_AHEAD_MS) * MS * 2 {
            return None;
        }
        total.nanos += part.nanos;
        total.resolution = part.resolution.min(COARSEST);
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// RFC 3339 (and ISO 8601 without seconds), exact to its last digit.
fn rfc3339(text: &str) -> Option<Written> {
    let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    let time = text.get(10..).unwrap_or_default().trim_start_matches(['T', 't', ' ']);
    let time = &time[..time.find(|c: char| !matches!(c, '0'..='9' | ':' | '.' | ',')).unwrap_or(time.len())];
    let resolution = match time.split_once(['.', ',']) {
        Some((_, fraction)) => (0..fraction.len().min(9)).fold(ONE, |step, _| step / 10),
        None if time.bytes().filter(u8::is_ascii_digit).count() <= 4 => 60 * ONE,
        None => ONE,
    };
    Some(Written { nanos, resolution })
}

/// Guesses the unit by form and magnitude: whatever could be two things within reason is none of them.
fn sniff(text: &str, made: Made) -> Option<Moment> {
    let Some(number) = Number::parse(text) else {
        return duration(text)
            .map(Moment::after)
            .or_else(|| http_date(text).map(Moment::date))
            .or_else(|| rfc3339(text).map(Moment::at));
    };
    let near = |moment: &Moment| {
        let ahead = i128::from(MAX_AHEAD_MS) * MS;
        made.earliest - ahead <= moment.written.nanos && moment.written.nanos <= made.latest + ahead
    };
    if number.nanos <= SNIFFED_DELTA {
        return Some(Moment::seconds(number));
    }
    [ONE, MS].into_iter().map(|unit| Moment::at(scaled(number, unit))).find(near)
}

#[cfg(test)]
#[path = "moment_tests.rs"]
mod tests;
