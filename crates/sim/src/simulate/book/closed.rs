//! Refusals for reasons that no limit shows: how many there are, and how many of them were asked for once it was known that
//! everything is refused.

use std::time::Duration;

use super::{Book, PermitKey};
use crate::simulate::invariants::Invariant;

/// A span in which the upstream refuses everything.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Closed {
    /// When the first of its refusals was settled.
    known: Option<Duration>,
    /// Its refusals of permits that were granted after that.
    probed: u64,
}

impl Book {
    /// Which of the spans in which a budget's upstream refuses everything it is in at `now`.
    fn closed_at(&self, now: Duration, budget: usize) -> Option<usize> {
        let spans = &self.scenario.budgets[budget].upstream.secondary;
        spans.iter().position(|span| span.share == 1000 && (span.from..span.to).contains(&now))
    }

    /// A live permit was refused at `now` for a reason that no limit shows.
    pub(super) fn refused_without_limit(&mut self, now: Duration, key: PermitKey) {
        let Some(permit) = self.permits.get_mut(&key) else { return };
        permit.refused_at = Some(now);
        let (budget, granted_at) = (permit.budget, permit.granted_at);
        let all = self.tally.secondary;
        if let Some(most) = self.scenario.expects.secondary_most.filter(|most| all > *most) {
            let name = &self.accounts[budget].name;
            let text = format!("{name}: {all} refusals for reasons that no limit shows, at most {most}");
            self.violate(now, Invariant::NoRefusal, text);
        }
        let Some(span) = self.closed_at(now, budget) else { return };
        let account = &mut self.accounts[budget];
        let closed = &mut account.closed[span];
        if closed.known.is_none_or(|known| granted_at <= known) {
            return;
        }
        closed.probed += 1;
        let probed = closed.probed;
        if let Some(most) = self.scenario.expects.probes_most.filter(|most| probed > *most) {
            let text = format!(
                "{}: {probed} permits were granted and refused after it was known that everything is, at most {most}",
                account.name
            );
            self.violate(now, Invariant::FewEpochs, text);
        }
    }

    /// What was refused at `refused_at` for a reason that no limit shows is settled.
    pub(super) fn closed_is_known(&mut self, now: Duration, budget: usize, refused_at: Duration) {
        if let Some(span) = self.closed_at(refused_at, budget) {
            self.accounts[budget].closed[span].known.get_or_insert(now);
        }
    }
}
