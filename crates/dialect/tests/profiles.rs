//! Profiles: what the compiled-in ones declare, and what is wrong with a wrong one.

#![allow(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

use std::time::Duration;

use bursar_dialect::Profiles;
use bursar_quota::{
    BudgetName, BudgetSpec, ClassName, LimitKind, LimitName, LimitSelector, LimitSpec, ProfileName,
    ResponseView, UnitName,
};

fn name(text: &str) -> ProfileName {
    ProfileName::new(text).unwrap()
}

fn budget(profile: &str) -> bursar_quota::BudgetSpec {
    Profiles::builtin().get(&name(profile)).unwrap().budget(BudgetName::new("a/b").unwrap())
}

#[test]
fn the_compiled_in_ones_are_there() {
    let profiles = Profiles::builtin();
    let names: Vec<_> = profiles.names().map(|name| name.as_str()).collect();
    assert_eq!(names, ["autotask", "generic", "ietf", "salestim"]);
    assert_eq!(profiles.generic().name, name("generic"));
    assert!(profiles.get(&name("nobody")).is_none());
}

#[test]
fn autotask_has_its_three_limits() {
    let budget = budget("autotask");
    budget.validate().unwrap();
    assert_eq!(budget.profile, Some(name("autotask")));
    assert_eq!(budget.class_or_default(None), ClassName::new("default").unwrap());
    let kinds: Vec<_> = budget.limits.iter().map(|limit| (limit.name.as_str(), limit.kind.clone())).collect();
    let minute = Duration::from_secs(60);
    assert_eq!(
        kinds,
        [
            ("requests", LimitKind::Window { capacity: 600, window: minute, aligned: true, on_clock: false }),
            ("auth", LimitKind::Window { capacity: 10, window: minute, aligned: false, on_clock: false }),
            ("concurrency", LimitKind::Concurrency { capacity: 3, linger: Duration::from_millis(100) }),
        ]
    );
    let readings: Vec<_> = budget.limits.iter().map(|limit| limit.readings).collect();
    assert_eq!(readings, [true, false, false]);
    assert!(budget.limits[1].applies_to(&ClassName::new("auth").unwrap()));
    assert!(!budget.limits[1].applies_to(&ClassName::new("default").unwrap()));
    assert_eq!(budget.backoff.max, Duration::from_secs(300));
}

#[test]
fn autotask_readings_find_their_limit_by_capacity() {
    let budget = budget("autotask");
    let like = |capacity| LimitSelector::Like {
        called: None,
        unit: UnitName::requests(),
        capacity: Some(capacity),
        window_ms: None,
    };
    let class = |text| ClassName::new(text).unwrap();
    assert_eq!(budget.select(&class("default"), &like(600)), Some(0));
    assert_eq!(budget.select(&class("auth"), &like(600)), Some(0));
    assert_eq!(budget.select(&class("auth"), &like(10)), Some(1));
}

#[test]
fn salestim_throttles_reads_and_writes_apart() {
    let budget = budget("salestim");
    budget.validate().unwrap();
    assert_eq!(budget.class_or_default(None), ClassName::new("read").unwrap());
    for (index, class) in ["read", "write"].into_iter().enumerate() {
        let class = ClassName::new(class).unwrap();
        let applying: Vec<_> = (0..2).filter(|i| budget.limits[*i].applies_to(&class)).collect();
        assert_eq!(applying, [index]);
        let selector = LimitSelector::Like {
            called: None,
            unit: UnitName::requests(),
            capacity: Some(6),
            window_ms: None,
        };
        assert_eq!(budget.select(&class, &selector), Some(index));
    }
}

#[test]
fn a_profile_without_limits_gives_a_budget_without_limits() {
    for profile in ["ietf", "generic"] {
        let budget = budget(profile);
        assert!(budget.limits.is_empty());
        assert_eq!(budget.validate().unwrap_err().field, "limits");
    }
}

#[test]
fn of_two_profiles_of_one_name_the_later_counts() {
    let mut profiles = Profiles::builtin();
    let text = "name = \"generic\"\ntitle = \"mine\"\n[habits]\nsend_within = \"2s\"\n";
    assert_eq!(profiles.add_toml(text), Ok(name("generic")));
    assert_eq!(profiles.generic().title, "mine");
    assert_eq!(profiles.get(&name("generic")).unwrap().title, "mine");
    let budget = profiles.generic().budget(BudgetName::new("a").unwrap());
    assert_eq!(budget.send_within, Duration::from_secs(2));
}

