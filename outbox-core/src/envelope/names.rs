//! Identifiers and names: parsed once, in the constructor, and valid ever after.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize, Serializer};
use smol_str::SmolStr;
use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

/// An event's identity, a UUID of version 7: what consumers know repeats by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// Makes a new id from the time and chance.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a new id each time is not a default")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Takes an id that exists already, of any UUID version.
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for EventId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Uuid::parse_str(text).map(Self).map_err(|source| {
            Error::new(ErrorKind::Decode, "parse an event id")
                .detail("not a UUID")
                .caused_by(source)
        })
    }
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $max:literal, $what:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(SmolStr);

        impl $name {
            /// The longest one, in bytes.
            pub const MAX_LEN: usize = $max;

            /// Parses one.
            ///
            /// # Errors
            /// [`ErrorKind::Invalid`] when the text is empty, too long or has characters that
            /// don't belong.
            pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self> {
                Self::parse(match text.into() {
                    Cow::Borrowed(text) => SmolStr::new_static(text),
                    Cow::Owned(text) => SmolStr::from(text),
                })
            }

            fn parse(text: SmolStr) -> Result<Self> {
                let valid: fn(&str) -> bool = $valid;
                if text.len() > Self::MAX_LEN || !valid(&text) {
                    return Err(Error::new(ErrorKind::Invalid, concat!("name ", $what)).detail(
                        // Not quoted: it may be the user's data.
                        format!(
                            "it is empty, longer than {} bytes or has characters that don't belong",
                            Self::MAX_LEN,
                        ),
                    ));
                }
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(
                &self,
                serializer: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::parse(SmolStr::new(text))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_newtype! {
    /// The kind of aggregate, lower case: `session`.
    AggregateType, 64, "an aggregate type", |text| is_slug(text)
}

text_newtype! {
    /// Which aggregate: any text without control characters.
    AggregateId, 255, "an aggregate id", |text| !text.is_empty() && is_printable(text)
}

text_newtype! {
    /// What decides the partition: any text without control characters.
    PartitionKey, 255, "a partition key", |text| !text.is_empty() && is_printable(text)
}

text_newtype! {
    /// A topic's name, by Kafka's rule: letters, digits, `.`, `_` and `-`, at most 249 bytes.
    TopicName, 249, "a topic", |text| !matches!(text, "" | "." | "..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

text_newtype! {
    /// A consumer's name: its marks and its group go by it. Changing it handles everything anew.
    ConsumerName, 128, "a consumer", |text| !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

text_newtype! {
    /// A short text without control characters, possibly empty: a source, a user id.
    Label, 255, "a label", is_printable
}

impl Default for Label {
    fn default() -> Self {
        Self(SmolStr::new_static(""))
    }
}

impl From<EventId> for Label {
    fn from(id: EventId) -> Self {
        Self(smol_str::format_smolstr!("{id}"))
    }
}

fn is_slug(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_when_it_could_not_be_a_topic_or_a_key() {
        for bad in ["", ".", "..", "a b", "ä", &"x".repeat(250)] {
            assert_eq!(TopicName::new(bad.to_owned()).unwrap_err().kind(), ErrorKind::Invalid);
        }
        for bad in ["", "line\nbreak", &"x".repeat(256)] {
            assert_eq!(AggregateId::new(bad.to_owned()).unwrap_err().kind(), ErrorKind::Invalid);
        }
        for bad in ["", "Session", "a.b", "a;drop"] {
            assert_eq!(AggregateType::new(bad.to_owned()).unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert!(TopicName::new("session-events.v1").is_ok());
        assert!(AggregateId::new("Grün / 7").is_ok());
        assert!(Label::new("").is_ok());
    }
}
