//! Who is master, as the sentinels say, and as the server itself says.
//!
//! Who connects asks all sentinels. Who is connected is told by the [`Lookout`], which asks them again and again: a master
//! that was deposed while it could not be told so still takes connections, and maybe writes.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisResult, Role, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{failure, jitter::Jitter, target::Target};

/// The longest to connect to a sentinel.
const CONNECT: Duration = Duration::from_millis(1000);
/// The longest to wait for a sentinel's answer.
const ANSWER: Duration = Duration::from_millis(500);
/// The longest to ask them all: they are asked at once.
pub(super) const ASKING: Duration = Duration::from_millis(1500);

/// The longest rest between two looks, jittered: they are cheap, over connections that are kept. What a deposed master
/// grants meanwhile the new one does not know of.
pub(super) const REST: Duration = Duration::from_millis(300);
/// The same when a master may be none any more.
pub(super) const HURRIED: Duration = Duration::from_millis(100);

/// A server's host and port, as sentinels name it.
pub(super) type Address = (String, u16);

/// All sentinels of the address.
pub(super) struct Sentinels {
    service: String,
    sentinels: Vec<Sentinel>,
    /// Whom a look has found.
    found: watch::Sender<Option<Address>>,
    hurry: Notify,
}

/// One sentinel, and the connection to it: it is asked all the time.
struct Sentinel {
    client: Client,
    kept: Mutex<Option<MultiplexedConnection>>,
}

/// A sentinel's answer: the master, if it knows one that is up, and the failover that made it one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    master: Option<Address>,
    epoch: u64,
}

impl Sentinels {
    /// To be asked for the master of `service`, by clients of theirs. Connects nowhere.
    pub(super) fn new(service: &str, clients: Vec<Client>) -> Self {
        let sentinel = |client| Sentinel { client, kept: Mutex::new(None) };
        Self {
            service: service.to_owned(),
            sentinels: clients.into_iter().map(sentinel).collect(),
            found: watch::Sender::new(None),
            hurry: Notify::new(),
        }
    }

    /// Whom each look finds, whether or not it is somebody else.
    pub(super) fn found(&self) -> watch::Receiver<Option<Address>> {
        self.found.subscribe()
    }

    /// Has them asked soon.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Whom they name, the most credible first. As soon as most of them agree the others are not waited for.
    async fn named(&self) -> RedisResult<Vec<Address>> {
        let mut asking: FuturesUnordered<_> =
            self.sentinels.iter().map(|sentinel| sentinel.ask(&self.service)).collect();
        let (mut said, mut problem) = (Vec::new(), None);
        while let Some(answer) = asking.next().await {
            match answer {
                Ok(answer) => said.push(answer),
                Err(error) => problem = Some(error),
            }
            if is_majority(said.iter().filter(|one| agrees(one, &said)).count(), self.sentinels.len()) {
                break;
            }
        }
        match problem {
            Some(problem) if said.is_empty() => Err(problem),
            _ => Ok(ranked(&said, self.sentinels.len())),
        }
    }
}

/// Whether this is what was said last.
fn agrees(one: &Said, all: &[Said]) -> bool {
    one.master.is_some() && all.last().is_some_and(|last| last.master == one.master)
}

fn is_majority(count: usize, of: usize) -> bool {
    count * 2 > of
}

/// Whom those who answered name, of `of` in all. First whom a majority of all names; else whom the latest failover made
/// master, by which sentinels themselves settle it. Of those who come after it none whom an earlier one made master: it was deposed,
/// and says that it is master as long as nobody can tell it.
fn ranked(said: &[Said], of: usize) -> Vec<Address> {
    let mut named: Vec<(&Address, u64, usize)> = Vec::new();
    for Said { master, epoch } in said {
        let Some(master) = master else { continue };
        match named.iter_mut().find(|(address, ..)| *address == master) {
            Some((_, latest, count)) => (*latest, *count) = ((*latest).max(*epoch), *count + 1),
            None => named.push((master, *epoch, 1)),
        }
    }
    named.sort_by_key(|&(address, epoch, count)| Reverse((is_majority(count, of), epoch, count, address)));
    let latest = named.first().map_or(0, |(_, epoch, _)| *epoch);
    named.into_iter().filter(|(_, epoch, _)| *epoch >= latest).map(|(address, ..)| address.clone()).collect()
}

impl Sentinel {
    fn kept(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, service: &str) -> RedisResult<Said> {
        let kept = self.kept().clone();
        if let Some(mut connection) = kept {
            match masters(&mut connection).await {
                Ok(masters) => return Ok(said(&masters, service)),
                Err(error) => {
                    *self.kept() = None;
                    // Who is silent is not waited for twice.
                    if error.is_timeout() {
                        return Err(error);
                    }
                }
            }
        }
        let bounds = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&bounds).await?;
        let masters = masters(&mut connection).await?;
        *self.kept() = Some(connection);
        Ok(said(&masters, service))
    }
}

/// All that a sentinel is asked: its user needs no other right.
async fn masters(connection: &mut MultiplexedConnection) -> RedisResult<Vec<HashMap<String, String>>> {
    redis::cmd("SENTINEL").arg("MASTERS").query_async(connection).await
}

fn said(masters: &[HashMap<String, String>], service: &str) -> Said {
    let of = |master: &HashMap<String, String>| {
        let flags: Vec<_> = master.get("flags")?.split(',').collect();
        let up = flags.contains(&"master") && !flags.contains(&"s_down") && !flags.contains(&"o_down");
        let address = (master.get("ip")?.clone(), master.get("port")?.parse().ok()?);
        let epoch = master.get("config-epoch").and_then(|epoch| epoch.parse().ok());
        Some(Said { master: up.then_some(address), epoch: epoch.unwrap_or_default() })
    };
    let master = masters.iter().find(|master| master.get("name").is_some_and(|name| name == service));
    master.and_then(of).unwrap_or(Said { master: None, epoch: 0 })
}

