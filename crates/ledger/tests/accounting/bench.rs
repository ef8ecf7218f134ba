//! A budget of one limit on the embedded machine, asked directly: no task, no clock but the one given.

use std::{cell::RefCell, sync::LazyLock, time::Duration};

use bursar_ledger::{
    HostError, KeyspaceCopy, Reply, Script, ScriptCall, Vm,
    codec::{
        Keys, Remembered, Witness, decode_commit, decode_event, decode_recover, decode_stored, encode_commit,
        encode_get, encode_put, encode_recover,
    },
    scripts,
    testing::PROBES_VARIABLE,
};
use bursar_quota::{
    AcquireGroup, BudgetName, BudgetSpec, ClassName, Commit, CommitReply, Decision, LeaseId, LedgerEvent,
    LimitKind, LimitName, LimitSpec, ReplicaName, Requests, SettleGroup, SettleKind, Stored, TenantName,
    Tier, UnitName,
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
    /// What the next commits say that their replica remembers, and what the last one told.
    pub witness: Witness,
    pub told: Remembered,
    losses: u64,
    /// Whether it remembers by itself what it is told.
    pub remembers: bool,
}

impl Bench {
    /// A budget whose windows' ends have been borne out by readings.
    pub fn new(spec: &BudgetSpec) -> Self {
        let mut bench = Self::unproven(spec);
        bench.prove(spec);
        bench
    }

    /// Has every aligned window's ends borne out.
    pub fn prove(&mut self, spec: &BudgetSpec) {
        static PROVE: LazyLock<Script> = LazyLock::new(|| {
            let text = "local the_key = KEYS[1] local record = redis.call('HGET', the_key, ARGV[1]) \
                        record = record and record .. ' proven=1' or 'proven=1' \
                        redis.call('HSET', the_key, ARGV[1], record) return 1";
            Script::from_source("prove", text.to_owned())
        });
        for limit in &spec.limits {
            if matches!(limit.kind, LimitKind::Window { aligned: true, .. }) {
                let field = format!("{}@{}", limit.name, self.version).into_bytes();
                let call = ScriptCall { keys: vec![self.keys.of(&self.budget, "state")], args: vec![field] };
                self.run(&PROVE, &call);
            }
        }
    }

    /// A budget as it is declared.
    pub fn unproven(spec: &BudgetSpec) -> Self {
        let vm = machine();
        let mut bench = Self {
            keys: Keys::new("t:"),
            budget: BudgetName::new(&format!("b{}", vm.1)).unwrap(),
            vm: Some((vm.0, vm.1 + 1)),
            now: START,
            leases: 0,
            version: 0,
            announced: Vec::new(),
            witness: Witness::default(),
            told: Remembered::default(),
            losses: 0,
            remembers: false,
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
        self.call(script, call).unwrap()
    }

    fn call(&mut self, script: &Script, call: &ScriptCall) -> Result<Reply, HostError> {
        let (vm, _) = self.vm.as_mut().unwrap();
        let reply = vm.run(script, call, Duration::from_millis(self.now));
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
            contenders: Vec::new(),
            looks: Vec::new(),
            waiting: 0,
            jitter: 0.5,
            settles: Vec::new(),
            renews: Vec::new(),
            acquires: Vec::new(),
        }
    }

    pub fn send(&mut self, commit: Commit) -> CommitReply {
        let mut reply = self.try_send(&commit);
        if reply.is_none() {
            self.recover();
            reply = self.try_send(&commit);
        }
        let (reply, told) = reply.expect("found again");
        if self.remembers {
            self.witness = Witness {
                name: self.witness.name.clone(),
                incarnation: told.incarnation.clone(),
                seq: told.seq,
                latest_ms: None,
                earliest_ms: None,
            };
        }
        self.told = told;
        for decision in &reply.decisions {
            assert!(u64::from(decision.granted) <= 1024);
        }
        reply
    }

