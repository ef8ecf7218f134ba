//! The upstream of a simulation: it alone knows the truth.
//!
//! It decides by the models of [`crate::model`] and spells its answers as the vendors do (`spell`), with what goes wrong
//! there (`noise`). Others use it too (`foreign`), its capacities change, and it refuses for reasons of its own. A second
//! account (`shadow`) says what it would have accepted from somebody who wastes nothing.

mod foreign;
mod noise;
mod rules;
mod shadow;
mod spell;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use rand::{SeedableRng, rngs::SmallRng};

use self::{
    foreign::ForeignCalls,
    noise::happens,
    rules::Rule,
    shadow::Shadow,
    spell::{Line, Moment, Told},
};
use super::plan::{Body, Noise, RetryAfter, START_UNIX, Style, UpstreamPlan};
use crate::model::Concurrency;

/// What refuses a call that all rules have room for.
pub const CONCURRENCY: &str = "concurrency";

/// What refuses a call for a reason that no limit shows.
pub const SECONDARY: &str = "secondary";

/// What a refusal says to wait where it cannot know.
const UNKNOWN_WAIT: Duration = Duration::from_secs(1);

/// The most lines about what it did of itself that are kept until they are asked for.
const MAX_LINES: usize = 4096;

/// A call as it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Its class.
    pub class: &'a str,
    /// What it really costs by unit; 1 of each unit that is not named.
    pub units: &'a [(String, u64)],
}

/// What the upstream answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Names the call; an accepted one is to be finished.
    pub call: u64,
    /// Whether it was accepted.
    pub accepted: bool,
    /// What refused it: a rule's name, [`CONCURRENCY`] or [`SECONDARY`].
    pub refused_by: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// Header lines in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// What it really cost by unit, for the settlement: units beside `requests`; of a refusal nothing.
    pub costs: Vec<(String, u64)>,
    /// Whether it carries readings, with nothing wrong.
    pub readings_sent: bool,
    /// Whether a refusal says, in whatever way, until when to stay away; or may seem to, having wrong headers.
    pub tells_until: bool,
}

impl Answer {
    /// What its headers say of limits, for the log.
    pub(crate) fn told(&self) -> String {
        let mut told = String::new();
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("date")) {
            let _ = write!(told, " {name}={}", String::from_utf8_lossy(value));
        }
        told
    }
}

/// How one rule stands in truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTruth {
    /// Its name.
    pub rule: String,
    /// What it counts.
    pub unit: String,
    /// Its capacity now.
    pub capacity: u64,
    /// What it would accept now.
    pub remaining: u64,
    /// When all that counts now is forgotten at once.
    pub window_end: Option<Duration>,
    /// What it accepted from us, in its unit.
    pub accepted: u64,
    /// How many of our calls it refused.
    pub refused: u64,
    /// What it accepted from others, in its unit.
    pub foreign: u64,
    /// What it counted from us, in its unit: accepted, and refused where those count.
    pub charged: u64,
}

/// An upstream.
#[derive(Debug)]
pub struct Upstream {
    plan: UpstreamPlan,
    rules: Vec<Rule>,
    slots: Option<Concurrency>,
    under_way: BTreeSet<u64>,
    calls: u64,
    accepted: u64,
    foreign: ForeignCalls,
    /// How many of the changes have happened.
    changed: usize,
    shadow: Shadow,
    rng: SmallRng,
    /// What it did of itself and nobody has been told.
    lines: Vec<String>,
}

impl Upstream {
    /// As planned; what is random is drawn from `seed`.
    pub fn new(plan: &UpstreamPlan, seed: u64) -> Self {
        let mut plan = plan.clone();
        plan.changes.sort_by_key(|change| change.at);
        let first = plan.rules.first();
        let (capacity, window) = first.map_or((0, Duration::ZERO), |rule| (rule.capacity, rule.window));
        let slots = plan.slots.map(|slots| {
            Concurrency::new(usize::try_from(slots.capacity).unwrap_or(usize::MAX), slots.linger)
        });
        Self {
            rules: plan.rules.iter().map(Rule::new).collect(),
            slots,
            under_way: BTreeSet::new(),
            calls: 0,
            accepted: 0,
            foreign: ForeignCalls::new(&plan.foreign, capacity, window, seed ^ 0xf0_4e16),
            changed: 0,
            shadow: Shadow::new(&plan),
            // Another stream of numbers than that of the others' calls.
            rng: SmallRng::seed_from_u64(seed ^ 0x5eed),
            lines: Vec::new(),
            plan,
        }
    }

