//! Postgres, from version 14.

mod check;
mod dead_letters;
mod inbox;
mod lease;
mod reader;
mod settle;
mod sql;
mod writer;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use relaybox_core::{
    Acquired, Lease, OutboxReader, OutboxStats, OutboxStore, RelayId, Result, Settled, Settlement,
};
use sqlx::PgPool;

pub use self::inbox::PgProcessedEvents;
use self::{reader::PgReader, sql::OutboxSql};
use crate::Tables;

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
/// -- The relay, and the operator who redrives and discards.
/// GRANT SELECT, DELETE ON outbox_events TO relay;
/// GRANT SELECT, UPDATE ON outbox_relay TO relay;
/// GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_dead_letters TO relay;
/// -- The consumer, beside the rights on its own tables.
/// GRANT SELECT, INSERT, DELETE ON processed_events TO consumer;
/// GRANT SELECT, INSERT, UPDATE, DELETE ON given_up_events TO consumer;
/// -- Who calls PgMigrator::run at its start without being able to create tables.
/// GRANT SELECT ON relaybox_migrations TO writer, relay, consumer;
/// ```
#[derive(Clone)]
pub struct PgOutbox {
    pool: PgPool,
    sql: Arc<OutboxSql>,
    tables: Tables,
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
        Self { pool, sql: Arc::new(OutboxSql::new(&tables)), tables }
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
        check::is_readable(self).await?;
        Ok(Box::new(PgReader::new(self.pool.clone(), Arc::clone(&self.sql))))
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
        f.debug_struct("PgOutbox").field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// The reading statement, for a test of its plan.
#[cfg(test)]
pub(crate) fn read_sql(outbox: &PgOutbox, limit: usize) -> String {
    outbox.sql.read(limit).as_str().to_owned()
}
