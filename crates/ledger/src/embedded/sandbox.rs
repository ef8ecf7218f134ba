//! What a script can see: the parts of Lua that behave alike on every engine, frozen.

use std::{
    cell::{Cell, RefCell},
    ffi::c_int,
    rc::Rc,
};

use mlua::{
    Error, HookTriggers, Lua, LuaOptions, MultiValue, Result, StdLib, Table, Value, VmState,
    state::{GcIncParams, GcMode},
};

use super::{
    convert::{error_table, lua_value, word},
    keyspace::{CommandError, Keyspace},
};

/// Instructions between two looks at the bound.
const HOOK_EVERY: u32 = 10_000;

/// A collection begins when there is so much, in percent of what the last one left: what that is hardly grows from run to run,
/// and most of a collection is to look through it.
const GC_PAUSE: c_int = 400;

/// What a script may call of Lua's own. `pcall` is not among them: it could swallow the error that ends a script,
/// and what it catches differs by engine; `redis.pcall` stays.
const FUNCTIONS: [&str; 10] =
    ["assert", "error", "ipairs", "next", "pairs", "select", "tonumber", "tostring", "type", "unpack"];
/// Libraries, with what is taken away from each.
const LIBRARIES: [(&str, &[&str]); 3] =
    [("string", &["dump"]), ("table", &[]), ("math", &["random", "randomseed"])];

/// A Lua state that holds nothing but the sandbox.
pub(super) struct Sandbox {
    pub(super) lua: Lua,
    /// What scripts run in. Empty: reads fall through to `globals`, writes raise.
    pub(super) environment: Table,
    /// What scripts see.
    pub(super) globals: Table,
}

/// Instructions that the current run has used, to the granularity of the hook.
pub(super) type Fuel = Rc<Cell<u64>>;

impl Sandbox {
    /// A state that takes at most `memory_max` bytes and ends a run after `fuel_max` instructions.
    pub(super) fn new(
        space: &Rc<RefCell<Keyspace>>,
        memory_max: usize,
        fuel: &Fuel,
        fuel_max: u64,
    ) -> Result<Self> {
        let lua = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::new())?;
        lua.set_memory_limit(memory_max)?;
        lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().pause(GC_PAUSE)));
        let used = Rc::clone(fuel);
        lua.set_hook(HookTriggers::new().every_nth_instruction(HOOK_EVERY), move |_, _| {
            used.set(used.get().saturating_add(u64::from(HOOK_EVERY)));
            if used.get() > fuel_max {
                return Err(refuse("the script ran too long"));
            }
            Ok(VmState::Continue)
        })?;
        let globals = lua.create_table()?;
        for name in FUNCTIONS {
            globals.raw_set(name, lua.globals().raw_get::<Value>(name)?)?;
        }
        for (name, removed) in LIBRARIES {
            let library: Table = lua.globals().raw_get(name)?;
            for function in removed {
                library.raw_set(*function, Value::Nil)?;
            }
            globals.raw_set(name, frozen(&lua, &library)?)?;
        }
        globals.raw_set("redis", frozen(&lua, &redis_table(&lua, space)?)?)?;
        #[cfg(feature = "testing")]
        crate::testing::install_probes(&lua, &globals)?;
        let environment = frozen(&lua, &globals)?;
        refuse_undefined(&lua, &globals)?;
        Ok(Self { lua, environment, globals })
    }
}

/// A read-only view of `table`.
fn frozen(lua: &Lua, table: &Table) -> Result<Table> {
    let meta = lua.create_table()?;
    meta.raw_set("__index", table)?;
    meta.raw_set(
        "__newindex",
        lua.create_function(|_, (_, name, _): (Value, Value, Value)| -> Result<()> {
            Err(refuse(format!("attempt to write the frozen '{}'", shown(&name))))
        })?,
    )?;
    let view = lua.create_table()?;
    view.set_metatable(Some(meta))?;
    Ok(view)
}

/// Makes a read of a name that `table` lacks raise.
fn refuse_undefined(lua: &Lua, table: &Table) -> Result<()> {
    let meta = lua.create_table()?;
    meta.raw_set(
        "__index",
        lua.create_function(|_, (_, name): (Value, Value)| -> Result<()> {
            Err(refuse(format!("attempt to read the undefined global '{}'", shown(&name))))
        })?,
    )?;
    table.set_metatable(Some(meta))
}

fn redis_table(lua: &Lua, space: &Rc<RefCell<Keyspace>>) -> Result<Table> {
    let redis = lua.create_table()?;
    let keyspace = Rc::clone(space);
    redis.raw_set(
        "call",
        lua.create_function(move |lua, words: MultiValue| {
            call(lua, &keyspace, &words)?.map_err(Error::external)
        })?,
    )?;
    let keyspace = Rc::clone(space);
    redis.raw_set(
        "pcall",
        lua.create_function(move |lua, words: MultiValue| match call(lua, &keyspace, &words)? {
            Ok(value) => Ok(value),
            Err(error) => error_table(lua, error.to_string().as_bytes()),
        })?,
    )?;
    redis.raw_set(
        "error_reply",
        lua.create_function(|lua, text: Value| {
            let Value::String(text) = text else { return error_table(lua, WRONG_REPLY.as_bytes()) };
            let bytes = text.as_bytes();
            let bytes = bytes.strip_prefix(b"-").unwrap_or(&bytes);
            if bytes.contains(&b' ') {
                return error_table(lua, bytes);
            }
            error_table(lua, &[b"ERR ", bytes].concat())
        })?,
    )?;
    redis.raw_set(
        "status_reply",
        lua.create_function(|lua, text: Value| {
            let Value::String(text) = text else { return error_table(lua, WRONG_REPLY.as_bytes()) };
            let table = lua.create_table()?;
            table.raw_set("ok", text)?;
            Ok(Value::Table(table))
        })?,
    )?;
    Ok(redis)
}

const WRONG_REPLY: &str = "ERR wrong number or type of arguments";

/// Does one command. The outer error is the VM's own: out of memory.
fn call(
    lua: &Lua,
    space: &Rc<RefCell<Keyspace>>,
    words: &MultiValue,
) -> Result<std::result::Result<Value, CommandError>> {
    let words = match words.iter().map(word).collect::<std::result::Result<Vec<_>, _>>() {
        Ok(words) => words,
        Err(error) => return Ok(Err(error)),
    };
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_ref()).collect();
    match space.borrow_mut().execute(&words) {
        Ok(output) => unmetered(lua, |lua| lua_value(lua, &output)).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Does `work` with the memory limit off: under it every small allocation is a protected call, a quarter of a run's
/// time. For what is bounded otherwise; the script's own next allocation meets the limit again.
pub(super) fn unmetered<T>(lua: &Lua, work: impl FnOnce(&Lua) -> Result<T>) -> Result<T> {
    let limit = lua.set_memory_limit(0)?;
    let done = work(lua);
    lua.set_memory_limit(limit)?;
    done
}

fn refuse(problem: impl Into<String>) -> Error {
    Error::external(CommandError::plain(problem.into()))
}

fn shown(name: &Value) -> String {
    name.as_string().map_or_else(|| name.type_name().to_owned(), |text| text.to_string_lossy())
}
