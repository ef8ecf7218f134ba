//! What the ledger's decisions mean for those who wait.

use std::{sync::Arc, time::Duration};

use bursar_quota::{Decision, Reason, Refusal};

use super::{
    answers::Answers,
    line::Line,
    plan::{Batch, Group},
    queue::{Block, MAX_ASK, MIN_ASK, Queues},
    settle::Unclaimed,
    waiter::{Told, Waiter},
};
use crate::{slab::Key, spec::SpecView};

/// What a decision is read with.
pub(crate) struct Terms<'a> {
    pub(crate) view: &'a SpecView,
    /// By limit: what could be granted, what is out, what is paid.
    pub(crate) stand: &'a [(i64, u64, u64)],
    /// How long ago the commit was made: so much may have gone of what it granted.
    pub(crate) age: Duration,
    /// The longest that a refusal is believed without asking again.
    pub(crate) recheck: Duration,
}

/// The most waiters of a tier and class that are looked through for those who wait in vain behind others.
const MAX_LOOK: usize = 4096;

/// What one commit told of a class.
struct Tally {
    class: u32,
    asked: usize,
    granted: usize,
    wide: Option<Wide>,
    /// Those of the class who were asked for and wait on.
    line: Option<Line>,
    /// Whether not all of them were refused at that line's limit.
    unlined: bool,
}

/// What was told of all of a class.
struct Wide {
    /// The one that can be granted first: when to ask again.
    first: Arc<Told>,
    /// The one that can be granted last: who was not asked for comes after it.
    last: Arc<Told>,
    binds: Option<(usize, u64)>,
}

impl Queues {
    /// Applies the decisions on a batch: grants, refuses, or lets wait on. Returns what was granted to callers who
    /// have gone.
    pub(crate) fn apply(
        &mut self,
        batch: &Batch,
        decisions: &[Decision],
        terms: &Terms<'_>,
        answers: &mut Answers<'_>,
    ) -> Vec<Unclaimed> {
        let mut unclaimed = Vec::new();
        let mut moved: Vec<Key> = Vec::new();
        let mut tallies: Vec<Tally> = Vec::new();
        let mut back = Vec::new();
        let mut lines: Vec<Line> = Vec::new();
        let mut blocked: Vec<(&Group, Arc<Told>)> = Vec::new();
        let mut rest = &batch.waiters[..];
        for (group, decision) in batch.groups.iter().zip(decisions) {
            let (keys, others) = rest.split_at(usize::from(group.count).min(rest.len()));
            rest = others;
            let granted = decision.granted.min(group.count);
            let placed;
            let (left, granted, asked) = if group.requested() {
                placed = self.grant_placed(group, keys, decision, terms, answers, &mut unclaimed);
                moved.extend_from_slice(&placed.moved);
                (&placed.left[..], placed.granted, placed.granted + placed.left.len())
            } else {
                let left = self.grant(group, granted, keys, decision, terms, answers, &mut unclaimed);
                (left, usize::from(granted), usize::from(group.count))
            };
            let tally = tally(&mut tallies, group.class);
            tally.asked += asked;
            tally.granted += granted;
            if granted == asked {
                continue;
            }
            let told = Arc::new(Told::new(refusal_of(decision), terms.view, terms.stand, answers.now));
            if told.class_wide() {
                let told =
                    self.refuse_in_line(group, left, &told, &mut lines, tally, terms, answers, &mut back);
                tally.widen(&told, told.binds(terms.view, &group.kind.costs));
                continue;
            }
            if !told.never() {
                blocked.push((group, Arc::clone(&told)));
            }
            for key in left {
                if self.refused(*key, &told, terms.view, answers) {
                    back.push(*key);
                }
            }
        }
        self.put_back(&back);
        for (group, told) in blocked {
            self.block_party(group, &told, batch, terms, answers);
        }
        for tally in tallies {
            self.conclude(tally, batch, terms, answers);
        }
        // Whose permit is elsewhere is not refused with those who have none.
        self.put_back(&moved);
        self.unblock(&moved);
        unclaimed
    }

