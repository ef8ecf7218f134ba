//! The store's section: what the ledger's Redis engine takes, or `url = "embedded"`, and files for its passwords.

use std::path::PathBuf;

use bursar_ledger::RedisConfig;

use super::{
    de,
    origin::Problem,
    settings::Wrong,
    tree::{Node, Value},
};

/// The address of the store in this process.
const EMBEDDED: &str = "embedded";

/// Keys that the ledger does not know, because they are about files.
const FILES: [&str; 2] = ["password_file", "sentinel_password_file"];

/// Where budgets live.
#[derive(Debug, Clone, Default)]
pub(crate) enum Store {
    /// In this process; gone with it.
    #[default]
    Embedded,
    /// In Redis or Valkey.
    Redis(Box<Redis>),
}

/// Redis or Valkey, with what comes from files.
#[derive(Debug, Clone)]
pub(crate) struct Redis {
    /// What the ledger takes; passwords in files are not in it yet.
    pub(crate) config: RedisConfig,
    /// A file with the password.
    pub(crate) password_file: Option<PathBuf>,
    /// A file with the password at the sentinels.
    pub(crate) sentinel_password_file: Option<PathBuf>,
}

impl Store {
    /// Reads the section `store`; absent: embedded.
    pub(super) fn read(section: Option<&Node>) -> Result<Self, Problem> {
        let Some(section) = section else { return Ok(Self::Embedded) };
        let mut rest = section.clone();
        if let Value::Map(entries) = &mut rest.value {
            entries.retain(|entry| !FILES.contains(&entry.key.as_str()));
        }
        let file = |key: &str| match section.get(key) {
            Some(node) => de::read::<PathBuf>(node, &format!("store.{key}")).map(Some),
            None => Ok(None),
        };
        let [password_file, sentinel_password_file] = FILES.map(file);
        let embedded = match section.get("url").map(|node| &node.value) {
            None => true,
            Some(Value::Text(text) | Value::Loose(text)) => text == EMBEDDED,
            Some(_) => false,
        };
        let config: RedisConfig = de::read(&rest, "store").map_err(|mut problem| {
            if problem.problem.starts_with("unknown key") {
                problem.problem.push_str(&format!(", {}", FILES.join(", ")));
            }
            problem
        })?;
        let redis =
            Redis { config, password_file: password_file?, sentinel_password_file: sentinel_password_file? };
        Ok(if embedded { Self::Embedded } else { Self::Redis(Box::new(redis)) })
    }

    /// What is wrong with it, by key.
    pub(super) fn wrongs(&self) -> Vec<Wrong> {
        let Self::Redis(redis) = self else { return Vec::new() };
        let mut config = redis.config.clone();
        let mut wrongs = Vec::new();
        let files = [
            ("password", &redis.password_file, &mut config.password),
            ("sentinel_password", &redis.sentinel_password_file, &mut config.sentinel_password),
        ];
        for (key, file, text) in files {
            if file.is_some() && text.is_some() {
                wrongs.push((format!("{key}_file"), format!("give {key} or {key}_file, not both")));
            }
            // The file is not read here; that there will be a password is all that matters.
            if file.is_some() {
                *text = Some("from a file".into());
            }
        }
        if let Err(error) = config.validate() {
            wrongs.push((error.field.to_owned(), error.problem));
        }
        wrongs
    }

    /// Where it is, for people: no user, no password.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Embedded => EMBEDDED.to_owned(),
            Self::Redis(redis) => without_login(&redis.config.url),
        }
    }
}

/// An address less its user and password.
fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
        }
        None => url.to_owned(),
    }
}
