//! What an error of the server or of the way to it means: whose it is, and whether trying again helps.

use redis::{ErrorKind, RedisError};

use super::certificate;
use crate::HostError;

/// The longest cause that is passed on, in bytes.
const MAX_CAUSE: usize = 300;

/// What to do about an error. Trying a script again is always safe: whatever it does is keyed by ids that its caller
/// chose, so that a second run of the same call changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The script's own answer.
    Script(HostError),
    /// The server does not have the script: send its source.
    NoScript,
    /// A passing state of the server: try again there.
    Later(String),
    /// The server may have been deposed, and not know it: try again there, and see who is master now.
    Deposed(String),
    /// The connection is of no more use, or leads to the wrong server: try again on another one.
    Reconnect(String),
    /// Nothing that this process can do helps: the configuration, there or here, is wrong.
    Never(String),
}

impl Verdict {
    /// Judges an error of a call or of connecting.
    pub(super) fn of(error: &RedisError) -> Self {
        if let Some(problem) = certificate::problem(error) {
            return Self::Never(clip(problem));
        }
        match (error.kind(), error.code()) {
            (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) => {
                Self::of_server(code, error.detail())
            }
            (
                ErrorKind::AuthenticationFailed
                | ErrorKind::InvalidClientConfig
                | ErrorKind::Client
                | ErrorKind::RESP3NotSupported
                | ErrorKind::EmptySentinelList,
                _,
            ) => Self::Never(cause(error)),
            (ErrorKind::MasterNameNotFoundBySentinel, _) => {
                Self::Reconnect("no sentinel knows a master of this service that answers as one".into())
            }
            _ => Self::Reconnect(cause(error)),
        }
    }

    fn of_server(code: &str, detail: Option<&str>) -> Self {
        // Redis before 7.0 wraps what a command of a script failed with into an error of its own.
        let (code, detail) = match detail {
            Some(detail) if code == "ERR" => unwrap(detail).unwrap_or((code, Some(detail))),
            _ => (code, detail),
        };
        let cause = || clip(format!("{code} {}", detail.unwrap_or_default()));
        if detail.is_some_and(|detail| detail.contains(FORBIDDEN)) {
            return Self::Never(cause());
        }
        match code {
            "NOSCRIPT" => Self::NoScript,
            "LOADING" | "TRYAGAIN" | "BUSY" | "OOM" | "MISCONF" | "MOVED" | "ASK" => Self::Later(cause()),
            // So answers a master that is cut off from its replicas, or from the other masters of its cluster.
            "NOREPLICAS" | "CLUSTERDOWN" => Self::Deposed(cause()),
            // A read-only server was a master once: a failover happened, and who is master must be asked again.
            "READONLY" | "MASTERDOWN" | "NOAUTH" => Self::Reconnect(cause()),
            "WRONGPASS" | "NOPERM" => Self::Never(cause()),
            _ => Self::Script(of_script(code, detail)),
        }
    }

    /// The same, behind what may be the reason.
    pub(super) fn with_hint(self, hint: &str) -> Self {
        let hinted = |cause: String| clip(format!("{hint}: {cause}"));
        match self {
            Self::Later(cause) => Self::Later(hinted(cause)),
            Self::Deposed(cause) => Self::Deposed(hinted(cause)),
            Self::Reconnect(cause) => Self::Reconnect(hinted(cause)),
            Self::Never(cause) => Self::Never(hinted(cause)),
            Self::Script(_) | Self::NoScript => self,
        }
    }

    /// The cause, where there is one.
    pub(super) fn cause(&self) -> &str {
        match self {
            Self::Later(cause) | Self::Deposed(cause) | Self::Reconnect(cause) | Self::Never(cause) => cause,
            Self::Script(_) => "an error of a script",
            Self::NoScript => "the server forgets scripts as soon as it has them",
        }
    }
}

/// A script's error reply.
pub(super) fn of_script(code: &str, detail: Option<&str>) -> HostError {
    HostError::Script { code: code.to_owned(), message: detail.unwrap_or_default().to_owned() }
}

/// So the server tells, without a code of its own, what a script does that its user may not: a command, a key, a channel.
const FORBIDDEN: &str = "The user executing the script can't ";

/// States of the server that a command in a script can run into.
const STATES: [&str; 7] = ["READONLY", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "LOADING", "WRONGTYPE"];

