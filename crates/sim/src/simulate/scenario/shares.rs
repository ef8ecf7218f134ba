//! Who waits where is uneven: shares follow tenants and tiers, and not replicas.

use std::time::Duration;

use bursar_quota::Tier;

use super::{
    draws::Draws,
    parts::{MINUTE, Run, SECOND, bucket, limit, rule, spec, upstream, world},
};
use crate::simulate::plan::{BudgetPlan, Placement, RuleKind, Scenario, Style};

/// How far a tier's share may be from its weight's, of that.
const TIER_ERROR: f64 = 0.05;
/// Who waits beside a crowd is served within this: the bucket gives ten times as much.
const LONE_WAIT: Duration = SECOND;

/// 10 a second, of which 10 can be saved up: there is always somebody who waits.
fn scarce(draws: &mut Draws, run: &Run) -> Scenario {
    let rules = vec![rule("requests", RuleKind::Bucket, 10, SECOND, Duration::ZERO, Style::Delta)];
    let limits = vec![limit("requests", bucket(10, SECOND))];
    let budget = BudgetPlan { spec: spec("ietf", limits), upstream: upstream(draws, rules), profile: None };
    let mut scenario = world(budget, MINUTE, MINUTE, run);
    scenario.expects.exact_at_rest = false;
    scenario
}

/// 10 a second for five equal tenants: three are at the first replica, one at another, one everywhere. Jain at least 0.99.
pub(super) fn tenants(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = scarce(draws, run);
    scenario.load.placement = Placement::ByTenant;
    scenario
}

/// The same for all three tiers of each tenant: each gets its weight's share, within 5 % of it.
pub(super) fn tiers(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = tenants(draws, run);
    scenario.load.tiers = Tier::ALL.to_vec();
    scenario.expects.tier_error_most = Some(TIER_ERROR);
    // A tenant that happens to have more workers of a tier with a large weight gets more.
    scenario.expects.jain_least = 0.0;
    scenario
}

/// 10 a second for 10,000 at one replica, and one of another tenant at another, who waits for a second at most.
pub(super) fn crowd(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = scarce(draws, run);
    scenario.load.placement = Placement::Crowd;
    scenario.load.tenants = 2;
    scenario.expects.lone_wait_most = Some(LONE_WAIT);
    scenario.expects.wait_bound = None;
    scenario.expects.jain_least = 0.0;
    scenario
}
