//! Where workers get their permits from.

use std::time::Duration;

use bursar_client::{AcquireError, AcquireOptions, CallError, Client, Outcome, Permit, Session};
use bursar_quota::Reason;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The budget to draw from.
    pub budget: String,
    /// The class of the call; `None`: the budget's default.
    pub class: Option<&'static str>,
    /// How long to wait for a permit.
    pub max_wait: Duration,
}

/// Why there was no permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotGranted {
    /// When to ask again, where that is known.
    pub retry_after: Option<Duration>,
    /// Whether asking again cannot help, for the request is wrong.
    pub hopeless: bool,
    /// For a person to read.
    pub message: String,
}

/// Hands out permits: Bursar, through a client or a session of it, or what stands in for it in a test.
pub trait Broker: Clone + Send + Sync + 'static {
    /// Leave to make one call.
    type Permit: Send;

    /// Asks for a permit, once the permit that rides along, if one does, is settled. Dropping the future takes the
    /// request back, and settles all the same.
    fn acquire(
        &self,
        ask: Ask,
        riding: Option<(Self::Permit, Outcome)>,
    ) -> impl Future<Output = Result<Self::Permit, NotGranted>> + Send;

    /// Whether the call may still be sent.
    fn is_sendable(&self, permit: &Self::Permit) -> bool;

    /// Says what became of a permit. `false`: it could not be told.
    fn settle(&self, permit: Self::Permit, outcome: Outcome) -> impl Future<Output = bool> + Send;
}

fn options(ask: Ask) -> AcquireOptions {
    let options = AcquireOptions::new(ask.budget).max_wait(ask.max_wait);
    match ask.class {
        Some(class) => options.class(class),
        None => options,
    }
}

impl From<AcquireError> for NotGranted {
    fn from(error: AcquireError) -> Self {
        let hopeless = match &error {
            AcquireError::Refused(refusal) => refusal.reason == Reason::CostAboveCapacity,
            AcquireError::TooLate => false,
            AcquireError::Failed(failure) => {
                matches!(failure, CallError::Invalid { .. } | CallError::Unauthorized { .. })
            }
        };
        Self { retry_after: error.retry_after(), hopeless, message: error.to_string() }
    }
}

async fn settle_and_acquire(permit: Permit, outcome: Outcome, ask: Ask) -> Result<Permit, NotGranted> {
    Ok(permit.settle_and_acquire(outcome, options(ask)).await.permit?)
}

impl Broker for Client {
    type Permit = Permit;

    async fn acquire(&self, ask: Ask, riding: Option<(Permit, Outcome)>) -> Result<Permit, NotGranted> {
        match riding {
            Some((permit, outcome)) => settle_and_acquire(permit, outcome, ask).await,
            None => Ok(Client::acquire(self, options(ask)).await?),
        }
    }

    fn is_sendable(&self, permit: &Permit) -> bool {
        permit.is_sendable()
    }

    async fn settle(&self, permit: Permit, outcome: Outcome) -> bool {
        permit.settle_as(outcome).await.is_ok()
    }
}

impl Broker for Session {
    type Permit = Permit;

    async fn acquire(&self, ask: Ask, riding: Option<(Permit, Outcome)>) -> Result<Permit, NotGranted> {
        match riding {
            Some((permit, outcome)) => settle_and_acquire(permit, outcome, ask).await,
            None => Ok(Session::acquire(self, options(ask)).await?),
        }
    }

    fn is_sendable(&self, permit: &Permit) -> bool {
        permit.is_sendable()
    }

    async fn settle(&self, permit: Permit, outcome: Outcome) -> bool {
        permit.settle_as(outcome).await.is_ok()
    }
}
