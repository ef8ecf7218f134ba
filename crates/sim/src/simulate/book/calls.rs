//! What the observer sees at the upstreams and of the workers.

use std::time::Duration;

use bursar_quota::{LimitKind, SettleKind};

use super::{Book, Executed, PermitKey};
use crate::simulate::{invariants::Invariant, upstream::Answer};

/// How far the store's clock may be ahead before the replicas find it out: as long as a call may be under way.
pub(crate) const CLOCK_DOUBT: Duration = Duration::from_secs(2);

/// A call that arrives under a permit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) key: PermitKey,
    pub(crate) answer: &'a Answer,
    /// What it costs, by unit.
    pub(crate) units: &'a [(String, u64)],
}

/// The value of a header that stands in one line; of several nobody knows which is meant.
fn only_line<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut lines = answer.headers.iter().filter(|(of, _)| of.eq_ignore_ascii_case(name));
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    std::str::from_utf8(&line.1).ok()
}

/// How long the response says to stay away at least, if it says so plainly: by whole seconds, or by a date beside its own `Date`.
fn stay_away(answer: &Answer) -> Option<Duration> {
    let text = only_line(answer, "retry-after")?;
    let least = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            // Both are by a clock that may be off by any amount; and `Date` is cut to the second, so that the response may have
            // been made as much as a second later than it says. Without it nobody knows how long the date is away.
            let until = httpdate::parse_http_date(text).ok()?;
            let made = httpdate::parse_http_date(only_line(answer, "date")?).ok()?;
            until.duration_since(made).ok()?.checked_sub(Duration::from_secs(1))?
        }
    };
    (!least.is_zero()).then_some(least)
}

impl Book {
    /// A call arrived at its upstream and was answered.
    pub(crate) fn arrived(&mut self, now: Duration, arrival: &Arrival<'_>) {
        let Arrival { key, answer, units } = *arrival;
        let Some(permit) = self.permits.get_mut(&key) else { return };
        let (budget, live) = (permit.budget, now <= permit.told_by);
        let plan = &self.scenario.budgets[budget].upstream;
        let secondary = answer.refused_by.as_deref() == Some("secondary");
        let counted = plan.rules.iter().any(|rule| rule.refusals_count);
        permit.executed = if answer.accepted { Executed::Accepted } else { Executed::Refused(counted) };
        permit.counted = units.to_vec();
        permit.secondary = secondary;
        permit.stay_away = (!answer.accepted).then(|| stay_away(answer)).flatten().map(|span| now + span);
        permit.response_tells = answer.tells_until;
        let given_back = matches!(permit.settled, Some(SettleKind::NotSent | SettleKind::Unclaimed));
        let (deadline, granted_at) = (permit.deadline, permit.granted_at);
        if given_back {
            let text = format!("permit {}.{} had been given back when its call arrived", key.0, key.1);
            self.violate(now, Invariant::ChargesEqual, text);
        }
        if answer.accepted {
            self.tally.accepted += 1;
            self.accounts[budget].running.insert(answer.call, (deadline, None));
            return;
        }
        self.tally.refused += 1;
        if now < self.recovering {
            self.tally.recovering += 1;
        }
        if secondary {
            self.tally.secondary += 1;
            self.refused_without_limit(now, key);
        } else if live && !self.outlasts(now, budget, answer) {
            let by = answer.refused_by.clone().unwrap_or_default();
            self.refused(now, budget, &by, granted_at);
        }
    }

    /// Whether a refusal for concurrency is explained by a call that lasts longer than its permit.
    fn outlasts(&self, now: Duration, budget: usize, answer: &Answer) -> bool {
        let is_late = |(deadline, freed): &(Duration, Option<Duration>)| {
            *deadline < freed.unwrap_or(now) && freed.is_none_or(|freed| freed >= now)
        };
        answer.refused_by.as_deref() == Some("concurrency")
            && self.accounts[budget].running.values().any(is_late)
    }

    fn refused(&mut self, now: Duration, budget: usize, by: &str, granted_at: Duration) {
        // The measured windows are the first rule's own.
        let length = self.scenario.window.as_nanos().max(1);
        let window = (now.as_nanos() + length - self.scenario.from.as_nanos() % length) / length;
        let account = &mut self.accounts[budget];
        account.refused += 1;
        let in_window = account.refused_by_window.entry(window).or_default();
        *in_window += 1;
        let (in_window, all) = (*in_window, self.accounts.iter().map(|account| account.refused).sum::<u64>());
        let expects = &self.scenario.expects;
        let name = &self.accounts[budget].name;
        let text = if expects.refused_most.is_some_and(|most| all > most) {
            format!(
                "{name}: a live permit was refused by {by}, {} ms after its grant; {all} in all",
                (now - granted_at).as_millis()
            )
        } else if expects.refused_per_window_most.is_some_and(|most| in_window > most) {
            format!("{name}: {in_window} live permits were refused in window {window}, this one by {by}")
        } else {
            return;
        };
        self.violate(now, Invariant::NoRefusal, text);
    }