/// The code and the text of an error that is wrapped as `Error running script (call to f_...): @user_script:1:
/// -READONLY You can't ...`.
fn unwrap(detail: &str) -> Option<(&'static str, Option<&str>)> {
    let inner = detail.strip_prefix("Error running script")?;
    STATES.into_iter().find_map(|state| {
        let at = inner.find(&format!(": -{state} ")).map(|at| at + 3);
        let at = at.or_else(|| inner.find(&format!(": {state} ")).map(|at| at + 2))?;
        Some((state, inner.get(at + state.len() + 1..)))
    })
}

/// An error's text, short and without a server's or a script's line breaks. The library redacts passwords itself.
pub(super) fn cause(error: &RedisError) -> String {
    if let Some(problem) = certificate::problem(error) {
        return clip(problem);
    }
    if error.kind() == ErrorKind::ClusterConnectionNotFound {
        let reason = "the cluster has assigned no slots, or none of the nodes that have some can be reached";
        return clip(format!("{reason}: {error}"));
    }
    clip(if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() })
}

fn clip(text: String) -> String {
    let mut text = text.replace(['\r', '\n'], " ");
    if text.len() > MAX_CAUSE {
        let end = (0..=MAX_CAUSE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Verdict {
        let (code, detail) = text.split_once(' ').map_or((text, None), |(code, rest)| (code, Some(rest)));
        Verdict::of_server(code, detail)
    }

    fn code(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Script(HostError::Script { code, .. }) => code,
            other => panic!("not a script's error: {other:?}"),
        }
    }

    #[test]
    fn a_scripts_error_is_told_by_its_leading_code() {
        assert_eq!(code(&of("NOBUDGET there is none")), "NOBUDGET");
        assert_eq!(code(&of("STALE 7")), "STALE");
        assert_eq!(code(&of("STALE")), "STALE");
        assert_eq!(
            code(&of("ERR user_script:1: attempt to index a nil value script: 0a, on @user_script:1.")),
            "ERR"
        );
        assert_eq!(
            code(&of("ERR Error running script (call to f_0a): @user_script:1: user_script:1: oops")),
            "ERR"
        );
    }

    #[test]
    fn both_wordings_of_a_commands_error_read_the_same() {
        let since_7 = of("WRONGTYPE Operation against a key script: 0a, on @user_script:1.");
        let before =
            of("ERR Error running script (call to f_0a): @user_script:1: WRONGTYPE Operation against a key");
        assert_eq!((code(&since_7), code(&before)), ("WRONGTYPE", "WRONGTYPE"));
        for text in [
            "READONLY You can't write against a read only replica. script: 0a, on @user_script:1.",
            "ERR Error running script (call to f_0a): @user_script:1: @user_script: 1: -READONLY You can't write",
        ] {
            let verdict = of(text);
            assert!(
                matches!(&verdict, Verdict::Reconnect(cause) if cause.starts_with("READONLY You")),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn states_that_pass_are_waited_for() {
        for text in ["LOADING Redis is loading", "OOM command not allowed", "BUSY Redis is busy"] {
            assert!(matches!(of(text), Verdict::Later(_)), "{text}");
        }
        for text in [
            "CLUSTERDOWN The cluster is down",
            "NOREPLICAS Not enough good replicas to write. script: 0a, on @user_script:1.",
            "ERR Error running script (call to f_0a): @user_script:1: @user_script: 1: -NOREPLICAS Not enough",
        ] {
            assert!(matches!(of(text), Verdict::Deposed(_)), "{text}");
        }
        assert_eq!(of("NOSCRIPT No matching script."), Verdict::NoScript);
        assert!(matches!(of("WRONGPASS invalid username-password pair"), Verdict::Never(_)));
        for text in [
            "ERR The user executing the script can't run this command or subcommand script: 0a, on @user_script:1.",
            "ERR Error running script (call to f_0a): @user_script:1: @user_script: 1: The user executing the script \
             can't run this command or subcommand",
        ] {
            assert!(matches!(of(text), Verdict::Never(_)), "{text}");
        }
    }

    #[test]
    fn causes_are_short_and_on_one_line() {
        let long = clip(format!("a\r\nb{}", "ä".repeat(1000)));
        assert!(long.len() <= MAX_CAUSE && long.starts_with("a  bä"));
    }
}
