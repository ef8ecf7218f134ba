//! What a run came to: figures for machines.

use serde::Serialize;

use super::invariants::Violation;

/// One run's figures, in the order in which they are printed. All but `wall_ms` follow from the scenario, its sizes and
/// the seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Permits that workers got.
    pub granted: u64,
    /// Calls that the upstreams accepted.
    pub accepted: u64,
    /// Calls that they refused, for whatever reason.
    pub refused_upstream: u64,
    /// In the measured windows: what was accepted, of what the upstreams would have accepted from us.
    pub utilisation: f64,
    /// Jain's index of the accepted calls, over tenants where there are several, otherwise over workers: 0 to 1.
    pub jain: f64,
    /// What each tier got of what was accepted in the measured windows: interactive, standard, batch.
    pub tier_shares: [f64; 3],
    /// How long who got a permit had waited for it: the median, and what 99 of a hundred did not exceed.
    pub wait_p50_ms: u64,
    /// See [`Self::wait_p50_ms`].
    pub wait_p99_ms: u64,
    /// What did not hold; empty if all is well. The first 4 of each invariant, 20 in all.
    pub violations: Vec<Violation>,
    /// How long the simulation lasted for those in it.
    pub virtual_seconds: f64,
    /// Lines of the event log.
    pub events: u64,
    /// How long it took, by the machine's clock.
    pub wall_ms: u64,
    /// A hash of the whole event log: equal logs have equal ones.
    pub log_hash: String,
    /// How large the world was.
    pub replicas: u16,
    /// How large the world was.
    pub workers: u16,
    /// Windows that were measured.
    pub windows: u32,
    /// Commits that reached the store.
    pub commits: u64,
    /// Permits for each commit.
    pub permits_per_commit: f64,
    /// Of those refused: for reasons that no limit shows.
    pub refused_secondary: u64,
    /// Of those refused: while a lost store was being recovered.
    pub refused_in_recovery: u64,
    /// Times that the upstreams turned to refusing: refusals of permits granted before the first of them was settled are
    /// one.
    pub congestion_epochs: u64,
    /// What others used, as far as the ledger saw it, in all limits.
    pub foreign_seen: u64,
    /// The most that one commit took, commands and Lua instructions (to within 10,000), and the most bytes in the store.
    pub commands_most: u64,
    /// See [`Self::commands_most`].
    pub instructions_most: u64,
    /// See [`Self::commands_most`].
    pub bytes_most: u64,
    /// How often a limit was held against the truth while calls were under way.
    pub under_way_checks: u64,
    /// How often a limit at rest was held against the truth, how often for being exact, and how many refusals' times were
    /// tried out.
    pub rest_checks: u64,
    /// See [`Self::rest_checks`].
    pub exact_checks: u64,
    /// See [`Self::rest_checks`].
    pub refusal_checks: u64,
}

/// Jain's index of fairness (Jain, Chiu and Hawe 1984): 1 where all got the same, 1/n where one got all. 1 of nothing.
#[allow(clippy::cast_precision_loss, reason = "a share of counts far below 2^53")]
pub(crate) fn jain(got: &[u64]) -> f64 {
    let sum: f64 = got.iter().map(|n| *n as f64).sum();
    let squares: f64 = got.iter().map(|n| (*n as f64) * (*n as f64)).sum();
    if squares > 0.0 { sum * sum / (got.len() as f64 * squares) } else { 1.0 }
}

/// The smallest of `sorted` that so many thousandths of them do not exceed; 0 of nothing.
pub(crate) fn quantile(sorted: &[u64], per_mille: usize) -> u64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Rounded, so that every machine prints the same.
pub(crate) fn rounded(figure: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (figure * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_what_they_say() {
        assert!((jain(&[5, 5, 5]) - 1.0).abs() < 1e-12 && (jain(&[9, 0, 0]) - 1.0 / 3.0).abs() < 1e-12);
        assert!((jain(&[]) - 1.0).abs() < 1e-12);
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!((quantile(&sorted, 500), quantile(&sorted, 990), quantile(&[], 500)), (100, 198, 0));
        assert!((rounded(0.123_456, 4) - 0.1235).abs() < 1e-12);
    }
}