#[test]
fn there_are_256_profiles_at_most() {
    let mut profiles = Profiles::builtin();
    let add = |profiles: &mut Profiles, i| profiles.add_toml(&format!("name = \"p{i}\"\ntitle = \"\""));
    for i in 4..256 {
        add(&mut profiles, i).unwrap();
    }
    assert_eq!(add(&mut profiles, 256).unwrap_err().field, "name");
    add(&mut profiles, 255).unwrap();
}

/// Each wrong text, and what the error must say.
#[test]
fn an_error_names_the_line_and_the_field() {
    let reading = |keys: &str| {
        format!("name = \"x\"\ntitle = \"x\"\n[[families]]\nname = \"f\"\n[[families.readings]]\n{keys}\n")
    };
    let top = |text: &str| format!("name = \"x\"\ntitle = \"x\"\n{text}\n");
    let cases = [
        (String::new(), "missing field `name`"),
        ("name = ".into(), "line 1: "),
        ("name = \"X\"\ntitle = \"x\"".into(), "line 1: name: profile: 'X' at byte 0 is outside"),
        (top("colour = 1"), "line 3: colour: unknown field `colour`"),
        (
            reading("limit = \"a\"\nremainig = \"b\""),
            "line 7: families[0].readings[0].remainig: unknown field",
        ),
        (
            reading("limit = 5"),
            "line 6: families[0].readings[0].limit: invalid type: integer `5`, expected a header",
        ),
        (reading("limit = \"a b\""), "line 6: families[0].readings[0].limit: \"a b\" is neither the name"),
        (reading("limit = \"a#\""), "line 6: families[0].readings[0].limit: \"a#\": after # stands"),
        (reading("limit = []"), "line 6: families[0].readings[0].limit: invalid length 0"),
        (
            reading("limit = \"a\"\nreset = { from = \"b\" }"),
            "line 7: families[0].readings[0].reset: missing field `unit`",
        ),
        (
            reading("limit = \"a\"\nreset = { from = \"b\", unit = \"minutes\" }"),
            "line 7: families[0].readings[0].reset.unit: unknown variant `minutes`",
        ),
        (
            reading("limit = \"a\"\nreset = { from = \"b\", unit = \"seconds\", resolution = 5 }"),
            "line 7: families[0].readings[0].reset.resolution: invalid type: integer `5`",
        ),
        (
            reading("limit = \"a\"\nreset = { from = \"b\", unit = \"seconds\", resolution = \"2h\" }"),
            "line 7: families[0].readings[0].reset: resolution: is outside 1ms to 1h",
        ),
        (
            reading("limit = \"a\"\nreset = { from = \"b\", unit = \"sniff\" }"),
            "families[0].readings[0].reset.unit: \"sniff\" guesses",
        ),
        (
            reading("limit = \"a\"\nreset = { from = \"b\", unit = \"retry-after\" }"),
            "reset.unit: \"retry-after\" is for",
        ),
        (
            reading("limit = \"a\"\nwindow = { from = \"b\", unit = \"http-date\" }"),
            "window.unit: a length is",
        ),
        (reading("for_unit = \"tokens\""), "line 5: families[0].readings[0]: a reading needs one of limit"),
        (reading("used = \"a\""), "used: tells what remains only together with limit"),
        (reading("used_of_limit = \"a\"\nremaining = \"b\""), "three ways of saying one thing"),
        (reading("for_limit = \"a\"\nfor_unit = \"b\"\nlimit = \"c\""), "for_limit: says it all"),
        (
            reading("for_window = \"60\"\nlimit = \"c\""),
            "line 6: families[0].readings[0].for_window: \"60\" is no duration",
        ),
        (reading("for_window = \"99days\"\nlimit = \"c\""), "for_window: is outside 10ms to 31days"),
        (reading("limit = \"/a\"\npolicies = \"b\""), "policies: go with a limit that is a header"),
        (
            reading("structured = { quotas = \"a\", policies = \"b\" }\nlimit = \"c\""),
            "structured: stands alone",
        ),
        (
            reading("structured = { quotas = \"a\", policies = \"b\" }\nfor_limit = \"c\""),
            "use structured.names",
        ),
        (
            reading("structured = { quotas = \"/a\", policies = \"b\" }"),
            "structured.quotas: \"/a\" is neither",
        ),
        (
            top("[[families]]\nname = \"f\"\nreadings = []"),
            "families[0].readings: 0 entries are outside 1 to 16",
        ),
        (top("[refusals]\nstatuses = [99]"), "refusals.statuses: 99 is outside 100 to 999"),
        (top("[refusals]\nhit = \"everything\""), "line 4: refusals.hit: unknown variant `everything`"),
        (top("[[refusals.rules]]\nequals = [\"a\"]"), "line 3: refusals.rules[0]: missing field `from`"),
        (
            top("[[refusals.rules]]\nfrom = \"/a\"\nequals = [\"a\"]\ncontains = [\"b\"]"),
            "equals: goes without contains",
        ),
        (top("[[retry_after]]\nfrom = \"a\"\nunit = \"sniff\""), "retry_after[0].unit: \"sniff\" guesses"),
        (top("[habits]\nsend_within = \"11min\""), "habits.send_within: 11m is outside"),
        (top("[habits]\nalert_at = 2.0"), "habits.alert_at: must be above 0"),
        (
            top("[[limits]]\nname = \"a\"\nkind = \"window\"\ncapacity = 1"),
            "line 3: limits[0]: window: a limit of kind",
        ),
        (
            top("[[limits]]\nname = \"a\"\nkind = \"window\"\ncapacity = 0\nwindow = \"1s\""),
            "limits[0].capacity: 0 is outside",
        ),
        (
            top(
                "[refusals]\nhit = { limit = \"b\" }\n[[limits]]\nname = \"a\"\nkind = \"concurrency\"\ncapacity = 1",
            ),
            "refusals.hit: no limit of this profile is named b",
        ),
        (format!("{}\n{}", top(""), "#".repeat(64 * 1024)), "bytes are too long, at most 65536"),
    ];
    for (text, expected) in cases {
        let mut profiles = Profiles::builtin();
        let error = profiles.add_toml(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text}\n--- says\n{error}\n--- and should say\n{expected}");
        assert_eq!(profiles.names().count(), 4, "a wrong profile changes nothing");
    }
}

