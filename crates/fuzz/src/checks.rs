//! What holds of things that several targets make.

use bursar_quota::{BudgetSpec, LimitSelector, MAX_CAPACITY, MAX_LIMITS, Observation, Reading, Verdict};

/// 31 days, the longest window and the longest wait.
pub(crate) const MAX_AHEAD_MS: i64 = 31 * 86_400_000;

/// The bounds that `Profile::observe` promises.
pub(crate) fn observation(seen: &Observation) {
    assert!(seen.readings.len() <= 16, "{} readings", seen.readings.len());
    seen.readings.iter().for_each(reading);
    let refused = matches!(seen.verdict, Verdict::Refused { .. });
    assert!(refused || seen.retry_after_ms.is_none(), "a success with a Retry-After: {seen:?}");
    assert!(seen.retry_after_ms.is_none_or(|ms| ms <= MAX_AHEAD_MS.unsigned_abs()), "{seen:?}");
    for (unit, cost) in &seen.costs {
        assert!((1..=MAX_CAPACITY).contains(cost), "{cost} {unit}");
    }
}

fn reading(reading: &Reading) {
    let Reading { limit, capacity, remaining, reset } = reading;
    assert!(capacity.is_none_or(|it| (1..=MAX_CAPACITY).contains(&it)), "{reading:?}");
    assert!(remaining.is_none_or(|it| it <= MAX_CAPACITY), "{reading:?}");
    assert!(remaining.zip(*capacity).is_none_or(|(remaining, of)| remaining <= of), "{reading:?}");
    assert!(capacity.is_some() || remaining.is_some() || reset.is_some(), "it says nothing");
    if let Some(span) = reset {
        let day = 86_400_000;
        assert!(span.earliest_ms <= span.latest_ms, "{span:?}");
        assert!(span.latest_ms >= 0 && span.earliest_ms <= MAX_AHEAD_MS, "{span:?}");
        assert!(span.earliest_ms >= -day && span.latest_ms <= MAX_AHEAD_MS + day, "{span:?}");
    }
    if let LimitSelector::Like { capacity: named, window_ms, .. } = limit {
        assert_eq!(named, capacity);
        let longest = MAX_AHEAD_MS.unsigned_abs();
        assert!(window_ms.is_none_or(|ms| (1..=longest).contains(&ms)), "{window_ms:?}");
    }
}

/// A specification that came through a door: it is valid, and what is written of it reads back.
pub(crate) fn spec(spec: &BudgetSpec) {
    assert_eq!(spec.validate(), Ok(()));
    assert!((1..=MAX_LIMITS).contains(&spec.limits.len()));
    let json = serde_json::to_string(spec).unwrap();
    assert_eq!(serde_json::from_str::<BudgetSpec>(&json).unwrap(), *spec, "{json}");
}

/// A path such as `budgets[1].limits[0].window`: names, each perhaps with a place or a key in brackets.
pub(crate) fn path(field: &str) {
    let outside = field.split('[').enumerate().map(|(i, part)| match (i, part.split_once(']')) {
        (0, _) => part,
        (_, Some((_, rest))) => rest,
        (_, None) => "",
    });
    for step in outside.flat_map(|part| part.split('.')) {
        assert!(!step.contains(char::is_whitespace), "{field:?} is no path");
    }
    assert!(!field.is_empty(), "a fault that names no field");
}
