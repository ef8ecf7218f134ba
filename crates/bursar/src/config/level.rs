//! `log.level`: which lines are logged.

use tracing_subscriber::filter::{LevelFilter, Targets};

const LEVELS: [(&str, LevelFilter); 6] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
    ("off", LevelFilter::OFF),
];

/// Reads parts by commas, each a level or `target=level`. The library's own reading takes any bare word that is no level
/// for a target, so that `warning` would log nothing and say nothing.
pub(crate) fn targets(text: &str) -> Result<Targets, String> {
    let level = |name: &str| {
        let known = LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim()));
        known.map(|(_, level)| *level)
    };
    text.split(',').try_fold(Targets::new(), |targets, part| {
        let read = match part.split_once('=') {
            Some((target, name)) if !target.trim().is_empty() => {
                level(name).map(|level| targets.with_target(target.trim(), level))
            }
            Some(_) => None,
            None => level(part).map(|level| targets.with_default(level)),
        };
        read.ok_or_else(|| {
            let known = LEVELS.map(|(name, _)| name).join(", ");
            format!("{:?} is no level: write one of {known}, or target=level, or several by commas as in info,bursar_ledger=debug", part.trim())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn a_word_that_is_no_level_is_no_target_either() {
        for right in
            ["info", "OFF", "info,bursar_ledger=debug", " warn , h2 = off ", "bursar_server::serve=trace"]
        {
            assert!(targets(right).is_ok(), "{right}");
        }
        for wrong in ["warning", "loud", "", "info,", "info,bursar_ledger", "a=loud", "=info", "3"] {
            let told = targets(wrong).unwrap_err();
            assert!(told.contains("error, warn, info, debug, trace, off, or target=level"), "{told}");
        }
    }
}
