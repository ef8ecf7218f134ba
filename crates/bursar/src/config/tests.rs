//! What a configuration may say, and what is said of one that is wrong: file, line, column, field, what would be right.

use std::{fs, path::PathBuf, time::Duration};

use bursar_quota::{BudgetName, LimitKind};

use super::{Config, FlagValue, Origin, Problem, Sources, Store, load};

/// A file in a folder of its own.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        Self { _folder: folder, path }
    }

    fn load(&self) -> Result<Config, Vec<Problem>> {
        load(&Sources::file(&self.path)).map_err(|problems| problems.0)
    }
}

/// The only problem of a file: line, column, field, text.
fn problem(name: &str, text: &str) -> (usize, usize, String, String) {
    let problems = File::new(name, text).load().expect_err(text);
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    let Origin::File { line, column, .. } = problem.origin else { panic!("{problem:?}") };
    (line, column, problem.field.clone(), problem.problem.clone())
}

const WINDOW: &str = r#"
[[budgets]]
name = "a"

[[budgets.limits]]
name = "requests"
kind = "window"
capacity = 600
window = "60s"
"#;

#[test]
fn what_is_wrong_in_toml_is_told_with_line_column_and_field() {
    let spoilt = |from: &str, to: &str| WINDOW.replace(from, to);
    let cases: [(String, (usize, usize), &str, &str); 34] = [
        // Not TOML.
        ("[listen\n".into(), (1, 8), "", ""),
        ("a = 1\na = 2\n".into(), (2, 1), "a", "the key a is there twice"),
        ("[listen]\ngrpc = \"x\"\n[listen]\n".into(), (3, 2), "listen", "the key listen is there twice"),
        (
            spoilt("capacity = 600", "capacity = 600\ncapacity = 1"),
            (9, 1),
            "budgets[0].limits[0].capacity",
            "the key capacity is there twice",
        ),
        // Levels, names for addresses, a store that another flag may name.
        ("[log]\nlevel = \"warning\"\n".into(), (2, 1), "log.level", "\"warning\" is no level: write one of"),
        (
            "[listen]\ngrpc = \"localhost:7411\"\n".into(),
            (2, 8),
            "listen.grpc",
            "127.0.0.1:7411; names are not",
        ),
        ("[store]\ndrivers = 99\n".into(), (2, 1), "store.drivers", "99 is outside 1 to 16"),
        (
            "[store]\npassword = \"a\"\npassword_file = \"b\"\n".into(),
            (3, 1),
            "store.password_file",
            "not both",
        ),
        // Unknown keys, on each level.
        ("[listem]\n".into(), (1, 2), "listem", "unknown key; known here are listen, store, server"),
        ("\"\" = 1\n".into(), (1, 1), "\"\"", "unknown key; known here are listen, store, server"),
        (
            "[listen]\ngrcp = \"127.0.0.1:1\"\n".into(),
            (2, 1),
            "listen.grcp",
            "known here are grpc, admin, tls",
        ),
        ("[store]\nurl = \"redis://a\"\npasword = \"x\"\n".into(), (3, 1), "store.pasword", "password_file"),
        (spoilt("capacity", "capcity"), (8, 1), "budgets[0].limits[0].capcity", "unknown key"),
        (
            spoilt("name = \"a\"", "name = \"a\"\nbackoff = { bas = \"1s\" }"),
            (4, 13),
            "budgets[0].backoff.bas",
            "known here are base, max",
        ),
        // A number without its unit, in both forms.
        (
            spoilt("\"60s\"", "60"),
            (9, 10),
            "budgets[0].limits[0].window",
            "a bare number stands here, expected a duration with its unit",
        ),
        (spoilt("\"60s\"", "\"60\""), (9, 10), "budgets[0].limits[0].window", "no duration such as"),
        ("[server]\ndrain = 20\n".into(), (2, 9), "server.drain", "duration with its unit"),
        (
            "[store]\nurl = \"redis://a\"\nconnect_timeout = 1.5\n".into(),
            (3, 19),
            "store.connect_timeout",
            "duration with its unit",
        ),
        // Names.
        (spoilt("\"a\"", "\"Prod\""), (3, 8), "budgets[0].name", "'P' at byte 0 is outside [a-z0-9._/-]"),
        (spoilt("\"requests\"", "\"\""), (6, 8), "budgets[0].limits[0].name", "1 to 128 characters"),
        ("[server]\nreplica = \"a b\"\n".into(), (2, 11), "server.replica", "' ' at byte 1"),
        // Bounds: of the types, and of the whole.
        (spoilt("600", "0"), (8, 1), "budgets[0].limits[0].capacity", "0 is outside 1 to 1000000000000"),
        (
            spoilt("600", "-1"),
            (8, 12),
            "budgets[0].limits[0].capacity",
            "-1 stands here, expected a whole number, 0 or more",
        ),
        (spoilt("600", "99999999999999999999999"), (8, 12), "budgets[0].limits[0].capacity", "too large"),
        (
            spoilt("600", "600\ndefault_cost = 601"),
            (9, 1),
            "budgets[0].limits[0].default_cost",
            "outside 1 to the capacity, 600",
        ),
        (spoilt("\"60s\"", "\"1ms\""), (9, 1), "budgets[0].limits[0].window", "1ms is outside 10ms to"),
        (
            spoilt("\"a\"", "\"a\"\nsend_within = \"11min\""),
            (4, 1),
            "budgets[0].send_within",
            "outside 1ms to 10m",
        ),
        ("[server]\ndrain = \"2h\"\n".into(), (2, 1), "server.drain", "0s to 1h"),
        (
            "[store]\nurl = \"redis://a\"\ndrivers = 99\n".into(),
            (3, 1),
            "store.drivers",
            "99 is outside 1 to 16",
        ),
        // What is missing, what means nothing.
        (
            spoilt("window = \"60s\"", ""),
            (5, 1),
            "budgets[0].limits[0].window",
            "a limit of kind \"window\" needs it",
        ),
        (
            spoilt("\"60s\"", "\"60s\"\nlinger = \"1s\""),
            (10, 1),
            "budgets[0].limits[0].linger",
            "means nothing",
        ),
        (spoilt("\"window\"", "\"widow\""), (7, 1), "budgets[0].limits[0].kind", "none of window, bucket"),
        (spoilt("name = \"requests\"\n", ""), (5, 1), "budgets[0].limits[0].name", "is missing"),
        ("[[budgets]]\nname = \"a\"\n".into(), (1, 1), "budgets[0].limits", "is missing"),
    ];
    for (text, at, field, says) in cases {
        let (line, column, found, told) = problem("bursar.toml", &text);
        assert_eq!(((line, column), found.as_str()), (at, field), "{text}\n{told}");
        assert!(told.contains(says), "{told:?} does not say {says:?}");
    }
}

