//! The profiles there are: compiled in, and added from the configuration.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use bursar_quota::ProfileName;

use crate::{Profile, ProfileError};

/// The most profiles there are at once.
const MAX_PROFILES: usize = 256;

/// The profiles that are compiled in; `generic` is first.
const BUILTIN: [&str; 4] = [
    include_str!("../profiles/generic.toml"),
    include_str!("../profiles/ietf.toml"),
    include_str!("../profiles/autotask.toml"),
    include_str!("../profiles/salestim.toml"),
];

/// All profiles, by name. At most 256.
#[derive(Debug, Clone)]
pub struct Profiles {
    by_name: BTreeMap<ProfileName, Arc<Profile>>,
    generic: Arc<Profile>,
}

impl Profiles {
    /// Those that are compiled in: `autotask`, `salestim`, `ietf`, `generic`.
    #[allow(
        clippy::expect_used,
        reason = "the texts are constants of this crate, and a test reads each of them"
    )]
    pub fn builtin() -> Self {
        let parsed =
            BUILTIN.map(|text| Arc::new(Profile::from_toml(text).expect("a compiled-in profile is right")));
        let generic = Arc::clone(&parsed[0]);
        let by_name = parsed.into_iter().map(|profile| (profile.name.clone(), profile)).collect();
        Self { by_name, generic }
    }

    /// Adds a profile; one of the same name is replaced, `generic` included. Fails with the field, and the line where
    /// it is about a line, and then changes nothing.
    pub fn add_toml(&mut self, text: &str) -> Result<ProfileName, ProfileError> {
        let profile = Arc::new(Profile::from_toml(text)?);
        let name = profile.name.clone();
        let full = self.by_name.len() >= MAX_PROFILES;
        match self.by_name.entry(name.clone()) {
            Entry::Vacant(_) if full => {
                return Err(ProfileError::field(
                    "name",
                    format!("there are {MAX_PROFILES} profiles, the most"),
                ));
            }
            Entry::Vacant(place) => {
                place.insert(profile);
            }
            Entry::Occupied(mut place) => {
                if name.as_str() == "generic" {
                    self.generic = Arc::clone(&profile);
                }
                place.insert(profile);
            }
        }
        Ok(name)
    }

    /// The profile of this name.
    pub fn get(&self, name: &ProfileName) -> Option<&Arc<Profile>> {
        self.by_name.get(name)
    }

    /// The profile of a budget that names none.
    pub fn generic(&self) -> &Arc<Profile> {
        &self.generic
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &ProfileName> {
        self.by_name.keys()
    }
}

impl Default for Profiles {
    fn default() -> Self {
        Self::builtin()
    }
}
