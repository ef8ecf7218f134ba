//! A budget of one limit on the embedded machine, asked directly: no task, no clock but the one given.

use std::{cell::RefCell, time::Duration};

use bursar_ledger::{
    Reply, Script, ScriptCall, Vm,
    codec::{Keys, decode_commit, decode_stored, encode_commit, encode_get, encode_put},
    scripts,
};
use bursar_quota::{
    AcquireGroup, BudgetName, BudgetSpec, ClassName, Commit, CommitReply, LeaseId, ReplicaName, SettleGroup,
    Stored, TenantName, Tier, UnitName,
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
        };
        spec.validate().unwrap();
        let spec = BudgetSpec { name: bench.budget.clone(), ..spec.clone() };
        let call = encode_put(&bench.keys, &spec).unwrap();
        bench.run(scripts::put(), &call);
        bench
    }

    fn run(&mut self, script: &Script, call: &ScriptCall) -> Reply {
        let (vm, _) = self.vm.as_mut().unwrap();
        let reply = vm.run(script, call, Duration::from_millis(self.now)).unwrap();
        vm.take_published();
        reply
    }

    pub fn commit(&mut self, settles: Vec<SettleGroup>, acquires: Vec<AcquireGroup>) -> CommitReply {
        let commit = Commit {
            replica: ReplicaName::new("r").unwrap(),
            spec_version: 1,
            waiting: 0,
            jitter: 0.5,
            settles,
            renews: Vec::new(),
            acquires,
        };
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