    /// Hands out what a group was granted. Its callers are equal, so that the permit of one who went away serves the
    /// next. Returns those who got none.
    #[allow(clippy::too_many_arguments, reason = "a step of `apply`, with its whole context")]
    pub(super) fn grant<'k>(
        &mut self,
        group: &Group,
        granted: u16,
        keys: &'k [Key],
        decision: &Decision,
        terms: &Terms<'_>,
        answers: &mut Answers<'_>,
        unclaimed: &mut Vec<Unclaimed>,
    ) -> &'k [Key] {
        if granted == 0 {
            return keys;
        }
        let left = |ms: u64| Duration::from_millis(ms).saturating_sub(terms.age);
        let (send_within, deadline) = (left(decision.send_within_ms), left(decision.deadline_ms));
        let mut keys = keys;
        for index in 0..granted {
            let mut claimed = false;
            while let Some((key, others)) = keys.split_first().filter(|_| !claimed) {
                keys = others;
                claimed = self
                    .take(*key)
                    .is_some_and(|waiter| answers.grant(waiter, group.lease, index, send_within, deadline));
            }
            if !claimed {
                unclaimed.push(Unclaimed { lease: group.lease, index, requested: group.requested() });
            }
        }
        self.served(group.tier, &group.tenant, group.party, u64::from(granted), terms.view.spec.weights);
        answers.metrics.granted(answers.budget, &group.tenant, group.tier, &group.kind.class, granted.into());
        keys
    }

    /// Tells those of a group that were not granted, each by its turn. Returns what holds for the first of them.
    #[allow(clippy::too_many_arguments, reason = "a step of `apply`, with its whole context")]
    fn refuse_in_line(
        &mut self,
        group: &Group,
        keys: &[Key],
        told: &Arc<Told>,
        lines: &mut Vec<Line>,
        tally: &mut Tally,
        terms: &Terms<'_>,
        answers: &mut Answers<'_>,
        back: &mut Vec<Key>,
    ) -> Arc<Told> {
        let costs = &group.kind.costs;
        let Some(begun) = Line::new(told, terms.view, costs, terms.stand) else {
            tally.unlined = true;
            for key in keys {
                if self.refused(*key, told, terms.view, answers) {
                    back.push(*key);
                }
            }
            return Arc::clone(told);
        };
        let (limit, cost) = (begun.limit, costs.get(begun.limit).copied().unwrap_or(0));
        let at = lines.iter().position(|line| line.limit == limit).unwrap_or_else(|| {
            lines.push(begun.clone());
            lines.len() - 1
        });
        let line = &mut lines[at];
        line.told(told);
        tally.unlined |= tally.line.as_ref().is_some_and(|own| own.limit != limit);
        // Of the line only its own are known to be before those of a class who were not asked for.
        let own = tally.line.get_or_insert(begun);
        own.first = line.first;
        let soon = answers.now + Duration::from_millis(1);
        let first = Arc::new(told.with_turn(line.turn(cost).unwrap_or(soon)));
        let mut latest = Arc::clone(&first);
        for key in keys {
            let turn = line.turn(cost).unwrap_or(soon);
            if latest.retry_at != Some(turn) {
                latest = Arc::new(told.with_turn(turn));
            }
            if self.refused(*key, &latest, terms.view, answers) {
                back.push(*key);
                line.keep(cost);
                own.follow(cost, turn, line.unsure);
            } else {
                line.parted = true;
            }
        }
        first
    }

    /// Tells a waiter that it was refused; whether it waits on.
    fn refused(&mut self, key: Key, told: &Arc<Told>, view: &SpecView, answers: &mut Answers<'_>) -> bool {
        let Some(waiter) = self.waiters.get_mut(key) else { return false };
        waiter.place.told = Some(Arc::clone(told));
        let (patience, decided) = (waiter.patience, waiter.place.decided);
        if waiter.answer.is_closed() {
            self.take(key);
            return false;
        }
        if told.in_vain(patience, answers.now) {
            let Some(waiter) = self.take(key) else { return false };
            answers.refuse(waiter, told.at(answers.now));
            return false;
        }
        if !decided {
            if self.is_full(view) {
                let Some(waiter) = self.take(key) else { return false };
                answers.refuse(waiter, Refusal { reason: Reason::QueueFull, ..told.at(answers.now) });
                return false;
            }
            // ## Fresh => Waiting
            self.waiting += 1;
            if let Some(waiter) = self.waiters.get_mut(key) {
                waiter.place.decided = true;
            }
        }
        self.set_timer(key, patience);
        true
    }

    /// Whether no more may wait; those who went away are not counted.
    fn is_full(&mut self, view: &SpecView) -> bool {
        let most = usize::try_from(view.spec.max_waiting).unwrap_or(usize::MAX);
        if self.waiting >= most {
            self.drop_closed();
        }
        self.waiting >= most
    }

    /// Notes that a tenant can have no more of a class for now, and tells those of its callers who were not asked for.
    fn block_party(
        &mut self,
        group: &Group,
        told: &Arc<Told>,
        batch: &Batch,
        terms: &Terms<'_>,
        answers: &mut Answers<'_>,
    ) {
        let until = until(told, terms, answers.now);
        let Some(class) = self.class(group.class).filter(|class| class.name == group.kind.class) else {
            return;
        };
        let newer = batch.arrivals_of(group.class) != Some(class.arrivals);
        let fresh: Vec<Key> = (class.fresh.iter().copied())
            .filter(|key| {
                self.waiters.get(*key).is_some_and(|waiter| {
                    (waiter.place.party, waiter.tier) == (group.party, group.tier)
                        && waiter.tenant == group.tenant
                })
            })
            .collect();
        self.decide_fresh(&fresh, told, batch.seq, terms.view, answers);
        // It had its turn and could not use it.
        self.move_to_back(group.tier, &group.tenant, group.party);
        if newer {
            return;
        }
        let block = Block { epoch: batch.epoch, until, binds: None };
        if let Some(party) = self.tiers[group.tier.index()].party_mut(group.party)
            && party.is(&group.tenant)
            && let Some(queue) = party.queues.iter_mut().find(|queue| queue.class == group.class)
        {
            queue.block = Some(block);
            self.parties_due = Some(self.parties_due.map_or(until, |due| due.min(until)));
        }
    }

    /// Notes what a commit told of a class: how much to ask for next, or until when there is nothing to ask for.
    fn conclude(&mut self, tally: Tally, batch: &Batch, terms: &Terms<'_>, answers: &mut Answers<'_>) {
        let name =
            batch.groups.iter().find(|group| group.class == tally.class).map(|group| &group.kind.class);
        let Some(class) = self.class_mut(tally.class).filter(|class| Some(&class.name) == name) else {
            return;
        };
        class.ask = match tally.wide {
            None => class.ask * 4,
            Some(_) => tally.granted * 2,
        }
        .clamp(MIN_ASK, MAX_ASK);
        let Some(Wide { first, last, binds }) = tally.wide else { return };
        let line = tally.line.filter(|_| !tally.unlined && first.timed);
        let turn = line.as_ref().and_then(|line| line.turn(line.first.1));
        let told = turn.map_or(last, |turn| Arc::new(first.with_turn(turn)));
        let untimed = !class.told.replace(Arc::clone(&told)).is_some_and(|before| before.timed);
        if batch.arrivals_of(tally.class) == Some(class.arrivals) {
            let until = until(&first, terms, answers.now);
            class.block = Some(Block { epoch: batch.epoch, until, binds });
        }
        let fresh = std::mem::take(&mut class.fresh);
        class.fresh_due = Duration::MAX;
        // With nobody in front, a cheaper one may have its turn before.
        let alone = line.as_ref().is_some_and(Line::is_empty);
        let vain: Vec<Key> = match told.retry_at.filter(|_| told.timed && !alone) {
            Some(at) => class.timers.iter().take_while(|(end, _)| *end < at).map(|(_, key)| *key).collect(),
            None => Vec::new(),
        };
        let asked = if vain.is_empty() { Vec::new() } else { batch.asked() };
        for key in vain {
            // Who was asked for has been told already.
            if let Some(waiter) = self.waiters.get(key)
                && !waiter.place.in_flight
                && asked.binary_search(&key).is_err()
                && let Some(waiter) = self.take(key)
            {
                answers.refuse(waiter, told.at(answers.now));
            }
        }
        let undecided = |waiter: &Waiter| !waiter.place.decided && !waiter.place.in_flight;
        if let Some(line) = &line
            && (untimed || alone || fresh.iter().any(|key| self.waiters.get(*key).is_some_and(undecided)))
        {
            self.tell_line(tally.class, line, &told, batch, terms, answers);
        }
        self.decide_fresh(&fresh, &told, batch.seq, terms.view, answers);
        self.keep_fresh(tally.class, fresh);
    }

    /// Tells those of a class who were not asked for, each by its turn behind those who were.
    fn tell_line(
        &mut self,
        class: u32,
        line: &Line,
        told: &Arc<Told>,
        batch: &Batch,
        terms: &Terms<'_>,
        answers: &mut Answers<'_>,
    ) {
        let soon = answers.now + Duration::from_millis(1);
        let mut latest = Arc::clone(told);
        let mut unsure = false;
        for (key, turn) in self.turns(class, line, batch, answers.now) {
            unsure |= turn.is_none();
            let turn = turn.unwrap_or(soon);
            if latest.retry_at != Some(turn) {
                latest = Arc::new(told.with_turn(turn));
            }
            self.refused(key, &latest, terms.view, answers);
        }
        // Those in front of it have gone, and it may fit: it is asked for at once.
        if unsure
            && let Some(class) = self.class_mut(class)
            && let Some(block) = &mut class.block
        {
            block.until = block.until.min(soon);
        }
    }

    /// Before when those of a class who were not asked for certainly have no turn. Each tier counts by itself: how
    /// they will share is not known.
    fn turns(&self, class: u32, line: &Line, batch: &Batch, now: Duration) -> Vec<(Key, Option<Duration>)> {
        let mut turns = Vec::new();
        let asked = batch.asked();
        for tier in &self.tiers {
            let (mut line, mut looked) = (line.clone(), 0);
            let parties = tier.ring.values().filter_map(|at| tier.party(*at));
            let mut queues: Vec<_> = (parties.flat_map(|party| &party.queues))
                .filter(|queue| queue.class == class)
                .filter(|queue| !queue.block.as_ref().is_some_and(|block| block.holds(self.epoch, now)))
                .map(|queue| queue.keys.iter())
                .collect();
            while !queues.is_empty() && looked < MAX_LOOK {
                // A round: a turn for each tenant.
                queues.retain_mut(|keys| {
                    for key in keys {
                        looked += 1;
                        let Some(waiter) = self.waiters.get(*key) else { continue };
                        let place = &waiter.place;
                        let asked = asked.binary_search(key).is_ok();
                        if place.in_flight || asked || place.seq > batch.seq || waiter.answer.is_closed() {
                            continue;
                        }
                        let cost = waiter.kind.costs.get(line.limit).copied().unwrap_or(0);
                        let turn = line.turn(cost);
                        turns.push((*key, turn));
                        if turn.is_none_or(|turn| turn <= waiter.patience) && waiter.patience > now {
                            line.keep(cost);
                            return true;
                        }
                    }
                    false
                });
            }
        }
        turns
    }

    /// Decides those who were not asked for but stood behind others who were, and were refused, in their stead.
    fn decide_fresh(
        &mut self,
        fresh: &[Key],
        told: &Arc<Told>,
        seq: u64,
        view: &SpecView,
        answers: &mut Answers<'_>,
    ) {
        for key in fresh {
            let stands_for = self.waiters.get(*key).is_some_and(|waiter| {
                let place = &waiter.place;
                !place.decided && !place.in_flight && place.seq <= seq
            });
            if stands_for {
                self.refused(*key, told, view, answers);
            }
        }
    }

    /// Keeps those who still wait for their first decision.
    fn keep_fresh(&mut self, at: u32, mut fresh: Vec<Key>) {
        let waiters = &self.waiters;
        let mut due = Duration::MAX;
        fresh.retain(|key| {
            let waiter = waiters.get(*key).filter(|waiter| {
                waiter.place.class == at && !waiter.place.decided && !waiter.place.in_flight
            });
            if let Some(waiter) = waiter {
                due = due.min(waiter.undecided);
            }
            waiter.is_some()
        });
        if let Some(class) = self.class_mut(at) {
            class.fresh_due = class.fresh_due.min(due);
            class.fresh.append(&mut fresh);
        }
    }
}

