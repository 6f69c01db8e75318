//! The archive: where published events went.

use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use relaybox_core::{
    AggregateId, AggregateType, ArchiveQuery, ArchiveStore, ArchivedEvent, Result,
};
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    SqliteOutbox, hex, json,
    reader::{envelope, time},
};
use crate::{
    error,
    row::{StoredArchived, archived_event},
    time::micros,
};

const LIST: &str = "look into the archive";
/// The first column of the event itself.
const EVENT: usize = 6;

#[async_trait]
impl ArchiveStore for SqliteOutbox {
    async fn archived(&self, query: &ArchiveQuery) -> Result<Vec<ArchivedEvent>> {
        let rows = sqlx::query(self.sql.archived.clone())
            .bind(json(query.event_ids.iter().map(|id| hex(id.as_uuid()))))
            .bind(query.aggregate_type.as_ref().map(AggregateType::as_str))
            .bind(query.aggregate_id.as_ref().map(AggregateId::as_str))
            .bind(query.published_from.as_ref().map(DateTime::timestamp_micros))
            .bind(query.published_before.as_ref().map(DateTime::timestamp_micros))
            .bind(query.limit)
            .fetch_all(&self.pool)
            .await
            .map_err(error::database(LIST))?;
        rows.iter().map(decode).collect()
    }

    async fn purge_archive(&self, age: Duration, limit: u32) -> Result<u64> {
        let purged = sqlx::query(self.sql.purge_archive.clone())
            .bind(micros(age))
            .bind(limit)
            .execute(&self.pool)
            .await
            .map_err(error::commit("purge the archive"))?;
        Ok(purged.rows_affected())
    }
}

fn decode(row: &SqliteRow) -> Result<ArchivedEvent> {
    let read = || -> sqlx::Result<_> { Ok((archived_event!(row, time), envelope(row, EVENT)?)) };
    let (stored, (event_id, envelope)) = read().map_err(error::database(LIST))?;
    StoredArchived::into_event(stored, event_id, envelope)
}