#[test]
fn budgets_of_one_name_and_of_no_profile_are_told_apart() {
    let twice = format!("{WINDOW}{WINDOW}");
    let (line, _, field, told) = problem("b.toml", &twice);
    assert_eq!((line, field.as_str()), (12, "budgets[1].name"));
    assert!(told.contains("a is declared twice, first at ") && told.contains(":3:1"), "{told}");

    let (line, _, field, told) = problem("b.toml", "[[budgets]]\nname = \"a\"\nprofile = \"autotusk\"\n");
    assert_eq!((line, field.as_str()), (3, "budgets[0].profile"));
    assert!(told.contains("no profile is named autotusk; known are autotask, generic"), "{told}");

    let (line, _, field, told) = problem("b.toml", "[[budgets]]\nname = \"a\"\nprofile = \"generic\"\n");
    assert_eq!((line, field.as_str()), (1, "budgets[0].limits"));
    assert!(told.contains("its profile has none"), "{told}");
}

#[test]
fn every_budget_and_section_that_is_wrong_is_told() {
    let text = format!(
        "[server]\ndrain = \"2h\"\n{}{}",
        WINDOW.replace("\"60s\"", "60"),
        WINDOW.replace("\"a\"", "\"A\"")
    );
    let fields: Vec<_> =
        File::new("b.toml", &text).load().unwrap_err().into_iter().map(|p| p.field).collect();
    assert_eq!(fields, ["server.drain", "budgets[0].limits[0].window", "budgets[1].name"]);
}

