//! The store: the production scripts on a machine of this thread, under a clock of its own.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bursar_ledger::{
    HostError, KeyspaceCopy, Reply, Script, ScriptCall, ScriptHost, Vm, VmUse,
    codec::{Keys, Witness, decode_commit, decode_stored, encode_commit, encode_get},
    scripts,
};
use bursar_quota::{BoxFuture, BoxStream, BudgetName, Clock, Commit, CommitReply};
use futures_util::stream;
use tokio::sync::broadcast;

use super::clock::{StoreClock, VirtualClock};

/// What the store's keys begin with.
pub(crate) const PREFIX: &str = "sim:";

/// Announcements that wait for a replica; it misses older ones.
const ANNOUNCEMENTS: usize = 1024;

/// A machine is bound to its thread, and what hosts scripts must not be: so the host finds it here. A thread runs one
/// simulation at a time.
struct Machines {
    /// The store's.
    vm: Vm,
    /// Where it is tried out what would happen.
    spare: Vm,
    /// What the store held when it was told to remember, oldest first.
    copies: Vec<(Duration, KeyspaceCopy)>,
}

thread_local! {
    static MACHINES: RefCell<Option<Machines>> = const { RefCell::new(None) };
}

/// Keeps the store's machine for as long as it lives.
pub(crate) struct Machine;

impl Machine {
    /// An empty store in this thread.
    ///
    /// # Errors
    /// There is no memory, or a simulation runs in this thread already.
    pub(crate) fn start() -> Result<Self, HostError> {
        let machines = Machines { vm: Vm::new()?, spare: Vm::new()?, copies: Vec::new() };
        MACHINES.with_borrow_mut(|slot| match slot {
            Some(_) => Err(missing()),
            None => {
                *slot = Some(machines);
                Ok(Self)
            }
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        MACHINES.take();
    }
}

fn missing() -> HostError {
    let cause = "a thread runs one simulation at a time".to_owned();
    HostError::Unavailable { cause, retry_after: Duration::from_millis(1) }
}

/// Does `act` with this thread's machines.
fn with<T>(act: impl FnOnce(&mut Machines) -> T) -> Result<T, HostError> {
    MACHINES.with_borrow_mut(|slot| slot.as_mut().map(act).ok_or_else(missing))
}

/// The store as a host of scripts.
pub(crate) struct Store {
    clock: Arc<VirtualClock>,
    wall: Mutex<StoreClock>,
    published: broadcast::Sender<Vec<u8>>,
    keys: Keys,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("wall", &self.wall()).finish_non_exhaustive()
    }
}

impl Store {
    /// The host over the machine that [`Machine::start`] made.
    pub(crate) fn new(clock: Arc<VirtualClock>) -> Self {
        let (published, _) = broadcast::channel(ANNOUNCEMENTS);
        Self { clock, wall: Mutex::default(), published, keys: Keys::new(PREFIX) }
    }

    fn wall(&self) -> MutexGuard<'_, StoreClock> {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's own time, since the Unix epoch.
    fn now(&self) -> Duration {
        self.wall().unix(self.clock.monotonic())
    }

    /// Its clock steps by so many milliseconds.
    pub(crate) fn step(&self, ms: i64) {
        self.wall().step(self.clock.monotonic(), ms);
    }

    /// Its clock runs so many millionths too fast from now on.
    pub(crate) fn drift(&self, millionths: i32) {
        self.wall().drift(self.clock.monotonic(), millionths);
    }

    /// Remembers what it holds now.
    pub(crate) fn remember(&self) {
        let now = self.clock.monotonic();
        // Outside a simulation there is nothing to remember.
        let _ = with(|machines| machines.copies.push((now, machines.vm.copy())));
    }

    /// It holds what it held at `then`, or when it was last told to remember before that; nothing if never.
    pub(crate) fn go_back(&self, then: Duration) {
        let _ = with(|machines| {
            let copy = machines.copies.iter().rfind(|(at, _)| *at <= then);
            let held = copy.map(|(_, copy)| copy.clone()).unwrap_or_default();
            machines.vm.restore(&held);
        });
    }

    /// It holds nothing.
    pub(crate) fn lose_all(&self) {
        let _ = with(|machines| machines.vm.restore(&KeyspaceCopy::default()));
    }

    /// What the last run took, and what the keys take.
    pub(crate) fn usage(&self) -> Option<VmUse> {
        with(|machines| machines.vm.usage()).ok()
    }

    /// What `commit` would be answered `ahead` from now if nothing else happened until then; `alone`: and nobody else waited.
    /// Changes nothing. `None`: no answer.
    pub(crate) fn would_answer(
        &self,
        budget: &BudgetName,
        commit: &Commit,
        ahead: Duration,
        alone: bool,
    ) -> Option<CommitReply> {
        let (call, at) = (encode_commit(&self.keys, budget, commit, &Witness::default()), self.now() + ahead);
        let reply = with(|machines| {
            let is_kept = |key: &&Vec<u8>| !(alone && key.ends_with(b":wait"));
            let kept: Vec<_> = call.keys.iter().filter(is_kept).cloned().collect();
            let held = machines.vm.copy_of(&kept);
            machines.spare.restore(&held);
            let reply = machines.spare.run(scripts::commit(), &call, at);
            machines.spare.take_published();
            reply
        });
        decode_commit(reply.ok()?.ok()?).ok().map(|(reply, _)| reply)
    }

    /// Whether it expects others to use a budget as well. Changes nothing.
    pub(crate) fn forecasts(&self, budget: &BudgetName) -> bool {
        let (call, now) = (encode_get(&self.keys, budget), self.now());
        let reply = with(|machines| {
            let held = machines.vm.copy_of(&call.keys);
            machines.spare.restore(&held);
            machines.spare.run(scripts::get(), &call, now)
        });
        let Ok(Ok(Ok(stored))) = reply.map(|reply| reply.map(decode_stored)) else { return false };
        stored.snapshot.limits.iter().any(|limit| limit.foreign_per_window > 0)
    }
}

impl ScriptHost for Store {
    fn run<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        Box::pin(async move {
            let now = self.now();
            let (result, published) =
                with(|machines| (machines.vm.run(script, &call, now), machines.vm.take_published()))?;
            for (_, payload) in published {
                // Nobody listening is no error: announcements are hints.
                let _ = self.published.send(payload);
            }
            result
        })
    }

    fn announcements(&self) -> BoxStream<Vec<u8>> {
        let readers = self.published.subscribe();
        Box::pin(stream::unfold(readers, |mut readers| async move {
            loop {
                match readers.recv().await {
                    Ok(payload) => return Some((payload, readers)),
                    // A reader that lags skips what it missed and goes on.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        }))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }
}
