//! One Lua state over one keyspace.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    rc::Rc,
    time::Duration,
};

use mlua::{Function, Lua, Table, Value};

use super::{
    convert::{reply, script_error},
    keyspace::{Keyspace, KeyspaceCopy},
    sandbox::{Fuel, Sandbox, unmetered},
};
use crate::{HostError, Reply, Script, ScriptCall};

/// Compiled scripts kept; a program has a dozen, so this bounds nothing but tests that make scripts up.
const CHUNKS_MAX: usize = 256;

/// What a [`Vm`] may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmLimits {
    /// Bytes of Lua memory; a run that needs more ends with an error. 64 MiB by default.
    pub lua_bytes_max: usize,
    /// Lua instructions a run may take, to within 10,000; some 100 million take a second. 100 million by default.
    pub instructions_max: u64,
    /// Estimated bytes of all keys; above it, runs that would write more end with [`HostError::Unavailable`] at
    /// their first write. 1 GiB by default.
    pub keyspace_bytes_max: usize,
}

impl Default for VmLimits {
    fn default() -> Self {
        Self { lua_bytes_max: 64 << 20, instructions_max: 100_000_000, keyspace_bytes_max: 1 << 30 }
    }
}

/// What the last run of a [`Vm`] took, and what its keys take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmUse {
    /// Lua instructions of the run, cut to whole 10,000.
    pub instructions: u64,
    /// Commands that the run called.
    pub commands: u64,
    /// Keys that there are, expired ones that were not swept yet included.
    pub keys: usize,
    /// Estimated bytes of all keys.
    pub bytes: usize,
}

/// Runs scripts one after the other, in the calling thread, as Redis would. The only state is the keyspace: a script
/// that fails leaves its writes, as in Redis, and nothing else.
pub struct Vm {
    sandbox: Sandbox,
    space: Rc<RefCell<Keyspace>>,
    fuel: Fuel,
    /// By SHA-1.
    chunks: HashMap<String, Function>,
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm").field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}

impl Vm {
    /// An empty keyspace within the default [`VmLimits`].
    ///
    /// # Errors
    /// There is no memory for a Lua state.
    pub fn new() -> Result<Self, HostError> {
        Self::with_limits(VmLimits::default())
    }

    /// An empty keyspace within `limits`.
    ///
    /// # Errors
    /// There is no memory for a Lua state, or `limits` leave it none.
    pub fn with_limits(limits: VmLimits) -> Result<Self, HostError> {
        let space = Rc::new(RefCell::new(Keyspace::new(limits.keyspace_bytes_max)));
        let fuel = Rc::new(Cell::new(0));
        let sandbox = Sandbox::new(&space, limits.lua_bytes_max, &fuel, limits.instructions_max)
            .map_err(|error| script_error(&error))?;
        Ok(Self { sandbox, space, fuel, chunks: HashMap::new() })
    }

    /// Runs `script` at `now` since the Unix epoch: that is what TIME answers, to the microsecond, and what keys expire
    /// by.
    ///
    /// # Errors
    /// [`HostError::Script`]: the script answered an error, broke, or exceeded its [`VmLimits`].
    /// [`HostError::Unavailable`]: the keyspace is full; nothing was written.
    pub fn run(&mut self, script: &Script, call: &ScriptCall, now: Duration) -> Result<Reply, HostError> {
        self.space.borrow_mut().begin(now, &call.keys);
        self.fuel.set(0);
        let result = self.evaluate(script, call);
        result.map_err(|error| {
            let told = script_error(&error);
            // Lua 5.1 fails an allocation without collecting first: garbage must not fail the next run.
            drop(error);
            drop(self.sandbox.lua.gc_collect());
            told
        })?
    }

    /// What scripts published since the last call: channel and payload, in order. At most 4096 are kept.
    pub fn take_published(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.space.borrow_mut().take_published()
    }

    /// What the last run took, and what the keys take.
    pub fn usage(&self) -> VmUse {
        let space = self.space.borrow();
        VmUse {
            instructions: self.fuel.get(),
            commands: space.commands(),
            keys: space.len(),
            bytes: space.bytes(),
        }
    }

    /// What all keys hold now.
    pub fn copy(&self) -> KeyspaceCopy {
        self.space.borrow().copy(None)
    }

    /// What these keys hold now; those that are not there are left out.
    pub fn copy_of(&self, keys: &[Vec<u8>]) -> KeyspaceCopy {
        self.space.borrow().copy(Some(keys))
    }

    /// Goes back to `copy`, of whichever machine: afterwards the keyspace holds that and nothing else.
    pub fn restore(&mut self, copy: &KeyspaceCopy) {
        self.space.borrow_mut().restore(copy);
    }

    fn evaluate(&mut self, script: &Script, call: &ScriptCall) -> mlua::Result<Result<Reply, HostError>> {
        unmetered(&self.sandbox.lua, |lua| {
            self.sandbox.globals.raw_set("KEYS", sequence(lua, &call.keys)?)?;
            self.sandbox.globals.raw_set("ARGV", sequence(lua, &call.args)?)
        })?;
        let value: Value = self.chunk(script)?.call(())?;
        Ok(reply(&value))
    }

    fn chunk(&mut self, script: &Script) -> mlua::Result<Function> {
        if let Some(chunk) = self.chunks.get(&script.sha1) {
            return Ok(chunk.clone());
        }
        // What a script includes only defines: it is run once, and the script's own code, as a function, every time.
        let (included, own) = script.source.split_at_checked(script.own_at).unwrap_or(("", &script.source));
        let chunk: Function = self
            .sandbox
            .lua
            .load(format!("{included}return function(...) {own}\nend"))
            .set_name(format!("={}", script.name))
            .set_environment(self.sandbox.environment.clone())
            .call(())?;
        if self.chunks.len() >= CHUNKS_MAX {
            self.chunks.clear();
        }
        self.chunks.insert(script.sha1.clone(), chunk.clone());
        Ok(chunk)
    }
}

fn sequence(lua: &Lua, items: &[Vec<u8>]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(items.len(), 0)?;
    for (at, item) in (1..).zip(items) {
        table.raw_seti(at, lua.create_string(item)?)?;
    }
    Ok(table)
}
