//! Tokens: who may do what.

use bursar_server::{BudgetPattern, Role, Token};
use bursar_wire::v1;
use tonic::{Code, Request};

use super::{admin, support::*};

fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

async fn guarded() -> Running {
    start_with(10, |options| {
        let b = vec![BudgetPattern::new("b*").unwrap()];
        options.tokens = vec![
            Token::from_secret("fleet", "worker-secret", Role::Worker).for_budgets(b),
            Token::from_secret("acme", "tenant-secret", Role::Worker).for_tenant("acme".parse().unwrap()),
            Token::from_secret("operator", "admin-secret", Role::Admin),
        ];
    })
    .await
}

#[tokio::test]
async fn without_a_known_token_nothing_opens() {
    let server = guarded().await;
    let mut permits = server.permits().await;
    let mut budgets = server.budgets().await;
    for status in [
        soon(permits.acquire(acquire())).await.unwrap_err(),
        soon(permits.acquire(bearing("wrong", acquire()))).await.unwrap_err(),
        soon(permits.settle(lost("x"))).await.unwrap_err(),
        soon(permits.session(futures_util::stream::empty())).await.unwrap_err(),
        soon(budgets.list_budgets(v1::ListBudgetsRequest::default())).await.unwrap_err(),
        soon(budgets.watch(v1::WatchRequest::default())).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        assert!(!status.message().contains("wrong"), "{status:?}");
    }
    // Health and reflection are open.
    admin::health(&server, "").await;
    assert_eq!(server.ledger.state().granted, 0);
}

#[tokio::test]
async fn a_worker_keeps_to_its_budgets_and_changes_none() {
    let server = guarded().await;
    let mut permits = server.permits().await;
    let mut budgets = server.budgets().await;
    permit(soon(permits.acquire(bearing("worker-secret", acquire()))).await.unwrap().into_inner());
    let other = v1::AcquireRequest { budget: "other".into(), ..acquire() };
    let forbidden = soon(permits.acquire(bearing("worker-secret", other))).await.unwrap_err();
    assert_eq!(forbidden.code(), Code::PermissionDenied);
    let pause = v1::PauseBudgetRequest { name: "b".into(), for_ms: None };
    let forbidden = soon(budgets.pause_budget(bearing("worker-secret", pause.clone()))).await.unwrap_err();
    assert_eq!(forbidden.code(), Code::PermissionDenied);
    soon(budgets.pause_budget(bearing("admin-secret", pause))).await.unwrap();
    let budget = v1::Budget { name: "a".into(), profile: "salestim".into(), ..Default::default() };
    let put = v1::PutBudgetRequest { budget: Some(budget) };
    let forbidden = soon(budgets.put_budget(bearing("worker-secret", put.clone()))).await.unwrap_err();
    assert_eq!(forbidden.code(), Code::PermissionDenied);
    soon(budgets.put_budget(bearing("admin-secret", put))).await.unwrap();
    let list = |token| bearing(token, v1::ListBudgetsRequest::default());
    let seen = soon(budgets.list_budgets(list("worker-secret"))).await.unwrap().into_inner();
    assert_eq!(seen.names, ["b"]);
    let seen = soon(budgets.list_budgets(list("admin-secret"))).await.unwrap().into_inner();
    assert_eq!(seen.names, ["a", "b"]);
}

#[tokio::test]
async fn a_token_may_pin_the_tenant() {
    let server = guarded().await;
    let mut permits = server.permits().await;
    let of =
        |tenant: &str| bearing("tenant-secret", v1::AcquireRequest { tenant: tenant.into(), ..acquire() });
    for tenant in ["", "acme"] {
        permit(soon(permits.acquire(of(tenant))).await.unwrap().into_inner());
    }
    assert_eq!(soon(permits.acquire(of("other"))).await.unwrap_err().code(), Code::PermissionDenied);
    // On a session it is the one request that fails.
    let one = |id, tenant: &str| v1::SessionAcquire {
        id,
        request: Some(v1::AcquireRequest { tenant: tenant.into(), ..acquire() }),
    };
    let message =
        v1::SessionRequest { acquires: vec![one(1, "other"), one(2, "acme")], ..Default::default() };
    let said = bearing("tenant-secret", futures_util::stream::iter([message]));
    let mut hear = soon(permits.session(said)).await.unwrap().into_inner();
    let mut codes = std::collections::BTreeMap::new();
    while let Some(message) = soon(hear.message()).await.unwrap() {
        for answer in message.answers {
            let code = match answer.answer.unwrap() {
                v1::session_answer::Answer::Error(error) => error.code,
                _ => 0,
            };
            codes.insert(answer.id, code);
        }
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [(1, Code::PermissionDenied as u32), (2, 0)]);
}
