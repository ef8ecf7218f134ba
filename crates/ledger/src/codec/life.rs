//! What a replica remembers of a budget's life in the store, and the call of `recover`.

use bursar_quota::{BudgetName, LedgerError};

use super::{Keys, Reader};
use crate::{Reply, ScriptCall};

/// What a commit told, to be remembered even if the store forgets it. Times are the store's, in ms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The incarnation of the budget's state.
    pub incarnation: String,
    /// How many commits it has seen, this one included.
    pub seq: u64,
    /// When it ran.
    pub now_ms: u64,
    /// The latest deadline of all permits ever granted; 0: none was.
    pub deadline_ms: u64,
    /// Scopes that are paused, and until when; `None`: until resumed.
    pub pauses: Vec<(String, Option<u64>)>,
}

/// What a replica says of a budget with a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witness {
    /// Whose memory this is: the first replica that committed through it.
    pub name: String,
    /// The incarnation that it remembers; empty: none.
    pub incarnation: String,
    /// The highest sequence of it that was seen, by a commit of its own.
    pub seq: u64,
    /// The latest that the store's time can be when the script runs, by the replica's own clock; `None`: not known.
    pub latest_ms: Option<u64>,
    /// The earliest that it can be, likewise.
    pub earliest_ms: Option<u64>,
}

/// The last part of `commit`'s reply.
pub(super) fn remembered(mut reader: Reader) -> Result<Remembered, LedgerError> {
    let mut told = Remembered {
        incarnation: reader.text()?,
        seq: reader.num()?,
        now_ms: reader.num()?,
        deadline_ms: reader.num()?,
        pauses: Vec::new(),
    };
    while reader.left() > 0 {
        let (scope, until) = (reader.text()?, reader.text()?);
        let until = match until.as_str() {
            "-" => None,
            ms => Some(ms.parse().map_err(|_| {
                LedgerError::Corrupt(format!("commit: {ms:?} is no moment of a pause's end"))
            })?),
        };
        told.pauses.push((scope, until));
    }
    Ok(told)
}

/// The call of `recover`. `jitter`: random, `[0, 1)`.
pub fn encode_recover(
    keys: &Keys,
    budget: &BudgetName,
    told: &Remembered,
    witness: &Witness,
    jitter: f64,
) -> ScriptCall {
    let or_dash = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    let mut args = vec![
        budget.to_string(),
        keys.channel(),
        witness.name.clone(),
        format!("{jitter:.17e}"),
        or_dash(witness.latest_ms),
        told.incarnation.clone(),
        told.seq.to_string(),
        told.now_ms.to_string(),
        told.deadline_ms.to_string(),
        told.pauses.len().to_string(),
    ];
    for (scope, until) in &told.pauses {
        args.extend([scope.clone(), or_dash(*until)]);
    }
    ScriptCall {
        keys: keys.all(budget, &["spec", "state", "pause"]),
        args: args.into_iter().map(String::into_bytes).collect(),
    }
}

/// The reply of `recover`: the incarnation that is in force, its sequence, the store's time.
pub fn decode_recover(reply: Reply) -> Result<(String, u64, u64), LedgerError> {
    let mut reader = Reader::new("recover", reply)?;
    Ok((reader.text()?, reader.num()?, reader.num()?))
}
