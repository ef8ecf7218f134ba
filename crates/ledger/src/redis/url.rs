//! The store's address as one line of text. A password in it is never repeated: not in errors, not in `Debug`.

use super::secret::Secret;

/// The longest address, in bytes.
const MAX_LEN: usize = 2048;
/// The most servers one address names.
const MAX_NODES: usize = 32;
/// The highest database number.
const MAX_DB: i64 = 65_535;

/// What stands behind the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    /// One server.
    Single,
    /// Sentinels, which know the master of a service.
    Sentinel {
        /// The service's name at the sentinels.
        service: String,
    },
    /// Nodes of a cluster.
    Cluster,
}

/// An address taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoreUrl {
    pub(super) topology: Topology,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    /// Host and port, 1 to [`MAX_NODES`].
    pub(super) nodes: Vec<(String, u16)>,
    pub(super) db: i64,
}

/// The forms that are understood, for errors.
const FORMS: &str = "redis://host:port/db, redis+sentinel://host:port,host:port/service/db or \
    redis+cluster://host:port,host:port (rediss for TLS)";

impl StoreUrl {
    /// Takes `text` apart; the error says what is wrong without repeating what may be secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LEN {
            return Err(format!("{} bytes are too long for an address, at most {MAX_LEN}", text.len()));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("must have the form {FORMS}"))?;
        let (tls, kind) = match scheme.split_once('+') {
            Some((base, kind)) => (base, kind),
            None => (scheme, ""),
        };
        let tls = match tls {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(format!("the scheme must be one of {FORMS}")),
        };
        if rest.contains(['?', '#']) {
            return Err("has no query and no fragment; percent-encode ? and # in a user or password".into());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = login.map_or(Ok((None, None)), parse_login)?;
        let default_port = if kind == "sentinel" { 26_379 } else { 6_379 };
        let nodes =
            hosts.split(',').map(|host| parse_node(host, default_port)).collect::<Result<Vec<_>, _>>()?;
        if nodes.len() > MAX_NODES {
            return Err(format!("{} servers are too many, at most {MAX_NODES}", nodes.len()));
        }
        let (topology, db) = match kind {
            "" if nodes.len() > 1 => {
                return Err("names several servers: say redis+cluster:// or redis+sentinel://".into());
            }
            "" => (Topology::Single, parse_db(path)?),
            "sentinel" => {
                let (service, db) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() {
                    return Err("a sentinel address ends with its service: /service or /service/db".into());
                }
                (Topology::Sentinel { service: decode(service)? }, parse_db(db)?)
            }
            "cluster" => match parse_db(path)? {
                0 => (Topology::Cluster, 0),
                db => return Err(format!("a cluster has database 0 only, not {db}")),
            },
            _ => return Err(format!("the scheme must be one of {FORMS}")),
        };
        Ok(Self { topology, tls, user, password, nodes, db })
    }

    /// Where it leads, for logs: no user, no password, nothing that is not printed; an address that leads to the same.
    pub(super) fn place(&self) -> String {
        let hosts: Vec<_> = self
            .nodes
            .iter()
            .map(|(host, port)| match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            })
            .collect();
        let (kind, path) = match &self.topology {
            Topology::Single => ("", String::new()),
            Topology::Sentinel { service } => ("+sentinel", format!("/{}", encode(service))),
            Topology::Cluster => ("+cluster", String::new()),
        };
        let db = if self.db == 0 { String::new() } else { format!("/{}", self.db) };
        format!("redis{}{kind}://{}{path}{db}", if self.tls { "s" } else { "" }, hosts.join(","))
    }
}

fn parse_login(login: &str) -> Result<(Option<String>, Option<Secret>), String> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(Secret::from(decode(password)?))),
        None => (login, None),
    };
    let user = decode(user)?;
    Ok(((!user.is_empty()).then_some(user), password))
}

