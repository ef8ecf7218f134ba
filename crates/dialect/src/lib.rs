//! From an upstream's response to readings: vendors as data.
//!
//! [`Profiles`] holds the profiles that are compiled in (`crates/dialect/profiles/*.toml`) and those that the
//! configuration adds. [`Profile::observe`] takes a response and says whether it was a refusal, what was hit, how long
//! to stay away, and what it told of the limits. Nothing a response contains makes it panic: what cannot be used is
//! counted and left out.
//!
//! # How to write a profile
//!
//! A profile is a TOML text of at most 64 KiB. Unknown keys are refused; an error names the field, and the line where it
//! is about a line.
//!
//! ```
//! # let text = r#"
//! name = "acme"
//! title = "ACME's API: 1,000 requests an hour, 20 searches a minute"
//! default_class = "plain"
//!
//! [[limits]]                       # the limits of a budget that declares none
//! name = "hourly"
//! kind = "window"
//! capacity = 1000
//! window = "1h"
//! aligned = true                   # only if all of it is given back at the window's end
//! readings = true
//!
//! [[limits]]
//! name = "searches"
//! kind = "window"
//! capacity = 20
//! window = "1min"
//! classes = ["search"]
//!
//! [[families]]
//! name = "X-Acme-*"
//! [[families.readings]]
//! limit = "x-acme-limit"
//! remaining = "x-acme-remaining"
//! reset = { from = "x-acme-reset", unit = "epoch-seconds", rounding = "up" }
//!
//! [[retry_after]]
//! from = ["retry-after", "/error/retry_after"]
//! unit = "retry-after"
//!
//! [refusals]
//! statuses = [429]
//! [[refusals.rules]]
//! from = "/error/code"
//! equals = ["SEARCH_LIMIT"]
//! hit = { limit = "searches" }
//! # "#;
//! # let mut profiles = bursar_dialect::Profiles::builtin();
//! # profiles.add_toml(text).unwrap();
//! ```
//!
//! ## The profile
//!
//! | key | meaning |
//! | --- | --- |
//! | `name` | its name, `[a-z0-9._/-]{1,128}`; a later profile of the same name takes the place of the earlier |
//! | `title` | a line for people |
//! | `default_class` | the class of a call that names none |
//! | `[[limits]]` | the limits of a budget that declares none, as in a budget ([`bursar_quota::LimitSpec`]); may be absent |
//! | `[habits]` | defaults for a budget: `send_within`, `permit_ttl`, `max_permit_ttl`, `ramp` (durations with their unit), `backoff = { base, max }`, `alert_at` |
//! | `[[families]]` | what it sends about its limits, at most 16 |
//! | `[[retry_after]]` | where a refusal says how long to stay away; absent: `retry-after-ms`, then `Retry-After` |
//! | `[refusals]` | what means refusal |
//! | `[[costs]]` | where a response tells the actual cost: `unit`, `from`; fractions are rounded up, nought is left out |
//!
//! ## Where a value stands
//!
//! Wherever a value is read, its place is a text, or a list of up to 8 texts of which the first that is there and
//! well-formed counts:
//!
//! | form | meaning |
//! | --- | --- |
//! | `"x-ratelimit-limit"` | a header, in any case |
//! | `"desk-ratelimit#total"` | in a header `total=100; remaining=99`, what stands behind `total=` up to the next `,` or `;` |
//! | `"/error/retryAfter"` | a JSON pointer (RFC 6901) into the body |
//!
//! Several lines of a header, or values that a proxy joined by commas, must agree (of several Retry-Afters the longest
//! counts). Numbers are decimals without sign or exponent, at most 10^12; what remains is rounded down. A number in the
//! body may be a JSON number or a text.
//!
//! ## Families and readings
//!
//! Limit, remaining and reset of one limit belong together. What is sent together is a family; all of its readings are
//! taken, and families are never mixed: the first that yields a remaining speaks, otherwise the first that yields
//! anything. A family has a `name` for people and 1 to 16 `[[families.readings]]`, each about one limit:
//!
//! | key | meaning |
//! | --- | --- |
//! | `for_limit` | it is about the limit of this name |
//! | `for_unit`, `for_window` | or about one that counts this unit (absent: `requests`), with this window (`"1min"`), with the capacity that is read |
//! | `limit` | the capacity |
//! | `remaining` | what remains |
//! | `used` | what is used; with `limit`, where `remaining` is absent |
//! | `used_of_limit` | `32/40`: used of capacity |
//! | `remaining_of_limit` | `8/40`: remaining of capacity |
//! | `reset` | when the window ends: a time, as below |
//! | `window` | how long the window is: a time in `seconds`, `milliseconds` or `duration` |
//! | `policies` | the header with quota policies `100;w=60, 1000;w=3600` (drafts -03 to -07). With it, `limit` may hold policies behind the limit as well (polli-01). The window is that of the one policy with the limit's quota |
//! | `structured` | stands alone: `{ quotas = "ratelimit", policies = "ratelimit-policy" }`, the current draft's structured fields. Each quota is a reading of the limit that is called as it is, or that its policy's unit, quota and window find; `names = { burst = "limit-name" }` says which policies' names mean which limit |
//!
//! More remaining than the capacity is a contradiction, and the reading is left out. A response with an `Age` above
//! nought comes from a cache: its readings are of another time, and are left out.
//!
//! ## Times
//!
//! | key | meaning |
//! | --- | --- |
//! | `from` | where it stands |
//! | `unit` | how it is written: see below |
//! | `rounding` | how the upstream rounds to the last digit: `up`, `down`, `nearest`, `unknown`. Absent: `unknown` for a reset, `up` for a Retry-After |
//! | `resolution` | what it is exact to, where that is coarser than the digits show, `"1ms"` to `"1h"` (a minute written with `:00` seconds) |
//! | `zero_is_unknown` | nought is sent for "unknown" |
//!
//! | unit | form |
//! | --- | --- |
//! | `seconds`, `milliseconds` | from now |
//! | `epoch-seconds`, `epoch-milliseconds` | since the Unix epoch |
//! | `duration` | `6m0s`, `12ms`, `1h2m3.5s` |
//! | `rfc3339` | `2026-11-22T03:00:30Z`; the seconds may be missing |
//! | `http-date` | in any of its three forms |
//! | `retry-after` | seconds or an HTTP date (or RFC 3339); for `[[retry_after]]` alone |
//! | `ignored` | it is there, but it is not the end of a window (when the oldest call drops out, when a bucket is full): not read |
//! | `sniff` | guessed by form and magnitude; for the profile `generic` alone. Up to 3600 it is seconds from now, within 31 days of now a date; nothing else, since a larger number may be milliseconds |
//!
//! A reset becomes an interval, in milliseconds from the moment the response was made, that holds the true end as long
//! as the upstream writes what it means: the last digit written may be wrong by one either way (by half of one, or only
//! one way, where `rounding` says so); moments on the upstream's clock are compared with the response's own `Date`, which
//! is cut to the second; without a `Date` our clock is taken, and latency and skew together are taken to be at most 5 s.
//! What is certainly past, or certainly more than 31 days ahead, is malformed.
//!
//! A Retry-After is the latest moment of that interval, rounded up to the millisecond, at most 31 days. It is reported on
//! a refusal and never on a success: some middleware sends one with every response.
//!
//! ## Refusals
//!
//! | key of `[refusals]` | meaning |
//! | --- | --- |
//! | `statuses` | always refusals; absent: `[429]` |
//! | `with_retry_after` | refusals if they say how long to stay away; absent: `[503]` |
//! | `when_exhausted` | refusals if a reading says that nothing remains, such as `[403]` |
//! | `counted` | whether the upstream counts what it refuses; absent: no |
//! | `hit` | what was hit where no reading tells: `"budget"` (so if absent), `"call-class"`, `{ class = "auth" }`, `{ limit = "hourly" }` |
//! | `[[refusals.rules]]` | what else means refusal, at most 32; the first that holds counts |
//!
//! | key of a rule | meaning |
//! | --- | --- |
//! | `from` | the value |
//! | `equals` | it is one of these texts (numbers and `true`, `false` as JSON writes them) |
//! | `contains` | or it contains one of these, whatever the case |
//! | | neither: it is there and not `null` |
//! | `statuses` | only with these; absent: with 400 and above. A refusal with status 200 must be named here |
//! | `hit`, `counted` | instead of those of `[refusals]`, and instead of what the readings say was hit |
//!
//! Otherwise the readings tell what was hit: the limit of which nothing remains (of several the one that resets last);
//! if something remains of all, it was none of these windows, but concurrency or a secondary limit: the budget.

mod error;
mod family;
mod fields;
mod moment;
mod number;
mod observe;
mod profile;
mod profiles;
mod refusal;
mod response;
mod source;
mod time;

pub use error::ProfileError;
pub use family::{Family, Fields, Form, ReadingRule, Structured, Target};
pub use profile::{CostSource, Habits, Profile};
pub use profiles::Profiles;
pub use refusal::{DeclaredHit, RefusalRule, Refusals, Test};
pub use source::{HeaderName, Source, Sources};
pub use time::{Rounding, TimeSource, TimeUnit};
