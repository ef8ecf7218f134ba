//! What the observer sees at the store: what every commit asked, and what it was answered.

use std::time::Duration;

use bursar_ledger::{HostError, VmUse};
use bursar_quota::{
    AcquireGroup, BudgetSpec, ClassName, Commit, CommitReply, Decision, LeaseId, LedgerError, LimitKind,
    LimitSpec, SettleGroup, SettleKind, Settled,
};

use super::{Book, Executed, LEASE_AGAIN, LEASE_LATE, Permit};
use crate::simulate::{invariants::Invariant, plan::Fault};

/// One commit that ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran<'a> {
    pub(crate) budget: usize,
    pub(crate) commit: &'a Commit,
    pub(crate) reply: &'a CommitReply,
    pub(crate) usage: VmUse,
    /// When it ran by the store's time, which goes on steadily and is what pauses are kept in.
    pub(crate) by_store: Duration,
}

/// What scripts refuse by name.
const REFUSALS: [&str; 4] = ["FORGOTTEN", "LOST", "NOBUDGET", "STALE"];
/// In such a span so many commits may come to nothing: of themselves, for each worker (who may ask again and again), and at each
/// replica for each permit that is granted or settled, of which all are told.
const IDLE: (Duration, u64, u64, u64) = (Duration::from_secs(10), 1000, 200, 20);
/// After so long a replica that was not heard of contends no more.
const KNOWN: Duration = Duration::from_secs(10);
/// What a commit may take: commands for itself, for each group and lease, and for each limit, whose slots (256 a window, of
/// three sorts) may all have passed since the last one.
const COMMANDS: (u64, u64, u64) = (40, 16, 300);
/// And instructions: for itself, for each limit, each group, each permit; the count is coarse.
const INSTRUCTIONS: (u64, u64, u64) = (400_000, 40_000, 2_000);
/// Keys of a budget beside its leases, and of all of them.
const KEYS: (usize, usize) = (8, 4);
/// So many keys that have expired the engine sweeps in each run.
const SWEPT: usize = 16;
/// Bytes: for a budget, for each of its limits, for a lease (and for each limit in it).
const BYTES: (usize, usize, usize) = (300_000, 400_000, 2_000);

/// A settlement that the store took, in a few words.
struct Taken<'a> {
    group: &'a SettleGroup,
    /// By the store's time, as the next.
    paused_until: Option<Duration>,
    by_store: Duration,
}

impl Book {
    /// A script was run at `now` and failed.
    pub(crate) fn failed(&mut self, now: Duration, script: &str, error: &HostError) {
        if !matches!(error, HostError::Script { code, .. } if REFUSALS.contains(&code.as_str())) {
            self.violate(now, Invariant::ScriptsAnswer, format!("{script}: {error}"));
        }
    }

    /// A commit ran at `now`, and its answer cannot be read.
    pub(crate) fn unread(&mut self, now: Duration, error: &LedgerError) {
        self.violate(now, Invariant::ScriptsAnswer, format!("commit: {error}"));
    }

    /// A commit ran at `now` and was answered so.
    pub(crate) fn committed(&mut self, now: Duration, ran: &Ran<'_>) {
        self.tally.commits += 1;
        let counted_from = self.counted_from(now, ran);
        for (at, group) in ran.commit.settles.iter().enumerate() {
            let paused = ran.reply.paused_ms.get(at).copied().unwrap_or(0);
            let paused_until = (paused > 0).then(|| ran.by_store + Duration::from_millis(paused));
            let letters = ran.reply.settled.get(at).map_or(&[][..], Vec::as_slice);
            if group.kind == SettleKind::Unclaimed && letters.contains(&Settled::Unknown) {
                // What was given back before it was granted is remembered for a minute.
                self.leases.insert((now + LEASE_AGAIN, group.lease), ());
            }
            for (index, settled) in group.indexes.iter().zip(letters) {
                if *settled == Settled::Applied {
                    self.settled(
                        now,
                        ran.budget,
                        *index,
                        &Taken { group, paused_until, by_store: ran.by_store },
                    );
                }
            }
            if let Some(until) = paused_until {
                let account = &mut self.accounts[ran.budget];
                account.paused_until = account.paused_until.max(until);
            }
        }
        for (group, renewed) in ran.commit.renews.iter().zip(&ran.reply.renewed) {
            if let (bursar_quota::Renewal::Renewed { deadline_ms }, Some(permit)) =
                (renewed, self.permits.get_mut(&(group.lease, group.index)))
            {
                permit.deadline = permit.deadline.max(counted_from + Duration::from_millis(*deadline_ms));
            }
        }
        for (group, decision) in ran.commit.acquires.iter().zip(&ran.reply.decisions) {
            self.decided((now, counted_from), ran.budget, group, decision);
        }
        let waiting = ran.commit.contenders.iter().map(|who| (who.tier, who.tenant.clone())).collect();
        let contenders = &mut self.accounts[ran.budget].contenders;
        contenders.insert(ran.commit.replica.clone(), (now, waiting));
        self.check_slots(now, ran);
        self.check_bounds(now, ran);
        self.check_idle(now, ran);
    }

