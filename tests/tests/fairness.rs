//! Shares across replicas: real binaries over one real Redis, whose callers wait where they happen to be.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "real time is what is tested here, as an upper bound")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bursar_client::{AcquireOptions, Client, ClientConfig};
use bursar_ledger::testing::RedisServer;
use bursar_quota::{BudgetName, BudgetSpec, LimitKind, LimitName, LimitSpec, Tier};
use bursar_tests::Replica;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

const BUDGET: &str = "shared";
const NOTHING: [(&str, &str); 0] = [];
/// What the budget grants in a second.
const RATE: f64 = 200.0;

/// A connection takes no more than 3,584 acquires at once.
const CROWD_A_CONNECTION: usize = 2500;

fn client(replica: &Replica) -> Client {
    Client::lazy(ClientConfig::new(replica.uri.clone())).unwrap()
}

struct Cluster {
    clients: Vec<Client>,
    replicas: Vec<Replica>,
    _redis: RedisServer,
}

/// So many replicas that know the budget.
async fn cluster(replicas: usize) -> Cluster {
    let redis = RedisServer::start();
    let replicas: Vec<Replica> = (0..replicas).map(|_| Replica::start(&redis.url())).collect();
    let clients: Vec<Client> = replicas.iter().map(client).collect();
    let kind = LimitKind::Bucket { capacity: 10, refill_per_second: RATE };
    let limit = LimitSpec::new(LimitName::new("requests").unwrap(), kind);
    let spec =
        BudgetSpec { max_waiting: 20_000, ..BudgetSpec::new(BudgetName::new(BUDGET).unwrap(), vec![limit]) };
    let declared = async {
        while clients[0].budgets().put(&spec).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), declared).await.expect("the budget is declared");
    Cluster { clients, replicas, _redis: redis }
}

/// Who keeps asking at a replica, and with how many callers.
struct Callers {
    replica: usize,
    tenant: &'static str,
    tier: Tier,
    callers: usize,
    /// What they got, shared with others whose grants are counted together.
    got: Arc<AtomicU64>,
}

impl Callers {
    fn of(replica: usize, tenant: &'static str, tier: Tier, callers: usize, got: &Arc<AtomicU64>) -> Self {
        Self { replica, tenant, tier, callers, got: Arc::clone(got) }
    }
}

fn counters<const N: usize>() -> [Arc<AtomicU64>; N] {
    std::array::from_fn(|_| Arc::default())
}

fn read<const N: usize>(got: &[Arc<AtomicU64>; N]) -> [u64; N] {
    std::array::from_fn(|at| got[at].load(Ordering::Relaxed))
}

async fn keep_asking(client: Client, options: AcquireOptions, got: Arc<AtomicU64>, end: CancellationToken) {
    loop {
        let permit = tokio::select! {
            () = end.cancelled() => return,
            permit = client.acquire(options.clone()) => permit.expect("who can be served waits until it is"),
        };
        got.fetch_add(1, Ordering::Relaxed);
        permit.settle(200, NOTHING, &[]).await.expect("it is settled");
    }
}

/// Lets them ask until they got `grants` more than at first, when all of them had begun: what each counter got meanwhile.
async fn share_out<const N: usize>(
    cluster: &Cluster,
    fleets: Vec<Callers>,
    got: &[Arc<AtomicU64>; N],
    grants: u64,
) -> [u64; N] {
    let end = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for fleet in fleets {
        let options = AcquireOptions::new(BUDGET)
            .tenant(fleet.tenant)
            .tier(fleet.tier)
            .max_wait(Duration::from_secs(60));
        for _ in 0..fleet.callers {
            let client = cluster.clients[fleet.replica].clone();
            tasks.spawn(keep_asking(client, options.clone(), Arc::clone(&fleet.got), end.clone()));
        }
    }
    let mut until = async |sum: u64| {
        while read(got).iter().sum::<u64>() < sum {
            assert!(tasks.try_join_next().is_none(), "nobody ends before the end");
            sleep(Duration::from_millis(5)).await;
        }
        read(got)
    };
    let begun = until(100).await;
    let ended = until(begun.iter().sum::<u64>() + grants).await;
    end.cancel();
    while let Some(task) = tasks.join_next().await {
        task.expect("nobody fails");
    }
    std::array::from_fn(|at| ended[at] - begun[at])
}

