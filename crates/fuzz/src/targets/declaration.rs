//! Input: a `PutBudgetRequest` in protobuf's form.

use std::sync::OnceLock;

use bursar_dialect::Profiles;
use bursar_server::fuzzing;
use bursar_wire::v1::PutBudgetRequest;
use prost::Message as _;

use super::request::turned_away;
use crate::checks;

/// A declaration that is taken is valid, and what is answered is the same when it is put again.
pub(crate) fn run(data: &[u8]) {
    static PROFILES: OnceLock<Profiles> = OnceLock::new();
    let profiles = PROFILES.get_or_init(Profiles::builtin);
    let Ok(request) = PutBudgetRequest::decode(data) else { return };
    match fuzzing::put(request, profiles) {
        Ok(spec) => {
            checks::spec(&spec);
            let again = PutBudgetRequest { budget: Some(fuzzing::declared(&spec)) };
            assert_eq!(fuzzing::put(again, profiles).unwrap(), spec);
        }
        Err(away) => turned_away(&away, &["budget"]),
    }
}
