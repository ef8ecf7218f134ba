//! `BudgetService`.

use std::{future::ready, pin::Pin, sync::Arc};

use bursar_coordinator::WatchItem;
use bursar_quota::BudgetName;
use bursar_wire::v1::{self, budget_service_server::BudgetService};
use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use crate::{
    auth::Caller,
    convert::{self, operator::Page},
    desk::Desk,
    failure::Failure,
    metrics::{Held, answered},
};

/// The service.
pub(crate) struct Budgets {
    desk: Arc<Desk>,
}

impl Budgets {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    async fn put(
        &self,
        caller: &Caller,
        request: v1::PutBudgetRequest,
    ) -> Result<v1::PutBudgetResponse, Failure> {
        let spec = convert::operator::put(request, &self.desk.profiles)?;
        caller.must_administer(&spec.name)?;
        let budget = convert::declared::budget(&spec);
        let put = self.desk.coordinator.put_budget(spec).await?;
        if put.changed {
            tracing::info!(budget = budget.name, version = put.version, by = caller.label(), "budget put");
        }
        Ok(v1::PutBudgetResponse { version: put.version, changed: put.changed, budget: Some(budget) })
    }

    async fn get(
        &self,
        caller: &Caller,
        request: v1::GetBudgetRequest,
    ) -> Result<v1::GetBudgetResponse, Failure> {
        let name = convert::operator::named(&request.name)?;
        caller.must_use(&name)?;
        let stored = self.desk.coordinator.get_budget(&name).await?;
        Ok(v1::GetBudgetResponse {
            budget: Some(convert::declared::budget(&stored.spec)),
            version: stored.version,
            status: Some(convert::status::status(stored.snapshot)),
        })
    }

    /// A page; a token that is for some budgets alone sees those alone, so its pages may be shorter.
    async fn list(
        &self,
        caller: &Caller,
        request: v1::ListBudgetsRequest,
    ) -> Result<v1::ListBudgetsResponse, Failure> {
        let Page { size, after } = convert::operator::page(&request)?;
        // One more than asked for shows whether another page follows.
        let mut names = self.desk.coordinator.list_budgets(after.as_ref(), size + 1).await?;
        let more = names.len() > size;
        names.truncate(size);
        let last = names.last().filter(|_| more).map(|name| name.as_str().to_owned());
        names.retain(|name| caller.may_use(name));
        Ok(v1::ListBudgetsResponse {
            names: names.iter().map(|name| name.as_str().to_owned()).collect(),
            next_page_token: last.unwrap_or_default(),
        })
    }

    async fn delete(
        &self,
        caller: &Caller,
        request: v1::DeleteBudgetRequest,
    ) -> Result<v1::DeleteBudgetResponse, Failure> {
        let name = convert::operator::named(&request.name)?;
        caller.must_administer(&name)?;
        let deleted = self.desk.coordinator.delete_budget(&name).await?;
        tracing::info!(budget = %name, deleted, by = caller.label(), "budget deleted");
        Ok(v1::DeleteBudgetResponse { deleted })
    }

    async fn pause(
        &self,
        caller: &Caller,
        request: v1::PauseBudgetRequest,
    ) -> Result<v1::PauseBudgetResponse, Failure> {
        let (name, span) = convert::operator::pause(&request)?;
        caller.must_administer(&name)?;
        self.desk.coordinator.pause_budget(&name, span).await?;
        tracing::info!(budget = %name, for_ms = request.for_ms, by = caller.label(), "budget paused");
        Ok(v1::PauseBudgetResponse {})
    }

    async fn resume(
        &self,
        caller: &Caller,
        request: v1::ResumeBudgetRequest,
    ) -> Result<v1::ResumeBudgetResponse, Failure> {
        let name = convert::operator::named(&request.name)?;
        caller.must_administer(&name)?;
        self.desk.coordinator.resume_budget(&name).await?;
        tracing::info!(budget = %name, by = caller.label(), "budget resumed");
        Ok(v1::ResumeBudgetResponse {})
    }

    fn watched(&self, caller: Caller, request: v1::WatchRequest) -> Result<WatchStream, Failure> {
        let names = convert::operator::watched(&request)?;
        for name in &names {
            caller.must_use(name)?;
        }
        let held = Held::of(&self.desk.metrics.watchers);
        let ending = self.desk.ending.clone().cancelled_owned();
        let wanted = move |name: &BudgetName| {
            let _ = &held;
            (names.is_empty() || names.contains(name)) && caller.may_use(name)
        };
        let changes = self.desk.coordinator.watch().into_stream().filter_map(move |item| {
            ready(match item {
                WatchItem::Event(event) => {
                    Some(event).filter(|e| wanted(&e.budget)).and_then(convert::event::event)
                }
                WatchItem::Missed(count) => Some(convert::event::missed(count)),
            })
        });
        // However it ends, the watcher is to look for another replica.
        let end = stream::once(async { Err(Failure::Ending.status()) });
        Ok(Box::pin(changes.map(Ok).take_until(ending).chain(end)))
    }
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl BudgetService for Budgets {
    async fn put_budget(
        &self,
        request: Request<v1::PutBudgetRequest>,
    ) -> Result<Response<v1::PutBudgetResponse>, Status> {
        answered(&self.desk, "PutBudget", async {
            self.put(&Caller::of(&request)?, request.into_inner()).await
        })
        .await
    }

    async fn get_budget(
        &self,
        request: Request<v1::GetBudgetRequest>,
    ) -> Result<Response<v1::GetBudgetResponse>, Status> {
        answered(&self.desk, "GetBudget", async {
            self.get(&Caller::of(&request)?, request.into_inner()).await
        })
        .await
    }

    async fn list_budgets(
        &self,
        request: Request<v1::ListBudgetsRequest>,
    ) -> Result<Response<v1::ListBudgetsResponse>, Status> {
        answered(&self.desk, "ListBudgets", async {
            self.list(&Caller::of(&request)?, request.into_inner()).await
        })
        .await
    }

    async fn delete_budget(
        &self,
        request: Request<v1::DeleteBudgetRequest>,
    ) -> Result<Response<v1::DeleteBudgetResponse>, Status> {
        answered(&self.desk, "DeleteBudget", async {
            self.delete(&Caller::of(&request)?, request.into_inner()).await
        })
        .await
    }

    async fn pause_budget(
        &self,
        request: Request<v1::PauseBudgetRequest>,
    ) -> Result<Response<v1::PauseBudgetResponse>, Status> {
        answered(&self.desk, "PauseBudget", async {
            self.pause(&Caller::of(&request)?, request.into_inner()).await
        })
        .await
    }

    async fn resume_budget(
        &self,
        request: Request<v1::ResumeBudgetRequest>,
    ) -> Result<Response<v1::ResumeBudgetResponse>, Status> {
        answered(&self.desk, "ResumeBudget", async {
            self.resume(&Caller::of(&request)?, request.into_inner()).await
        })
        .await
    }

    type WatchStream = WatchStream;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<WatchStream>, Status> {
        answered(&self.desk, "Watch", async { self.watched(Caller::of(&request)?, request.into_inner()) })
            .await
    }
}