    /// The response to an accepted call left: its slot at the upstream is free after the linger.
    pub(crate) fn finished(&mut self, now: Duration, budget: usize, call: u64) {
        let linger =
            self.scenario.budgets[budget].upstream.slots.map(|slots| slots.linger).unwrap_or_default();
        let running = &mut self.accounts[budget].running;
        if let Some((_, freed)) = running.get_mut(&call) {
            *freed = Some(now + linger);
        }
        running.retain(|_, (_, freed)| freed.is_none_or(|freed| freed >= now));
    }

    /// A worker got a permit that it had wanted since `since`, to be sent by `told_by`.
    pub(crate) fn got(
        &mut self,
        now: Duration,
        key: PermitKey,
        worker: usize,
        (since, told_by): (Duration, Duration),
    ) {
        self.tally.granted += 1;
        let waited = now.saturating_sub(since);
        self.waits.push(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
        self.waited(now, worker, since);
        // Before all is healed nothing is promised.
        let promised = now.saturating_sub(since.max(self.scenario.faults.heal_at));
        if let Some(most) =
            self.scenario.expects.lone_wait_most.filter(|most| worker == 0 && promised > *most)
        {
            let text =
                format!("worker 0 waited for {} ms, at most {}", promised.as_millis(), most.as_millis());
            self.violate(now, Invariant::BoundedWait, text);
        }
        let Some(permit) = self.permits.get_mut(&key) else {
            let text = format!("worker {worker} got a permit that no commit granted");
            return self.violate(now, Invariant::SlotsWithin, text);
        };
        (permit.told_by, permit.is_got) = (told_by, true);
        let budget = permit.budget;
        self.heard(budget, key);
        self.accounts[budget].held.push(key);
        self.accounts[budget].last_got = now;
        // A store whose clock jumps is as far ahead as a call may be under way before the replicas find that out.
        let early = if self.is_unsteady() { CLOCK_DOUBT } else { Duration::ZERO };
        // Of what was granted before the store was lost nobody may know any more.
        let known_from = self.lost.filter(|_| self.is_forgetful).unwrap_or_default();
        let is_live = |key: &&PermitKey| {
            (self.permits.get(*key))
                .is_some_and(|permit| permit.deadline > now + early && permit.granted_at >= known_from)
        };
        let held = self.accounts[budget].held.iter().filter(is_live).count() as u64;
        let limits = &self.scenario.budgets[budget].spec.limits;
        let at_once = limits.iter().filter(|limit| limit.classes.is_empty());
        let most = at_once.filter_map(|limit| match limit.kind {
            LimitKind::Concurrency { capacity, .. } => Some(capacity),
            _ => None,
        });
        if let Some(most) = most.min().filter(|most| held > *most)
            && now >= self.recovering
        {
            let text = format!("workers hold {held} permits, at most {most} may be out at once");
            self.violate(now, Invariant::SlotsWithin, text);
        }
    }

    /// A worker holds its permit no more: it settles it now.
    pub(crate) fn let_go(&mut self, budget: usize, key: PermitKey) {
        self.accounts[budget].held.retain(|held| *held != key);
    }

    /// A worker has waited for a permit since `since`, and got it or not. Who is willing to wait as long as the bound has a
    /// place in a queue, and is served within it. Who gives up before and asks again has none: then somebody is.
    pub(crate) fn waited(&mut self, now: Duration, worker: usize, since: Duration) {
        let healed = self.scenario.faults.heal_at;
        if now < healed {
            // Before that nothing is promised.
            return;
        }
        let expects = &self.scenario.expects;
        let (wait_bound, idle_bound) = (expects.wait_bound, expects.idle_bound);
        let queues = wait_bound.is_some_and(|bound| self.scenario.load.max_wait >= bound);
        let budget = worker % self.accounts.len();
        let (last_got, more) = (self.accounts[budget].last_got, self.kept_by_nobody(budget, since));
        let waited = now.saturating_sub(since.max(healed));
        let idle = now.saturating_sub(since.max(last_got).max(healed));
        let promised = if queues { ("it", waited) } else { ("everybody", idle) };
        for (bound, (who, waited)) in [(wait_bound, promised), (idle_bound, ("everybody", idle))] {
            let Some(bound) = bound.map(|bound| bound + more).filter(|bound| waited > *bound) else {
                continue;
            };
            let text = format!(
                "worker {worker} waits, and {who} has waited {} ms, the bound is {} ms",
                waited.as_millis(),
                bound.as_millis()
            );
            return self.violate(now, Invariant::BoundedWait, text);
        }
    }
}
