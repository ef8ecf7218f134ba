//! Input: the store's address.

use bursar_ledger::RedisConfig;

/// The line of a configuration's `Debug` that says where it leads.
fn place(config: &RedisConfig) -> String {
    let shown = format!("{config:?}");
    let (_, rest) = shown.split_once("url: \"").unwrap();
    rest.split_once("\", user: ").unwrap().0.to_owned()
}

/// The address with another password, as good as its own: letters that are no hex digits are turned, so that escapes
/// stay what they are.
fn with_another_password(text: &str) -> Option<String> {
    let authority = text.split_once("://")?.1.split('/').next()?;
    let (_, password) = authority.rsplit_once('@')?.0.split_once(':')?;
    let from = password.as_ptr() as usize - text.as_ptr() as usize;
    let turn = |c: char| match c {
        'g'..='y' | 'G'..='Y' => char::from(c as u8 + 1),
        'z' => 'g',
        'Z' => 'G',
        other => other,
    };
    let other: String = password.chars().map(turn).collect();
    Some(format!("{}{other}{}", &text[..from], &text[from + password.len()..]))
}

/// What is shown of a configuration, and what is wrong with it.
fn told(config: &RedisConfig) -> String {
    match config.validate() {
        Ok(()) => format!("{config:?}"),
        Err(error) => {
            assert!(["url", "password"].contains(&error.field), "{error}");
            assert!(!error.problem.is_empty() && error.problem.len() < 300, "{error}");
            format!("{config:?} {error}")
        }
    }
}

/// The longest address that is read, bytes.
const LONGEST: usize = 2048;

/// What is told is the same whatever the password is; what is right leads where its place says.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = RedisConfig::at(text);
    let shown = told(&config);
    if let Some(other) = with_another_password(text) {
        assert_eq!(told(&RedisConfig::at(other)), shown);
    }
    if config.validate().is_ok() {
        let place = place(&config);
        assert!(!place.contains(|c: char| c.is_control()), "{place:?}");
        if place.len() > LONGEST {
            // What is written with escapes may be longer than an address may be.
            return;
        }
        let again = RedisConfig::at(&place);
        assert_eq!(again.validate(), Ok(()), "{place}");
        assert_eq!(self::place(&again), place);
    }
}
