use bursar_quota::Span;
use proptest::prelude::*;

use super::*;

/// 2026-11-22T03:00:00Z.
const NOW_S: i128 = 1_795_316_400;

fn dated() -> Made {
    Made::dated(NOW_S * ONE)
}

fn span_of(text: &str, unit: TimeUnit) -> Option<(i64, i64)> {
    let Span { earliest_ms, latest_ms } =
        Moment::read(text, unit, dated())?.span(Rounding::Unknown, None, dated())?;
    Some((earliest_ms, latest_ms))
}

#[test]
fn every_form_of_a_time() {
    use TimeUnit::*;
    for (text, unit, expected) in [
        ("30", Seconds, Some((29_000, 31_000))),
        ("1.5", Seconds, Some((1_400, 1_600))),
        ("0", Seconds, Some((-1_000, 1_000))),
        ("250", Milliseconds, Some((249, 251))),
        ("1795316430", EpochSeconds, Some((28_000, 31_000))),
        ("1795316430.25", EpochSeconds, Some((29_240, 30_260))),
        ("1795316430250", EpochMilliseconds, Some((29_249, 30_251))),
        ("6m0s", Duration, Some((359_000, 361_000))),
        ("12ms", Duration, Some((11, 13))),
        ("1h2m3.5s", Duration, Some((3_723_400, 3_723_600))),
        ("6m", Duration, Some((300_000, 420_000))),
        ("1d", Duration, Some((82_800_000, 90_000_000))),
        ("2026-11-22T03:00:30Z", Rfc3339, Some((28_000, 31_000))),
        ("2026-11-22T04:00:30.250+01:00", Rfc3339, Some((29_249, 30_251))),
        ("2026-11-22T03:01Z", Rfc3339, Some((-1_000, 120_000))),
        ("Sun, 22 Nov 2026 03:00:30 GMT", HttpDate, Some((28_000, 31_000))),
        ("Sunday, 22-Nov-26 03:00:30 GMT", HttpDate, Some((28_000, 31_000))),
        ("Sun Nov 22 03:00:30 2026", HttpDate, Some((28_000, 31_000))),
        ("120", RetryAfter, Some((119_000, 121_000))),
        ("Sun, 22 Nov 2026 03:02:00 GMT", RetryAfter, Some((118_000, 121_000))),
        ("2026-11-22T03:02:00Z", RetryAfter, Some((118_000, 121_000))),
        ("30", Sniff, Some((29_000, 31_000))),
        ("3600", Sniff, Some((3_599_000, 3_601_000))),
        ("1795316430", Sniff, Some((28_000, 31_000))),
        ("1795316430250", Sniff, Some((29_249, 30_251))),
        ("6m0s", Sniff, Some((359_000, 361_000))),
        ("2026-11-22T03:00:30Z", Sniff, Some((28_000, 31_000))),
    ] {
        assert_eq!(span_of(text, unit), expected, "{text} in {unit:?}");
    }
}

#[test]
fn what_is_no_time_or_none_to_be_believed() {
    use TimeUnit::*;
    for (text, unit) in [
        ("-1", Seconds),
        ("NaN", Seconds),
        ("2678402", Seconds),
        ("1e3", Seconds),
        ("", Seconds),
        ("0", EpochSeconds),
        ("1795316300", EpochSeconds),
        ("4951000000", EpochSeconds),
        ("1795316430", EpochMilliseconds),
        ("6", Duration),
        ("6x", Duration),
        ("m6", Duration),
        ("1.2.3s", Duration),
        ("-6m", Duration),
        ("999999999999999d999999999999999d", Duration),
        ("2026-11-22T03:00:30", Rfc3339),
        ("2126-11-22T03:00:30Z", Rfc3339),
        ("2026-13-22T03:00:30Z", Rfc3339),
        ("Sun, 22 Nov 2026 03:00:30 CET", HttpDate),
        ("Sun, 22 Nov 1926 03:00:30 GMT", HttpDate),
        // An hour of milliseconds, or a day and a half of seconds?
        ("3600000", Sniff),
        ("129600", Sniff),
        ("-5", Sniff),
        ("soon", Sniff),
        ("30", Ignored),
    ] {
        assert_eq!(span_of(text, unit), None, "{text} in {unit:?}");
    }
}

/// How a simulated upstream writes `nanos` as a decimal of `unit` with `digits` after the point.
fn write(nanos: i128, unit: i128, digits: u32, rounding: Rounding) -> String {
    let step = unit / 10_i128.pow(digits);
    let steps = match rounding {
        Rounding::Up => (nanos + step - 1).div_euclid(step),
        Rounding::Down => nanos.div_euclid(step),
        Rounding::Nearest | Rounding::Unknown => (nanos + step / 2).div_euclid(step),
    };
    let scale = 10_i128.pow(digits);
    match digits {
        0 => steps.to_string(),
        digits => format!("{}.{:0width$}", steps / scale, steps % scale, width = digits as usize),
    }
}

