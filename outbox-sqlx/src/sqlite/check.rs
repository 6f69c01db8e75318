//! What must be so before a reader works, and how it stands.

use chrono::DateTime;
use relaybox_core::{OutboxStats, RelayId, Result};

use super::SqliteOutbox;
use crate::{error, lease, time::span};

const STATS: &str = "measure the outbox";

/// Checks that the tables exist.
pub(super) async fn is_readable(outbox: &SqliteOutbox) -> Result<()> {
    let archive = outbox.archives.then_some(&outbox.sql.check_archive);
    for check in [&outbox.sql.check].into_iter().chain(archive) {
        sqlx::query(check.clone())
            .execute(&outbox.pool)
            .await
            .map_err(error::database("check that the outbox can be read"))?;
    }
    Ok(())
}

pub(super) async fn stats(outbox: &SqliteOutbox) -> Result<OutboxStats> {
    type Row = (i64, Option<i64>, i64, i64, i64, Option<String>, Option<i64>);
    let row: Option<Row> = sqlx::query_as(outbox.sql.stats.clone())
        .fetch_optional(&outbox.pool)
        .await
        .map_err(error::database(STATS))?;
    let (backlog, oldest, dead, parked, redriving, owner, until) =
        row.ok_or_else(|| lease::no_row(STATS))?;
    let mut stats = OutboxStats::default();
    stats.backlog = backlog.unsigned_abs();
    stats.oldest_age = oldest.map(span);
    stats.dead_letters = dead.unsigned_abs();
    stats.parked = parked.unsigned_abs();
    stats.redriving = redriving.unsigned_abs();
    let until = until.and_then(DateTime::from_timestamp_micros);
    stats.holder = owner.map(RelayId::from_stored).zip(until);
    Ok(stats)
}
