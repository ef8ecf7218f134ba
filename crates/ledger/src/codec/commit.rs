//! The call of `commit` and its reply.

use std::{fmt::Display, time::Duration};

use bursar_quota::{
    AcquireGroup, BudgetName, Commit, CommitReply, Contender, Decision, LeaseId, LedgerError, LimitName,
    LimitReading, PauseOrder, Place, Reason, Refusal, Renewal, Requests, Scope, SettleGroup, SettleKind,
    Settled, UnitName,
};

use super::{Keys, Reader, Remembered, Witness, life};
use crate::{Reply, ScriptCall};

struct Args(Vec<Vec<u8>>);

impl Args {
    fn put(&mut self, value: impl Display) {
        self.0.push(value.to_string().into_bytes());
    }

    fn put_or_dash(&mut self, value: Option<impl Display>) {
        match value {
            Some(value) => self.put(value),
            None => self.put("-"),
        }
    }
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(between)
}

fn units(units: &[(UnitName, u64)]) -> String {
    joined(units.iter().map(|(unit, cost)| format!("{unit}={cost}")), ";")
}

fn kind(kind: SettleKind) -> &'static str {
    match kind {
        SettleKind::NotSent => "not_sent",
        SettleKind::Unclaimed => "unclaimed",
        SettleKind::Accepted => "accepted",
        SettleKind::Lost => "lost",
        SettleKind::Refused { counted: false } => "refused",
        SettleKind::Refused { counted: true } => "refused_counted",
    }
}

fn put_reading(args: &mut Args, reading: &LimitReading) {
    args.put(reading.limit + 1);
    args.put_or_dash(reading.remaining_least);
    args.put_or_dash(reading.remaining_last.or(reading.remaining_least));
    args.put_or_dash(reading.capacity);
    args.put_or_dash(reading.reset.map(|span| span.earliest_ms));
    args.put_or_dash(reading.reset.map(|span| span.latest_ms));
}

fn put_pause(args: &mut Args, pause: Option<&PauseOrder>) {
    let scope = pause.map_or_else(String::new, |order| match &order.scope {
        Scope::Budget => "budget".to_owned(),
        Scope::Class(class) => format!("class:{class}"),
        Scope::Limit(index) => format!("#{}", index + 1),
    });
    args.put(scope);
    args.put_or_dash(pause.and_then(|order| order.retry_after_ms));
}

fn put_settle(args: &mut Args, group: &SettleGroup) {
    args.put(kind(group.kind));
    args.put(group.age_ms);
    args.put(joined(&group.indexes, ","));
    args.put(joined(&group.costs, ","));
    args.put(units(&group.units));
    args.put(group.readings.len());
    for reading in &group.readings {
        put_reading(args, reading);
    }
    put_pause(args, group.pause.as_ref());
}

fn put_acquire(args: &mut Args, group: &AcquireGroup) {
    args.put(&group.class);
    args.put(&group.tenant);
    args.put(group.tier);
    args.put(group.count);
    args.put(group.ttl_ms);
    args.put(units(&group.units));
    args.put(joined(&group.costs, ","));
    match &group.requests {
        Requests::None => args.put(""),
        Requests::Asked(_) => args.put("?"),
        Requests::Held(_) => args.put("!"),
        Requests::Claim(_, index) => args.put(format_args!("={index}")),
    }
}

/// As `lib/fair` keeps it: those who are not listed by themselves are their replica's.
fn put_contender(args: &mut Args, contender: &Contender, replica: &bursar_quota::ReplicaName) {
    let Contender { tier, tenant, tenants, class, calls, costs } = contender;
    let tenant = tenant.as_ref().map_or_else(|| format!("*{replica}"), ToString::to_string);
    let costs = joined(costs, ".");
    args.put(format_args!("{tier},{tenant},{class}=x{tenants}:{calls}:0:0:{costs}"));
}

/// The call of `commit` by a replica that remembers this of the budget.
pub fn encode_commit(keys: &Keys, budget: &BudgetName, commit: &Commit, memory: &Witness) -> ScriptCall {
    let mut args = Args(Vec::with_capacity(9 + 16 * commit.settles.len() + 8 * commit.acquires.len()));
    args.put(budget);
    args.put(keys.channel());
    args.put(&commit.replica);
    args.put(commit.spec_version);
    args.put(commit.waiting);
    args.put(format_args!("{:.17e}", commit.jitter));
    args.put(&memory.incarnation);
    args.put(memory.seq);
    args.put(&memory.name);
    args.put_or_dash(memory.latest_ms);
    args.put_or_dash(memory.earliest_ms);
    args.put(commit.settles.len());
    args.put(commit.renews.len());
    args.put(commit.acquires.len());
    args.put(commit.looks.len());
    for group in &commit.settles {
        put_settle(&mut args, group);
    }
    for group in &commit.renews {
        args.put(group.index);
        args.put(group.ttl_ms);
    }
    for group in &commit.acquires {
        put_acquire(&mut args, group);
    }
    for group in &commit.acquires {
        match &group.requests {
            Requests::None => {}
            Requests::Asked(tags) | Requests::Held(tags) => tags.iter().for_each(|tag| args.put(tag)),
            Requests::Claim(tag, _) => args.put(tag),
        }
    }
    commit.looks.iter().for_each(|tag| args.put(tag));
    for contender in &commit.contenders {
        put_contender(&mut args, contender, &commit.replica);
    }
    let leases = (commit.settles.iter().map(|group| group.lease))
        .chain(commit.renews.iter().map(|group| group.lease))
        .chain(commit.acquires.iter().map(|group| group.lease));
    let mut all = keys.all(budget, &["spec", "state", "pause", "use", "wait", "asked0", "asked1"]);
    all.extend(leases.map(|lease| keys.lease(budget, lease)));
    ScriptCall { keys: all, args: args.0 }
}

