//! Announcements: `budget \n kind \n value ...`.

use bursar_quota::{BudgetName, EventKind, LedgerEvent, LimitName};

/// Reads an announcement; `None` where it is none of ours: anybody may publish.
pub fn decode_event(payload: &[u8]) -> Option<LedgerEvent> {
    let mut parts = std::str::from_utf8(payload).ok()?.split('\n');
    let budget = BudgetName::new(parts.next()?).ok()?;
    let kind = parts.next()?;
    let mut text = || parts.next();
    let limit = |name: &str| LimitName::new(name).ok();
    let num = |text: &str| text.parse::<u64>().ok();
    let kind = match kind {
        "wake" => EventKind::Wake,
        "paused" => EventKind::Paused { scope: text()?.to_owned(), for_ms: num(text()?) },
        "resumed" => EventKind::Resumed { scope: text()?.to_owned() },
        "limit_changed" => {
            EventKind::LimitChanged { limit: limit(text()?)?, from: num(text()?)?, to: num(text()?)? }
        }
        "threshold" => EventKind::ThresholdCrossed {
            limit: limit(text()?)?,
            used: num(text()?)?,
            capacity: num(text()?)?,
        },
        "foreign" => EventKind::ForeignUse { limit: limit(text()?)?, cost: num(text()?)? },
        "rung" => EventKind::RungChanged {
            limit: limit(text()?)?,
            from: text()?.to_owned(),
            to: text()?.to_owned(),
        },
        "spec" => EventKind::SpecChanged { version: num(text()?)? },
        "deleted" => EventKind::Deleted,
        "state_lost" => EventKind::StateLost,
        _ => return None,
    };
    Some(LedgerEvent { budget, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_rung_names_both() {
        let limit = LimitName::new("w").unwrap();
        let kind = EventKind::RungChanged { limit, from: "aligned".into(), to: "paced".into() };
        let budget = BudgetName::new("b").unwrap();
        assert_eq!(decode_event(b"b\nrung\nw\naligned\npaced"), Some(LedgerEvent { budget, kind }));
        assert_eq!(decode_event(b"b\nrung\nw\naligned"), None);
        assert_eq!(decode_event(b"b\nrung\nno limit\naligned\npaced"), None);
    }
}
