//! Whether the time that a refusal names is exact, tried out on a copy of the store.

use std::time::Duration;

use bursar_quota::{AcquireGroup, Commit, CommitReply, LeaseId, LimitKind, Requests};

use super::{dice::Dice, invariants::Invariant, world::World};

/// What is left to others who contend is theirs so long.
const CLAIM: Duration = Duration::from_secs(1);

/// Looks at the first refusal in `reply`: asked again a millisecond before the time that it names, nothing is granted, and
/// at that time it is. Only where nobody behind it was granted anything, since that may have moved its time.
pub(crate) fn check(world: &World, budget: usize, commit: &Commit, reply: &CommitReply, dice: &mut Dice) {
    let spec = &world.scenario.budgets[budget].spec;
    let expects = &world.scenario.expects;
    if !expects.bounded_at_rest {
        // What others will have used by then is a forecast, and what misleads is taken for it.
        return;
    }
    let is_plain = |kind: &LimitKind| !matches!(kind, LimitKind::Adaptive { .. });
    let is_whole = spec.limits.iter().all(|limit| limit.reservations.is_empty() && limit.caps.is_empty());
    if world.store().forecasts(&spec.name) {
        // Of a state that nobody remembered: what it knew is taken for others' use.
        return;
    }
    if world.book().is_unsteady() || !is_whole || !spec.limits.iter().all(|limit| is_plain(&limit.kind)) {
        return;
    }
    let Some(at) = reply.decisions.iter().position(|decision| decision.refusal.is_some()) else { return };
    if reply.decisions[at + 1..].iter().any(|decision| decision.granted > 0) {
        return;
    }
    let refusal = reply.decisions[at].refusal.as_ref();
    let Some(after) = refusal.and_then(|refusal| refusal.retry_after).filter(|after| !after.is_zero()) else {
        return;
    };
    let group = &commit.acquires[at];
    let bits = u128::from(dice.bits()) << 64 | u128::from(dice.bits());
    let lease = LeaseId::new(&group.class, bits);
    let again = AcquireGroup { lease, requests: Requests::None, count: 1, ..group.clone() };
    let asked = Commit {
        waiting: 0,
        contenders: Vec::new(),
        looks: Vec::new(),
        settles: Vec::new(),
        renews: Vec::new(),
        acquires: vec![again],
        ..commit.clone()
    };
    let now = |alone: bool| world.store().would_answer(&spec.name, &asked, Duration::ZERO, alone);
    if now(true).map(|reply| reply.decisions) != now(false).map(|reply| reply.decisions) {
        // What is left to others who have waited longer is free when they have taken it, or do not come.
        return;
    }
    let granted = |ahead: Duration| {
        let reply = world.store().would_answer(&spec.name, &asked, ahead, true)?;
        let decision = reply.decisions.first()?;
        let refused = decision.refusal.as_ref().map(|r| format!("{r}"));
        Some((decision.granted > 0, refused.unwrap_or_default()))
    };
    let ms = Duration::from_millis(1);
    let early = if after > ms { granted(after - ms) } else { Some((false, String::new())) };
    let (Some((early, _)), Some((then, instead))) = (early, granted(after)) else { return };
    let mut book = world.book();
    if early && after <= CLAIM && book.is_contended(world.now(), budget, group) {
        // It may be left to somebody until then, which the copy forgets.
        return;
    }
    book.tally.refusal_checks += 1;
    if early || !then {
        let when = if early {
            "a millisecond earlier already".to_owned()
        } else {
            format!("not then, but {instead}")
        };
        let reason = refusal.map(|refusal| refusal.to_string()).unwrap_or_default();
        let text = format!("{}: {reason}: it would be granted {when}", spec.name);
        book.violations.add(world.now(), Invariant::RefusalExact, text);
    }
}
