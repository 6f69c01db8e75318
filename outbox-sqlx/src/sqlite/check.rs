//! What must be so before a reader works, and how it stands.

use chrono::DateTime;
use relaybox_core::{Error, ErrorKind, OutboxStats, RelayId, Result};

use super::SqliteOutbox;
use crate::{error, lease, time::span};

const CHECK: &str = "check that the outbox can be read";
const STATS: &str = "measure the outbox";

/// Checks that the tables exist, and the triggers that guard the mark.
pub(super) async fn is_readable(outbox: &SqliteOutbox) -> Result<()> {
    let archive = outbox.archives.then_some(&outbox.sql.check_archive);
    for check in [&outbox.sql.check].into_iter().chain(archive) {
        sqlx::query(check.clone()).execute(&outbox.pool).await.map_err(error::database(CHECK))?;
    }
    let (table, triggers): (i64, i64) = sqlx::query_as(outbox.sql.triggers.clone())
        .bind(&outbox.tables.outbox_events.name)
        .fetch_one(&outbox.pool)
        .await
        .map_err(error::database(CHECK))?;
    // It is not found when it has no schema in its name and is in an attached database.
    if table > 0 && triggers < 2 {
        return Err(Error::new(ErrorKind::Schema, CHECK).detail(format!(
            "the triggers of {} are gone, so that an event could be overlooked: make them as \
             migration 5 does (SqliteMigrator::sql), and begin with UPDATE {} SET settled_to = \
             (SELECT coalesce(min(seq) - 1, 0) FROM {0})",
            outbox.tables.outbox_events, outbox.tables.outbox_relay
        )));
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