fn rounding() -> impl Strategy<Value = Rounding> {
    prop_oneof![Just(Rounding::Up), Just(Rounding::Down), Just(Rounding::Nearest)]
}

proptest! {
    /// Invariant: the interval holds the true end of the window, whatever the upstream's rounding (declared or not),
    /// the offset between its clock and ours, and, where it sends no `Date`, any latency and skew up to 5 s together.
    #[test]
    fn the_interval_holds_the_truth(
        made_ms in 1_000_000_000_000_i128..4_000_000_000_000,
        ahead_ms in prop_oneof![0_i128..5_000, 0..=i128::from(MAX_AHEAD_MS)],
        by_upstream in rounding(),
        declared: bool,
        dated: bool,
        receipt_off_ms in -5_000_i128..=5_000,
        form in 0_usize..6,
        digits in 0_u32..=6,
    ) {
        let end_ms = made_ms + ahead_ms;
        let mut digits = digits;
        let (text, unit) = match form {
            0 => (write(ahead_ms * MS, ONE, digits, by_upstream), TimeUnit::Seconds),
            1 => (write(ahead_ms * MS, MS, digits, by_upstream), TimeUnit::Milliseconds),
            2 => (write(end_ms * MS, ONE, digits, by_upstream), TimeUnit::EpochSeconds),
            3 => (write(end_ms * MS, MS, digits, by_upstream), TimeUnit::EpochMilliseconds),
            4 => {
                let text = write(ahead_ms * MS, ONE, digits, by_upstream);
                (format!("{text}s"), TimeUnit::Duration)
            }
            _ => {
                digits = 0;
                let whole = write(end_ms * MS, ONE, 0, by_upstream).parse::<i64>().unwrap();
                (jiff::Timestamp::from_second(whole).unwrap().to_string(), TimeUnit::Rfc3339)
            }
        };
        let made = if dated {
            Made::dated(made_ms / 1000 * ONE)
        } else {
            Made::received(u64::try_from(made_ms + receipt_off_ms).unwrap())
        };
        let rounding = if declared { by_upstream } else { Rounding::Unknown };
        let moment = Moment::read(&text, unit, made);
        prop_assert!(moment.is_some(), "{text} in {unit:?} with {digits} digits");
        let span = moment.unwrap().span(rounding, None, made);
        prop_assert!(span.is_some(), "{text} in {unit:?}");
        let Span { earliest_ms, latest_ms } = span.unwrap();
        let truth = i64::try_from(ahead_ms).unwrap();
        prop_assert!(earliest_ms <= truth && truth <= latest_ms, "{truth} outside {earliest_ms}..{latest_ms}");
        // And it is no wider than the assumptions make it: two last digits, the Date's second or our 10 s, a
        // millisecond at either end.
        let step = if matches!(unit, TimeUnit::Milliseconds | TimeUnit::EpochMilliseconds) { 1 } else { 1_000 };
        prop_assert!(latest_ms - earliest_ms <= 2 * step + 10_000 + 2);
    }

    /// Invariant: who waits as long as a declared Retry-After date says does not come early.
    #[test]
    fn a_wait_until_a_date_is_long_enough(
        made_ms in 1_000_000_000_000_i128..4_000_000_000_000,
        ahead_s in 0_i128..=31 * 86_400 - 20,
        dated: bool,
        receipt_off_ms in -5_000_i128..=5_000,
    ) {
        let until = (made_ms / 1000 + ahead_s) * ONE;
        let date = httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_nanos(u64::try_from(until).unwrap()));
        let made = if dated {
            Made::dated(made_ms / 1000 * ONE)
        } else {
            Made::received(u64::try_from(made_ms + receipt_off_ms).unwrap())
        };
        let moment = Moment::read(&date, TimeUnit::RetryAfter, made).unwrap();
        let wait = moment.wait(Rounding::Up, None, made);
        // Without a `Date` a moment that is just over may seem past by our clock's error; otherwise there is a wait.
        prop_assert!(wait.is_some() || (!dated && ahead_s < 11), "{ahead_s}");
        if let Some(wait) = wait {
            prop_assert!(made_ms * MS + i128::from(wait) * MS >= until);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,70}|[0-9.a-zµ:,TZ+ -]{0,70}", unix_ms: u64) {
        use TimeUnit::*;
        for unit in [Seconds, Milliseconds, EpochSeconds, EpochMilliseconds, Duration, Rfc3339, HttpDate, RetryAfter, Sniff] {
            for made in [dated(), Made::received(unix_ms)] {
                if let Some(moment) = Moment::read(&text, unit, made) {
                    let span = moment.span(Rounding::Unknown, Some(3600 * ONE), made);
                    prop_assert!(span.is_none_or(|s| s.earliest_ms <= s.latest_ms && s.latest_ms >= 0));
                    prop_assert!(moment.wait(Rounding::Up, None, made).is_none_or(|ms| ms <= MAX_AHEAD_MS.unsigned_abs()));
                }
            }
        }
    }
}