#[test]
fn every_value_of_a_section_that_cannot_be_read_is_told() {
    let text = "[server]\ndrain = 20\nmax_waiting = \"x\"\nmax_wait = \"2h\"\nfoo = 1\n[listen]\ngrpc = \"x\"\n\
                [store]\nretries = \"x\"\nqueue = \"y\"\n[[auth.tokens]]\nname = \"a\"\nrole = \"king\"\n";
    let mut fields: Vec<_> =
        File::new("b.toml", text).load().unwrap_err().into_iter().map(|p| p.field).collect();
    fields.sort();
    let wanted = [
        "auth.tokens[0].role",
        "listen.grpc",
        "server.drain",
        "server.foo",
        "server.max_wait",
        "server.max_waiting",
        "store.queue",
        "store.retries",
    ];
    assert_eq!(fields, wanted);
}

#[test]
fn a_store_in_the_process_may_have_settings_for_another() {
    let text = "[store]\nuser = \"u\"\nsentinel_password_file = \"f\"\n[store.tls]\nca_file = \"ca.pem\"\n";
    assert!(matches!(File::new("b.toml", text).load().unwrap().settings.store, Store::Embedded));
}

#[test]
fn files_of_tls_are_told_where_they_are_named() {
    let file =
        File::new("b.toml", "[listen.tls]\ncert = \"a.pem\"\nkey = \"a.key\"\nclient_ca = \"ca.pem\"\n");
    let beside = |name: &str, text: &str| fs::write(file.path.with_file_name(name), text).unwrap();
    let told = |line: usize, field: &str| {
        let told = file.load().unwrap().server_pem().unwrap_err().to_string();
        assert!(told.contains(&format!("b.toml:{line}:1: listen.tls.{field}: ")), "{told}");
        told
    };
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (ours, theirs) = (made(), made());
    assert!(told(2, "cert").contains("a.pem cannot be read"));
    beside("a.pem", "garbage");
    told(2, "cert");
    beside("a.pem", &ours.cert.pem());
    assert!(told(3, "key").contains("a.key cannot be read"));
    beside("a.key", "garbage");
    told(3, "key");
    beside("a.key", &theirs.signing_key.serialize_pem());
    assert!(told(3, "key").contains("is not the key of"));
    beside("a.key", &ours.signing_key.serialize_pem());
    assert!(told(4, "client_ca").contains("ca.pem cannot be read"));
    beside("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    told(4, "client_ca");
    beside("ca.pem", &ours.cert.pem());
    assert!(file.load().unwrap().server_pem().unwrap().is_some());
}

#[test]
fn a_problem_is_told_in_one_line_whatever_a_key_has_in_it() {
    let text = "{\"profiles\": [{\"name\": \"p\", \"li\\nmits\": []}], \"ser\\tver\": 1}";
    let problems = File::new("b.yaml", text).load().unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(told.len() >= 2 && told.iter().all(|told| told.lines().count() == 1), "{told:?}");
    assert!(told.iter().any(|told| told.contains("`li\\nmits`")), "{told:?}");
}

#[test]
fn yaml_is_read_the_same_and_told_the_same() {
    let text = "listen:\n  grpc: 127.0.0.1:0\nbudgets:\n  - name: a\n    limits:\n      - name: requests\n        kind: window\n        capacity: 600\n        window: 60s\n";
    let config = File::new("b.yaml", text).load().unwrap();
    assert_eq!(config.settings.listen.grpc.port(), 0);
    let kind = &config.budgets[0].limits[0].kind;
    assert!(
        matches!(kind, LimitKind::Window { capacity: 600, window, .. } if *window == Duration::from_secs(60))
    );

    let cases = [
        (text.replace("60s", "60"), (9, 17), "budgets[0].limits[0].window", "duration with its unit"),
        (text.replace("capacity", "capcity"), (8, 9), "budgets[0].limits[0].capcity", "unknown key"),
        (text.replace("name: a", "name: A"), (4, 11), "budgets[0].name", "outside [a-z0-9._/-]"),
        (
            text.replace("capacity: 600", "capacity: 0"),
            (8, 9),
            "budgets[0].limits[0].capacity",
            "outside 1 to",
        ),
        (text.replace("listen:", "listen: ["), (3, 1), "", "did not find expected"),
        (
            text.replace("kind: window", "name: twice"),
            (7, 9),
            "budgets[0].limits[0].name",
            "the key name is there twice",
        ),
    ];
    for (text, at, field, says) in cases {
        let (line, column, found, told) = problem("b.yml", &text);
        assert_eq!((line, found.as_str()), (at.0, field), "{text}\n{told}");
        if !field.is_empty() {
            assert_eq!(column, at.1, "{text}\n{told}");
        }
        assert!(told.contains(says), "{told:?} does not say {says:?}");
    }
    assert!(File::new("empty.yaml", "").load().unwrap().budgets.is_empty());
}

#[test]
fn a_profile_gives_what_its_budget_leaves_out() {
    let text = "[[budgets]]\nname = \"autotask/prod\"\nprofile = \"autotask\"\nsend_within = \"3s\"\nbackoff = { max = \"60s\" }\n";
    let config = File::new("b.toml", text).load().unwrap();
    let [spec] = config.budgets.as_slice() else { panic!("{:?}", config.budgets) };
    let names: Vec<_> = spec.limits.iter().map(|limit| limit.name.as_str()).collect();
    assert_eq!(names, ["requests", "auth", "concurrency"]);
    assert_eq!((spec.send_within, spec.backoff.max), (Duration::from_secs(3), Duration::from_secs(60)));
    assert_eq!(spec.backoff.base, Duration::from_secs(1));
    assert_eq!(spec.name, BudgetName::new("autotask/prod").unwrap());
}

#[test]
fn profiles_come_from_files_beside_this_one_and_from_tables() {
    let file = File::new(
        "b.toml",
        "[[profiles]]\nname = \"mine\"\ntitle = \"Mine\"\nlimits = [{ name = \"all\", kind = \"concurrency\", capacity = 2 }]\n\n\
         [[budgets]]\nname = \"a\"\nprofile = \"mine\"\n",
    );
    assert_eq!(file.load().unwrap().budgets[0].limits[0].kind.capacity(), 2);

    let beside = File::new(
        "b.toml",
        "profiles = [\"theirs.toml\"]\nbudgets = [{ name = \"a\", profile = \"theirs\" }]\n",
    );
    let (line, _, field, told) = {
        let problems = beside.load().unwrap_err();
        (problems[0].origin.line(), (), problems[0].field.clone(), problems[0].problem.clone())
    };
    assert_eq!((line, field.as_str()), (Some(1), "profiles[0]"));
    assert!(told.contains("cannot be read"), "{told}");
    let theirs = beside.path.with_file_name("theirs.toml");
    fs::write(&theirs, "name = \"theirs\"\ntitle = \"Theirs\"\nlimits = [{ name = \"all\", kind = \"concurrency\", capacity = 3 }]\n").unwrap();
    assert_eq!(beside.load().unwrap().budgets[0].limits[0].kind.capacity(), 3);
    fs::write(&theirs, "name = \"theirs\"\ntitle = \"Theirs\"\nfamilys = []\n").unwrap();
    let problems = beside.load().unwrap_err();
    assert!(
        matches!(&problems[0].origin, Origin::File { path, line: 3, .. } if **path == *theirs),
        "{problems:?}"
    );

    let (line, _, field, told) =
        problem("b.toml", "[[profiles]]\nname = \"mine\"\ntitle = \"Mine\"\nhabits = { ramp = 5 }\n");
    assert_eq!((line, field.as_str()), (4, "profiles[0].habits.ramp"), "{told}");
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let file = File::new(
        "b.toml",
        "[listen]\ngrpc = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n[log]\nformat = \"json\"\n",
    );
    let variable = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let flag =
        |path: &str, text: &str| FlagValue { flag: "--it".into(), path: path.into(), text: text.into() };
    let mut sources = Sources::file(&file.path);
    sources.environment = vec![
        variable("BURSAR_LISTEN__GRPC", "127.0.0.1:3"),
        variable("BURSAR_LISTEN__ADMIN", "127.0.0.1:4"),
        variable("BURSAR_SERVER__MAX_CONNECTIONS", "7"),
        variable("BURSAR_STORE__URL", "redis://:hunter2@redis.invalid/3"),
        variable("BURSAR_PORT", "tcp://10.0.0.1:7411"),
    ];
    sources.flags = vec![flag("listen.grpc", "127.0.0.1:5")];
    let config = load(&sources).unwrap();
    let ports = (config.settings.listen.grpc.port(), config.settings.listen.admin.port());
    assert_eq!(ports, (5, 4));
    assert_eq!(config.settings.server.max_connections, 7);
    assert_eq!(config.settings.server.drain, Duration::from_secs(20));
    assert_eq!(config.settings.store.place(), "redis://redis.invalid/3");
    assert!(!format!("{:?}", config.settings).contains("hunter2"));

    sources.environment.push(variable("BURSAR_SERVER__DRAIN", "20"));
    let told = load(&sources).unwrap_err().to_string();
    assert!(told.starts_with("environment variable BURSAR_SERVER__DRAIN: server.drain: "), "{told}");
    sources.flags.push(flag("server.drain", "soon"));
    let told = load(&sources).unwrap_err().to_string();
    assert!(told.starts_with("flag --it: server.drain: \"soon\" is no duration"), "{told}");
}

#[test]
fn with_nothing_at_all_it_is_embedded_with_two_budgets() {
    let config = load(&Sources::default()).unwrap();
    assert!(matches!(config.settings.store, Store::Embedded));
    assert!(
        config.settings.listen.grpc.ip().is_loopback() && config.settings.listen.admin.ip().is_loopback()
    );
    let names: Vec<_> = config.budgets.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!((names, config.declared), (vec!["autotask", "salestim"], false));
    for spec in &config.budgets {
        spec.validate().unwrap();
    }
}

#[test]
fn secrets_are_told_by_nobody() {
    for text in [
        "[store]\nurl = \"redis://:hunter2@a:0\"\n",
        "[store]\nurl = \"redis://a\"\npassword = 12345678\n",
        "[store]\nurl = \"redis://a\"\npassword = \"hunter2\"\npassword_file = \"f\"\n",
        "[store]\nurl = \"redis://a\"\npassword = \"hunter2\n",
        "[[auth.tokens]]\nname = \"a\"\ntoken_sha256 = \"hunter2\"\n",
    ] {
        let problems = File::new("b.toml", text).load().unwrap_err();
        let told = format!("{problems:?} {}", problems[0]);
        assert!(!told.contains("hunter2") && !told.contains("12345678"), "{told}");
    }
}

#[test]
fn tokens_need_one_secret_and_budgets_that_can_be() {
    let text = "[[auth.tokens]]\nname = \"a\"\nbudgets = [\"a*\", \"B\"]\n";
    let problems = File::new("b.toml", text).load().unwrap_err();
    let told: Vec<_> = problems.iter().map(|p| (p.origin.line(), p.field.as_str())).collect();
    assert_eq!(told, [(Some(1), "auth.tokens[0].token_file"), (Some(3), "auth.tokens[0].budgets[1]")]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problems = load(&Sources::file("/nowhere/bursar.toml".as_ref())).unwrap_err().to_string();
    assert!(problems.starts_with("/nowhere/bursar.toml:1:1: cannot be read"), "{problems}");
}
