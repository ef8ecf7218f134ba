//! Where a profile finds a value: a header, a part of a header, or a place in the body.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// The most alternatives one value has.
const MAX_ALTERNATIVES: usize = 8;

/// The longest name of a header, and the longest pointer, in bytes.
const MAX_LEN: usize = 256;

/// One place where a value may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `x-ratelimit-limit`: all of a header's value; `sforce-limit-info#api-usage`: what follows `api-usage=` in it, up
    /// to the next `,` or `;`.
    Header {
        /// Its name, in lower case.
        name: String,
        /// The key of the part that is meant.
        key: Option<String>,
    },
    /// `/error/retryAfter`: a JSON pointer (RFC 6901) into the body.
    Pointer(String),
}

impl Source {
    /// Reads the text form: what begins with `/` is a pointer. Fails with what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LEN {
            return Err(format!(
                "{} bytes are too long for a header or a pointer, at most {MAX_LEN}",
                text.len()
            ));
        }
        if text.starts_with('/') {
            return Ok(Self::Pointer(text.to_owned()));
        }
        let (name, key) = match text.split_once('#') {
            Some((name, key)) => (name, Some(key)),
            None => (text, None),
        };
        if key.is_some_and(|key| key.is_empty() || key.contains(['=', ',', ';', ' '])) {
            return Err(format!("{text:?}: after # stands the key of a part, such as \"limit-info#used\""));
        }
        let name = header_name(name)?;
        Ok(Self::Header { name, key: key.map(str::to_owned) })
    }

    /// The header it is in.
    pub(crate) fn header(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. } => Some(name),
            Self::Pointer(_) => None,
        }
    }
}

/// Checks the name of a header and gives it in lower case.
pub(crate) fn header_name(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > MAX_LEN || !text.bytes().all(token) {
        return Err(format!(
            "{text:?} is neither the name of a header nor a JSON pointer (these begin with /)"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// Places to look for one value, 1 to 8: the first at which it is there and well-formed. In files a text or a list of
/// texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// The header `name`, which is in lower case.
    pub(crate) fn of_header(name: &str) -> Self {
        Self(vec![Source::Header { name: name.to_owned(), key: None }])
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Sources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a header, a JSON pointer, or a list of 1 to {MAX_ALTERNATIVES} of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Sources, E> {
                Source::parse(text).map(|source| Sources(vec![source])).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Sources, A::Error> {
                let mut found = Vec::new();
                while let Some(text) = seq.next_element::<String>()? {
                    found.push(Source::parse(&text).map_err(de::Error::custom)?);
                }
                if !(1..=MAX_ALTERNATIVES).contains(&found.len()) {
                    return Err(de::Error::invalid_length(found.len(), &self));
                }
                Ok(Sources(found))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The name of one header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderName(String);

impl HeaderName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        header_name(&text).map(Self).map_err(de::Error::custom)
    }
}