/// A window of 5 requests and one of 50 tokens, both of 10 s.
fn requests_and_tokens() -> BudgetSpec {
    let window = |name: &str, capacity| {
        let kind =
            LimitKind::Window { capacity, window: Duration::from_secs(10), aligned: true, on_clock: false };
        LimitSpec::new(LimitName::new(name).unwrap(), kind)
    };
    let tokens = LimitSpec { unit: UnitName::new("tokens").unwrap(), ..window("tokens", 50) };
    BudgetSpec::new(BudgetName::new("two").unwrap(), vec![window("requests", 5), tokens])
}

/// What of `RateLimit: line` is read: remaining by limit.
fn read(budget: &BudgetSpec, policies: &str, line: &str) -> Vec<(usize, u64)> {
    let headers = [("RateLimit-Policy", policies), ("RateLimit", line)]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let response = ResponseView { status: 200, headers: &headers, body: &[], received_unix_ms: 0 };
    let profiles = Profiles::builtin();
    let seen = profiles.get(&ProfileName::new("ietf").unwrap()).unwrap().observe(&response);
    let found = budget.select_readings(&ClassName::default_class(), &seen.readings);
    found.into_iter().map(|(limit, reading)| (limit, reading.remaining.unwrap())).collect()
}

#[test]
fn a_quota_that_is_called_as_a_limit_is_of_no_other() {
    let budget = requests_and_tokens();
    let policies = r#""requests";q=5;w=10, "tokens";q=50;w=10"#;
    assert_eq!(read(&budget, policies, r#""tokens";r=47;t=6, "requests";r=2;t=8"#), [(0, 2), (1, 47)]);
    // Alone it would pass for the only limit that counts requests, which is what a policy without a unit counts.
    assert_eq!(read(&budget, policies, r#""tokens";r=4;t=6"#), [(1, 4)]);
}

#[test]
fn of_two_quotas_that_may_be_one_limits_the_better_fit_is() {
    let budget = requests_and_tokens();
    let policies = r#""a";q=5;w=10, "b";q=50;w=10"#;
    for line in [r#""b";r=47;t=6, "a";r=2;t=8"#, r#""a";r=2;t=8, "b";r=47;t=6"#] {
        assert_eq!(read(&budget, policies, line), [(0, 2)], "{line}");
    }
}