fn jain(got: &[u64]) -> f64 {
    let (sum, squares) = got.iter().fold((0.0, 0.0), |(sum, squares), n| {
        let n = *n as f64;
        (sum + n, squares + n * n)
    });
    sum * sum / (got.len() as f64 * squares)
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_tenants_unevenly_at_the_replicas_get_equal_shares() {
    for replicas in [2, 3, 8] {
        let cluster = cluster(replicas).await;
        let got = counters::<5>();
        let at = |replica, tenant: usize, callers| {
            let name = ["a", "b", "c", "d", "e"][tenant];
            Callers::of(replica, name, Tier::Standard, callers, &got[tenant])
        };
        // Three at the first replica, one of them with most callers; one at the last; one everywhere.
        let mut fleets = vec![at(0, 0, 40), at(0, 1, 8), at(0, 2, 8), at(replicas - 1, 3, 6)];
        fleets.extend((0..replicas).map(|replica| at(replica, 4, 4)));
        let shares = share_out(&cluster, fleets, &got, 1000).await;
        let jain = jain(&shares);
        println!("{replicas} replicas: {shares:?}, Jain's index {jain:.4}");
        assert!(jain >= 0.99, "{replicas} replicas: {shares:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_keep_their_weights_wherever_they_wait() {
    for replicas in [2, 3, 8] {
        let cluster = cluster(replicas).await;
        let got = counters::<3>();
        let at = |replica, tier: usize, tenant| {
            Callers::of(replica % replicas, tenant, Tier::ALL[tier], 12, &got[tier])
        };
        let fleets =
            vec![at(0, 0, "a"), at(1, 1, "b"), at(1, 2, "c"), at(0, 2, "d"), at(replicas - 1, 2, "e")];
        let shares = share_out(&cluster, fleets, &got, 1300).await;
        println!("{replicas} replicas: {shares:?} of {:?}", Tier::ALL);
        // Weights 8, 4 and 1.
        for (got, due) in shares.iter().zip([800_u64, 400, 100]) {
            assert!(got.abs_diff(due) * 10 <= due.max(200), "{replicas} replicas: {shares:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_is_served_beside_ten_thousand_elsewhere() {
    let cluster = cluster(2).await;
    for tenant in ["crowd", "another"] {
        let end = CancellationToken::new();
        let got = counters::<1>();
        let mut crowd = JoinSet::new();
        for _ in 0..10_000 / CROWD_A_CONNECTION {
            let client = client(&cluster.replicas[0]);
            for _ in 0..CROWD_A_CONNECTION {
                let options = AcquireOptions::new(BUDGET).tenant("crowd").max_wait(Duration::from_secs(600));
                let options = options.deadline(Duration::from_secs(600));
                crowd.spawn(keep_asking(client.clone(), options, Arc::clone(&got[0]), end.clone()));
            }
        }
        while read(&got)[0] < 200 {
            sleep(Duration::from_millis(5)).await;
        }
        let mut longest = Duration::ZERO;
        for _ in 0..10 {
            let asked = Instant::now();
            let options = AcquireOptions::new(BUDGET).tenant(tenant).max_wait(Duration::from_secs(30));
            let permit = cluster.clients[1].acquire(options).await.expect("it is served");
            longest = longest.max(asked.elapsed());
            permit.settle(200, NOTHING, &[]).await.expect("it is settled");
        }
        println!("{tenant} beside 10,000 of crowd: {longest:?} at most");
        assert!(longest < Duration::from_secs(5), "{tenant}: {longest:?}");
        end.cancel();
        while let Some(task) = crowd.join_next().await {
            task.expect("nobody fails");
        }
    }
}
