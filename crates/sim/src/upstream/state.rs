//! What an upstream knows, and how it decides. Everything here happens under one mutex, at one moment that is passed in.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    config::UpstreamConfig,
    foreign::ForeignCalls,
    meter::{Counted, Meter},
    truth::{ClassTruth, TokenTruth, Truth},
    vendor::Vendor,
};
use crate::model::{Account, Answer, Standing};

/// What refused a call that every window had room for.
const CONCURRENCY: &str = "concurrency";

/// All that an upstream knows.
#[derive(Debug)]
pub(super) struct State {
    config: UpstreamConfig,
    rng: StdRng,
    tokens: BTreeMap<u64, Token>,
    unknown_tokens: u64,
}

/// One token: its account, and what was counted.
#[derive(Debug)]
struct Token {
    account: Account,
    foreign_calls: ForeignCalls,
    meters: Vec<Meter>,
    classes: BTreeMap<&'static str, ClassTruth>,
    refused_by: BTreeMap<&'static str, u64>,
    foreign: u64,
    under_way: u64,
    max_concurrent: u64,
}

/// What is decided when a call arrives.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Arrival {
    /// It goes on for so long, then [`State::finish`] is called.
    Accepted { latency: Duration, said: Said },
    /// It is turned away.
    Refused { by: &'static str, retry_after: Duration, said: Said },
    /// Its token is one too many.
    UnknownToken,
}

/// What a response says of the limits, and what goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    /// The reading; `None` where no limit applies, or it is dropped.
    pub(super) standing: Option<Standing>,
    /// Garble the n-th value, modulo their number.
    pub(super) garble: Option<usize>,
    /// Leave the Retry-After header out.
    pub(super) omit_retry_after: bool,
}

impl State {
    /// Nothing has happened. `config` is valid.
    pub(super) fn new(config: UpstreamConfig) -> Self {
        // Another stream of numbers than the one that the phases are drawn from.
        let rng = StdRng::seed_from_u64(config.seed ^ 0x5eed);
        Self { config, rng, tokens: BTreeMap::new(), unknown_tokens: 0 }
    }

    /// A call of `class` with the token `key` arrives.
    pub(super) fn arrive(
        &mut self,
        vendor: &Vendor,
        now: Duration,
        key: u64,
        class: &'static str,
    ) -> Arrival {
        if !self.tokens.contains_key(&key) && self.tokens.len() >= self.config.max_tokens {
            self.unknown_tokens += 1;
            return Arrival::UnknownToken;
        }
        let config = &self.config;
        let token = self.tokens.entry(key).or_insert_with(|| Token::new(vendor, config, key, now));
        token.catch_up(vendor, now);
        let answer = token.call(now, class);
        let rule = match answer {
            Answer::Refused { by: Some(rule), .. } => Some(rule),
            _ => vendor.told_rule(class),
        };
        let standing = rule.and_then(|rule| token.account.standing(now, rule));
        let mut chance = |share: f64| share > 0.0 && self.rng.random_bool(share);
        let said = Said {
            standing: standing.filter(|_| !chance(config.drop_headers)),
            omit_retry_after: chance(config.omit_retry_after),
            garble: chance(config.garble_headers).then(|| self.rng.random_range(0..1024)),
        };
        match answer {
            Answer::Accepted => {
                let (least, most) = config.latency;
                Arrival::Accepted { latency: self.rng.random_range(least..=most), said }
            }
            Answer::Refused { by, fits_at } => Arrival::Refused {
                by: name_of(vendor, by),
                retry_after: fits_at.map_or(vendor.concurrency_retry, |at| at.saturating_sub(now)),
                said,
            },
        }
    }

    /// A call that was accepted is answered, or its caller went away.
    pub(super) fn finish(&mut self, now: Duration, key: u64) {
        if let Some(token) = self.tokens.get_mut(&key) {
            token.account.finish(now);
            token.under_way = token.under_way.saturating_sub(1);
        }
    }

