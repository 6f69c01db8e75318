//! The names of the collections, validated once.

use std::{fmt, str::FromStr, sync::Arc};

use relaybox_core::{Error, ErrorKind, Result};

/// The name of a collection: `outbox_events`, `billing.outbox_events`.
///
/// ```
/// use relaybox_mongo::CollectionName;
/// assert_eq!(CollectionName::new("billing.outbox_events")?.as_str(), "billing.outbox_events");
/// assert!(CollectionName::new("system.users").is_err());
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CollectionName(Arc<str>);

/// How long a name may be, in bytes: a namespace may have 255 with the database's.
const MAX_NAME: usize = 120;

impl CollectionName {
    /// Parses a name: letters, digits, `_`, `-` and `.`, beginning with a letter or `_`, at most 120
    /// bytes, and not one of the server's own (with `system.` in it).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is not of that form.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
        let valid = name.len() <= MAX_NAME
            && name.bytes().next().is_some_and(first)
            && name.bytes().all(|b| first(b) || b.is_ascii_digit() || b == b'-' || b == b'.')
            && !name.ends_with('.')
            && !name.starts_with("system.")
            && !name.contains(".system.");
        if !valid {
            return Err(Error::new(ErrorKind::Invalid, "name a collection").detail(format!(
                "{:?} is not of letters, digits, '_', '-' and '.', at most {MAX_NAME} bytes, and not \
                 the server's own",
                name.chars().take(80).collect::<String>()
            )));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CollectionName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names of all collections.
///
/// ```
/// use relaybox_mongo::{CollectionName, Collections};
/// let names = Collections::prefixed("billing.")?
///     .outbox_events(CollectionName::new("billing.events_out")?);
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Collections {
    pub(crate) outbox_events: CollectionName,
    pub(crate) outbox_relay: CollectionName,
    pub(crate) outbox_dead_letters: CollectionName,
    pub(crate) outbox_archive: CollectionName,
    pub(crate) outbox_schemas: CollectionName,
    pub(crate) processed_events: CollectionName,
    pub(crate) given_up_events: CollectionName,
    pub(crate) consumer_starts: CollectionName,
}

impl Default for Collections {
    fn default() -> Self {
        Self::prefixed("").expect("the default names are valid")
    }
}

impl Collections {
    /// The default names behind a prefix.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when they are no [`CollectionName`]s with it.
    pub fn prefixed(prefix: &str) -> Result<Self> {
        let name = |name: &str| CollectionName::new(format!("{prefix}{name}"));
        Ok(Self {
            outbox_events: name("outbox_events")?,
            outbox_relay: name("outbox_relay")?,
            outbox_dead_letters: name("outbox_dead_letters")?,
            outbox_archive: name("outbox_archive")?,
            outbox_schemas: name("outbox_schemas")?,
            processed_events: name("processed_events")?,
            given_up_events: name("given_up_events")?,
            consumer_starts: name("consumer_starts")?,
        })
    }

    /// Names the events that wait to be published: `outbox_events`.
    pub fn outbox_events(self, name: CollectionName) -> Self {
        Self { outbox_events: name, ..self }
    }

    /// Names the lease: `outbox_relay`. Each collection of events needs its own.
    pub fn outbox_relay(self, name: CollectionName) -> Self {
        Self { outbox_relay: name, ..self }
    }

    /// Names what the relay gave up on: `outbox_dead_letters`.
    pub fn outbox_dead_letters(self, name: CollectionName) -> Self {
        Self { outbox_dead_letters: name, ..self }
    }

    /// Names what was published, where that is kept: `outbox_archive`.
    pub fn outbox_archive(self, name: CollectionName) -> Self {
        Self { outbox_archive: name, ..self }
    }

    /// Names the schemas that payloads were written with: `outbox_schemas`.
    pub fn outbox_schemas(self, name: CollectionName) -> Self {
        Self { outbox_schemas: name, ..self }
    }

    /// Names the marks of the consumers: `processed_events`.
    pub fn processed_events(self, name: CollectionName) -> Self {
        Self { processed_events: name, ..self }
    }

    /// Names what the consumers gave up on: `given_up_events`.
    pub fn given_up_events(self, name: CollectionName) -> Self {
        Self { given_up_events: name, ..self }
    }

    /// Names how often the consumers began at the same place: `consumer_starts`.
    pub fn consumer_starts(self, name: CollectionName) -> Self {
        Self { consumer_starts: name, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "1a",
            "a b",
            "a$b",
            "ä",
            "a\0",
            "system.users",
            "a.system.b",
            &long,
        ] {
            assert_eq!(CollectionName::new(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
        assert!(CollectionName::new(&long[..MAX_NAME]).is_ok());
        assert!(Collections::prefixed("$").is_err());
    }
}
