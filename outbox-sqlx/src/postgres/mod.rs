//! Postgres, from version 14.

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

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use relaybox_core::{
    Acquired, Lease, OutboxReader, OutboxStats, OutboxStore, RelayId, Result, Settled, Settlement,
};
use sqlx::{PgPool, Postgres, SqlSafeStr, Transaction};

pub use self::inbox::PgProcessedEvents;
use self::{reader::PgReader, sql::OutboxSql};
use crate::{Tables, error};

/// The outbox on Postgres: writes in the caller's transaction, and serves the relay and the operator.
///
/// Cheap to clone. It never creates its tables by itself: see [`PgMigrator`](crate::PgMigrator).
///
/// ```no_run
/// use relaybox_core::{AggregateId, AggregateType, Envelope, EventType, OutboxWriter};
/// use relaybox_sqlx::PgOutbox;
///
/// # async fn create(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let outbox = PgOutbox::new(pool.clone());
/// let event = Envelope::new(
///     EventType::new("session.created", 1)?,
///     AggregateType::new("session")?,
///     AggregateId::new("s-1")?,
///     &b"{}"[..],
/// );
///
/// let mut tx = pool.begin().await?;
/// sqlx::query("INSERT INTO sessions (id) VALUES ('s-1')").execute(&mut *tx).await?;
/// outbox.write(&mut tx, &[event]).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
///
/// # Rights
/// What a role needs, and no more, where `PUBLIC` has none:
///
/// ```sql
/// -- The service that writes. The sequence of an identity column needs no right of its own.
/// GRANT INSERT (event_id, aggregate_type, aggregate_id, event_name, event_version, occurred_at,
///     content_type, partition_key, source, correlation_id, causation_id, user_id, traceparent,
///     tracestate, headers, payload) ON outbox_events TO writer;
/// GRANT INSERT ON outbox_schemas TO writer; -- where it writes Avro
/// -- The relay, and the operator who redrives and discards.
/// GRANT SELECT, DELETE ON outbox_events TO relay;
/// GRANT SELECT, UPDATE ON outbox_relay TO relay;
/// GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_dead_letters TO relay;
/// GRANT INSERT ON outbox_archive TO relay; -- where it archives
/// GRANT SELECT ON outbox_schemas TO relay; -- where it frames Avro
/// -- Who looks into the archive, and purges it.
/// GRANT SELECT, DELETE ON outbox_archive TO archivist;
/// -- The consumer, beside the rights on its own tables.
/// GRANT SELECT, INSERT, DELETE ON processed_events TO consumer;
/// GRANT SELECT, INSERT, UPDATE, DELETE ON given_up_events, consumer_starts TO consumer;
/// -- Who calls PgMigrator::run at its start without being able to create tables.
/// GRANT SELECT ON relaybox_migrations TO writer, relay, consumer;
/// ```
#[derive(Clone)]
pub struct PgOutbox {
    pool: PgPool,
    sql: Arc<OutboxSql>,
    tables: Tables,
    archives: bool,
}

impl PgOutbox {
    /// The outbox in the tables of the default names.
    ///
    /// The pool serves the relay; the writer uses the caller's transactions only.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self::with_tables(pool, Tables::default())
    }

    /// The outbox in tables of these names.
    #[must_use]
    pub fn with_tables(pool: PgPool, tables: Tables) -> Self {
        Self { pool, sql: Arc::new(OutboxSql::new(&tables)), tables, archives: false }
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

    pub(crate) async fn open_reader(&self) -> Result<PgReader> {
        let connection = self.pool.acquire().await.map_err(error::database("open the outbox"))?;
        // For as long as the reader lives, which must not keep the pool from being closed.
        let mut connection = connection.detach();
        check::is_readable(self, &mut connection).await?;
        Ok(PgReader::new(connection, Arc::clone(&self.sql)))
    }
}

#[async_trait]
impl OutboxStore for PgOutbox {
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
        Ok(Box::new(self.open_reader().await?))
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        settle::settle(self, lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        check::stats(self).await
    }
}

impl fmt::Debug for PgOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOutbox")
            .field("tables", &self.tables)
            .field("archives", &self.archives)
            .finish_non_exhaustive()
    }
}

/// The purging statements, for a test of their plans.
#[cfg(test)]
pub(crate) fn purge_sql() -> [String; 3] {
    let tables = Tables::default();
    let (outbox, inbox) = (OutboxSql::new(&tables), sql::InboxSql::new(&tables));
    [outbox.purge_archive, inbox.purge, inbox.purge_given_up].map(|sql| sql.as_str().to_owned())
}

/// Begins a transaction; may be dropped at any time.
///
/// sqlx counts a transaction once the server has answered, so a connection whose `BEGIN` was dropped
/// before that goes back into the pool with a transaction that nobody knows of, and loses what others
/// write with it. In a task of its own, it is seen through, and rolled back if nobody wants it.
async fn begin(
    pool: &PgPool,
    statement: impl SqlSafeStr + Send + 'static,
) -> sqlx::Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// The reading statement, for a test of its plan.
#[cfg(test)]
pub(crate) fn read_sql(outbox: &PgOutbox, limit: usize) -> String {
    outbox.sql.read(limit, None).as_str().to_owned()
}