    /// The call is executed at `now`, and its response is made. Time must not go back.
    pub fn arrive(&mut self, now: Duration, call: &Call<'_>) -> Answer {
        self.catch_up(now);
        self.calls += 1;
        let secondary = self.secondary(now);
        let full = rules::full(&mut self.rules, now, call.class, call.units);
        let refused_by = if let Some(full) = full {
            Some(self.rules[full].plan.name.clone())
        } else if secondary.is_some() {
            Some(SECONDARY.to_owned())
        } else if self.slots.as_mut().is_some_and(|slots| !slots.start(now)) {
            Some(CONCURRENCY.to_owned())
        } else {
            None
        };
        let accepted = refused_by.is_none();
        self.count(now, call, accepted, full);
        if accepted {
            self.under_way.insert(self.calls);
        }
        let wait = match (full, refused_by.as_deref()) {
            // After the charge: where refusals count, this one has just moved the moment on.
            (Some(full), _) => {
                let rule = &mut self.rules[full];
                rule.model.fits_at(now, rule.cost(call.units)).map(|at| at.saturating_sub(now))
            }
            (None, Some(SECONDARY)) => secondary.flatten().map(|to| to.saturating_sub(now)),
            _ => self.slots.as_mut().and_then(|slots| slots.fits_at(now)).map(|at| at.saturating_sub(now)),
        };
        self.answer(now, call, full, refused_by, wait)
    }

    /// Counts a call on every rule that it counts on.
    fn count(&mut self, now: Duration, call: &Call<'_>, accepted: bool, full: Option<usize>) {
        let mut main = 0;
        for (at, rule) in self.rules.iter_mut().enumerate() {
            if !rule.applies_to(call.class) {
                continue;
            }
            let cost = rule.cost(call.units);
            if accepted || rule.plan.refusals_count {
                rule.model.charge(now, cost);
                rule.charged += cost;
            }
            if accepted {
                rule.accepted += cost;
                main = main.max(if rule.plan.unit == self.plan.main_unit { cost } else { 0 });
            } else if full == Some(at) {
                rule.refused += 1;
            }
        }
        let is_wanted = |(from, to): &(Duration, Duration)| (*from..*to).contains(&now);
        if self.plan.demand.is_empty() || self.plan.demand.iter().any(is_wanted) {
            self.accepted += main;
        }
    }

    /// Whether a call is refused for a reason of its own; and until when it says so.
    fn secondary(&mut self, now: Duration) -> Option<Option<Duration>> {
        let span = self.plan.secondary.iter().find(|span| (span.from..span.to).contains(&now))?;
        let (share, says) = (span.share, span.says_when.then_some(span.to));
        happens(&mut self.rng, share).then_some(says)
    }

    /// Spells the answer. `full` is the rule that has no room, `wait` how long until it would be accepted.
    fn answer(
        &mut self,
        now: Duration,
        call: &Call<'_>,
        full: Option<usize>,
        refused_by: Option<String>,
        wait: Option<Duration>,
    ) -> Answer {
        let moment = Moment { now, unix: self.unix(now) };
        let refusal = self.plan.refusal;
        let accepted = refused_by.is_none();
        let said = if accepted || refusal.readings { self.said(now, call, full, moment) } else { Vec::new() };
        let is_told = !said.is_empty();
        let (mut headers, whole) = noise::put_on(&self.plan.noise, said, &mut self.rng);
        let mut push = |name: &str, value: String| headers.push((name.to_owned(), value.into_bytes()));
        if !happens(&mut self.rng, self.plan.noise.undated) {
            push("Date", spell::http_date(moment.unix));
        }
        let (mut body, mut tells_until) = (Vec::new(), false);
        if let Some(by) = refused_by.as_deref() {
            let omitted = happens(&mut self.rng, refusal.omitted) || (by == SECONDARY && wait.is_none());
            let how = if omitted { RetryAfter::Absent } else { refusal.retry_after };
            let after = wait.unwrap_or(UNKNOWN_WAIT);
            if let Some(value) = spell::retry_after(how, after, moment) {
                push("Retry-After", value);
            }
            let told = full.map(|rule| Told::of(&mut self.rules[rule], now));
            let after = (how != RetryAfter::Absent).then_some(after);
            // What has nothing left says when it will have; and a body may name the window.
            let by_readings = is_told && (full.is_some() || self.plan.noise != Noise::default());
            let by_body = refusal.body == Body::RateLimitExceeded && told.is_some();
            tells_until = after.is_some() || by_readings || by_body;
            body = spell::body(refusal.body, by, told.as_ref(), after);
        } else if self.plan.noise.retry_after_always {
            let reset = self.rules.first_mut().and_then(|rule| rule.model.named_reset(now));
            let after = reset.map_or(UNKNOWN_WAIT, |reset| reset.saturating_sub(now));
            push("Retry-After", spell::seconds_up(after).to_string());
        }
        let told = |(unit, _): &&(String, u64)| accepted && unit != "requests";
        Answer {
            call: self.calls,
            accepted,
            status: if accepted { 200 } else { refusal.status },
            headers,
            body,
            costs: call.units.iter().filter(told).cloned().collect(),
            readings_sent: is_told && whole,
            tells_until,
            refused_by,
        }
    }

