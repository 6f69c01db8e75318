//! The consumer's marks on Postgres.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use relaybox_core::{
    ConsumerName, Error, ErrorKind, EventId, Failure, GiveUp, Mark, Offset, Partition,
    ProcessedEventStore, Result,
};
use sqlx::{AssertSqlSafe, PgPool, Postgres, SqlSafeStr, SqlStr, Transaction};
use uuid::Uuid;

use super::sql::{InboxSql, STILL_GOOD};
use crate::{Tables, error, marks, time::micros};

const COMMIT: &str = "commit the effect of events";
const GIVE_UP: &str = "record what was given up on";
/// How long a transaction may stand idle unless set otherwise.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The marks of handled events on Postgres; handlers get `Transaction<'static, Postgres>`.
///
/// Cheap to clone. Purge from time to time: each mark is a row.
///
/// ```no_run
/// use relaybox_core::{ConsumerName, EventId, Mark, ProcessedEventStore};
/// use relaybox_sqlx::PgProcessedEvents;
///
/// # async fn handle(pool: sqlx::PgPool, id: EventId) -> Result<(), Box<dyn std::error::Error>> {
/// let processed = PgProcessedEvents::new(pool);
/// let mut tx = processed.begin().await?;
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
    begin: SqlStr,
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
        Self { pool, sql, tables, begin: begin(IDLE_TIMEOUT) }
    }

    /// Sets how long a transaction may stand idle between two statements before the server ends it:
    /// 30 s by default, at least 1 ms.
    ///
    /// A consumer that is paused in the middle holds its marks; this frees them for its successor.
    /// It must be longer than a handler's longest pause between two statements.
    #[must_use]
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        Self { begin: begin(timeout), ..self }
    }
}

#[async_trait]
impl ProcessedEventStore for PgProcessedEvents {
    type Tx = Transaction<'static, Postgres>;

    async fn begin(&self) -> Result<Self::Tx> {
        let begin = self.pool.begin_with(self.begin.clone()).await;
        begin.map_err(error::database("begin a transaction"))
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
    ) -> Result<Vec<(Offset, GiveUp)>> {
        let known: Vec<(Offset, String)> = sqlx::query_as(self.sql.given_up.clone())
            .bind(consumer.as_str())
            .bind(partition.topic.as_str())
            .bind(partition.number)
            .bind(from)
            .fetch_all(&self.pool)
            .await
            .map_err(error::database("look up what was given up on"))?;
        Ok(known.into_iter().map(|(offset, name)| (offset, marks::progress(&name))).collect())
    }

    async fn give_up(
        &self,
        partition: &Partition,
        offset: Offset,
        failure: &Failure,
        progress: GiveUp,
    ) -> Result<()> {
        sqlx::query(self.sql.record_given_up.clone())
            .bind(failure.consumer.as_str())
            .bind(partition.topic.as_str())
            .bind(partition.number)
            .bind(offset)
            .bind(marks::progress_name(progress))
            .bind(failure.kind.as_str())
            .bind(error::storable(&failure.reason))
            .bind(i32::try_from(failure.attempts).unwrap_or(i32::MAX))
            .execute(&self.pool)
            .await
            .map_err(error::commit(GIVE_UP))
            .map(drop)
    }

    async fn purge(&self, age: Duration, limit: u32) -> Result<u64> {
        let purged = sqlx::query(self.sql.purge.clone())
            .bind(micros(age))
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await
            .map_err(error::commit("purge the marks of handled events"))?;
        Ok(purged.rows_affected())
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        error::infrastructure(error)
    }
}

impl fmt::Debug for PgProcessedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgProcessedEvents")
            .field("tables", &self.tables)
            .field("begin", &self.begin.as_str())
            .finish_non_exhaustive()
    }
}

/// One round trip; 0 would mean no limit.
fn begin(idle_timeout: Duration) -> SqlStr {
    let millis = idle_timeout.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
    let sql = format!("BEGIN; SET LOCAL idle_in_transaction_session_timeout = {millis}");
    AssertSqlSafe(sql).into_sql_str()
}
