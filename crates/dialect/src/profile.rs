//! A profile: one upstream's dialect, limits and habits.

use std::{collections::BTreeSet, time::Duration};

use bursar_quota::{
    Backoff, BudgetName, BudgetSpec, ClassName, LimitKind, LimitName, LimitSpec, ProfileName, UnitName,
    opt_duration_text,
};
use serde::Deserialize;

use crate::{
    ProfileError,
    family::{Family, Form, Target},
    refusal::{DeclaredHit, Refusals},
    source::Sources,
    time::{TimeSource, TimeUnit},
};

/// The longest text of a profile, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// The most families, and the most readings in one.
const MAX_FAMILIES: usize = 16;

/// The most places for a Retry-After, rules on refusals, costs, and statuses in one list.
const MAX_RULES: usize = 32;

/// One upstream: how it spells its readings, what it allows by default, how to behave towards it. Made from TOML; the
/// crate's documentation describes every key.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// One line for people.
    pub title: String,
    /// The class of a call that names none.
    pub default_class: Option<ClassName>,
    /// The limits of a budget that declares none of its own; may be empty.
    pub limits: Vec<LimitSpec>,
    /// Defaults of a budget's other settings.
    pub habits: Habits,
    /// What readings it sends, most trusted first.
    pub families: Vec<Family>,
    /// Where a refusal says how long to stay away: the first that is there and well-formed.
    pub retry_after: Vec<TimeSource>,
    /// What means refusal.
    pub refusals: Refusals,
    /// Where a response tells the actual cost.
    pub costs: Vec<CostSource>,
    /// The headers it reads, in lower case.
    pub(crate) headers: BTreeSet<String>,
}

/// Defaults of a budget's settings; what is absent stays as [`BudgetSpec`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Habits {
    /// [`BudgetSpec::send_within`].
    #[serde(with = "opt_duration_text")]
    pub send_within: Option<Duration>,
    /// [`BudgetSpec::permit_ttl`].
    #[serde(with = "opt_duration_text")]
    pub permit_ttl: Option<Duration>,
    /// [`BudgetSpec::max_permit_ttl`].
    #[serde(with = "opt_duration_text")]
    pub max_permit_ttl: Option<Duration>,
    /// [`BudgetSpec::ramp`].
    #[serde(with = "opt_duration_text")]
    pub ramp: Option<Duration>,
    /// [`BudgetSpec::backoff`].
    pub backoff: Option<Backoff>,
    /// [`BudgetSpec::alert_at`].
    pub alert_at: Option<f64>,
}

/// Where a response tells what the call cost.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostSource {
    /// In which unit.
    pub unit: UnitName,
    /// Where. Fractions are rounded up.
    pub from: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    name: ProfileName,
    title: String,
    #[serde(default)]
    default_class: Option<ClassName>,
    #[serde(default)]
    limits: Vec<LimitSpec>,
    #[serde(default)]
    habits: Habits,
    #[serde(default)]
    families: Vec<Family>,
    #[serde(default = "usual_retry_after")]
    retry_after: Vec<TimeSource>,
    #[serde(default)]
    refusals: Refusals,
    #[serde(default)]
    costs: Vec<CostSource>,
}

/// `retry-after-ms` is finer than `retry-after`, where somebody sends both.
fn usual_retry_after() -> Vec<TimeSource> {
    vec![
        TimeSource::new(Sources::of_header("retry-after-ms"), TimeUnit::Milliseconds),
        TimeSource::new(Sources::of_header("retry-after"), TimeUnit::RetryAfter),
    ]
}

