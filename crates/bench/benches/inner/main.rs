//! The inner loops, each by itself: `cargo bench -p bursar-bench`.
//!
//! A permit's id, a response's readings, a script on the embedded machine, and a lane over a ledger that grants everything at
//! once.
#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, reason = "a bench ends where it cannot go on")]

mod yes;

use std::{hint::black_box, sync::Arc, time::Duration};

use bursar_coordinator::{Acquire, Config, Coordinator, Outcome, Settle};
use bursar_dialect::Profiles;
use bursar_ledger::{
    Vm,
    codec::{Keys, Witness, decode_commit, encode_commit, encode_put},
    scripts,
};
use bursar_quota::{
    AcquireGroup, BudgetName, BudgetSpec, ClassName, Commit, LeaseId, LimitKind, LimitName, LimitSpec,
    MAX_CAPACITY, PermitId, ProfileName, ReplicaName, Requests, ResponseView, SettleGroup, SettleKind,
    SystemClock, TenantName, Tier, UnitName,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;

use self::yes::Yes;

/// Permits of a commit, where there are many.
const MANY: u16 = 64;

fn spec() -> BudgetSpec {
    let window = Duration::from_secs(60);
    let kind = LimitKind::Window { capacity: MAX_CAPACITY, window, aligned: false, on_clock: false };
    let limit = LimitSpec::new(LimitName::new("requests").unwrap(), kind);
    BudgetSpec::new(BudgetName::new("bench").unwrap(), vec![limit])
}

fn permit_id(criterion: &mut Criterion) {
    let budget = BudgetName::new("autotask/prod").unwrap();
    let lease = LeaseId::new(&ClassName::new("default").unwrap(), u128::MAX / 3);
    let text = PermitId::new(&budget, lease, 7).to_string();
    criterion.bench_function("permit id, written", |bencher| {
        bencher.iter(|| PermitId::new(black_box(&budget), lease, 7).to_string());
    });
    criterion.bench_function("permit id, read", |bencher| {
        bencher.iter(|| PermitId::parse(&budget, black_box(&text)).unwrap());
    });
}

fn dialect(criterion: &mut Criterion) {
    let profiles = Profiles::builtin();
    let line = |(name, value): (&str, &str)| (name.to_owned(), value.as_bytes().to_vec());
    let headers: Vec<_> = [
        ("Date", "Tue, 25 Nov 2025 08:30:00 GMT"),
        ("Content-Type", "application/json"),
        ("RateLimit-Policy", "\"requests\";q=600;w=60"),
        ("RateLimit", "\"requests\";r=512;t=37"),
    ]
    .into_iter()
    .map(line)
    .collect();
    let refused: Vec<_> =
        [("Date", "Tue, 25 Nov 2025 08:30:00 GMT"), ("Retry-After", "7")].map(line).to_vec();
    for (name, status, headers) in
        [("ietf", 200, &headers), ("generic", 429, &refused), ("generic", 200, &Vec::new())]
    {
        let profile = profiles.get(&ProfileName::new(name).unwrap()).unwrap();
        let view = ResponseView { status, headers, body: &[], received_unix_ms: 1_764_059_400_000 };
        criterion.bench_function(&format!("dialect, {name}, {status}, {} lines", headers.len()), |bencher| {
            bencher.iter(|| profile.observe(black_box(&view)));
        });
    }
}

fn acquire(lease: u128, count: u16) -> AcquireGroup {
    AcquireGroup {
        lease: LeaseId(lease),
        requests: Requests::None,
        class: ClassName::new("default").unwrap(),
        tenant: TenantName::default_tenant(),
        tier: Tier::Standard,
        costs: vec![1],
        units: vec![(UnitName::requests(), 1)],
        count,
        ttl_ms: 60_000,
    }
}

fn settle(lease: u128, count: u16) -> SettleGroup {
    SettleGroup {
        lease: LeaseId(lease),
        indexes: (0..count).collect(),
        kind: SettleKind::Accepted,
        costs: Vec::new(),
        units: Vec::new(),
        readings: Vec::new(),
        pause: None,
        age_ms: 0,
    }
}

/// A commit that settles what the last one granted, and acquires as many.
fn script(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("script");
    for count in [1, MANY] {
        let (keys, spec) = (Keys::new("b:"), spec());
        let mut vm = Vm::new().unwrap();
        let (mut lease, mut now) = (1, Duration::from_secs(1_700_000_000));
        vm.run(scripts::put(), &encode_put(&keys, &spec).unwrap(), now).unwrap();
        let mut witness = Witness::default();
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(format!("a commit of {count}"), |bencher| {
            bencher.iter(|| {
                now += Duration::from_millis(1);
                lease += 1;
                let commit = Commit {
                    replica: ReplicaName::new("r").unwrap(),
                    spec_version: 1,
                    waiting: 0,
                    contenders: Vec::new(),
                    looks: Vec::new(),
                    jitter: 0.5,
                    settles: if lease > 2 { vec![settle(lease - 1, count)] } else { Vec::new() },
                    renews: Vec::new(),
                    acquires: vec![acquire(lease, count)],
                };
                let call = encode_commit(&keys, &spec.name, &commit, &witness);
                let reply = vm.run(scripts::commit(), &call, now).unwrap();
                vm.take_published();
                let (reply, told) = decode_commit(reply).unwrap();
                assert_eq!(reply.decisions[0].granted, count);
                witness.incarnation = told.incarnation;
                witness.seq = told.seq;
            });
        });
    }
    group.finish();
}

/// Callers that acquire and settle at once, through a lane whose ledger answers at once.
fn lane(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let config = Config::new(ReplicaName::new("r").unwrap(), 1);
    let ledger = Arc::new(Yes(spec()));
    let coordinator =
        Coordinator::new(ledger, Arc::new(Profiles::builtin()), Arc::new(SystemClock::new()), config);
    let name = spec().name;
    let mut group = criterion.benchmark_group("lane");
    for callers in [1, MANY] {
        group.throughput(Throughput::Elements(callers.into()));
        group.bench_function(format!("{callers} callers"), |bencher| {
            let one = || async {
                let granted = coordinator.acquire(Acquire::new(name.clone())).await.unwrap();
                let outcome = Outcome::Response { status: 200, headers: Vec::new(), body: Vec::new() };
                let settle = Settle {
                    budget: name.clone(),
                    permit: granted.permit,
                    outcome,
                    costs: Vec::new(),
                    age: Duration::ZERO,
                };
                coordinator.settle(settle).await.unwrap()
            };
            bencher.iter(|| runtime.block_on(join_all((0..callers).map(|_| one()))));
        });
    }
    group.finish();
}

criterion_group!(benches, permit_id, dialect, script, lane);
criterion_main!(benches);
