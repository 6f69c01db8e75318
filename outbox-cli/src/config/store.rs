//! `[store]`: the outbox's database.

use std::path::PathBuf;

use relaybox::{ErrorKind, Result as CoreResult};
use serde::Deserialize;

use super::{Text, missing};
use crate::error::CliError;

/// Which database, and how its tables are called.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSection {
    pub(crate) url: Option<Text>,
    /// The schema of the tables, on Postgres; of an attached database, on SQLite.
    pub(crate) schema: Option<String>,
    /// MongoDB's database, where the URL names none.
    pub(crate) database: Option<String>,
    /// Whether the relay keeps published events in the archive.
    pub(crate) archive: bool,
    pub(crate) tables: TablesSection,
    /// What the path of a URL's file is relative to.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

/// Names of tables that are not the default ones.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TablesSection {
    pub(crate) outbox_events: Option<String>,
    pub(crate) outbox_relay: Option<String>,
    pub(crate) outbox_dead_letters: Option<String>,
    pub(crate) outbox_archive: Option<String>,
    pub(crate) outbox_schemas: Option<String>,
    pub(crate) processed_events: Option<String>,
    pub(crate) given_up_events: Option<String>,
    pub(crate) consumer_starts: Option<String>,
    pub(crate) migrations: Option<String>,
}

/// What a URL's scheme says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Postgres,
    Sqlite,
    MongoDb,
}

impl StoreKind {
    /// The database in lower case.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
            Self::MongoDb => "mongodb",
        }
    }
}

impl StoreSection {
    /// The URL, and what kind of database it is of.
    ///
    /// # Errors
    /// [`CliError::Config`] when there is none, or none that is known.
    pub(crate) fn url(&self) -> Result<(StoreKind, String), CliError> {
        let url = self.url.as_ref().ok_or_else(no_store)?.resolve("store.url", &self.folder)?;
        let kind = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => StoreKind::Postgres,
            Some("sqlite") => StoreKind::Sqlite,
            Some("mongodb" | "mongodb+srv") => StoreKind::MongoDb,
            _ => {
                return Err(CliError::Config(
                    "store.url: it is none of postgres://…, sqlite:FILE and mongodb://…".to_owned(),
                ));
            }
        };
        Ok((kind, url))
    }

    /// The names of the tables.
    ///
    /// # Errors
    /// [`CliError::Config`] when one is not valid: it says which.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn tables(&self) -> Result<crate::store::Tables, CliError> {
        use crate::store::{TableName, Tables};

        let of = |key: &str, error: relaybox::Error| match error.kind() {
            ErrorKind::Invalid => CliError::Config(format!("store.{key}: {error}")),
            _ => error.into(),
        };
        let mut tables = match &self.schema {
            Some(schema) => Tables::in_schema(schema).map_err(|error| of("schema", error))?,
            None => Tables::default(),
        };
        type Rename = fn(Tables, TableName) -> Tables;
        let names: [(&str, &Option<String>, Rename); 9] = [
            ("outbox_events", &self.tables.outbox_events, Tables::outbox_events),
            ("outbox_relay", &self.tables.outbox_relay, Tables::outbox_relay),
            ("outbox_dead_letters", &self.tables.outbox_dead_letters, Tables::outbox_dead_letters),
            ("outbox_archive", &self.tables.outbox_archive, Tables::outbox_archive),
            ("outbox_schemas", &self.tables.outbox_schemas, Tables::outbox_schemas),
            ("processed_events", &self.tables.processed_events, Tables::processed_events),
            ("given_up_events", &self.tables.given_up_events, Tables::given_up_events),
            ("consumer_starts", &self.tables.consumer_starts, Tables::consumer_starts),
            ("migrations", &self.tables.migrations, Tables::migrations),
        ];
        for (key, name, rename) in names {
            if let Some(name) = name {
                let name: CoreResult<TableName> = name.parse();
                let name = name.map_err(|error| of(&format!("tables.{key}"), error))?;
                tables = rename(tables, name);
            }
        }
        Ok(tables)
    }

    /// The names of the collections.
    ///
    /// # Errors
    /// [`CliError::Config`] when one is not valid, or MongoDB has no such thing: it says which.
    #[cfg(feature = "mongodb")]
    pub(crate) fn collections(&self) -> Result<relaybox::mongodb::Collections, CliError> {
        use relaybox::mongodb::{CollectionName, Collections};

        if self.schema.is_some() || self.tables.migrations.is_some() {
            return Err(CliError::Config(
                "store.schema and store.tables.migrations are not for MongoDB".to_owned(),
            ));
        }
        type Rename = fn(Collections, CollectionName) -> Collections;
        let names: [(&str, &Option<String>, Rename); 8] = [
            ("outbox_events", &self.tables.outbox_events, Collections::outbox_events),
            ("outbox_relay", &self.tables.outbox_relay, Collections::outbox_relay),
            (
                "outbox_dead_letters",
                &self.tables.outbox_dead_letters,
                Collections::outbox_dead_letters,
            ),
            ("outbox_archive", &self.tables.outbox_archive, Collections::outbox_archive),
            ("outbox_schemas", &self.tables.outbox_schemas, Collections::outbox_schemas),
            ("processed_events", &self.tables.processed_events, Collections::processed_events),
            ("given_up_events", &self.tables.given_up_events, Collections::given_up_events),
            ("consumer_starts", &self.tables.consumer_starts, Collections::consumer_starts),
        ];
        let mut collections = Collections::default();
        for (key, name, rename) in names {
            if let Some(name) = name {
                let name = CollectionName::new(name)
                    .map_err(|error| CliError::Config(format!("store.tables.{key}: {error}")))?;
                collections = rename(collections, name);
            }
        }
        Ok(collections)
    }
}

/// There is no database.
pub(crate) fn no_store() -> CliError {
    missing("the outbox's database", "--store or RELAYBOX_STORE_URL", "store")
}
