//! The Docker engine, if there is one.

use crate::{
    command::{Run, Trouble},
    console::Console,
};

/// The engine's version; an error says that there is no engine within reach.
pub(crate) fn engine(console: &Console) -> Result<String, Trouble> {
    let asked = Run::new(console, "docker").args(["version", "--format", "{{.Server.Version}}"]).capture();
    asked.map_err(|trouble| match trouble {
        Trouble::Failed(why) | Trouble::Missing(why) => Trouble::Missing(format!("no Docker engine: {why}")),
    })
}

/// How Compose is called here: the engine's plugin, or the older program of its own.
pub(crate) fn compose(console: &Console) -> Result<Vec<&'static str>, Trouble> {
    let ways: [&[&'static str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    let works = |way: &&&[&str]| Run::new(console, way[0]).args(&way[1..]).arg("version").succeeds();
    let found = ways.iter().find(works).map(|way| way.to_vec());
    found.ok_or_else(|| {
        Trouble::Missing("no Compose: neither `docker compose` nor `docker-compose`".to_owned())
    })
}