impl Batch {
    /// Who was asked for, sorted.
    fn asked(&self) -> Vec<Key> {
        let mut asked = self.waiters.clone();
        asked.sort_unstable();
        asked
    }

    fn arrivals_of(&self, class: u32) -> Option<u64> {
        self.arrivals.iter().find(|(at, _)| *at == class).map(|(_, arrivals)| *arrivals)
    }
}

impl Tally {
    fn widen(&mut self, told: &Arc<Told>, binds: Option<(usize, u64)>) {
        let Some(wide) = &mut self.wide else {
            self.wide = Some(Wide { first: Arc::clone(told), last: Arc::clone(told), binds });
            return;
        };
        let at = |told: &Told| told.retry_at.unwrap_or(Duration::MAX);
        if at(told) < at(&wide.first) {
            wide.first = Arc::clone(told);
        }
        if at(told) > at(&wide.last) {
            wide.last = Arc::clone(told);
        }
        // The dearest is the one that is overtaken most easily.
        if binds.map(|(_, cost)| cost) > wide.binds.map(|(_, cost)| cost) {
            wide.binds = binds;
        }
    }
}

fn tally(tallies: &mut Vec<Tally>, class: u32) -> &mut Tally {
    let at = tallies.iter().position(|tally| tally.class == class).unwrap_or_else(|| {
        tallies.push(Tally { class, asked: 0, granted: 0, wide: None, line: None, unlined: false });
        tallies.len() - 1
    });
    &mut tallies[at]
}

/// The ledger names a reason for whatever it does not grant; should it not, it is asked again soon.
fn refusal_of(decision: &Decision) -> Refusal {
    let unnamed = || Refusal { reason: Reason::QuotaExhausted, limit: None, retry_after: None };
    decision.refusal.clone().unwrap_or_else(unnamed)
}

fn until(told: &Told, terms: &Terms<'_>, now: Duration) -> Duration {
    told.retry_at.unwrap_or(Duration::MAX).min(now + terms.recheck)
}