impl Profile {
    /// Reads a profile from TOML and checks it whole. [`ProfileError`] names the field, and the line where it is about
    /// a line.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX_TEXT {
            return Err(ProfileError::field(
                "",
                format!("{} bytes are too long, at most {MAX_TEXT}", text.len()),
            ));
        }
        let document =
            toml::Deserializer::parse(text).map_err(|error| ProfileError::toml(text, ".".into(), &error))?;
        let raw: RawProfile = serde_path_to_error::deserialize(document)
            .map_err(|error| ProfileError::toml(text, error.path().to_string(), error.inner()))?;
        let mut profile = Self {
            name: raw.name,
            title: raw.title,
            default_class: raw.default_class,
            limits: raw.limits,
            habits: raw.habits,
            families: raw.families,
            retry_after: raw.retry_after,
            refusals: raw.refusals,
            costs: raw.costs,
            headers: BTreeSet::new(),
        };
        profile.check()?;
        profile.headers = profile.headers();
        Ok(profile)
    }

    /// A budget of this profile with its limits and habits. A profile without limits gives none, and
    /// [`BudgetSpec::validate`] then says so.
    pub fn budget(&self, name: BudgetName) -> BudgetSpec {
        let mut budget = BudgetSpec::new(name, self.limits.clone());
        budget.profile = Some(self.name.clone());
        budget.default_class.clone_from(&self.default_class);
        let habits = &self.habits;
        budget.send_within = habits.send_within.unwrap_or(budget.send_within);
        budget.permit_ttl = habits.permit_ttl.unwrap_or(budget.permit_ttl);
        budget.max_permit_ttl = habits.max_permit_ttl.unwrap_or(budget.max_permit_ttl);
        budget.ramp = habits.ramp.unwrap_or(budget.ramp);
        budget.backoff = habits.backoff.unwrap_or(budget.backoff);
        budget.alert_at = habits.alert_at.unwrap_or(budget.alert_at);
        budget
    }

    fn check(&self) -> Result<(), ProfileError> {
        self.check_bounds()?;
        self.check_budget()?;
        self.check_limit_names()?;
        self.check_times()
    }

    fn check_bounds(&self) -> Result<(), ProfileError> {
        let within = |len: usize, least: usize, most: usize, field: String| {
            let problem = format!("{len} entries are outside {least} to {most}");
            if (least..=most).contains(&len) { Ok(()) } else { Err(ProfileError::field(field, problem)) }
        };
        within(self.families.len(), 0, MAX_FAMILIES, "families".into())?;
        for (i, family) in self.families.iter().enumerate() {
            within(family.readings.len(), 1, MAX_FAMILIES, format!("families[{i}].readings"))?;
        }
        within(self.retry_after.len(), 0, MAX_RULES, "retry_after".into())?;
        within(self.costs.len(), 0, MAX_RULES, "costs".into())?;
        let refusals = &self.refusals;
        within(refusals.rules.len(), 0, MAX_RULES, "refusals.rules".into())?;
        let lists = [
            ("refusals.statuses", &refusals.statuses),
            ("refusals.with_retry_after", &refusals.with_retry_after),
            ("refusals.when_exhausted", &refusals.when_exhausted),
        ];
        let lists = lists.map(|(field, list)| (field.to_owned(), list)).into_iter();
        let of_rules = refusals.rules.iter().enumerate();
        for (field, list) in
            lists.chain(of_rules.map(|(i, rule)| (format!("refusals.rules[{i}].statuses"), &rule.statuses)))
        {
            within(list.len(), 0, MAX_RULES, field.clone())?;
            if let Some(status) = list.iter().find(|status| !(100..=999).contains(*status)) {
                return Err(ProfileError::field(field, format!("{status} is outside 100 to 999")));
            }
        }
        Ok(())
    }

    /// What a budget of this profile would be refused for is refused here.
    fn check_budget(&self) -> Result<(), ProfileError> {
        let name = |error: bursar_quota::NameError| ProfileError::field("name", error.to_string());
        let mut budget = self.budget(BudgetName::new("checked").map_err(name)?);
        if budget.limits.is_empty() {
            // Habits are checked beside a limit that is right.
            let kind = LimitKind::Concurrency { capacity: 1, linger: Duration::ZERO };
            budget.limits.push(LimitSpec::new(LimitName::new("checked").map_err(name)?, kind));
        }
        budget.validate().map_err(|error| {
            let field = if error.field.starts_with("limits") {
                error.field
            } else {
                format!("habits.{}", error.field)
            };
            ProfileError::field(field, error.problem)
        })
    }

    /// Limits that are named must be declared, where any are.
    fn check_limit_names(&self) -> Result<(), ProfileError> {
        let hit = |hit: &DeclaredHit, field: String| match hit {
            DeclaredHit::Limit(limit) => Some((limit.clone(), field)),
            _ => None,
        };
        let mut named = Vec::new();
        for (i, family) in self.families.iter().enumerate() {
            for (j, reading) in family.readings.iter().enumerate() {
                let at = format!("families[{i}].readings[{j}]");
                match (&reading.target, &reading.form) {
                    (Target::Named(limit), _) => named.push((limit.clone(), format!("{at}.for_limit"))),
                    (_, Form::Structured(structured)) => named.extend(
                        structured
                            .names
                            .values()
                            .map(|limit| (limit.clone(), format!("{at}.structured.names"))),
                    ),
                    _ => {}
                }
            }
        }
        named.extend(hit(&self.refusals.hit, "refusals.hit".into()));
        for (i, rule) in self.refusals.rules.iter().enumerate() {
            let declared = rule.hit.as_ref();
            named.extend(declared.and_then(|it| hit(it, format!("refusals.rules[{i}].hit"))));
        }
        let unknown = |limit: &LimitName| self.limits.iter().all(|declared| declared.name != *limit);
        match named.into_iter().find(|(limit, _)| !self.limits.is_empty() && unknown(limit)) {
            Some((limit, field)) => {
                Err(ProfileError::field(field, format!("no limit of this profile is named {limit}")))
            }
            None => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), ProfileError> {
        let sniffs = |time: &TimeSource| time.unit == TimeUnit::Sniff && self.name.as_str() != "generic";
        let problem = "\"sniff\" guesses: it is for the profile generic alone; declare the unit";
        for (i, family) in self.families.iter().enumerate() {
            for (j, reading) in family.readings.iter().enumerate() {
                if let Some((key, _)) = reading.times().find(|(_, time)| sniffs(time)) {
                    let field = format!("families[{i}].readings[{j}].{key}.unit");
                    return Err(ProfileError::field(field, problem));
                }
            }
        }
        for (i, time) in self.retry_after.iter().enumerate() {
            if sniffs(time) {
                return Err(ProfileError::field(format!("retry_after[{i}].unit"), problem));
            }
        }
        Ok(())
    }

    /// Every header that a response is searched for.
    fn headers(&self) -> BTreeSet<String> {
        let readings = self.families.iter().flat_map(|family| &family.readings);
        let of_readings = readings.flat_map(crate::family::ReadingRule::headers);
        let sources = (self.retry_after.iter().map(|time| &time.from))
            .chain(self.refusals.rules.iter().map(|rule| &rule.from))
            .chain(self.costs.iter().map(|cost| &cost.from));
        let of_sources = sources.flat_map(|sources| sources.iter().filter_map(|source| source.header()));
        of_readings.chain(of_sources).chain(["date", "age"]).map(str::to_owned).collect()
    }
}