    /// What was counted up to `now`.
    pub(super) fn truth(&mut self, vendor: &Vendor, now: Duration) -> Truth {
        let tokens: Vec<TokenTruth> = self
            .tokens
            .iter_mut()
            .map(|(key, token)| {
                token.catch_up(vendor, now);
                token.truth(vendor, now, *key)
            })
            .collect();
        let mut refused_by = BTreeMap::new();
        for (by, count) in tokens.iter().flat_map(|token| &token.refused_by) {
            *refused_by.entry(by.clone()).or_default() += count;
        }
        let first = vendor.rules.first();
        Truth {
            profile: self.config.profile.to_string(),
            scale: self.config.scale,
            now_ms: ms(now),
            window_ms: ms(first.map(|rule| rule.window).unwrap_or_default()),
            next_window_in_ms: ms(first.map(|rule| Meter::ends_in(rule, now)).unwrap_or_default()),
            accepted: tokens.iter().map(|token| token.accepted).sum(),
            refused: tokens.iter().map(|token| token.refused).sum(),
            refused_by,
            unknown_tokens: self.unknown_tokens,
            foreign: tokens.iter().map(|token| token.foreign).sum(),
            capacity: tokens.iter().map(|token| token.capacity).sum(),
            under_way: self.tokens.values().map(|token| token.under_way).sum(),
            max_concurrent: tokens.iter().map(|token| token.max_concurrent).max().unwrap_or_default(),
            tokens,
        }
    }
}

impl Token {
    fn new(vendor: &Vendor, config: &UpstreamConfig, key: u64, now: Duration) -> Self {
        let window = vendor.rules.first().map(|rule| rule.window).unwrap_or_default();
        Self {
            account: vendor.account(),
            foreign_calls: ForeignCalls::new(config.foreign_per_window, window, config.seed ^ key, now),
            meters: vendor.rules.iter().map(|rule| Meter::new(rule, now)).collect(),
            classes: BTreeMap::new(),
            refused_by: BTreeMap::new(),
            foreign: 0,
            under_way: 0,
            max_concurrent: 0,
        }
    }

    /// Lets the calls of others happen that were due.
    fn catch_up(&mut self, vendor: &Vendor, now: Duration) {
        let class = vendor.foreign_class();
        while let Some(at) = self.foreign_calls.due(now) {
            if self.account.foreign(at, class, 1) {
                self.foreign += 1;
                self.count(at, class, Counted::Foreign);
            }
        }
    }

    fn call(&mut self, now: Duration, class: &'static str) -> Answer {
        let answer = self.account.call(now, class, 1);
        let counts = self.classes.entry(class).or_default();
        match answer {
            Answer::Accepted => {
                counts.accepted += 1;
                self.under_way += 1;
                self.max_concurrent = self.max_concurrent.max(self.under_way);
                self.count(now, class, Counted::Accepted);
            }
            Answer::Refused { by, .. } => {
                counts.refused += 1;
                let name = by.map_or(CONCURRENCY, |rule| self.account.rules()[rule].name);
                *self.refused_by.entry(name).or_default() += 1;
                if let Some(meter) = by.and_then(|rule| self.meters.get_mut(rule)) {
                    meter.count(now, Counted::Refused);
                }
            }
        }
        answer
    }

    /// Counts a call of `class` on every limit that it counts on.
    fn count(&mut self, now: Duration, class: &str, what: Counted) {
        for (rule, meter) in self.account.rules().iter().zip(&mut self.meters) {
            if rule.applies_to(class) {
                meter.count(now, what);
            }
        }
    }

    fn truth(&mut self, vendor: &Vendor, now: Duration, key: u64) -> TokenTruth {
        let limits: Vec<_> =
            self.meters.iter_mut().zip(&vendor.rules).map(|(meter, rule)| meter.truth(rule, now)).collect();
        TokenTruth {
            token: label(key),
            accepted: self.classes.values().map(|class| class.accepted).sum(),
            refused: self.classes.values().map(|class| class.refused).sum(),
            refused_by: self.refused_by.iter().map(|(by, count)| ((*by).to_owned(), *count)).collect(),
            classes: self.classes.iter().map(|(class, count)| ((*class).to_owned(), *count)).collect(),
            foreign: self.foreign,
            capacity: limits.iter().filter(|limit| limit.offers).map(|limit| limit.offered).sum(),
            max_concurrent: self.max_concurrent,
            limits,
        }
    }
}

fn name_of(vendor: &Vendor, rule: Option<usize>) -> &'static str {
    rule.and_then(|rule| vendor.rules.get(rule)).map_or(CONCURRENCY, |rule| rule.name)
}

/// How the truth calls a token.
pub(super) fn label(key: u64) -> String {
    format!("t{key:016x}")
}

/// FNV-1a, 64 bits.
pub(super) fn key_of(token: &[u8]) -> u64 {
    token
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
