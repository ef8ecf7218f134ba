//! What a reply must be, on whichever engine.

use bursar_ledger::{HostError, Reply, Script, ScriptCall, ScriptHost};

/// What a reply must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// Nothing.
    Nil,
    /// This number.
    Int(i64),
    /// A number from the first to the second.
    Within(i64, i64),
    /// Any number.
    AnyInt,
    /// This string.
    Bulk(&'static str),
    /// This status.
    Status(&'static str),
    /// These, in this order.
    List(&'static [Expect]),
    /// These strings, in any order.
    Unordered(&'static [&'static str]),
    /// These fields and values, the pairs in any order.
    Pairs(&'static [(&'static str, &'static str)]),
    /// Two whole numbers as text, the second below a million.
    Time,
    /// An error with this code.
    Code(&'static str),
    /// An error; engines code it differently.
    AnyError,
}

impl Expect {
    /// Whether `got` is as expected.
    pub(crate) fn matches(&self, got: &Result<Reply, HostError>) -> bool {
        match (self, got) {
            (Self::Code(code), Err(HostError::Script { code: got, .. })) => code == got,
            (Self::AnyError, Err(HostError::Script { .. })) => true,
            (_, Ok(reply)) => self.matches_reply(reply),
            _ => false,
        }
    }

    fn matches_reply(&self, got: &Reply) -> bool {
        match (self, got) {
            (Self::Nil, Reply::Nil) | (Self::AnyInt, Reply::Int(_)) => true,
            (Self::Int(n), Reply::Int(got)) => n == got,
            (Self::Within(least, most), Reply::Int(got)) => (least..=most).contains(&got),
            (Self::Bulk(text), Reply::Bulk(got)) => text.as_bytes() == got,
            (Self::Status(text), Reply::Status(got)) => text == got,
            (Self::List(all), Reply::Array(got)) => {
                all.len() == got.len() && all.iter().zip(got).all(|(one, got)| one.matches_reply(got))
            }
            (Self::Unordered(all), Reply::Array(got)) => {
                let mut got: Vec<_> = got.iter().filter_map(text).collect();
                let mut all: Vec<_> = all.iter().map(|text| (*text).to_owned()).collect();
                got.sort();
                all.sort();
                got == all
            }
            (Self::Pairs(all), Reply::Array(got)) => {
                let mut got: Vec<_> =
                    got.chunks(2).map(|pair| pair.iter().filter_map(text).collect::<Vec<_>>()).collect();
                let mut all: Vec<_> =
                    all.iter().map(|(name, value)| vec![(*name).to_owned(), (*value).to_owned()]).collect();
                got.sort();
                all.sort();
                got == all
            }
            (Self::Time, Reply::Array(got)) => {
                let parts: Vec<u64> =
                    got.iter().filter_map(text).filter_map(|text| text.parse().ok()).collect();
                got.len() == 2 && parts.len() == 2 && parts[1] < 1_000_000
            }
            _ => false,
        }
    }
}

fn text(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

/// Runs `source` and tells what was unexpected.
pub(crate) async fn unexpected(
    host: &dyn ScriptHost,
    source: &str,
    call: ScriptCall,
    expect: Expect,
    what: &str,
) -> Option<String> {
    let script: &'static Script = Box::leak(Box::new(Script::from_source("test", source.to_owned())));
    let got = host.run(script, call).await;
    (!expect.matches(&got)).then(|| format!("{what}: expected {expect:?}, got {got:?}"))
}
