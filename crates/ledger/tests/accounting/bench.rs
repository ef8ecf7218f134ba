//! A budget of one limit on the embedded machine, asked directly: no task, no clock but the one given.

use std::{cell::RefCell, time::Duration};

use bursar_ledger::{
    Reply, Script, ScriptCall, Vm,
    codec::{Keys, decode_commit, decode_event, decode_stored, encode_commit, encode_get, encode_put},
    scripts,
};
use bursar_quota::{
    AcquireGroup, BudgetName, BudgetSpec, ClassName, Commit, CommitReply, Decision, LeaseId, LedgerEvent,
    LimitKind, LimitName, LimitSpec, ReplicaName, SettleGroup, SettleKind, Stored, TenantName, Tier,
    UnitName,
};

/// Any moment far from the epoch, in ms.
pub const START: u64 = 1_700_000_000_000;

/// Histories that share a machine, each with a budget of its own name.
const SHARED_BY: u64 = 100;

thread_local! {
    static MACHINE: RefCell<Option<(Vm, u64)>> = const { RefCell::new(None) };
}

/// A machine; a new one once in a while, so that what histories leave behind does not gather.
fn machine() -> (Vm, u64) {
    let used = MACHINE.with(RefCell::take);
    used.filter(|(_, uses)| *uses < SHARED_BY).unwrap_or_else(|| (Vm::new().unwrap(), 0))
}

pub struct Bench {
    vm: Option<(Vm, u64)>,
    keys: Keys,
    budget: BudgetName,
    pub now: u64,
    leases: u128,
    version: u64,
    pub announced: Vec<LedgerEvent>,
}

impl Bench {
    pub fn new(spec: &BudgetSpec) -> Self {
        let vm = machine();
        let mut bench = Self {
            keys: Keys::new("t:"),
            budget: BudgetName::new(&format!("b{}", vm.1)).unwrap(),
            vm: Some((vm.0, vm.1 + 1)),
            now: START,
            leases: 0,
            version: 0,
            announced: Vec::new(),
        };
        spec.validate().unwrap();
        bench.put(spec);
        bench
    }

    /// Declares the budget (again).
    pub fn put(&mut self, spec: &BudgetSpec) {
        let spec = BudgetSpec { name: self.budget.clone(), ..spec.clone() };
        let call = encode_put(&self.keys, &spec).unwrap();
        self.run(scripts::put(), &call);
        self.version += 1;
    }

    fn run(&mut self, script: &Script, call: &ScriptCall) -> Reply {
        let (vm, _) = self.vm.as_mut().unwrap();
        let reply = vm.run(script, call, Duration::from_millis(self.now)).unwrap();
        self.announced.extend(vm.take_published().iter().filter_map(|(_, payload)| decode_event(payload)));
        let excess = self.announced.len().saturating_sub(100);
        self.announced.drain(..excess);
        reply
    }

    pub fn commit(&mut self, settles: Vec<SettleGroup>, acquires: Vec<AcquireGroup>) -> CommitReply {
        let renews = Vec::new();
        self.send(Commit { settles, acquires, renews, ..self.empty() })
    }

    pub fn empty(&self) -> Commit {
        Commit {
            replica: ReplicaName::new("r").unwrap(),
            spec_version: self.version,
            waiting: 0,
            jitter: 0.5,
            settles: Vec::new(),
            renews: Vec::new(),
            acquires: Vec::new(),
        }
    }

    pub fn send(&mut self, commit: Commit) -> CommitReply {
        let call = encode_commit(&self.keys, &self.budget, &commit);
        let reply = decode_commit(self.run(scripts::commit(), &call)).unwrap();
        for decision in &reply.decisions {
            assert!(u64::from(decision.granted) <= 1024);
        }
        reply
    }

    pub fn acquire(&mut self, count: u16, cost: u64, ttl: u64) -> AcquireGroup {
        self.leases += 1;
        AcquireGroup {
            lease: LeaseId(self.leases),
            class: ClassName::new("default").unwrap(),
            tenant: TenantName::new("default").unwrap(),
            tier: Tier::Standard,
            costs: vec![cost],
            units: vec![(UnitName::requests(), cost)],
            count,
            ttl_ms: ttl,
        }
    }

    /// Asks for one permit of cost 1, and answers its decision with its lease.
    pub fn ask(&mut self) -> (LeaseId, Decision) {
        let group = self.acquire(1, 1, 60_000);
        let lease = group.lease;
        (lease, self.commit(Vec::new(), vec![group]).decisions.remove(0))
    }

    /// Pauses for 5 s, resumes, deletes.
    pub fn pause_and_resume(&mut self) {
        let channel = self.keys.channel();
        let call = |keys: &Keys, budget: &BudgetName, parts: &[&str], more: &[&str]| ScriptCall {
            keys: keys.all(budget, parts),
            args: [budget.as_str(), &channel].iter().chain(more).map(|arg| arg.as_bytes().to_vec()).collect(),
        };
        let (keys, budget) = (self.keys.clone(), self.budget.clone());
        self.run(scripts::pause(), &call(&keys, &budget, &["spec", "state", "pause"], &["5000"]));
        self.run(scripts::resume(), &call(&keys, &budget, &["spec", "pause"], &[]));
        self.run(scripts::delete(), &call(&keys, &budget, &["spec", "state", "pause", "use", "wait"], &[]));
    }

    pub fn stored(&mut self) -> Stored {
        let call = encode_get(&self.keys, &self.budget);
        decode_stored(self.run(scripts::get(), &call)).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            MACHINE.with(|machine| machine.replace(self.vm.take()));
        }
    }
}

/// A settlement of one permit.
pub fn settle(lease: LeaseId, kind: SettleKind) -> SettleGroup {
    SettleGroup {
        lease,
        indexes: vec![0],
        kind,
        costs: Vec::new(),
        units: Vec::new(),
        readings: Vec::new(),
        pause: None,
        age_ms: 0,
    }
}

/// A budget of these limits.
pub fn budget(limits: Vec<LimitSpec>) -> BudgetSpec {
    BudgetSpec::new(BudgetName::new("b").unwrap(), limits)
}

/// A sliding window of `capacity` a minute.
pub fn minute(capacity: u64) -> LimitSpec {
    let window = Duration::from_secs(60);
    let kind = LimitKind::Window { capacity, window, aligned: false, on_clock: false };
    LimitSpec::new(LimitName::new("requests").unwrap(), kind)
}
