//! Which globals a script touches, from its compiled form: exact, whatever is local where.

/// A global that is read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Global {
    pub(super) name: String,
    pub(super) written: bool,
    /// In the expanded source, from 1.
    pub(super) line: usize,
}

/// Every use of a global in `source`, whose includes are expanded.
///
/// # Errors
/// The compiler's message.
pub(super) fn globals(source: &str) -> Result<Vec<Global>, String> {
    let lua = mlua::Lua::new();
    let chunk = lua.load(source).set_name("=script").into_function().map_err(|error| error.to_string())?;
    let code = chunk.dump(false);
    let mut reader = Reader { rest: &code, found: Vec::new() };
    reader.header().and_then(|()| reader.function()).ok_or("not the bytecode of Lua 5.1 on 64 bits")?;
    reader.found.sort_by_key(|global| global.line);
    Ok(reader.found)
}

/// Reads Lua 5.1's dump format: little-endian, `int` of 4 bytes, `size_t`, `lua_Number` of 8.
struct Reader<'a> {
    rest: &'a [u8],
    found: Vec<Global>,
}

const OP_GETGLOBAL: u32 = 5;
const OP_SETGLOBAL: u32 = 7;

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn int(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.int()?).ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(u64::from_le_bytes(self.take(8)?.try_into().ok()?)).ok()?;
        let bytes = self.take(length)?;
        Some(String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)).into_owned())
    }

    fn header(&mut self) -> Option<()> {
        (self.take(12)? == b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00").then_some(())
    }

    fn function(&mut self) -> Option<()> {
        self.text()?;
        // Lines of the definition; upvalues, parameters, varargs, stack.
        self.take(4 + 4 + 4)?;
        let instructions = (0..self.count()?).map(|_| self.int()).collect::<Option<Vec<_>>>()?;
        let constants = (0..self.count()?).map(|_| self.constant()).collect::<Option<Vec<_>>>()?;
        for _ in 0..self.count()? {
            self.function()?;
        }
        let lines = (0..self.count()?).map(|_| self.count()).collect::<Option<Vec<_>>>()?;
        for _ in 0..self.count()? {
            self.text()?;
            self.take(4 + 4)?;
        }
        for _ in 0..self.count()? {
            self.text()?;
        }
        for (instruction, line) in instructions.into_iter().zip(lines) {
            let operation = instruction & 0x3f;
            if operation == OP_GETGLOBAL || operation == OP_SETGLOBAL {
                let name = constants.get(usize::try_from(instruction >> 14).ok()?)?.clone()?;
                self.found.push(Global { name, written: operation == OP_SETGLOBAL, line });
            }
        }
        Some(())
    }

    /// A constant's text, if it is one.
    fn constant(&mut self) -> Option<Option<String>> {
        match self.take(1)? {
            [0] => Some(None),
            [1] => self.take(1).map(|_| None),
            [3] => self.take(8).map(|_| None),
            [4] => self.text().map(Some),
            _ => None,
        }
    }
}

#[test]
fn reads_and_writes_are_found_wherever_they_stand() {
    let source =
        "local a = b\nlocal function f()\n  local b = true\n  c = b and a.d or 1.5\nend\nreturn f(e)";
    let found: Vec<_> = globals(source).unwrap().into_iter().map(|g| (g.name, g.written, g.line)).collect();
    let expected = [("b", false, 1), ("c", true, 4), ("e", false, 6)];
    assert_eq!(found, expected.map(|(name, written, line)| (name.to_owned(), written, line)));
    assert!(globals("return )").unwrap_err().contains("script:1"));
}
