//! What the observer holds against the truth when nothing is under way.

use std::{collections::BTreeMap, time::Duration};

use bursar_quota::{BudgetSnapshot, LimitKind, LimitSnapshot, LimitSpec, SettleKind, UnitName};

use super::{Account, Book, Executed, Permit};
use crate::simulate::{
    invariants::Invariant,
    plan::{Foreign, RuleKind, RulePlan},
    upstream::RuleTruth,
};

/// So many workers use up what any of the scenarios' upstreams gives; of fewer no share of it is demanded.
const ENOUGH: u16 = 12;

/// One budget at rest: what the scripts say of it, and what is so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest<'a> {
    pub(crate) budget: usize,
    /// When the last worker was told to stop.
    pub(crate) stopped: Duration,
    pub(crate) snapshot: &'a BudgetSnapshot,
    pub(crate) truths: &'a [RuleTruth],
    /// Slots that are taken at the upstream, those that linger among them.
    pub(crate) slots_taken: u64,
}

/// Whether a rule is what its limit declares, so that what remains of one can be held against what is available in the
/// other. What is declared sliding is right for all that give back no later than a rolling window does.
fn is_true(limit: &LimitSpec, rule: &RulePlan) -> bool {
    match (&limit.kind, rule.kind) {
        (LimitKind::Window { aligned: true, .. }, RuleKind::Clock | RuleKind::FirstCall)
        | (LimitKind::Bucket { .. }, RuleKind::Bucket | RuleKind::Gcra) => true,
        (LimitKind::Window { aligned: false, .. }, kind) => {
            !matches!(kind, RuleKind::Weighted | RuleKind::WeightedEnds | RuleKind::Parts(_))
        }
        _ => false,
    }
}

impl Book {
    /// Nothing is under way in any budget: no limit has more available than the truth, and aligned ones have just that.
    pub(crate) fn at_rest(&mut self, now: Duration, rest: &Rest<'_>) {
        let plan = self.scenario.budgets[rest.budget].clone();
        for (at, limit) in plan.spec.limits.iter().enumerate() {
            let Some(said) = rest.snapshot.limits.iter().find(|said| said.limit == limit.name) else {
                continue;
            };
            if !self.can_compare(now, rest) || !said.known {
                continue;
            }
            if let LimitKind::Concurrency { capacity, .. } = limit.kind {
                let truth = i64::try_from(capacity.saturating_sub(rest.slots_taken)).unwrap_or(i64::MAX);
                self.hold_against(now, said, truth);
                continue;
            }
            let rule = plan.upstream.rules.iter().find(|rule| rule.name == limit.name.as_str());
            let truth = rest.truths.iter().find(|truth| truth.rule == limit.name.as_str());
            let (Some(rule), Some(truth)) = (rule, truth) else { continue };
            if !is_true(limit, rule) {
                continue;
            }
            let remaining = i64::try_from(truth.remaining).unwrap_or(i64::MAX);
            self.hold_against(now, said, remaining);
            if self.is_exact(now, rest.budget, at, said, truth) {
                self.tally.exact_checks += 1;
                if said.available != remaining {
                    let text =
                        format!("{}: {} are available, the truth is {remaining}", said.limit, said.available);
                    self.violate(now, Invariant::AtRestExact, text);
                }
            }
        }
    }

    /// While calls are under way: were all that is available granted now, and were it to arrive at once with all that may
    /// still come, the upstream would accept it.
    pub(crate) fn under_way(&mut self, now: Duration, rest: &Rest<'_>) {
        if !self.can_compare(now, rest) {
            return;
        }
        let plan = self.scenario.budgets[rest.budget].clone();
        for limit in &plan.spec.limits {
            let said = rest.snapshot.limits.iter().find(|said| said.limit == limit.name && said.known);
            let rule = plan.upstream.rules.iter().find(|rule| rule.name == limit.name.as_str());
            let truth = rest.truths.iter().find(|truth| truth.rule == limit.name.as_str());
            let (Some(said), Some(rule), Some(truth)) = (said, rule, truth) else { continue };
            // What a call will have cost in another unit, its permit does not tell.
            if limit.unit != UnitName::requests() || !is_true(limit, rule) {
                continue;
            }
            let to_come: u64 = self
                .of_budget(rest.budget)
                .filter(|permit| permit.may_come(now) && limit.applies_to(&permit.class))
                .map(|permit| permit.cost(&limit.unit))
                .sum();
            let left = i64::try_from(truth.remaining).unwrap_or(i64::MAX)
                - i64::try_from(to_come).unwrap_or(i64::MAX);
            self.tally.under_way_checks += 1;
            if said.available > left {
                let text = format!(
                    "{}: {} are available, {} remain and {to_come} may still come",
                    said.limit, said.available, truth.remaining
                );
                self.violate(now, Invariant::NeverAbove, text);
            }
        }
    }

