//! The consumer's marks on Postgres.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use relaybox_core::{
    ConsumerName, Error, ErrorKind, EventId, Failure, GivenUpAt, Mark, Offset, Partition,
    ProcessedEventStore, Result,
};
use sqlx::{AssertSqlSafe, PgPool, Postgres, SqlSafeStr, SqlStr, Transaction};
use uuid::Uuid;

use super::{
    begin,
    sql::{InboxSql, STILL_GOOD},
};
use crate::{Tables, error, marks, time::micros};

const COMMIT: &str = "commit the effect of events";
const GIVE_UP: &str = "record what was given up on";

/// The marks of handled events on Postgres; handlers get `Transaction<'static, Postgres>`.
///
/// Cheap to clone. Each mark is a row, and so is each event given up on: a consumer purges its own, and
/// `purge` removes at most `limit` of both together, marks first, and counts both.
///
/// The server ends a transaction that stands idle for the limit given to `begin` (a paused consumer
/// would hold its marks), and a statement that runs or waits for so long, with
/// [`ErrorKind::Timeout`]. The limit counts in whole milliseconds, from 1, and replaces the role's own
/// `statement_timeout` and `idle_in_transaction_session_timeout` until the transaction ends.
///
/// ```no_run
/// use std::time::Duration;
/// use relaybox_core::{ConsumerName, EventId, Mark, ProcessedEventStore};
/// use relaybox_sqlx::PgProcessedEvents;
///
/// # async fn handle(pool: sqlx::PgPool, id: EventId) -> Result<(), Box<dyn std::error::Error>> {
/// let processed = PgProcessedEvents::new(pool);
/// let mut tx = processed.begin(Duration::from_secs(30)).await?;
/// let marks = processed.mark(&mut tx, &ConsumerName::new("notifications")?, &[id]).await?;
/// if marks[0] == Mark::First {
///     sqlx::query("UPDATE users SET logins = logins + 1").execute(&mut *tx).await?;
/// }
/// processed.commit(tx).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PgProcessedEvents {
    pool: PgPool,
    sql: Arc<InboxSql>,
    tables: Tables,
}

impl PgProcessedEvents {
    /// The marks in the tables of the default names.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self::with_tables(pool, Tables::default())
    }

    /// The marks in tables of these names.
    #[must_use]
    pub fn with_tables(pool: PgPool, tables: Tables) -> Self {
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
impl ProcessedEventStore for PgProcessedEvents {
    type Tx = Transaction<'static, Postgres>;

    async fn begin(&self, limit: Duration) -> Result<Self::Tx> {
        begin(&self.pool, begin_sql(limit)).await.map_err(error::database("begin a transaction"))
    }

    async fn mark(
        &self,
        tx: &mut Self::Tx,
        consumer: &ConsumerName,
        events: &[EventId],
    ) -> Result<Vec<Mark>> {
        let inserted: Vec<Uuid> = sqlx::query_scalar(self.sql.mark.clone())
            .bind(consumer.as_str())
            .bind(marks::ordered(events))
            .fetch_all(&mut **tx)
            .await
            .map_err(error::database("mark events as handled"))?;
        Ok(marks::aligned(events, inserted))
    }

    async fn commit(&self, mut tx: Self::Tx) -> Result<()> {
        // After a failed statement the server answers COMMIT with a rollback, and the driver calls
        // that a success: the effect would be lost, and the event acknowledged.
        sqlx::query(STILL_GOOD).execute(&mut *tx).await.map_err(|source| {
            let failed = source.as_database_error().and_then(|error| error.code());
            if failed.as_deref() == Some("25P02") {
                return Error::new(ErrorKind::Other, COMMIT).detail(
                    "a statement in the transaction had failed, and its error was passed over; \
                     everything was rolled back",
                );
            }
            error::database(COMMIT)(source)
        })?;
        tx.commit().await.map_err(error::commit(COMMIT))
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
            .bind(i32::try_from(failure.attempts).unwrap_or(i32::MAX))
            .execute(&self.pool)
            .await
            .map_err(error::commit(GIVE_UP))
            .map(drop)
    }

    async fn known(&self, consumer: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>> {
        let found: Vec<Uuid> = sqlx::query_scalar(self.sql.known.clone())
            .bind(consumer.as_str())
            .bind(marks::ordered(events))
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

impl fmt::Debug for PgProcessedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgProcessedEvents").field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// One round trip; 0 would mean no limit.
fn begin_sql(limit: Duration) -> SqlStr {
    let millis = limit.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
    let sql = format!(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = {millis}; \
         SET LOCAL statement_timeout = {millis}"
    );
    AssertSqlSafe(sql).into_sql_str()
}