    /// What is told of the rules: of all whose headers have a place for each, and of one of the others.
    fn said(&mut self, now: Duration, call: &Call<'_>, full: Option<usize>, moment: Moment) -> Vec<Line> {
        let speaks = |rule: &Rule| {
            rule.applies_to(call.class)
                && matches!(rule.plan.style, Style::Epoch | Style::NoReset | Style::Delta)
        };
        let one =
            full.filter(|rule| speaks(&self.rules[*rule])).or_else(|| self.rules.iter().position(speaks));
        let mut lines = Vec::new();
        for (at, rule) in self.rules.iter_mut().enumerate() {
            let own =
                matches!(rule.plan.style, Style::PerUnit | Style::Structured) && rule.applies_to(call.class);
            if own || one == Some(at) {
                lines.extend(spell::lines(&noise::told(&self.plan.noise, rule, now), moment));
            }
        }
        lines
    }

    /// The response to an accepted call leaves at `now`, or its caller went away: its slot is free after the linger. Does
    /// nothing a second time.
    pub fn finish(&mut self, now: Duration, call: u64) {
        if self.under_way.remove(&call)
            && let Some(slots) = &mut self.slots
        {
            slots.finish(now);
        }
    }

    /// When it next does something of itself: others call, a capacity changes. Later than what [`Self::happen`] was last
    /// called with.
    pub fn next(&self) -> Option<Duration> {
        let change = self.plan.changes.get(self.changed).map(|change| change.at);
        self.foreign.next().into_iter().chain(change).min()
    }

    /// Does what is due at or before `now`; a line for each, for the log.
    pub fn happen(&mut self, now: Duration) -> Vec<String> {
        self.catch_up(now);
        std::mem::take(&mut self.lines)
    }

    fn catch_up(&mut self, now: Duration) {
        while let Some(at) = self.next().filter(|at| *at <= now) {
            let line = match self.plan.changes.get(self.changed) {
                Some(change) if change.at <= at => {
                    let (rule, capacity) = (change.rule.clone(), change.capacity);
                    self.changed += 1;
                    self.resize(at, &rule, capacity)
                }
                _ => {
                    let count = self.foreign.take();
                    self.foreign_calls(at, count)
                }
            };
            if self.lines.len() < MAX_LINES {
                self.lines.push(line);
            }
        }
    }

    fn resize(&mut self, at: Duration, name: &str, capacity: u64) -> String {
        let mut line = format!("limit {name}");
        for (index, rule) in self.rules.iter_mut().enumerate().filter(|(_, rule)| rule.plan.name == name) {
            let _ = write!(line, ": {} -> {capacity}", rule.model.capacity());
            rule.model.resize(at, capacity);
            self.shadow.resize(at, index, capacity);
        }
        line
    }

    fn foreign_calls(&mut self, at: Duration, count: u64) -> String {
        let class = self.plan.foreign_class.clone();
        let mut taken = 0;
        for _ in 0..count {
            let fits = rules::full(&mut self.rules, at, &class, &[]).is_none();
            for rule in self.rules.iter_mut().filter(|rule| rule.applies_to(&class)) {
                if fits {
                    rule.foreign += 1;
                }
                if fits || rule.plan.refusals_count {
                    rule.model.charge(at, 1);
                }
            }
            taken += u64::from(fits);
        }
        self.foreign.refused(at, count - taken);
        if taken > 0 {
            self.shadow.foreign(at, &class, taken);
        }
        format!("foreign {taken} of {count}")
    }

    /// What its wall clock shows.
    fn unix(&self, now: Duration) -> Duration {
        let right = START_UNIX + now;
        let off = Duration::from_millis(self.plan.clock_ms.unsigned_abs());
        if self.plan.clock_ms < 0 { right.saturating_sub(off) } else { right + off }
    }

    /// How each rule stands at `now`, in order.
    pub fn truth(&mut self, now: Duration) -> Vec<RuleTruth> {
        self.catch_up(now);
        let truth = |rule: &mut Rule| RuleTruth {
            rule: rule.plan.name.clone(),
            unit: rule.plan.unit.clone(),
            capacity: rule.model.capacity(),
            remaining: rule.model.remaining(now),
            window_end: rule.model.window_end(now),
            accepted: rule.accepted,
            refused: rule.refused,
            foreign: rule.foreign,
            charged: rule.charged,
        };
        self.rules.iter_mut().map(truth).collect()
    }

    /// Our calls that are under way, those whose slot lingers not among them.
    pub fn in_flight(&self) -> u64 {
        u64::try_from(self.under_way.len()).unwrap_or(u64::MAX)
    }

    /// Slots that are taken at `now`, those that linger among them.
    pub fn slots_taken(&mut self, now: Duration) -> u64 {
        let taken = self.slots.as_mut().map_or(self.under_way.len(), |slots| slots.taken(now));
        u64::try_from(taken).unwrap_or(u64::MAX)
    }

    /// What we were accepted so far, in the main unit.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// What it would have accepted from us from the start to right before `now`, in the main unit: an account with the same rules and
    /// the same changes, to which we call the very moment that anything fits, and leave room for what others took. Calls
    /// of the other units and concurrency are left aside. Time must not go back.
    pub fn offered(&mut self, now: Duration) -> u64 {
        self.catch_up(now);
        self.shadow.offered(now)
    }
}
