//! The consumer's marks on SQLite.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use relaybox_core::{
    ConsumerName, ErrorKind, EventId, Failure, GivenUpAt, Mark, Offset, Partition,
    ProcessedEventStore, Result,
};
use sqlx::{SqlStr, Sqlite, SqlitePool, Transaction};
use uuid::Uuid;

use super::{
    hex, json,
    sql::{BEGIN, InboxSql},
};
use crate::{Tables, error, marks, time::micros};

/// The marks of handled events on SQLite; handlers get `Transaction<'static, Sqlite>`.
///
/// Cheap to clone. Each mark is a row, and so is each event given up on: a consumer purges its own, and
/// `purge` removes at most `limit` of both together, marks first, and counts both.
///
/// SQLite has one writer at a time, so a handler that takes long holds up every other writer of the
/// database. There is no server to end its transaction, so the limit given to `begin` does nothing: a
/// paused process holds the others up until it goes on or ends. How long a writer waits for another
/// is the pool's `busy_timeout`.
///
/// ```
/// use std::time::Duration;
/// use relaybox_core::{ConsumerName, EventId, Mark, ProcessedEventStore};
/// use relaybox_sqlx::SqliteProcessedEvents;
///
/// # async fn handle(pool: sqlx::SqlitePool, id: EventId) -> Result<(), Box<dyn std::error::Error>> {
/// let processed = SqliteProcessedEvents::new(pool);
/// let mut tx = processed.begin(Duration::from_secs(30)).await?;
/// let marks = processed.mark(&mut tx, &ConsumerName::new("notifications")?, &[id]).await?;
/// if marks[0] == Mark::First {
///     sqlx::query("UPDATE users SET logins = logins + 1").execute(&mut *tx).await?;
/// }
/// processed.commit(tx).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqliteProcessedEvents {
    pool: SqlitePool,
    sql: Arc<InboxSql>,
    tables: Tables,
}

impl SqliteProcessedEvents {
    /// The marks in the tables of the default names.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self::with_tables(pool, Tables::default())
    }

    /// The marks in tables of these names.
    #[must_use]
    pub fn with_tables(pool: SqlitePool, tables: Tables) -> Self {
        let sql = Arc::new(InboxSql::new(&tables));
        Self { pool, sql, tables }
    }

    /// Notes a start or an attempt, in one statement; gives how often in a row.
    async fn count(
        &self,
        sql: &SqlStr,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> sqlx::Result<u32> {
        let count = sqlx::query_scalar(sql.clone())
            .bind(consumer.as_str())
            .bind(partition.topic.as_str())
            .bind(partition.number)
            .bind(place)
            .fetch_one(&self.pool)
            .await?;
        Ok(marks::count(count))
    }
}

#[async_trait]
impl ProcessedEventStore for SqliteProcessedEvents {
    type Tx = Transaction<'static, Sqlite>;

    async fn begin(&self, _limit: Duration) -> Result<Self::Tx> {
        self.pool.begin_with(BEGIN).await.map_err(error::database("begin a transaction"))
    }

    async fn mark(
        &self,
        tx: &mut Self::Tx,
        consumer: &ConsumerName,
        events: &[EventId],
    ) -> Result<Vec<Mark>> {
        let inserted: Vec<Uuid> = sqlx::query_scalar(self.sql.mark.clone())
            .bind(consumer.as_str())
            .bind(json(marks::ordered(events).into_iter().map(hex)))
            .fetch_all(&mut **tx)
            .await
            .map_err(error::database("mark events as handled"))?;
        Ok(marks::aligned(events, inserted))
    }

    async fn commit(&self, tx: Self::Tx) -> Result<()> {
        // A failed statement leaves the transaction as it was, or ends it and makes this fail.
        tx.commit().await.map_err(error::commit("commit the effect of events"))
    }

    async fn rollback(&self, tx: Self::Tx) -> Result<()> {
        tx.rollback().await.map_err(error::database("roll back the effect of events"))
    }

    async fn given_up(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        from: Offset,
    ) -> Result<Vec<GivenUpAt>> {
        let known: Vec<(Offset, i64, String)> = sqlx::query_as(self.sql.given_up.clone())
            .bind(consumer.as_str())
            .bind(partition.topic.as_str())
            .bind(partition.number)
            .bind(from)
            .fetch_all(&self.pool)
            .await
            .map_err(error::database("look up what was given up on"))?;
        Ok(known.into_iter().map(marks::given_up).collect())
    }

    async fn give_up(&self, partition: &Partition, at: GivenUpAt, failure: &Failure) -> Result<()> {
        sqlx::query(self.sql.record_given_up.clone())
            .bind(failure.consumer.as_str())
            .bind(partition.topic.as_str())
            .bind(partition.number)
            .bind(at.offset)
            .bind(at.fingerprint)
            .bind(marks::progress_name(at.progress))
            .bind(failure.kind.as_str())
            .bind(error::storable(&failure.reason))
            .bind(failure.attempts)
            .execute(&self.pool)
            .await
            .map_err(error::commit("record what was given up on"))
            .map(drop)
    }

    async fn known(&self, consumer: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>> {
        let found: Vec<Uuid> = sqlx::query_scalar(self.sql.known.clone())
            .bind(consumer.as_str())
            .bind(json(marks::ordered(events).into_iter().map(hex)))
            .fetch_all(&self.pool)
            .await
            .map_err(error::database("look up marks"))?;
        Ok(marks::looked_up(events, found))
    }

    async fn started(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        self.count(&self.sql.started, consumer, partition, place)
            .await
            .map_err(error::commit("note a start"))
    }

    async fn attempted(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        self.count(&self.sql.attempted, consumer, partition, place)
            .await
            .map_err(error::commit("note an attempt"))
    }

    async fn survived(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<()> {
        sqlx::query(self.sql.survived.clone())
            .bind(consumer.as_str())
            .bind(partition.topic.as_str())
            .bind(partition.number)
            .bind(place)
            .execute(&self.pool)
            .await
            .map_err(error::commit("note that an attempt was survived"))
            .map(drop)
    }

    async fn stopped(&self, consumer: &ConsumerName, partition: &Partition) -> Result<()> {
        sqlx::query(self.sql.stopped.clone())
            .bind(consumer.as_str())
            .bind(partition.topic.as_str())
            .bind(partition.number)
            .execute(&self.pool)
            .await
            .map_err(error::commit("note an orderly stop"))
            .map(drop)
    }

    async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64> {
        let mut purged = 0;
        for sql in [&self.sql.purge, &self.sql.purge_given_up] {
            let left = i64::from(limit).saturating_sub_unsigned(purged);
            let result = sqlx::query(sql.clone())
                .bind(micros(age))
                .bind(left)
                .bind(consumer.as_str())
                .execute(&self.pool)
                .await
                .map_err(error::commit("purge what was handled or given up on"))?;
            purged += result.rows_affected();
        }
        Ok(purged)
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        error::infrastructure(error)
    }
}

impl fmt::Debug for SqliteProcessedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteProcessedEvents")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}
