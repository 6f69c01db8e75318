//! The database behind the outbox, whichever it is.

#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "postgres")]
mod postgres;
mod shared;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::{sync::Arc, time::Duration};

use relaybox::{
    ArchiveStore, ConsumerName, DeadLetterStore, OutboxStore, ProcessedEventStore, Result,
    SchemaStore, async_trait,
};

pub(crate) use self::shared::{SharedSchemas, SharedStore};
#[cfg(feature = "postgres")]
pub(crate) use relaybox::postgres::{TableName, Tables};
#[cfg(all(feature = "sqlite", not(feature = "postgres")))]
pub(crate) use relaybox::sqlite::{TableName, Tables};

use crate::{
    config::{StoreKind, StoreSection},
    error::CliError,
};

/// How long a command waits for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// An outbox with all its sides.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) kind: StoreKind,
    pub(crate) outbox: Arc<dyn OutboxTables>,
    pub(crate) marks: Arc<dyn Marks>,
    pub(crate) migrator: Arc<dyn Migrator>,
}

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// Now, so that the error says what is wrong.
    Now,
    /// When it is needed: a relay waits for a server that is down.
    Later,
    /// Now, and the file of a SQLite database is made where it isn't there.
    Create,
}

/// The relay's side and the operator's.
pub(crate) trait OutboxTables:
    OutboxStore + DeadLetterStore + ArchiveStore + SchemaStore
{
}

impl<T: OutboxStore + DeadLetterStore + ArchiveStore + SchemaStore> OutboxTables for T {}

/// What the command does with a consumer's marks, whatever the type of its transactions.
#[async_trait]
pub(crate) trait Marks: Send + Sync {
    /// As [`ProcessedEventStore::purge`].
    async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64>;
}

#[async_trait]
impl<T: ProcessedEventStore> Marks for T {
    async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64> {
        ProcessedEventStore::purge(self, consumer, age, limit).await
    }
}

/// Creates the tables, and brings them up to date.
#[async_trait]
pub(crate) trait Migrator: Send + Sync {
    async fn run(&self) -> Result<()>;
}

impl Store {
    /// Opens the configured database.
    ///
    /// # Errors
    /// [`CliError::Config`] when it is not configured or not well, [`CliError::Feature`] when it is not
    /// compiled in, [`CliError::Library`] when it can't be reached.
    pub(crate) async fn open(section: Option<&StoreSection>, how: Open) -> Result<Self, CliError> {
        let section = section.ok_or_else(crate::config::no_store)?;
        let (kind, url) = section.url()?;
        match kind {
            #[cfg(feature = "postgres")]
            StoreKind::Postgres => postgres::open(section, &url, how).await,
            #[cfg(not(feature = "postgres"))]
            StoreKind::Postgres => {
                Err(CliError::Feature { feature: "postgres", what: "an outbox on PostgreSQL" })
            }
            #[cfg(feature = "sqlite")]
            StoreKind::Sqlite => sqlite::open(section, &url, how),
            #[cfg(not(feature = "sqlite"))]
            StoreKind::Sqlite => {
                Err(CliError::Feature { feature: "sqlite", what: "an outbox on SQLite" })
            }
            #[cfg(feature = "mongodb")]
            StoreKind::MongoDb => mongodb::open(section, &url, how).await,
            #[cfg(not(feature = "mongodb"))]
            StoreKind::MongoDb => {
                Err(CliError::Feature { feature: "mongodb", what: "an outbox on MongoDB" })
            }
        }
    }
}

/// The migrations as a script, for the configured kind of database.
///
/// # Errors
/// As [`Store::open`].
pub(crate) fn script(section: Option<&StoreSection>) -> Result<String, CliError> {
    let section = section.ok_or_else(crate::config::no_store)?;
    match section.url()?.0 {
        #[cfg(feature = "postgres")]
        StoreKind::Postgres => Ok(relaybox::postgres::PgMigrator::sql(&section.tables()?)),
        #[cfg(feature = "sqlite")]
        StoreKind::Sqlite => Ok(relaybox::sqlite::SqliteMigrator::sql(&section.tables()?)),
        StoreKind::MongoDb => Err(CliError::Config(
            "MongoDB has no script: `relaybox migrate` makes the collections and their indexes"
                .to_owned(),
        )),
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        kind => Err(CliError::Feature { feature: kind.as_str(), what: "the script" }),
    }
}

/// A URL that the driver doesn't take. Its own words may have the URL in them.
fn bad_url(form: &str) -> CliError {
    CliError::Config(format!("store.url: it is not of the form {form}"))
}
