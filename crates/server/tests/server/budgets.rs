//! Budgets: put, read, listed, watched.

use bursar_quota::{EventKind, LimitName};
use bursar_wire::v1;
use tonic::Code;

use super::support::*;

#[tokio::test]
async fn a_profiles_budget_comes_with_its_limits() {
    let server = start(0).await;
    let mut budgets = server.budgets().await;
    let budget = v1::Budget { name: "prod".into(), profile: "autotask".into(), ..Default::default() };
    let put = v1::PutBudgetRequest { budget: Some(budget) };
    let first = soon(budgets.put_budget(put.clone())).await.unwrap().into_inner();
    assert_eq!((first.version, first.changed), (1, true));
    let filled = first.budget.unwrap();
    assert!(filled.limits.iter().any(|limit| limit.name == "requests"), "{filled:?}");
    assert_eq!((filled.permit_ttl_ms, filled.weights.is_some()), (60_000, true));
    let again = soon(budgets.put_budget(put)).await.unwrap().into_inner();
    assert_eq!((again.version, again.changed), (1, false));
    let got =
        soon(budgets.get_budget(v1::GetBudgetRequest { name: "prod".into() })).await.unwrap().into_inner();
    assert_eq!((got.budget.as_ref(), got.version), (Some(&filled), 1));
    assert_eq!(got.status.unwrap().waiting.get("here"), Some(&2));
    // What was read can be put as it is.
    let back =
        soon(budgets.put_budget(v1::PutBudgetRequest { budget: got.budget })).await.unwrap().into_inner();
    assert!(!back.changed);
    let deleted = soon(budgets.delete_budget(v1::DeleteBudgetRequest { name: "prod".into() })).await.unwrap();
    assert!(deleted.into_inner().deleted);
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let server = start(0).await;
    let mut budgets = server.budgets().await;
    for name in ["a", "c", "d", "e"] {
        let budget = v1::Budget { name: name.into(), profile: "salestim".into(), ..Default::default() };
        soon(budgets.put_budget(v1::PutBudgetRequest { budget: Some(budget) })).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListBudgetsRequest { page_size: 2, page_token };
        let page = soon(budgets.list_budgets(request)).await.unwrap().into_inner();
        pages.push(page.names.join(" "));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, ["a b", "c d", "e"]);
    let all = soon(budgets.list_budgets(v1::ListBudgetsRequest::default())).await.unwrap().into_inner();
    assert_eq!((all.names.len(), all.next_page_token.as_str()), (5, ""));
}

#[tokio::test]
async fn a_watcher_hears_of_its_budgets_alone() {
    let server = start(0).await;
    let mut budgets = server.budgets().await;
    let request = v1::WatchRequest { names: vec!["b".into()] };
    let mut watch = soon(budgets.watch(request)).await.unwrap().into_inner();
    server.ledger.announce("other", EventKind::Deleted);
    server.ledger.announce("b", EventKind::Wake);
    server.ledger.announce("b", EventKind::Paused { scope: "budget".into(), for_ms: Some(1500) });
    server.ledger.announce("b", EventKind::StateLost);
    let limit = LimitName::new("w").unwrap();
    let rung = EventKind::RungChanged { limit, from: "aligned".into(), to: "sliding".into() };
    server.ledger.announce("b", rung);
    let first = soon(watch.message()).await.unwrap().unwrap();
    let paused = v1::Paused { scope: "budget".into(), for_ms: Some(1500) };
    assert_eq!(first.budget, "b");
    assert_eq!(first.event, Some(v1::watch_response::Event::Paused(paused)));
    let second = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(second.event, Some(v1::watch_response::Event::StateLost(v1::StateLost {})));
    let third = soon(watch.message()).await.unwrap().unwrap();
    let changed = v1::RungChanged { limit: "w".into(), from: "aligned".into(), to: "sliding".into() };
    assert_eq!(third.event, Some(v1::watch_response::Event::RungChanged(changed)));
}

#[tokio::test]
async fn pausing_and_resuming_are_passed_on() {
    let server = start(0).await;
    let mut budgets = server.budgets().await;
    for for_ms in [None, Some(1), Some(2_678_400_000)] {
        let request = v1::PauseBudgetRequest { name: "b".into(), for_ms };
        soon(budgets.pause_budget(request)).await.unwrap();
    }
    soon(budgets.resume_budget(v1::ResumeBudgetRequest { name: "b".into() })).await.unwrap();
    let unknown = v1::ResumeBudgetRequest { name: "c".into() };
    assert_eq!(soon(budgets.resume_budget(unknown)).await.unwrap_err().code(), Code::NotFound);
}
