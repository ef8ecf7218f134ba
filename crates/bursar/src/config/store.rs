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

/// What stands for the address that is not known while the store is embedded: a flag may name one later, and then the
/// other settings matter. With this one, none of them means nothing.
const ANY: &str = "rediss+sentinel://user:password@localhost:26379/service";

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
    /// Reads the section `store`, and tells what is wrong with it by key; absent: embedded.
    pub(super) fn read(section: Option<&Node>) -> Result<(Self, Vec<Wrong>), Problem> {
        let Some(section) = section else { return Ok((Self::Embedded, Vec::new())) };
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
        let wrongs = redis.wrongs(embedded);
        Ok((if embedded { Self::Embedded } else { Self::Redis(Box::new(redis)) }, wrongs))
    }

    /// Where it is, for people: no user, no password.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Embedded => EMBEDDED.to_owned(),
            Self::Redis(redis) => without_login(&redis.config.url),
        }
    }
}

impl Redis {
    /// What is wrong with it, by key.
    fn wrongs(&self, embedded: bool) -> Vec<Wrong> {
        let mut config = self.config.clone();
        if embedded {
            ANY.clone_into(&mut config.url);
        }
        let mut wrongs = Vec::new();
        let files = [
            ("password", &self.password_file, &mut config.password),
            ("sentinel_password", &self.sentinel_password_file, &mut config.sentinel_password),
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
