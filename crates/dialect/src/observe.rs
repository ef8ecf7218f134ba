//! From a response to an observation.

use std::cmp::Reverse;

use bursar_quota::{Hit, MAX_CAPACITY, Observation, Reading, ResponseView, Span, UnitName, Verdict};

use crate::{
    Profile,
    family::{Family, Fields, Form, ReadingRule},
    fields,
    moment::Moment,
    number::Number,
    response::Response,
    source::Sources,
    time::{Rounding, TimeSource, TimeUnit},
};

/// The most readings of one response.
const MAX_READINGS: usize = 16;

impl Profile {
    /// What `response` says, as this upstream spells it. Total: whatever the response contains, it does not panic,
    /// readings are at most 16, numbers are within their bounds, and a reset's interval lies within 32 days. What
    /// cannot be used is counted and left out. Work is linear in the response's size.
    pub fn observe(&self, response: &ResponseView<'_>) -> Observation {
        let response = Response::new(self, response);
        // A cached response was not counted by the upstream, and its readings are of another time.
        let mut readings = if response.cached { Vec::new() } else { self.readings(&response) };
        if readings.len() > MAX_READINGS {
            response.bad();
            readings.truncate(MAX_READINGS);
        }
        let (verdict, retry_after_ms) = self.verdict(&response, &readings);
        let costs = self.actual_costs(&response);
        Observation { verdict, readings, retry_after_ms, malformed: response.malformed(), costs }
    }

    /// The readings of the one family that speaks.
    fn readings(&self, response: &Response<'_>) -> Vec<Reading> {
        let mut partial = Vec::new();
        for family in &self.families {
            let readings = family.read(response);
            if readings.iter().any(|reading| reading.remaining.is_some()) {
                return readings;
            }
            if partial.is_empty() {
                partial = readings;
            }
        }
        partial
    }

    fn verdict(&self, response: &Response<'_>, readings: &[Reading]) -> (Verdict, Option<u64>) {
        let refusals = &self.refusals;
        let status = response.status;
        let rule = refusals.rules.iter().filter(|rule| rule.looks_at(status)).find(|rule| {
            let mut values = rule.from.iter().flat_map(|source| response.values(source));
            values.any(|value| rule.test.holds(value.as_deref()))
        });
        let exhausted = || readings.iter().any(|reading| reading.remaining == Some(0));
        let certain = refusals.statuses.contains(&status)
            || rule.is_some()
            || (refusals.when_exhausted.contains(&status) && exhausted());
        if !certain && !refusals.with_retry_after.contains(&status) {
            return (Verdict::Accepted, None);
        }
        let retry_after_ms = self.retry_after.iter().find_map(|time| wait(response, time));
        if !certain && retry_after_ms.is_none() {
            return (Verdict::Accepted, None);
        }
        let hit = match rule.and_then(|rule| rule.hit.as_ref()) {
            Some(declared) => declared.to_hit(),
            None => hit(readings).unwrap_or_else(|| refusals.hit.to_hit()),
        };
        let counted = rule.and_then(|rule| rule.counted).unwrap_or(refusals.counted);
        (Verdict::Refused { counted, hit }, retry_after_ms)
    }

    fn actual_costs(&self, response: &Response<'_>) -> Vec<(UnitName, u64)> {
        let cost = |text: &str| Number::parse(text).map(Number::ceil).filter(|cost| *cost <= MAX_CAPACITY);
        let found = self.costs.iter().filter_map(|source| {
            let cost = response.first(&source.from, cost)?;
            // A free call has no cost to correct: nought stands for "as granted" further on.
            (cost > 0).then(|| (source.unit.clone(), cost))
        });
        found.collect()
    }
}

/// What the readings of a refusal say was hit: the limit that is used up (of several, the one that is longest so), or
/// something else than a window if none is.
fn hit(readings: &[Reading]) -> Option<Hit> {
    let used_up = readings.iter().filter(|reading| reading.remaining == Some(0));
    let until = |reading: &&Reading| Reverse(reading.reset.map(|reset| reset.latest_ms));
    if let Some(reading) = used_up.min_by_key(until) {
        return Some(Hit::Limit(reading.limit.clone()));
    }
    readings.iter().any(|reading| reading.remaining.is_some()).then_some(Hit::Budget)
}