    fn hold_against(&mut self, now: Duration, said: &LimitSnapshot, truth: i64) {
        self.tally.rest_checks += 1;
        if said.available > truth {
            let text = format!("{}: {} are available, the truth is {truth}", said.limit, said.available);
            self.violate(now, Invariant::AtRestNotAbove, text);
        }
    }

    fn can_compare(&self, now: Duration, rest: &Rest<'_>) -> bool {
        let upstream = &self.scenario.budgets[rest.budget].upstream;
        let over = |moment: Duration| moment + self.memory() * 2 <= rest.stopped;
        self.scenario.expects.bounded_at_rest
            && upstream.foreign == Foreign::None
            && upstream.changes.iter().all(|change| over(change.at))
            && now >= self.recovering
            && self.unsteady.is_none_or(over)
    }

    /// Whether the account must be exact: its window is the true one, and it was told of every call in it.
    fn is_exact(
        &self,
        now: Duration,
        budget: usize,
        at: usize,
        said: &LimitSnapshot,
        truth: &RuleTruth,
    ) -> bool {
        let limit = &self.scenario.budgets[budget].spec.limits[at];
        let LimitKind::Window { window, .. } = limit.kind else { return false };
        let long_ago = now.saturating_sub(window * 2);
        let (Some(end), Some((early, late))) = (truth.window_end, said.window_end_ms) else { return false };
        let left = u64::try_from(end.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
        let slow = Duration::from_millis(*self.scenario.load.service.end()) > window / 4;
        let unsettled = |permit: &Permit| {
            permit.budget == budget
                && limit.applies_to(&permit.class)
                && permit.settled.is_none()
                && permit.deadline > long_ago
        };
        self.scenario.expects.exact_at_rest
            && said.rung == "aligned"
            && early <= left
            && left <= late
            && !slow
            && self.accounts[budget].dark[at].is_none_or(|dark| dark < long_ago)
            && !self.permits.values().any(unsettled)
    }

    /// Every deadline has passed: every slot is back, and the sums agree.
    pub(crate) fn at_end(&mut self, now: Duration, rest: &Rest<'_>) {
        let limits = &self.scenario.budgets[rest.budget].spec.limits;
        let taken: Vec<String> = (limits.iter())
            .filter(|limit| matches!(limit.kind, LimitKind::Concurrency { .. }))
            .filter_map(|limit| rest.snapshot.limits.iter().find(|said| said.limit == limit.name))
            .filter(|said| said.out + said.paid > 0)
            .map(|said| {
                format!(
                    "{}: {} are out and {} linger when all deadlines have passed",
                    said.limit, said.out, said.paid
                )
            })
            .collect();
        for text in taken {
            self.violate(now, Invariant::SlotsReturn, text);
        }
        if self.lost.is_none() && self.scenario.expects.charges_exact {
            self.check_charges(now, rest);
        }
    }

    /// All permits of a budget there ever were.
    fn of_budget(&self, budget: usize) -> impl Iterator<Item = &Permit> {
        self.permits.values().chain(&self.earlier).filter(move |permit| permit.budget == budget)
    }

    fn check_charges(&mut self, now: Duration, rest: &Rest<'_>) {
        let mut charged: BTreeMap<&str, u64> = BTreeMap::new();
        for usage in rest.snapshot.usage.iter().filter(|usage| usage.dimension == "class") {
            *charged.entry(usage.unit.as_str()).or_default() += usage.cost;
        }
        // By unit: what calls cost that the upstream counted; what may have been sent and was not; what is charged by
        // the estimate, as nobody said what it was. What a settlement said it was is that, or charged wrong.
        let (mut counted, mut phantom) = (BTreeMap::<String, i128>::new(), BTreeMap::<String, i128>::new());
        for permit in self.of_budget(rest.budget) {
            let mut truth: BTreeMap<String, i128> = BTreeMap::new();
            let is_counted = match permit.executed {
                Executed::No => false,
                Executed::Accepted => true,
                Executed::Refused(counted) => counted,
            };
            if is_counted {
                truth.insert(UnitName::requests().as_str().to_owned(), 1);
                truth.extend(permit.counted.iter().map(|(unit, cost)| (unit.clone(), i128::from(*cost))));
            }
            let refunded =
                permit.is_given_back() || permit.settled == Some(SettleKind::Refused { counted: false });
            let is_told = is_counted && permit.actual.is_some() && permit.settled != Some(SettleKind::Lost);
            let by_estimate = if refunded || is_told {
                &[][..]
            } else {
                permit.actual.as_ref().unwrap_or(&permit.reserved)
            };
            for (unit, cost) in by_estimate {
                let true_cost = truth.get(unit.as_str()).copied().unwrap_or(0);
                *phantom.entry(unit.as_str().to_owned()).or_default() += i128::from(*cost) - true_cost;
            }
            if refunded && permit.executed == Executed::Refused(true) && !permit.is_given_back() {
                // The dialect was told that refusals don't count, and here they do.
                truth.clear();
            }
            for (unit, cost) in truth {
                *counted.entry(unit).or_default() += cost;
            }
        }
        let name = &self.accounts[rest.budget].name;
        let mut wrong = Vec::new();
        for (unit, charged) in charged {
            let (counted, phantom) =
                (counted.get(unit).copied().unwrap_or(0), phantom.get(unit).copied().unwrap_or(0));
            if i128::from(charged) != counted + phantom {
                wrong.push(format!(
                    "{name}: {charged} {unit} were charged, the upstream counted {counted}, {phantom} were not sent or estimated"
                ));
            }
        }
        for text in wrong.into_iter().chain(self.missing_calls(rest)) {
            self.violate(now, Invariant::ChargesEqual, text);
        }
    }

    /// The upstream's own count is the observer's, or the observer is wrong.
    fn missing_calls(&self, rest: &Rest<'_>) -> Option<String> {
        let Account { name, .. } = &self.accounts[rest.budget];
        let all = self.scenario.budgets[rest.budget]
            .upstream
            .rules
            .iter()
            .find(|rule| rule.classes.is_empty() && rule.unit == "requests" && !rule.refusals_count)?;
        let truth = rest.truths.iter().find(|truth| truth.rule == all.name)?;
        let cost = |permit: &Permit| {
            permit.counted.iter().find(|(unit, _)| unit == "requests").map_or(1, |(_, cost)| *cost)
        };
        let seen: u64 = self
            .of_budget(rest.budget)
            .filter(|permit| permit.executed == Executed::Accepted)
            .map(cost)
            .sum();
        (seen != truth.accepted).then(|| {
            format!("{name}: {seen} calls were made under permits, the upstream accepted {}", truth.accepted)
        })
    }

    /// Whoever asks at every moment is accepted as often as can be, from the beginning to any moment; between two moments others
    /// may be once more, who were not as often before.
    pub(crate) fn at_most_offered(&mut self, now: Duration, accepted: u64, offered: u64) {
        if accepted > offered && self.scenario.expects.utilisation_least > 0.0 {
            let text = format!("{accepted} were accepted, of {offered} that could be");
            self.violate(now, Invariant::Utilisation, text);
        }
    }

    /// What the whole run is held against.
    pub(crate) fn at_last(&mut self, now: Duration, utilisation: f64, jain: f64, tiers: [f64; 3]) {
        let expects = &self.scenario.expects;
        let tier_error_most = expects.tier_error_most;
        let (least, fair) = (expects.utilisation_least, expects.jain_least);
        let (workers, tenants) = (self.scenario.workers, self.scenario.load.tenants.max(1));
        if utilisation < least && workers >= ENOUGH {
            let text = format!(
                "{utilisation:.5} of what the upstream would have accepted was, at least {least} is promised"
            );
            self.violate(now, Invariant::Utilisation, text);
        }
        // Who has more workers than others wants more.
        if jain < fair && workers % tenants == 0 {
            let text = format!("Jain's index is {jain:.5}, at least {fair} is promised");
            self.violate(now, Invariant::Fair, text);
        }
        let Some(most) = tier_error_most.filter(|_| workers >= ENOUGH) else { return };
        let weights = self.scenario.budgets[0].spec.weights.map(f64::from);
        let all: f64 = weights.iter().sum();
        if tiers.iter().zip(weights).any(|(share, weight)| (share * all / weight - 1.0).abs() > most) {
            let text = format!("the tiers' shares are {tiers:?}, their weights {weights:?}");
            self.violate(now, Invariant::Fair, text);
        }
    }
}
