//! A settlement that is sent by itself, to another replica, because the one that has it keeps silent.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    endpoints::Turn,
    error::{CallError, Fault},
    link::{Link, Settling, settle_at},
    outcome::Settlement,
    retry::Attempts,
};

/// A settlement that another call carries as well; settling twice changes nothing. It goes out once the answer is late, and
/// only where there is another replica.
pub(crate) struct Alone<'a>(Option<Pin<Box<dyn Future<Output = Option<Settlement>> + Send + 'a>>>);

impl<'a> Alone<'a> {
    /// Counts from now.
    pub(crate) fn new(link: &'a Link, settling: Arc<Settling>) -> Self {
        Self((link.core().endpoints.len() > 1).then(|| Box::pin(late(link, settling)) as _))
    }

    /// There is none.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Runs beside `call`; what it was answered, if that is first.
    pub(crate) async fn beside<T>(
        &mut self,
        mut call: Pin<&mut (impl Future<Output = T> + Send)>,
    ) -> Result<T, Settlement> {
        if let Some(alone) = self.0.as_mut() {
            let taken = tokio::select! {
                biased;
                answer = call.as_mut() => return Ok(answer),
                taken = alone => taken,
            };
            self.0 = None;
            if let Some(settlement) = taken {
                return Err(settlement);
            }
        }
        Ok(call.await)
    }
}

/// `None`: nobody took it. Then the call that carries it decides.
async fn late(link: &Link, settling: Arc<Settling>) -> Option<Settlement> {
    let silent = link.turn();
    tokio::time::sleep(link.core().config.settle_alone_after).await;
    let taken = deliver(link, &settling, silent.as_ref()).await;
    if let Err(error) = &taken {
        tracing::debug!(permit = %settling.request.permit_id, %error, "a settlement by itself was not taken");
    }
    taken.ok()
}

/// Asks one replica after the other; last the one that keeps silent.
async fn deliver(link: &Link, settling: &Settling, silent: Option<&Turn>) -> Result<Settlement, CallError> {
    let core = link.core();
    let mut attempts = Attempts::new(core, core.config.settle_within);
    let mut next = core.endpoints.other_than(silent);
    loop {
        let left = attempts.begin()?;
        let turn = match next {
            Some(turn) => turn,
            None => core.endpoints.ready().await.map_err(Fault::into_error)?,
        };
        match settle_at(core, &turn, settling, left.min(core.config.rpc_timeout)).await {
            Ok(answer) => return Settlement::read(answer.message),
            Err(fault) => attempts.failed(fault).await?,
        }
        next = core.endpoints.after(&turn);
    }
}
