//! The names of the tables, validated once.

use std::{fmt, str::FromStr};

use relaybox_core::{Error, ErrorKind, Result};

/// The name of a table, with or without a schema: `outbox_events`, `billing.outbox_events`.
///
/// ```
/// use relaybox_sqlx::TableName;
/// assert_eq!(TableName::new("billing.outbox_events")?.to_string(), "billing.outbox_events");
/// assert!(TableName::new("outbox; drop table users").is_err());
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

/// How long an identifier may be, in bytes: what Postgres keeps of it.
pub(crate) const MAX_IDENTIFIER: usize = 63;

impl TableName {
    /// Parses a name: `[a-z_][a-z0-9_]*`, at most 63 bytes, after an optional schema of that form and
    /// a dot.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is not of that form.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let text = name.as_ref();
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if !is_identifier(name) || !schema.is_none_or(is_identifier) {
            return Err(Error::new(ErrorKind::Invalid, "name a table").detail(format!(
                "{:?} is not lower-case letters, digits and '_', at most {MAX_IDENTIFIER} bytes, \
                 after an optional schema and a dot",
                text.chars().take(80).collect::<String>()
            )));
        }
        Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() })
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// The names of all tables; the defaults are those of the migrations as published.
///
/// ```
/// use relaybox_sqlx::{TableName, Tables};
/// let tables = Tables::in_schema("billing")?.outbox_events(TableName::new("billing.events_out")?);
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Tables {
    pub(crate) outbox_events: TableName,
    pub(crate) outbox_relay: TableName,
    pub(crate) outbox_dead_letters: TableName,
    pub(crate) outbox_archive: TableName,
    pub(crate) outbox_schemas: TableName,
    pub(crate) processed_events: TableName,
    pub(crate) given_up_events: TableName,
    pub(crate) consumer_starts: TableName,
    pub(crate) migrations: TableName,
}

impl Default for Tables {
    fn default() -> Self {
        Self::prefixed(None)
    }
}

impl Tables {
    /// The default names in a schema, which must exist.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the schema's name is no identifier as [`TableName`] has them.
    pub fn in_schema(schema: &str) -> Result<Self> {
        // Parsed as a part of a name, so that "a.b" is refused as well.
        TableName::new(format!("{schema}.t"))?;
        Ok(Self::prefixed(Some(schema)))
    }

    /// Names the events that wait to be published: `outbox_events`.
    pub fn outbox_events(self, name: TableName) -> Self {
        Self { outbox_events: name, ..self }
    }

    /// Names the lease: `outbox_relay`. Each table of events needs its own.
    pub fn outbox_relay(self, name: TableName) -> Self {
        Self { outbox_relay: name, ..self }
    }

    /// Names what the relay gave up on: `outbox_dead_letters`.
    pub fn outbox_dead_letters(self, name: TableName) -> Self {
        Self { outbox_dead_letters: name, ..self }
    }

    /// Names what was published, where that is kept: `outbox_archive`.
    pub fn outbox_archive(self, name: TableName) -> Self {
        Self { outbox_archive: name, ..self }
    }

    /// Names the schemas that payloads were written with: `outbox_schemas`.
    pub fn outbox_schemas(self, name: TableName) -> Self {
        Self { outbox_schemas: name, ..self }
    }

    /// Names the marks of the consumers: `processed_events`.
    pub fn processed_events(self, name: TableName) -> Self {
        Self { processed_events: name, ..self }
    }

    /// Names what the consumers gave up on: `given_up_events`.
    pub fn given_up_events(self, name: TableName) -> Self {
        Self { given_up_events: name, ..self }
    }

    /// Names how often the consumers began at the same place: `consumer_starts`.
    pub fn consumer_starts(self, name: TableName) -> Self {
        Self { consumer_starts: name, ..self }
    }

    /// Names what says which migrations were applied: `relaybox_migrations`.
    pub fn migrations(self, name: TableName) -> Self {
        Self { migrations: name, ..self }
    }

    fn prefixed(schema: Option<&str>) -> Self {
        let name =
            |name: &str| TableName { schema: schema.map(str::to_owned), name: name.to_owned() };
        Self {
            outbox_events: name("outbox_events"),
            outbox_relay: name("outbox_relay"),
            outbox_dead_letters: name("outbox_dead_letters"),
            outbox_archive: name("outbox_archive"),
            outbox_schemas: name("outbox_schemas"),
            processed_events: name("processed_events"),
            given_up_events: name("given_up_events"),
            consumer_starts: name("consumer_starts"),
            migrations: name("relaybox_migrations"),
        }
    }
}

fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_IDENTIFIER
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_sql_is_refused() {
        let long = "x".repeat(64);
        for bad in ["", ".", "a.", ".a", "a.b.c", "Events", "1a", "a b", "a\"", "a;b", "ä", &long]
        {
            assert_eq!(TableName::new(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
        for bad in ["", "a.b", "A"] {
            assert!(Tables::in_schema(bad).is_err(), "{bad}");
        }
        assert!(TableName::new(&long[..63]).is_ok());
    }
}
