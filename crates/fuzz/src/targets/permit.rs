//! Input: text as it comes from a caller; and as bytes, an id as we give it out.

use bursar_quota::{BudgetName, ClassName, LeaseId, MAX_LEASE_PERMITS, PermitId, PermitIdError, class_tag};

/// One id has one text, and is of one budget.
pub(crate) fn run(data: &[u8]) {
    let ours = BudgetName::new("autotask/prod").unwrap();
    if let Ok(text) = std::str::from_utf8(data) {
        match text.parse::<PermitId>() {
            Ok(id) => {
                assert_eq!(id.to_string(), text);
                assert!(id.index() < MAX_LEASE_PERMITS);
                let of_ours = PermitId::new(&ours, id.lease(), id.index());
                match PermitId::parse(&ours, text) {
                    Ok(read) => assert_eq!((read, of_ours.to_string().as_str()), (of_ours, text)),
                    Err(error) => {
                        assert_eq!(error, PermitIdError::OtherBudget { budget: ours.clone() });
                        assert_ne!(of_ours.to_string(), text);
                    }
                }
            }
            Err(error) => assert_eq!(error, PermitIdError::Malformed),
        }
    }
    let Some((number, rest)) = data.split_first_chunk::<16>() else { return };
    let Some((index, class)) = rest.split_first_chunk::<2>() else { return };
    let class = std::str::from_utf8(class).ok().and_then(|text| ClassName::new(text).ok());
    let class = class.unwrap_or_else(ClassName::default_class);
    let lease = LeaseId::new(&class, u128::from_be_bytes(*number));
    assert_eq!(lease.class_tag(), class_tag(&class));
    let id = PermitId::new(&ours, lease, u16::from_be_bytes(*index) % MAX_LEASE_PERMITS);
    let text = id.to_string();
    assert!(text.len() <= 64, "{text}");
    assert_eq!(PermitId::parse(&ours, &text), Ok(id));
}
