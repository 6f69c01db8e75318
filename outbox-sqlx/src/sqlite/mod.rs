//! SQLite.

mod archive;
mod check;
mod dead_letters;
mod inbox;
mod lease;
mod reader;
mod schemas;
mod settle;
mod sql;
mod writer;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use relaybox_core::{
    Acquired, Lease, OutboxReader, OutboxStats, OutboxStore, RelayId, Result, Settled, Settlement,
};
use serde_json::Value;
use sqlx::SqlitePool;

pub use self::inbox::SqliteProcessedEvents;
pub(crate) use self::sql::render;
use self::{reader::SqliteReader, sql::OutboxSql};
use crate::Tables;

/// The outbox on SQLite: writes in the caller's transaction, and serves the relay and the operator.
///
/// Cheap to clone. It never creates its tables by itself: see
/// [`SqliteMigrator`](crate::SqliteMigrator). The lease goes by the host's clock, so all relays of a
/// database run on one host, as SQLite wants it anyway.
///
/// SQLite has one writer at a time. Open the database with a write-ahead log, so that the relay can
/// read while a service writes; keep `synchronous` at `FULL`, or a power cut may undo an event that
/// was published; and begin transactions that read before they write with `BEGIN IMMEDIATE`. A row buffer
/// as large as the relay's batch (500 events) makes a drain a tenth faster, and takes the memory of so many
/// payloads:
///
/// ```
/// use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
/// use relaybox_sqlx::{SqliteMigrator, SqliteOutbox, Tables};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let options = SqliteConnectOptions::new()
///     .filename("service.db")
///     .create_if_missing(true)
///     .journal_mode(SqliteJournalMode::Wal)
///     .synchronous(SqliteSynchronous::Full)
///     .busy_timeout(std::time::Duration::from_secs(5))
///     .row_buffer_size(500);
/// let pool = SqlitePoolOptions::new().connect_with(options).await?;
/// SqliteMigrator::new(pool.clone(), Tables::default()).run().await?;
/// let outbox = SqliteOutbox::new(pool.clone());
///
/// let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
/// # let _ = (outbox, &mut tx);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqliteOutbox {
    pool: SqlitePool,
    sql: Arc<OutboxSql>,
    tables: Tables,
    archives: bool,
    /// When it was last seen that there is no row of a published event.
    clean: Arc<Mutex<Instant>>,
}

impl SqliteOutbox {
    /// The outbox in the tables of the default names.
    ///
    /// The pool serves the relay; the writer uses the caller's transactions only.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self::with_tables(pool, Tables::default())
    }

    /// The outbox in tables of these names.
    #[must_use]
    pub fn with_tables(pool: SqlitePool, tables: Tables) -> Self {
        let sql = Arc::new(OutboxSql::new(&tables));
        Self { pool, sql, tables, archives: false, clean: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Keeps published events: a settlement moves them to the archive, with the topic, partition and
    /// offset they went to, instead of deleting them.
    ///
    /// Say so to every relay of the outbox: it is the one that settles who archives. Each event is then
    /// written once more; [`ArchiveStore`](relaybox_core::ArchiveStore) finds them, and a
    /// [`Retention`](relaybox_core::Retention) must be run to purge them.
    #[must_use]
    pub fn archive_published(mut self) -> Self {
        self.archives = true;
        self
    }

    fn clean(&self) -> MutexGuard<'_, Instant> {
        self.clean.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long there have been rows of published events, at most.
    fn left_for(&self) -> Duration {
        self.clean().elapsed()
    }

    pub(crate) fn nothing_left(&self) {
        *self.clean() = Instant::now();
    }

    /// As if rows of published events had been there for so long.
    #[cfg(test)]
    pub(crate) fn age(&self, by: Duration) {
        *self.clean() -= by;
    }
}

#[async_trait]
impl OutboxStore for SqliteOutbox {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        lease::acquire(self, relay, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        lease::renew(self, lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        lease::release(self, lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        check::is_readable(self).await?;
        Ok(Box::new(SqliteReader::new(self.pool.clone(), Arc::clone(&self.sql))))
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        settle::settle(self, lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        check::stats(self).await
    }
}

impl fmt::Debug for SqliteOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOutbox")
            .field("tables", &self.tables)
            .field("archives", &self.archives)
            .finish_non_exhaustive()
    }
}

/// The reading statements, for a test of their plans.
#[cfg(test)]
pub(crate) fn read_sql() -> [String; 2] {
    let sql = OutboxSql::new(&Tables::default());
    [&sql.read, &sql.read_new].map(|sql| sql.as_str().to_owned())
}

/// A list, as the statements take it.
fn json<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> String {
    Value::Array(values.into_iter().map(Into::into).collect()).to_string()
}

/// An id, as the statements take it in a list.
fn hex(id: uuid::Uuid) -> String {
    id.simple().to_string()
}