    /// Whether somebody else than `group` asks for contends at a replica, so that something may be left to them.
    pub(crate) fn is_contended(&self, now: Duration, budget: usize, group: &AcquireGroup) -> bool {
        let asker = (group.tier, Some(group.tenant.clone()));
        let told = self.accounts[budget].contenders.values();
        told.filter(|(at, _)| now <= *at + KNOWN).flat_map(|(_, waiting)| waiting).any(|who| *who != asker)
    }

    /// From when the spans of an answer count. A call that was long under way finds the store's time where it was when the call
    /// was sent, as far as nobody was told of a later one; the next moves it on again.
    fn counted_from(&mut self, now: Duration, ran: &Ran<'_>) -> Duration {
        let is_unsteady = self.is_unsteady();
        let account = &mut self.accounts[ran.budget];
        // By the store it is later than here: it begins at a moment of its own.
        let Some(ahead) = ran.by_store.checked_sub(now) else { return now };
        let most = account.ahead.map_or(ahead, |most| most.max(ahead));
        account.ahead = Some(most);
        if is_unsteady { now } else { now.saturating_sub(most.saturating_sub(ahead)) }
    }

    fn settled(&mut self, now: Duration, budget: usize, index: u16, taken: &Taken<'_>) {
        let Taken { group, .. } = taken;
        let Some(permit) = self.permits.get_mut(&(group.lease, index)) else {
            // Granted in a time that the store forgot, or by nobody: either way it cannot be known.
            return;
        };
        let is_first = permit.settled.replace(group.kind).is_none();
        permit.settled_at = now;
        if !group.units.is_empty() {
            permit.actual = Some(group.units.clone());
        }
        let (class, granted_at, executed) = (permit.class.clone(), permit.granted_at, permit.executed);
        let (stay_away, secondary, tells) = (permit.stay_away, permit.secondary, permit.response_tells);
        let refused_at = permit.refused_at;
        if is_first {
            self.count_settled(now, group.lease);
        }
        let gives_back = matches!(group.kind, SettleKind::NotSent | SettleKind::Unclaimed);
        if gives_back && executed == Executed::Accepted {
            let text = format!("permit {}.{index} was given back, but its call was counted", group.lease);
            self.violate(now, Invariant::ChargesEqual, text);
        }
        self.note_dark(now, budget, (&class, granted_at), group);
        let SettleKind::Refused { .. } = group.kind else { return };
        if let Some(refused_at) = refused_at {
            self.closed_is_known(now, budget, refused_at);
        }
        if let Some(until) = stay_away {
            let account = &mut self.accounts[budget];
            for (name, away) in account.classes.iter().zip(&mut account.stay_away) {
                if *name == class {
                    *away = (*away).max((until, now));
                }
            }
        }
        self.check_epoch(now, (budget, granted_at), taken, (tells, secondary));
    }

    /// How far the store's clock has been set back so far: so much longer it keeps what expires by it.
    fn store_set_back(&self, now: Duration) -> Duration {
        let steps = self.scenario.faults.events.iter().filter(|event| event.at <= now);
        let back = steps.map(|event| match event.what {
            Fault::StoreStep(ms) => u64::try_from(-ms).unwrap_or(0),
            _ => 0,
        });
        Duration::from_millis(back.sum())
    }

    /// One more permit of a lease is settled: once all are, it is kept for those who settle again.
    fn count_settled(&mut self, now: Duration, lease: LeaseId) {
        let Some((kept_till, left)) = self.unsettled.get_mut(&lease) else { return };
        *left -= 1;
        if *left == 0 {
            self.leases.remove(&(*kept_till, lease));
            self.leases.insert((now + LEASE_AGAIN, lease), ());
            self.unsettled.remove(&lease);
        }
    }

    /// Notes for which limits a settled call was no light.
    fn note_dark(
        &mut self,
        now: Duration,
        budget: usize,
        (class, granted_at): (&ClassName, Duration),
        group: &SettleGroup,
    ) {
        if matches!(group.kind, SettleKind::NotSent | SettleKind::Unclaimed) {
            return;
        }
        let limits = &self.scenario.budgets[budget].spec.limits;
        // What names an end too vaguely to tell windows apart is none either; the response may be as old as its permit.
        let age = i64::try_from((now - granted_at).as_millis()).unwrap_or(i64::MAX);
        let is_clear = |limit: &LimitSpec, width: i64| match limit.kind {
            LimitKind::Window { window, .. } => {
                u128::try_from(width.saturating_add(age)).is_ok_and(|width| width * 2 < window.as_millis())
            }
            _ => true,
        };
        for (at, limit) in limits.iter().enumerate() {
            let read = group.readings.iter().any(|reading| {
                usize::from(reading.limit) == at
                    && reading.remaining_least.is_some()
                    && reading.reset.is_some_and(|reset| is_clear(limit, reset.latest_ms - reset.earliest_ms))
            });
            if limit.applies_to(class) && !read {
                self.accounts[budget].dark[at] = Some(now);
            }
        }
    }