/// How long a refusal says to stay away at one place: of several lines the longest.
fn wait(response: &Response<'_>, time: &TimeSource) -> Option<u64> {
    let rounding = time.rounding.unwrap_or(Rounding::Up);
    let read = |text: &str| {
        let moment = Moment::read(text, time.unit, response.made)?;
        let wait = moment.wait(rounding, time.resolution_nanos(), response.made)?;
        (!time.zero_is_unknown || !moment.is_zero()).then_some(wait)
    };
    let longest = |text: &str| {
        // A date has a comma of its own, so the whole is tried first.
        read(text).or_else(|| {
            text.split(',').map(|member| read(member.trim())).collect::<Option<Vec<_>>>()?.into_iter().max()
        })
    };
    time.from.iter().find_map(|source| {
        let waits = response.values(source).into_iter().filter_map(|value| {
            let wait = value.as_deref().and_then(longest);
            if wait.is_none() {
                response.bad();
            }
            wait
        });
        waits.max()
    })
}

impl Family {
    fn read(&self, response: &Response<'_>) -> Vec<Reading> {
        self.readings.iter().flat_map(|rule| rule.read(response)).collect()
    }
}

impl ReadingRule {
    fn read(&self, response: &Response<'_>) -> Vec<Reading> {
        match &self.form {
            Form::Structured(structured) => fields::structured(response, structured),
            Form::Fields(fields) => self.read_fields(response, fields).into_iter().collect(),
        }
    }

    fn read_fields(&self, response: &Response<'_>, fields: &Fields) -> Option<Reading> {
        let (limit, window) = limit_and_window(response, fields);
        let (limit, remaining) = limit_and_remaining(response, fields, limit);
        if let (Some(limit), Some(remaining)) = (limit, remaining)
            && remaining.nanos > limit.nanos
        {
            // They are not of one limit, and which of the two to believe cannot be known.
            response.bad();
            return None;
        }
        let capacity = limit.map(Number::floor).filter(|capacity| {
            let right = *capacity > 0;
            if !right {
                response.bad();
            }
            right
        });
        let remaining = remaining.map(Number::floor);
        let reset = fields.reset.as_ref().and_then(|time| reset(response, time));
        if capacity.is_none() && remaining.is_none() && reset.is_none() {
            return None;
        }
        Some(Reading { limit: self.target.selector(capacity, window), capacity, remaining, reset })
    }
}

/// A count within the bounds of what is counted.
fn count(text: &str) -> Option<Number> {
    Number::parse(text).filter(|number| number.ceil() <= MAX_CAPACITY)
}

/// `32/40`.
fn fraction(text: &str) -> Option<(Number, Number)> {
    let (part, whole) = text.split_once('/')?;
    Some((count(part.trim())?, count(whole.trim())?))
}

/// The capacity where it stands by itself, and the window in milliseconds.
fn limit_and_window(response: &Response<'_>, fields: &Fields) -> (Option<Number>, Option<u64>) {
    let declared = fields.window.as_ref().and_then(|time| {
        let length = |text: &str| Moment::read(text, time.unit, response.made)?.length();
        response.first(&time.from, length)
    });
    let Some(policies) = &fields.policies else {
        return (fields.limit.as_ref().and_then(|from| response.first(from, count)), declared);
    };
    let header = fields.limit.as_ref().and_then(|limit| limit.iter().find_map(|source| source.header()));
    let (limit, window) = fields::expiring_limit(response, header, policies.as_str());
    (limit.and_then(|limit| count(&limit.to_string())), declared.or(window))
}

/// The capacity, and what remains of it, in whichever way it is told.
fn limit_and_remaining(
    response: &Response<'_>,
    fields: &Fields,
    limit: Option<Number>,
) -> (Option<Number>, Option<Number>) {
    let both = |from: &Option<Sources>| from.as_ref().and_then(|from| response.first(from, fraction));
    if let Some((used, whole)) = both(&fields.used_of_limit) {
        return (Some(whole), Some(whole.less(used)));
    }
    if let Some((remaining, whole)) = both(&fields.remaining_of_limit) {
        return (Some(whole), Some(remaining));
    }
    let one = |from: &Option<Sources>| from.as_ref().and_then(|from| response.first(from, count));
    let remaining =
        one(&fields.remaining).or_else(|| one(&fields.used).zip(limit).map(|(used, limit)| limit.less(used)));
    (limit, remaining)
}

/// When the window ends, if that is what the profile says the value means.
fn reset(response: &Response<'_>, time: &TimeSource) -> Option<Span> {
    if time.unit == TimeUnit::Ignored {
        return None;
    }
    let rounding = time.rounding.unwrap_or_default();
    let read = |text: &str| {
        let moment = Moment::read(text, time.unit, response.made)?;
        let span = moment.span(rounding, time.resolution_nanos(), response.made)?;
        (!time.zero_is_unknown || !moment.is_zero()).then_some(span)
    };
    response.first(&time.from, read)
}
