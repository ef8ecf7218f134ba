//! One generic suite over the `Ledger` trait, run on both engines.

mod bench;
mod budgets;
mod grants;
mod pauses;
mod permits;
mod random;
mod shares;

pub(crate) use bench::{Account, Bench};

/// Makes a test of each case on each engine.
macro_rules! on_both {
    ($($module:ident: $($case:ident),+;)+) => {
        mod embedded {
            $($(#[tokio::test]
            async fn $case() {
                super::$module::$case(&super::Bench::embedded()).await;
            })+)+
        }

        mod redis {
            $($(#[tokio::test]
            async fn $case() {
                super::$module::$case(&super::Bench::redis()).await;
            })+)+
        }
    };
}

on_both! {
    budgets: a_budget_is_put_read_listed_and_deleted, what_is_not_there_is_unknown, a_commit_from_another_version_does_nothing,
        what_weighs_stays_when_a_budget_changes, changes_are_announced, the_store_is_ready;
    grants: a_window_grants_its_capacity_and_says_when_more_comes, a_class_pays_only_its_own_limits,
        a_cost_above_the_capacity_is_never_granted, an_estimate_is_corrected, a_bucket_refills,
        readings_tell_where_a_window_stands, nobody_is_granted_past_one_that_waits, an_adaptive_limit_is_cut_once;
    permits: a_permit_is_settled_once, a_commit_that_is_sent_again_changes_nothing, what_is_not_sent_comes_back,
        a_blind_settlement_is_charged, a_slot_is_freed_by_its_deadline, a_deadline_moves_on, a_slot_lingers;
    pauses: retry_after_stops_everything_then_one_probe_goes, a_refusal_that_names_no_time_backs_off, one_epoch_counts_once,
        a_class_is_paused_alone, an_operator_pauses_and_resumes;
    shares: a_reservation_is_kept, a_tenant_is_capped, use_is_accounted_by_who_used, a_waiting_replica_is_woken;
}