    /// A refusal was settled: does it begin an epoch, and does the pause fit it?
    fn check_epoch(
        &mut self,
        now: Duration,
        (budget, granted_at): (usize, Duration),
        taken: &Taken<'_>,
        (tells, secondary): (bool, bool),
    ) {
        let backoff = self.scenario.budgets[budget].spec.backoff;
        let account = &mut self.accounts[budget];
        let same = account.epoch.is_some_and(|began| granted_at <= began);
        let before = account.paused_until;
        if !same {
            account.epoch = Some(now);
            account.epochs += 1;
        }
        let epochs = account.epochs;
        if !same && !secondary {
            self.tally.epochs += 1;
            if let Some(most) = self.scenario.expects.epochs_most.filter(|most| self.tally.epochs > *most) {
                let text = format!("congestion epoch {}, at most {most} are allowed", self.tally.epochs);
                self.violate(now, Invariant::FewEpochs, text);
            }
        }
        let Some(until) = taken.paused_until.filter(|_| !tells && self.lost.is_none()) else { return };
        let name = &self.accounts[budget].name;
        if same && before > taken.by_store && until > before + Duration::from_millis(2) {
            let text = format!(
                "{name}: a refusal of a permit granted before the pause began moved its end from {} to {} ms",
                before.as_millis(),
                until.as_millis()
            );
            self.violate(now, Invariant::OneEventCountsOnce, text);
        } else if !same {
            let doublings = u32::try_from(epochs.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
            let step = backoff.base.saturating_mul(1 << doublings).min(backoff.max);
            if until.saturating_sub(taken.by_store)
                > step.max(before.saturating_sub(taken.by_store)) + Duration::from_millis(2)
            {
                let text = format!(
                    "{name}: after {epochs} epochs it backs off {} ms, at most {} ms are one step an epoch",
                    until.saturating_sub(taken.by_store).as_millis(),
                    step.as_millis()
                );
                self.violate(now, Invariant::OneEventCountsOnce, text);
            }
        }
    }

    fn decided(
        &mut self,
        (now, counted_from): (Duration, Duration),
        budget: usize,
        group: &AcquireGroup,
        decision: &Decision,
    ) {
        if decision.granted == 0 {
            return;
        }
        let send_by = counted_from + Duration::from_millis(decision.send_within_ms);
        let deadline = counted_from + Duration::from_millis(decision.deadline_ms);
        // Asked for again: the same grant, unless all of it had been given back. A store that forgot the lease grants it anew,
        // with a moment of its own.
        let is_as_it_was = |permit: &Permit| {
            // What is granted anew has time left: where there is none it is the old lease, which ran out.
            let has_its_time =
                permit.send_by + Duration::from_millis(2) >= send_by || decision.send_within_ms == 0;
            !permit.is_given_back()
                && (has_its_time || (self.lost.is_none() && !permit.may_be_forgotten(now)))
        };
        let known = (0..decision.granted).filter_map(|index| self.permits.get(&(group.lease, index)));
        let again = known.into_iter().any(is_as_it_was);
        let mut new = 0;
        for index in 0..decision.granted {
            let key = (group.lease, index);
            if again {
                continue;
            }
            new += 1;
            let permit = Permit {
                budget,
                class: group.class.clone(),
                granted_at: now,
                send_by,
                told_by: send_by,
                deadline,
                reserved: group.units.clone(),
                actual: None,
                counted: Vec::new(),
                executed: Executed::No,
                secondary: false,
                refused_at: None,
                stay_away: None,
                response_tells: false,
                settled: None,
                settled_at: now,
                is_got: false,
            };
            self.earlier.extend(self.permits.insert(key, permit));
        }
        if new == 0 {
            return;
        }
        self.tally.permits += new;
        let kept_till = deadline + LEASE_LATE + LEASE_AGAIN;
        self.leases.insert((kept_till, group.lease), ());
        self.unsettled.insert(group.lease, (kept_till, u16::try_from(new).unwrap_or(u16::MAX)));
        let account = &self.accounts[budget];
        let away = account.classes.iter().zip(&account.stay_away).find(|(name, _)| **name == group.class);
        if let Some((class, (until, told))) = away.filter(|(_, (until, _))| *until > now)
            && self.knows_since(*told)
        {
            let text = format!(
                "{}: {new} permits of {class} were granted {} ms before the time until which the upstream said to stay away",
                account.name,
                (*until - now).as_millis()
            );
            self.violate(now, Invariant::NoGrantInPause, text);
        }
    }

    /// What is out never exceeds what may be at once.
    fn check_slots(&mut self, now: Duration, ran: &Ran<'_>) {
        let limits = &self.scenario.budgets[ran.budget].spec.limits;
        for (limit, (available, out, paid)) in limits.iter().zip(&ran.reply.limits) {
            if let LimitKind::Concurrency { capacity, .. } = limit.kind
                && out + paid > capacity
            {
                let text = format!(
                    "{}: {out} are out and {paid} linger of {capacity}, {available} available",
                    limit.name
                );
                return self.violate(now, Invariant::SlotsWithin, text);
            }
        }
    }

    /// Replicas that wake each other without end change nothing and cost the store all it has.
    fn check_idle(&mut self, now: Duration, ran: &Ran<'_>) {
        let granted = ran.reply.decisions.iter().map(|decision| u64::from(decision.granted)).sum::<u64>();
        let moves = granted + (ran.commit.settles.len() + ran.commit.renews.len()) as u64;
        let most = IDLE.1 + IDLE.2 * u64::from(self.scenario.workers);
        let each = IDLE.3 * self.scenario.replicas as u64;
        let (since, idle, moved) = &mut self.accounts[ran.budget].idle;
        if now >= *since + IDLE.0 {
            (*since, *idle, *moved) = (now, 0, 0);
        }
        *moved += moves;
        *idle += u64::from(moves == 0);
        if *idle == most + each * *moved {
            let text = format!("{idle} commits of which nothing came in {:?}, {moved} moves", now - *since);
            self.violate(now, Invariant::BoundedWork, text);
        }
    }

    fn check_bounds(&mut self, now: Duration, ran: &Ran<'_>) {
        let Ran { commit, usage, .. } = ran;
        let tally = &mut self.tally;
        tally.commands_most = tally.commands_most.max(usage.commands);
        tally.instructions_most = tally.instructions_most.max(usage.instructions);
        tally.bytes_most = tally.bytes_most.max(usage.bytes as u64);
        let groups = (commit.settles.len() + commit.renews.len() + commit.acquires.len()) as u64;
        let permits = commit.settles.iter().map(|group| group.indexes.len() as u64).sum::<u64>()
            + commit.acquires.iter().map(|group| u64::from(group.count)).sum::<u64>();
        let limits = self.scenario.budgets[ran.budget].spec.limits.len() as u64;
        let commands = COMMANDS.0 + COMMANDS.1 * groups + COMMANDS.2 * limits;
        let instructions = INSTRUCTIONS.0 + INSTRUCTIONS.1 * (groups + 1) * limits + INSTRUCTIONS.2 * permits;
        if usage.commands > commands || usage.instructions > instructions {
            let text = format!(
                "{} commands and {} instructions for {groups} groups of {permits} permits, at most {commands} and {instructions}",
                usage.commands, usage.instructions
            );
            self.violate(now, Invariant::BoundedWork, text);
        }
        let set_back = self.store_set_back(now);
        for _ in 0..SWEPT {
            let Some((&(forgotten, lease), ())) = self.leases.first_key_value() else { break };
            if forgotten + set_back >= now {
                break;
            }
            self.leases.remove(&(forgotten, lease));
            if self.unsettled.get(&lease).is_some_and(|(kept_till, _)| *kept_till == forgotten) {
                self.unsettled.remove(&lease);
            }
        }
        let budgets = &self.scenario.budgets;
        let of = |spec: &BudgetSpec| spec.limits.len();
        let limits_most = budgets.iter().map(|budget| of(&budget.spec)).max().unwrap_or(0);
        let limits_all: usize = budgets.iter().map(|budget| of(&budget.spec)).sum();
        let keys = KEYS.1 + KEYS.0 * budgets.len() + self.leases.len() + 64;
        let bytes = BYTES.0 * budgets.len()
            + BYTES.1 * limits_all
            + (self.leases.len() + 64) * BYTES.2 * (1 + limits_most);
        let waiting = u64::from(self.scenario.workers) * 3 + 16;
        if self.lost.is_none() && (usage.keys > keys || usage.bytes > bytes) {
            let text = format!("{} keys of {} bytes, at most {keys} of {bytes}", usage.keys, usage.bytes);
            self.violate(now, Invariant::BoundedMemory, text);
        } else if commit.waiting > waiting {
            let text = format!("{} tells of {} waiters, at most {waiting}", commit.replica, commit.waiting);
            self.violate(now, Invariant::BoundedMemory, text);
        }
    }
}
