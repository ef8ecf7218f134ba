//! Durations in text: a number without a unit is refused.

use std::{fmt, time::Duration};

struct Text;

impl serde::de::Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"5s\", \"100ms\" or \"15min\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text).map_err(|error| {
            E::custom(format_args!("{text:?} is no duration such as \"5s\" or \"100ms\": {error}"))
        })
    }
}

/// `#[serde(with = "duration_text")]` for a [`Duration`] written as `5s`, `100ms`, `15min`.
pub mod duration_text {
    use super::{Duration, Text};
    use serde::{Deserializer, Serializer};

    /// Writes the duration with its unit.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    /// Reads a duration; a bare number is an error that asks for the unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// `#[serde(default, with = "opt_duration_text")]` for an optional [`Duration`], absent when `None`.
pub mod opt_duration_text {
    use super::{Duration, Text};
    use serde::{Deserializer, Serializer};

    /// Writes the duration with its unit, or nothing.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.collect_str(&humantime::format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration; a bare number is an error that asks for the unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        struct Optional;
        impl<'de> serde::de::Visitor<'de> for Optional {
            type Value = Option<Duration>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::de::Visitor::expecting(&Text, f)
            }
            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.deserialize_str(Text).map(Some)
            }
        }
        deserializer.deserialize_option(Optional)
    }
}
