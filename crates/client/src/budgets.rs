//! Budgets, for operators: declare, read, pause, watch.

mod declare;
mod read;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bursar_quota::{BudgetName, BudgetSpec, LedgerEvent, ProfileName, Put, Stored};
use bursar_wire::v1::{self, budget_service_client::BudgetServiceClient};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    client::Client,
    core::Core,
    endpoints::Line,
    error::{CallError, Fault},
    options::millis,
    retry::Attempts,
};

/// What a put did, and what is in force now.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The version, and whether anything changed.
    pub put: Put,
    /// The declaration in force, every default filled in.
    pub spec: BudgetSpec,
}

/// One thing that a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// Something changed.
    Change(LedgerEvent),
    /// The watcher was too slow: it did not get so many changes.
    Missed(u64),
}

/// Budgets behind a [`Client`](crate::Client)'s endpoints. Cheap to clone. Every call but `watch` is tried again as the
/// client's [`RetryConfig`](crate::RetryConfig) says, within `rpc_timeout`; all of them may be, since each of them done
/// twice is done once.
#[derive(Clone)]
pub struct BudgetsClient {
    core: Arc<Core>,
}

impl fmt::Debug for BudgetsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetsClient").finish_non_exhaustive()
    }
}

impl BudgetsClient {
    /// Over the connections of `client`, with its TLS and its token.
    pub fn of(client: &Client) -> Self {
        Self { core: Arc::clone(&client.core) }
    }

    /// Declares a budget, or changes its declaration; what weighs stays. [`CallError::Invalid`] names the field that
    /// cannot be.
    pub async fn put(&self, spec: &BudgetSpec) -> Result<Declared, CallError> {
        self.declare(declare::budget(spec)).await
    }

    /// Declares a budget by a profile that the server knows: its limits, its default class, its habits.
    pub async fn put_profile(&self, name: &BudgetName, profile: &ProfileName) -> Result<Declared, CallError> {
        self.declare(v1::Budget {
            name: name.as_str().into(),
            profile: profile.as_str().into(),
            ..Default::default()
        })
        .await
    }

    async fn declare(&self, budget: v1::Budget) -> Result<Declared, CallError> {
        let request = v1::PutBudgetRequest { budget: Some(budget) };
        let answer = self.call(request, |mut line, r| async move { line.put_budget(r).await }).await?;
        let spec = read::spec(answer.budget.unwrap_or_default())?;
        Ok(Declared { put: Put { version: answer.version, changed: answer.changed }, spec })
    }

    /// Reads a budget; `None` if there is none of this name.
    pub async fn get(&self, name: &BudgetName) -> Result<Option<Stored>, CallError> {
        let request = v1::GetBudgetRequest { name: name.as_str().into() };
        match self.call(request, |mut line, r| async move { line.get_budget(r).await }).await {
            Ok(answer) => read::stored(answer).map(Some),
            Err(CallError::Failed { code: Code::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of names in order, at most `most` (1 to 1,000), and the page after it. `page` is empty for the first.
    pub async fn list(&self, page: &str, most: u32) -> Result<(Vec<BudgetName>, Option<String>), CallError> {
        let request = v1::ListBudgetsRequest { page_size: most, page_token: page.into() };
        let answer = self.call(request, |mut line, r| async move { line.list_budgets(r).await }).await?;
        let names = answer.names.iter().map(|name| read::name(name)).collect::<Result<_, _>>()?;
        Ok((names, Some(answer.next_page_token).filter(|next| !next.is_empty())))
    }

    /// Forgets a budget; whether there was one. Where the first answer was lost, a retry finds none.
    pub async fn delete(&self, name: &BudgetName) -> Result<bool, CallError> {
        let request = v1::DeleteBudgetRequest { name: name.as_str().into() };
        let answer = self.call(request, |mut line, r| async move { line.delete_budget(r).await }).await?;
        Ok(answer.deleted)
    }

    /// Stops all grants of a budget: for a span of 1 ms to 31 days, or until it is resumed.
    pub async fn pause(&self, name: &BudgetName, span: Option<Duration>) -> Result<(), CallError> {
        let request = v1::PauseBudgetRequest { name: name.as_str().into(), for_ms: span.map(millis) };
        self.call(request, |mut line, r| async move { line.pause_budget(r).await }).await.map(drop)
    }

    /// Ends all pauses of a budget, the upstream's as well.
    pub async fn resume(&self, name: &BudgetName) -> Result<(), CallError> {
        let request = v1::ResumeBudgetRequest { name: name.as_str().into() };
        self.call(request, |mut line, r| async move { line.resume_budget(r).await }).await.map(drop)
    }

    /// What changes from now on in these budgets, at most 256; none: in all. The watch ends with the replica that
    /// serves it: what happens until another one is opened is not told.
    pub async fn watch(&self, names: &[BudgetName]) -> Result<Watch, CallError> {
        let request = v1::WatchRequest { names: names.iter().map(|name| name.as_str().into()).collect() };
        let changes = self.call(request, |mut line, r| async move { line.watch(r).await }).await?;
        Ok(Watch { changes })
    }

    /// One call, tried again while that may help.
    async fn call<R, A, F>(
        &self,
        request: R,
        ask: impl Fn(BudgetServiceClient<Line>, Request<R>) -> F,
    ) -> Result<A, CallError>
    where
        R: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut attempts = Attempts::new(&self.core, self.core.config.rpc_timeout);
        loop {
            let left = attempts.begin()?;
            let endpoints = &self.core.endpoints;
            let mut asked = None;
            let call = async {
                let turn = endpoints.ready().await?;
                asked = Some(turn.number);
                // No deadline goes with it: a watch has none, and what a server does late is done all the same.
                let answer = ask(turn.replica.budgets(), Request::new(request.clone())).await;
                answer.map_err(|status| Fault::read(&status))
            };
            let fault = match tokio::time::timeout(left, call).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(fault)) => fault,
                Err(_) => Fault::Elsewhere("no answer in time".into()),
            };
            if let (Fault::Elsewhere(_), Some(turn)) = (&fault, asked) {
                endpoints.failed(turn);
            }
            attempts.failed(fault).await?;
        }
    }
}

/// Changes as they come.
#[derive(Debug)]
pub struct Watch {
    changes: Streaming<v1::WatchResponse>,
}

impl Watch {
    /// The next change; `None` when the server has ended the watch. Kinds of change that this client does not know are
    /// passed over. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Watched>, CallError> {
        loop {
            match self.changes.message().await {
                Ok(Some(change)) => {
                    if let Some(watched) = read::watched(change)? {
                        return Ok(Some(watched));
                    }
                }
                Ok(None) => return Ok(None),
                Err(status) => {
                    return Err(Fault::read(&status).into_error());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