/// Connects to the master, which has just said itself that it is one.
pub(super) async fn master(
    target: &Target,
    sentinels: &Sentinels,
) -> RedisResult<(Address, MultiplexedConnection)> {
    let mut problem = None;
    for address in sentinels.named().await? {
        match connect(target, &address).await {
            Ok(Some(connection)) => return Ok((address, connection)),
            Ok(None) => {}
            Err(error) => problem = Some(error),
        }
    }
    let unknown = (ErrorKind::MasterNameNotFoundBySentinel, "no sentinel names a master that answers as one");
    Err(problem.unwrap_or_else(|| unknown.into()))
}

/// A connection to a server, if it says that it is a master.
async fn connect(target: &Target, address: &Address) -> RedisResult<Option<MultiplexedConnection>> {
    let client = target.server(address)?;
    // What was added for the asking is not this server's.
    let within = target.connect_timeout.saturating_sub(ASKING);
    let bounds = target.connection_config().set_connection_timeout(Some(within));
    let mut connection = client.get_multiplexed_async_connection_with_config(&bounds).await?;
    let role: Role = redis::cmd("ROLE").query_async(&mut connection).await?;
    Ok(matches!(role, Role::Primary { .. }).then_some(connection))
}

/// Asks the sentinels all the time, for those who are connected.
pub(super) struct Lookout {
    pub(super) target: Arc<Target>,
    /// From [`HURRIED`] to [`REST`].
    pub(super) jitter: Jitter,
}

impl Lookout {
    /// Looks for ever: some four times a second, and sooner when it is told to hurry.
    pub(super) async fn run(self) {
        let Some(sentinels) = self.target.sentinels() else { return };
        loop {
            rest(&self.jitter, &sentinels.hurry).await;
            self.look(sentinels).await;
        }
    }

    async fn look(&self, sentinels: &Sentinels) {
        let before = sentinels.found.borrow().clone();
        let found = match sentinels.named().await {
            // It has said itself that it is one.
            Ok(named) if before.is_some() && named.first() == before.as_ref() => before.clone(),
            Ok(_) => master(&self.target, sentinels).await.ok().map(|(address, _)| address),
            Err(error) => {
                tracing::debug!(cause = failure::cause(&error), "no sentinel can be asked");
                None
            }
        };
        let Some(found) = found else { return };
        if before.is_some_and(|before| before != found) {
            tracing::info!(host = found.0, port = found.1, "the sentinels name another master");
        }
        sentinels.found.send_replace(Some(found));
    }
}

async fn rest(jitter: &Jitter, hurry: &Notify) {
    let (least, most) = (jitter.backoff(1), jitter.come_back());
    sleep(least).await;
    let _ = timeout(most.saturating_sub(least), hurry.notified()).await;
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn one(port: u16, epoch: u64) -> Said {
        Said { master: Some(("h".to_owned(), port)), epoch }
    }

    fn ports(said: &[Said], of: usize) -> Vec<u16> {
        ranked(said, of).into_iter().map(|(_, port)| port).collect()
    }

    #[test]
    fn most_of_them_are_believed_and_otherwise_the_latest_failover() {
        let silent = Said { master: None, epoch: 9 };
        assert_eq!(ports(&[one(1, 0), one(2, 1), one(2, 1)], 3), [2]);
        // One is cut off with the old master; of five, two do not answer, and one has heard of the failover.
        assert_eq!(ports(&[one(1, 0), one(1, 0), one(2, 1)], 5), [2]);
        assert_eq!(ports(&[one(1, 0), one(2, 1)], 2), [2]);
        // A stray that watches something else by the same name.
        assert_eq!(ports(&[one(1, 2), one(7, 9), one(1, 2)], 3), [1, 7]);
        assert_eq!(ports(&[one(1, 0), silent.clone()], 3), [1]);
        assert!(ports(&[silent], 3).is_empty());
        assert_eq!(ports(&[one(2, 3), one(1, 3), one(2, 3)], 7), [2, 1]);
    }

    #[test]
    fn a_master_that_is_down_is_not_named() {
        let master = |flags: &str| {
            let fields = [("name", "main"), ("ip", "10.0.0.1"), ("port", "6379"), ("flags", flags)];
            let fields = fields.into_iter().chain([("config-epoch", "4")]);
            fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<HashMap<_, _>>()
        };
        let up = Said { master: Some(("10.0.0.1".to_owned(), 6379)), epoch: 4 };
        assert_eq!(said(&[master("master")], "main"), up);
        assert_eq!(said(&[master("master")], "other"), Said { master: None, epoch: 0 });
        for flags in ["s_down,master", "master,s_down,o_down", "disconnected", ""] {
            assert_eq!(said(&[master(flags)], "main").master, None, "{flags}");
        }
    }

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods, reason = "time that stands still but for sleeps")]
    async fn who_is_told_to_hurry_rests_less_but_rests() {
        let (jitter, hurry) = (Jitter::new(1, HURRIED, REST), Notify::new());
        let calm = Instant::now();
        rest(&jitter, &hurry).await;
        assert!((REST / 2..=REST).contains(&calm.elapsed()), "{:?}", calm.elapsed());
        let hurried = Instant::now();
        hurry.notify_one();
        rest(&jitter, &hurry).await;
        assert!((HURRIED / 2..=HURRIED).contains(&hurried.elapsed()), "{:?}", hurried.elapsed());
    }
}
