//! A response, searched once for what a profile reads.

use std::{
    borrow::Cow,
    cell::{Cell, OnceCell},
    collections::HashMap,
};

use bursar_quota::ResponseView;
use serde_json::Value;

use crate::{
    Profile,
    moment::{Made, http_date},
    number::Number,
    source::{Source, Sources},
};

/// The longest header name that a profile reads; longer lines are passed over.
const MAX_NAME: usize = 256;

/// A response as one profile looks at it. Work is linear in its size.
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    /// When it was made, on the upstream's clock.
    pub(crate) made: Made,
    /// It comes from a cache: it says nothing about now.
    pub(crate) cached: bool,
    lines: HashMap<&'a str, Vec<&'a [u8]>>,
    body: &'a [u8],
    json: OnceCell<Option<Value>>,
    malformed: Cell<u32>,
}

/// A value as found: text, or `None` where it is there but is no text.
type Found<'a> = Option<Cow<'a, str>>;

impl<'a> Response<'a> {
    /// Goes through the headers once and keeps what `profile` reads.
    pub(crate) fn new(profile: &'a Profile, view: &ResponseView<'a>) -> Self {
        let mut lines: HashMap<&str, Vec<&[u8]>> = HashMap::new();
        let mut lower = [0; MAX_NAME];
        for (name, value) in view.headers {
            let Some(lower) = lower.get_mut(..name.len()) else { continue };
            lower.copy_from_slice(name.as_bytes());
            lower.make_ascii_lowercase();
            let wanted = std::str::from_utf8(lower).ok().and_then(|name| profile.headers.get(name));
            if let Some(name) = wanted {
                lines.entry(name).or_default().push(value);
            }
        }
        let mut response = Self {
            status: view.status,
            made: Made::received(view.received_unix_ms),
            cached: false,
            lines,
            body: view.body,
            json: OnceCell::new(),
            malformed: Cell::new(0),
        };
        if let Some(date) = response.one(response.header("date", None), http_date) {
            response.made = Made::dated(date);
        }
        let age = response.one(response.header("age", None), Number::parse);
        response.cached = age.is_some_and(|age| age.nanos > 0);
        response
    }

    /// Counts a value that was there and could not be used.
    pub(crate) fn bad(&self) {
        self.malformed.set(self.malformed.get().saturating_add(1));
    }

    /// How many values were there and could not be used.
    pub(crate) fn malformed(&self) -> u32 {
        self.malformed.get()
    }

    /// All values at one place, in order.
    pub(crate) fn values(&self, source: &Source) -> Vec<Found<'_>> {
        match source {
            Source::Header { name, key } => self.header(name, key.as_deref()),
            Source::Pointer(pointer) => self.pointer(pointer).into_iter().collect(),
        }
    }

    /// The first of `sources` that is there and reads well. Several lines or list members of it must agree; what
    /// doesn't read is counted as malformed.
    pub(crate) fn first<T: PartialEq>(
        &self,
        sources: &Sources,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        sources.iter().find_map(|source| self.one(self.values(source), &read))
    }

    /// The lines of a header joined, as a list of structured fields is spread over them. `None`: none, or no text.
    pub(crate) fn joined(&self, name: &str) -> Option<String> {
        let lines = self.lines.get(name)?;
        let texts: Option<Vec<&str>> = lines.iter().map(|line| std::str::from_utf8(line).ok()).collect();
        if texts.is_none() {
            self.bad();
        }
        texts.map(|texts| texts.join(", "))
    }

    fn one<T: PartialEq>(&self, values: Vec<Found<'_>>, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut agreed = None;
        for value in &values {
            let read = value.as_deref().and_then(|text| read_list(text, &read));
            match (read, &agreed) {
                (Some(it), None) => agreed = Some(it),
                (Some(it), Some(before)) if it == *before => {}
                _ => {
                    self.bad();
                    return None;
                }
            }
        }
        agreed
    }

    fn header(&self, name: &str, key: Option<&str>) -> Vec<Found<'_>> {
        let lines = self.lines.get(name).map(Vec::as_slice).unwrap_or_default();
        let texts = lines.iter().map(|line| std::str::from_utf8(line).ok().map(str::trim));
        match key {
            None => texts.map(|text| text.map(Cow::Borrowed)).collect(),
            Some(key) => {
                texts.flatten().flat_map(|text| parts(text, key)).map(|it| Some(Cow::Borrowed(it))).collect()
            }
        }
    }

    fn pointer(&self, pointer: &str) -> Option<Found<'_>> {
        let json = self.json.get_or_init(|| serde_json::from_slice(self.body).ok());
        match json.as_ref()?.pointer(pointer)? {
            Value::Null => None,
            Value::String(text) => Some(Some(Cow::Borrowed(text.trim()))),
            Value::Number(number) => Some(Some(Cow::Owned(number.to_string()))),
            Value::Bool(truth) => Some(Some(Cow::Owned(truth.to_string()))),
            Value::Array(_) | Value::Object(_) => Some(None),
        }
    }
}

/// Reads all of `text`, or else its members between commas if they agree: proxies join lines so.
pub(crate) fn read_list<T: PartialEq>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    if let Some(it) = read(text) {
        return Some(it);
    }
    let mut members = text.split(',').map(|member| read(member.trim()));
    let first = members.next()??;
    members.all(|member| member.as_ref() == Some(&first)).then_some(first)
}

/// What stands behind `key=` in the parts of `text` between commas and semicolons, without its quotes.
fn parts<'t>(text: &'t str, key: &str) -> impl Iterator<Item = &'t str> {
    text.split([',', ';']).filter_map(move |part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"'))
    })
}
