//! Whether what was read would survive a crash of the server.
//!
//! A transaction that commits with `synchronous_commit = off` can be seen before it is on the disk. If
//! its event were published then, a crash could undo the transaction, and the event would tell of
//! something that never happened. So nothing is given before the log is on the disk up to where it was
//! written when it was read. Most reads need not ask: their rows are older than a moment of which that
//! is known.

use relaybox_core::Result;
use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr};

use super::{READ, status::Status};
use crate::{
    error,
    postgres::sql::{FLUSH, OutboxSql},
};

/// How often it looks whether somebody else's commit has done it. A look takes about 0.2 ms, and a timer
/// would take longer.
const LOOKS: u32 = 8;

/// What is known to be on the disk.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// Every transaction before this one that has committed.
    before: i64,
}

impl Durable {
    /// Waits until the rows of a read are on the disk, the newest of which is `newest`.
    pub(super) async fn wait(
        &mut self,
        status: &Status,
        newest: Option<i64>,
        sql: &OutboxSql,
        connection: &mut PgConnection,
    ) -> Result<()> {
        if status.flushed < status.written {
            if newest.is_none_or(|newest| newest < self.before) {
                return Ok(());
            }
            flush(status.written, sql, connection).await?;
        }
        self.before = self.before.max(status.oldest);
        Ok(())
    }
}

async fn flush(written: i64, sql: &OutboxSql, connection: &mut PgConnection) -> Result<()> {
    for _ in 0..LOOKS {
        let is_flushed: bool = sqlx::query_scalar(sql.is_flushed.clone())
            .bind(written)
            .fetch_one(&mut *connection)
            .await
            .map_err(error::database(READ))?;
        if is_flushed {
            return Ok(());
        }
    }
    // What was written by a transaction that is still open stays unwritten for as long as nobody
    // commits. That one is a stranger: nothing waits for it.
    sqlx::raw_sql(AssertSqlSafe(FLUSH).into_sql_str())
        .execute(connection)
        .await
        .map(drop)
        .map_err(error::database(READ))
}
