//! One call's attempts: when the next may be made, and when there is none.

use std::time::Duration;

use crate::{
    core::Core,
    error::{CallError, Fault},
};

/// The attempts of one call.
pub(crate) struct Attempts<'a> {
    core: &'a Core,
    started: Duration,
    within: Duration,
    made: u32,
    /// Failures since the last back-off: another endpoint is tried at once until all have failed.
    in_round: usize,
    rounds: u32,
    last: Option<Fault>,
}

impl<'a> Attempts<'a> {
    /// Attempts that begin now and end `within` it.
    pub(crate) fn new(core: &'a Core, within: Duration) -> Self {
        Self { core, started: core.now(), within, made: 0, in_round: 0, rounds: 0, last: None }
    }

    /// How long the call has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.core.now().saturating_sub(self.started)
    }

    /// When the call began.
    pub(crate) fn started(&self) -> Duration {
        self.started
    }

    /// How many attempts have begun.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }

    /// Begins an attempt: how much time is left for it, or why there is none.
    pub(crate) fn begin(&mut self) -> Result<Duration, CallError> {
        let left = self.within.saturating_sub(self.elapsed());
        if left.is_zero() {
            return Err(self.too_late());
        }
        self.made += 1;
        Ok(left)
    }

    /// Sorts a failure: waits until the next attempt may be made, or says why there will be none.
    pub(crate) async fn failed(&mut self, fault: Fault) -> Result<(), CallError> {
        let (message, retry_after, at_once) = match &fault {
            Fault::Final(error) => return Err(error.clone()),
            Fault::Elsewhere(message) => {
                self.in_round += 1;
                (message.clone(), None, self.in_round < self.core.endpoints.len())
            }
            Fault::Later { message, retry_after } => (message.clone(), *retry_after, false),
        };
        let everywhere = matches!(fault, Fault::Elsewhere(_));
        tracing::debug!(attempt = self.made, cause = %message, "an attempt failed");
        self.last = Some(fault);
        if self.made >= self.core.config.retry.attempts {
            return Err(CallError::Unavailable { message, attempts: self.made, retry_after });
        }
        if at_once {
            return Ok(());
        }
        self.in_round = 0;
        let pause = retry_after.unwrap_or_default().saturating_add(self.core.backoff(self.rounds));
        self.rounds += 1;
        let left = self.within.saturating_sub(self.elapsed());
        if left.is_zero() {
            return Err(self.too_late());
        }
        if pause >= left {
            // The next attempt would come after the deadline: say so now and not then.
            return Err(CallError::Unavailable { message, attempts: self.made, retry_after });
        }
        if everywhere {
            self.core.endpoints.rest(pause).await;
        } else {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// The deadline came.
    fn too_late(&self) -> CallError {
        let last = self.last.as_ref().map(Fault::message).unwrap_or_default();
        CallError::Deadline { within: self.within, last }
    }
}