    /// `None`: the store knows less than this replica.
    pub fn try_send(&mut self, commit: &Commit) -> Option<(CommitReply, Remembered)> {
        let call = encode_commit(&self.keys, &self.budget, commit, &self.witness);
        match self.call(scripts::commit(), &call) {
            Ok(reply) => Some(decode_commit(reply).unwrap()),
            Err(HostError::Script { code, .. }) if code == "LOST" => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The code with which a commit of nothing is refused.
    pub fn refused_as(&mut self) -> String {
        let call = encode_commit(&self.keys, &self.budget, &self.empty(), &self.witness);
        match self.call(scripts::commit(), &call) {
            Err(HostError::Script { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    /// Deletes the budget, and knows of it still.
    pub fn delete(&mut self) {
        let mut call = self.by_operator(&[]);
        call.keys.extend(self.keys.all(&self.budget, &["use", "wait", "asked0", "asked1"]));
        self.run(scripts::delete(), &call);
    }

    /// Tells the store what it has forgotten, as `ScriptLedger` does.
    pub fn recover(&mut self) {
        self.try_recover().unwrap();
    }

    /// The same, or the code with which that is refused.
    pub fn try_recover(&mut self) -> Result<(), String> {
        self.losses += 1;
        // Any numbers that do not come again.
        let jitter = (self.losses as f64 * 0.618_033_988_7).fract();
        let call = encode_recover(&self.keys, &self.budget, &self.told, &self.witness, jitter);
        let reply = self.call(scripts::recover(), &call).map_err(|error| match error {
            HostError::Script { code, .. } => code,
            error => panic!("{error}"),
        })?;
        let (incarnation, seq, _) = decode_recover(reply).unwrap();
        (self.witness.incarnation, self.witness.seq) = (incarnation, seq);
        Ok(())
    }

    /// What the store holds.
    pub fn copy(&self) -> KeyspaceCopy {
        self.vm.as_ref().unwrap().0.copy()
    }

    /// The store comes back as it was then; with `None` empty, and the budget is declared again.
    pub fn come_back(&mut self, copy: Option<&KeyspaceCopy>, spec: &BudgetSpec) {
        match copy {
            Some(copy) => self.vm.as_mut().unwrap().0.restore(copy),
            None => {
                self.come_back_empty();
                self.put(spec);
            }
        }
    }

    /// The store comes back empty, and nobody has declared the budget again.
    pub fn come_back_empty(&mut self) {
        self.vm.as_mut().unwrap().0.restore(&KeyspaceCopy::default());
        self.version = 0;
    }

    pub fn acquire(&mut self, count: u16, cost: u64, ttl: u64) -> AcquireGroup {
        self.leases += 1;
        AcquireGroup {
            lease: LeaseId(self.leases),
            requests: Requests::None,
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

    /// Takes `count` permits of cost 1, and settles them; how many there were.
    pub fn ask_for(&mut self, count: u16) -> u16 {
        let group = self.acquire(count, 1, 60_000);
        let lease = group.lease;
        let granted = self.commit(Vec::new(), vec![group]).decisions.remove(0).granted;
        let indexes = (0..granted).collect();
        self.commit(vec![SettleGroup { indexes, ..settle(lease, SettleKind::Accepted) }], Vec::new());
        granted
    }

    /// What the store has in `wait`, by field.
    pub fn waits(&mut self) -> Vec<(String, String)> {
        static READ: LazyLock<Script> = LazyLock::new(|| {
            Script::from_source(
                "waits",
                "local the_key = KEYS[1] return redis.call('HGETALL', the_key)".to_owned(),
            )
        });
        let call = ScriptCall { keys: vec![self.keys.of(&self.budget, "wait")], args: Vec::new() };
        let Reply::Array(flat) = self.run(&READ, &call) else { panic!("a list of fields") };
        let text = |reply: &Reply| match reply {
            Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("{other:?}"),
        };
        flat.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }

    /// A field of the state, as it is stored.
    pub fn state(&mut self, field: &str) -> String {
        static READ: LazyLock<Script> = LazyLock::new(|| {
            let text = "local the_key = KEYS[1] return redis.call('HGET', the_key, ARGV[1])";
            Script::from_source("state", text.to_owned())
        });
        let keys = vec![self.keys.of(&self.budget, "state")];
        let Reply::Bulk(text) = self.run(&READ, &ScriptCall { keys, args: vec![field.as_bytes().to_vec()] })
        else {
            panic!("no {field}")
        };
        String::from_utf8(text).unwrap()
    }

    /// Puts a field of `wait` as another version of the scripts would write it.
    pub fn put_wait(&mut self, field: &str, text: &str) {
        static WRITE: LazyLock<Script> = LazyLock::new(|| {
            Script::from_source(
                "put_wait",
                "local the_key = KEYS[1] return redis.call('HSET', the_key, ARGV[1], ARGV[2])".to_owned(),
            )
        });
        let args = vec![field.as_bytes().to_vec(), text.as_bytes().to_vec()];
        self.run(&WRITE, &ScriptCall { keys: vec![self.keys.of(&self.budget, "wait")], args });
    }

    /// Instructions of the last run, cut to whole 10,000. Under probes, which take most of them: none.
    pub fn instructions(&self) -> u64 {
        if std::env::var_os(PROBES_VARIABLE).is_some() {
            return 0;
        }
        self.vm.as_ref().unwrap().0.usage().instructions
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
        self.run(scripts::resume(), &call(&keys, &budget, &["spec", "state", "pause"], &[]));
        let all = ["spec", "state", "pause", "use", "wait", "asked0", "asked1"];
        self.run(scripts::delete(), &call(&keys, &budget, &all, &[]));
    }

    /// An operator's resume.
    pub fn resume(&mut self) {
        let call = self.by_operator(&[]);
        self.run(scripts::resume(), &call);
    }

    /// An operator's pause, for so many milliseconds or, by `-`, until it is resumed.
    pub fn pause(&mut self, span: &str) {
        let call = self.by_operator(&[span]);
        self.run(scripts::pause(), &call);
    }

    fn by_operator(&self, more: &[&str]) -> ScriptCall {
        let channel = self.keys.channel();
        let args = [self.budget.as_str(), &channel].into_iter().chain(more.iter().copied());
        ScriptCall {
            keys: self.keys.all(&self.budget, &["spec", "state", "pause"]),
            args: args.map(|arg| arg.as_bytes().to_vec()).collect(),
        }
    }

    /// The server evicts this key of the budget's.
    pub fn evict(&mut self, part: &str) {
        static DROP: LazyLock<Script> = LazyLock::new(|| {
            let text = "local the_key = KEYS[1] return redis.call('DEL', the_key)";
            Script::from_source("evict", text.to_owned())
        });
        let keys = vec![self.keys.of(&self.budget, part)];
        if part == "spec" {
            self.version = 0;
        }
        self.run(&DROP, &ScriptCall { keys, args: Vec::new() });
    }

    /// Whether the store knows the budget.
    pub fn is_known(&mut self) -> bool {
        let call = ScriptCall { keys: self.keys.all(&self.budget, &["spec"]), args: Vec::new() };
        self.run(scripts::knows(), &call) == Reply::Int(1)
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