fn parse_node(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("an IPv6 host stands in brackets: [::1]:6379")?;
            (host, after.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let ipv6 = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '%');
    let well_formed = match text.starts_with('[') {
        true => host.contains(':') && host.chars().all(ipv6),
        false => host.chars().all(plain),
    };
    if host.is_empty() || !well_formed {
        return Err("a host is missing or malformed".into());
    }
    match port.map(str::parse::<u16>) {
        None => Ok((host.to_owned(), default_port)),
        Some(Ok(port)) if port > 0 => Ok((host.to_owned(), port)),
        Some(_) => Err("a port is outside 1 to 65535".into()),
    }
}

fn parse_db(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(db) if digits && db <= MAX_DB => Ok(db),
        _ => Err(format!("the database is outside 0 to {MAX_DB}")),
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("has a % that two hex digits do not follow".into());
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(bytes).map_err(|_| "has percent-encoded bytes that are not UTF-8".into())
}

/// Percent-encodes what could end the part that it stands in, or a line of a log.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte);
    let encoded = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(host: &str, port: u16) -> (String, u16) {
        (host.to_owned(), port)
    }

    #[test]
    fn every_form_is_taken_apart() {
        let single = StoreUrl::parse("redis://us%40er:p%3Aw@localhost/3").unwrap();
        assert_eq!(single.topology, Topology::Single);
        assert_eq!((single.user.as_deref(), single.db, single.tls), (Some("us@er"), 3, false));
        assert_eq!(single.password.unwrap().expose(), "p:w");
        assert_eq!(single.nodes, [node("localhost", 6379)]);

        let sentinel = StoreUrl::parse("rediss+sentinel://:pw@a:1,b/main/2").unwrap();
        assert_eq!(sentinel.topology, Topology::Sentinel { service: "main".into() });
        assert_eq!((sentinel.user, sentinel.db, sentinel.tls), (None, 2, true));
        assert_eq!(sentinel.nodes, [node("a", 1), node("b", 26379)]);

        let cluster = StoreUrl::parse("redis+cluster://[::1]:7000,10.0.0.1:7001").unwrap();
        assert_eq!(cluster.topology, Topology::Cluster);
        assert_eq!(cluster.nodes, [node("::1", 7000), node("10.0.0.1", 7001)]);
        assert_eq!(cluster.place(), "redis+cluster://[::1]:7000,10.0.0.1:7001");
    }

    #[test]
    fn a_place_is_an_address_that_leads_to_the_same() {
        let url = StoreUrl::parse("redis+sentinel://:pw@a/ma%2Fin%0A%25/2").unwrap();
        assert_eq!(url.topology, Topology::Sentinel { service: "ma/in\n%".into() });
        assert_eq!(url.place(), "redis+sentinel://a:26379/ma%2Fin%0A%25/2");
        let again = StoreUrl::parse(&url.place()).unwrap();
        assert_eq!((again.topology, again.nodes, again.db), (url.topology, url.nodes, url.db));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, problem) in [
            ("localhost:6379", "must have the form"),
            ("http://hunter2@a", "the scheme must be"),
            ("redis+ring://:hunter2@a", "the scheme must be"),
            ("redis://:hunter2@a:0", "a port is outside"),
            ("redis://:hunter2@a:70000", "a port is outside"),
            ("redis://:hunter2@", "a host is missing"),
            ("redis://:hunter2@a b", "a host is missing"),
            ("redis://:hunter2@[a%2Fb]", "a host is missing"),
            ("redis://:hunter2%zz@a", "two hex digits"),
            ("redis://:hunter2@a/x", "the database is outside"),
            ("redis://:hunter2@a/-1", "the database is outside"),
            ("redis://:hunter2@a?protocol=resp3", "no query"),
            ("redis://:hunter2@a,b", "names several servers"),
            ("redis+cluster://:hunter2@a/1", "database 0 only"),
            ("redis+sentinel://:hunter2@a", "ends with its service"),
        ] {
            let error = StoreUrl::parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(rediss?(\\+(sentinel|cluster))?://)?.{0,60}") {
            let _ = StoreUrl::parse(&text);
        }
    }
}