fn letters(text: &str) -> Result<Vec<Settled>, LedgerError> {
    text.chars()
        .map(|letter| match letter {
            'a' => Ok(Settled::Applied),
            'd' => Ok(Settled::Already),
            'u' => Ok(Settled::Unknown),
            other => Err(LedgerError::Corrupt(format!("commit: {other:?} is no letter of a settlement"))),
        })
        .collect()
}

fn renewal(text: &str) -> Result<Renewal, LedgerError> {
    match text {
        "settled" => Ok(Renewal::Settled),
        "unknown" => Ok(Renewal::Unknown),
        ms => match ms.parse() {
            Ok(deadline_ms) => Ok(Renewal::Renewed { deadline_ms }),
            Err(_) => Err(LedgerError::Corrupt(format!("commit: {ms:?} is no renewal"))),
        },
    }
}

fn place(text: &str) -> Option<Place> {
    if text == "-" {
        return Some(Place::Nowhere);
    }
    if text.contains(':') {
        return permit(text).map(|(lease, index)| Place::Elsewhere(lease, index));
    }
    text.parse().ok().map(Place::Here)
}

fn permit(text: &str) -> Option<(LeaseId, u16)> {
    let (lease, index) = text.split_once(':')?;
    Some((LeaseId(u128::from_str_radix(lease, 16).ok()?), index.parse().ok()?))
}

fn decision(mut reader: Reader) -> Result<Decision, LedgerError> {
    let (granted, send_within_ms, deadline_ms) = (reader.num()?, reader.num()?, reader.num()?);
    let (reason, limit, retry) = (reader.text()?, reader.text()?, reader.optional::<u64>()?);
    let corrupt = |what: &str| LedgerError::Corrupt(format!("commit: {what} in a decision"));
    let refusal = match reason.as_str() {
        "" => None,
        text => Some(Refusal {
            reason: Reason::from_script(text).ok_or_else(|| corrupt("an unknown reason"))?,
            limit: match limit.as_str() {
                "" => None,
                name => Some(LimitName::new(name).map_err(|_| corrupt("a broken limit name"))?),
            },
            retry_after: retry.map(Duration::from_millis),
        }),
    };
    let places = reader.text()?;
    let places =
        places.split_terminator(',').map(|text| place(text).ok_or_else(|| corrupt("a broken place")));
    Ok(Decision { granted, places: places.collect::<Result<_, _>>()?, send_within_ms, deadline_ms, refusal })
}

/// The reply of `commit`, and what is to be remembered of it.
pub fn decode_commit(reply: Reply) -> Result<(CommitReply, Remembered), LedgerError> {
    let mut parts = Reader::new("commit", reply)?;
    let (mut settled, mut paused, mut renewed) = (parts.array()?, parts.array()?, parts.array()?);
    let (mut decided, mut stand) = (parts.array()?, parts.array()?);
    let mut answer = CommitReply {
        settled: Vec::with_capacity(settled.left()),
        paused_ms: Vec::with_capacity(paused.left()),
        renewed: Vec::with_capacity(renewed.left()),
        decisions: Vec::with_capacity(decided.left()),
        limits: Vec::with_capacity(stand.left()),
        found: Vec::new(),
        resent: false,
    };
    while settled.left() > 0 {
        answer.settled.push(letters(&settled.text()?)?);
    }
    while paused.left() > 0 {
        answer.paused_ms.push(paused.num()?);
    }
    while renewed.left() > 0 {
        answer.renewed.push(renewal(&renewed.text()?)?);
    }
    while decided.left() > 0 {
        answer.decisions.push(decision(decided.array()?)?);
    }
    while stand.left() > 0 {
        let mut limit = stand.array()?;
        answer.limits.push((limit.num()?, limit.num()?, limit.num()?));
    }
    let remembered = life::remembered(parts.array()?)?;
    let mut found = parts.array()?;
    while found.left() > 0 {
        let text = found.text()?;
        let place = (!text.is_empty()).then(|| permit(&text).ok_or_else(|| broken_permit(&text)));
        answer.found.push(place.transpose()?);
    }
    Ok((answer, remembered))
}

fn broken_permit(text: &str) -> LedgerError {
    LedgerError::Corrupt(format!("commit: {text:?} is no permit that was found"))
}
