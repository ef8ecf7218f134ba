//! Input: the profile's name, a line end, a response.

use std::{collections::BTreeMap, sync::OnceLock};

use bursar_dialect::{Profile, Profiles};

use crate::{
    response::{Response, cut},
    seeds,
};

/// The profiles that are compiled in, and those of the recorded exchanges.
fn profiles() -> &'static BTreeMap<String, Profile> {
    static PROFILES: OnceLock<BTreeMap<String, Profile>> = OnceLock::new();
    PROFILES.get_or_init(|| {
        let builtin = Profiles::builtin();
        let own = seeds::exchanges().into_iter().flat_map(|file| file.profiles);
        let own = own.map(|text| Profile::from_toml(&text).unwrap());
        let builtin: Vec<_> =
            builtin.names().map(|name| Profile::clone(builtin.get(name).unwrap())).collect();
        own.chain(builtin).map(|profile| (profile.name.to_string(), profile)).collect()
    })
}

/// What a profile reads keeps its bounds.
pub(crate) fn run(data: &[u8]) {
    let (name, response) = cut(data, b"\n");
    let named = std::str::from_utf8(name).ok().and_then(|name| profiles().get(name));
    let response = Response::parse(response);
    match named {
        Some(profile) => drop(response.observe(profile)),
        None => profiles().values().for_each(|profile| drop(response.observe(profile))),
    }
}
