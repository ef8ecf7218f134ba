//! `BudgetService`.

use std::{collections::BTreeSet, future::ready, pin::Pin, sync::Arc};

use bursar_coordinator::WatchItem;
use bursar_quota::BudgetName;
use bursar_wire::v1::{self, budget_service_server::BudgetService};
use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use crate::{
    auth::Caller,
    convert,
    desk::Desk,
    failure::Failure,
    invalid::{Invalid, demand, millis, name, optional_name, within},
    metrics::{Held, answered},
};

/// The most budgets on a page.
const PAGE_MAX: u64 = 1000;

/// The budgets on a page where none is asked for.
const PAGE_DEFAULT: usize = 100;

/// The longest an operator's pause lasts that is not until resumed, in milliseconds: 31 days.
const PAUSE_MAX_MS: u64 = 2_678_400_000;

/// The most budgets that a watcher names.
const WATCHED_MAX: usize = 256;

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
        let declared = request.budget.ok_or_else(|| Invalid::new("budget", "a declaration is needed"))?;
        let spec = convert::budget::spec(declared, &self.desk.profiles).map_err(|e| e.under("budget"))?;
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
        let name: BudgetName = name("name", &request.name)?;
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
        let size = within("page_size", request.page_size.into(), 0..=PAGE_MAX)?;
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(PAGE_DEFAULT);
        let after: Option<BudgetName> = optional_name("page_token", &request.page_token)
            .map_err(|_| Invalid::new("page_token", "not a token: give back next_page_token as it was"))?;
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
        let name: BudgetName = name("name", &request.name)?;
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
        let name: BudgetName = name("name", &request.name)?;
        caller.must_administer(&name)?;
        let span = request.for_ms.map(|ms| millis("for_ms", ms, 1..=PAUSE_MAX_MS)).transpose()?;
        self.desk.coordinator.pause_budget(&name, span).await?;
        tracing::info!(budget = %name, for_ms = request.for_ms, by = caller.label(), "budget paused");
        Ok(v1::PauseBudgetResponse {})
    }

    async fn resume(
        &self,
        caller: &Caller,
        request: v1::ResumeBudgetRequest,
    ) -> Result<v1::ResumeBudgetResponse, Failure> {
        let name: BudgetName = name("name", &request.name)?;
        caller.must_administer(&name)?;
        self.desk.coordinator.resume_budget(&name).await?;
        tracing::info!(budget = %name, by = caller.label(), "budget resumed");
        Ok(v1::ResumeBudgetResponse {})
    }

    fn watched(&self, caller: Caller, request: v1::WatchRequest) -> Result<WatchStream, Failure> {
        demand(request.names.len() <= WATCHED_MAX, "names", || {
            format!("{} are too many, at most {WATCHED_MAX}", request.names.len())
        })?;
        let numbered = request.names.iter().enumerate();
        let names: BTreeSet<BudgetName> =
            numbered.map(|(i, n)| name(&format!("names[{i}]"), n)).collect::<Result<_, _>>()?;
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
