//! Several rules in one decision.

use std::time::Duration;

use super::{Concurrency, Model};

/// One rule of an account.
#[derive(Debug)]
pub struct Rule {
    /// What it is called.
    pub name: &'static str,
    /// The classes of calls that fall under it; empty: all.
    pub classes: &'static [&'static str],
    /// Whether a call that is refused, by whichever rule, counts here all the same.
    pub refusals_count: bool,
    /// How it counts.
    pub model: Box<dyn Model>,
}

impl Rule {
    /// Whether calls of `class` fall under it.
    pub fn applies_to(&self, class: &str) -> bool {
        self.classes.is_empty() || self.classes.contains(&class)
    }
}

/// How one rule stands right after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The rule's place in the account.
    pub rule: usize,
    /// Its capacity.
    pub capacity: u64,
    /// What it says to remain of it ([`Model::named_remaining`]).
    pub remaining: u64,
    /// The reset that it names ([`Model::named_reset`]).
    pub reset: Option<Duration>,
}

/// What an account does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It fits every rule and counts on each that applies. It holds a slot until [`Account::finish`].
    Accepted,
    /// It does not fit.
    Refused {
        /// The first rule in order that it does not fit; `None`: every window has room, but not another call at once.
        by: Option<usize>,
        /// When that rule would accept it if nobody else calls; `None`: not known.
        fits_at: Option<Duration>,
    },
}

/// Several rules and a number of calls at once, decided together: a call must fit all that apply to its class.
#[derive(Debug)]
pub struct Account {
    rules: Vec<Rule>,
    slots: Option<Concurrency>,
}

impl Account {
    /// An account with these rules, in order of precedence, and at most so many calls at once.
    pub fn new(rules: Vec<Rule>, slots: Option<Concurrency>) -> Self {
        Self { rules, slots }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// A call of `class` and `cost` that arrives at `now`. All or nothing, except where refusals count.
    pub fn call(&mut self, now: Duration, class: &str, cost: u64) -> Answer {
        let is_full = |rule: &mut Rule| rule.applies_to(class) && !rule.model.fits(now, cost);
        let full = self.rules.iter_mut().position(is_full);
        // A slot is taken only when every window has room.
        let started = full.is_none() && self.slots.as_mut().is_none_or(|slots| slots.start(now));
        for rule in self.rules.iter_mut().filter(|rule| rule.applies_to(class)) {
            if started || rule.refusals_count {
                rule.model.charge(now, cost);
            }
        }
        // After the charge: where refusals count, this one has just moved the moment on.
        match full {
            _ if started => Answer::Accepted,
            Some(by) => Answer::Refused { by: Some(by), fits_at: self.rules[by].model.fits_at(now, cost) },
            None => Answer::Refused { by: None, fits_at: self.slots.as_mut().and_then(|s| s.fits_at(now)) },
        }
    }

    /// A call by somebody else with the same token, which arrives at `now` and is over at once. Whether it was accepted.
    pub fn foreign(&mut self, now: Duration, class: &str, cost: u64) -> bool {
        let mut applying = self.rules.iter_mut().filter(|rule| rule.applies_to(class));
        let fits = applying.all(|rule| rule.model.fits(now, cost));
        for rule in self.rules.iter_mut().filter(|rule| rule.applies_to(class)) {
            if fits || rule.refusals_count {
                rule.model.charge(now, cost);
            }
        }
        fits
    }

    /// An accepted call was answered, or its caller went away, at `now`.
    pub fn finish(&mut self, now: Duration) {
        if let Some(slots) = &mut self.slots {
            slots.finish(now);
        }
    }

    /// How the rule at `rule` stands at `now`; `None`: there is no such rule.
    pub fn standing(&mut self, now: Duration, rule: usize) -> Option<Standing> {
        let model = &mut self.rules.get_mut(rule)?.model;
        Some(Standing {
            rule,
            capacity: model.capacity(),
            remaining: model.named_remaining(now),
            reset: model.named_reset(now),
        })
    }
}
