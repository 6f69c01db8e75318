//! Writing events in the caller's transaction.

use async_trait::async_trait;
use relaybox_core::{Envelope, OutboxWriter, PartitionKey, Result};
use sqlx::{Sqlite, Transaction, query::Query, sqlite::SqliteArguments};

use super::SqliteOutbox;
use crate::error;

/// How many events go into one statement: SQLite takes 32,766 parameters, an event has 16.
const CHUNK: usize = 1000;

#[async_trait]
impl<'c> OutboxWriter<Transaction<'c, Sqlite>> for SqliteOutbox {
    async fn write(&self, tx: &mut Transaction<'c, Sqlite>, events: &[Envelope]) -> Result<()> {
        for chunk in events.chunks(CHUNK) {
            let insert = sqlx::query(self.sql.insert(chunk.len()));
            chunk
                .iter()
                .fold(insert, bind)
                // A statement for each number of events would drive all others out of the cache.
                .persistent(chunk.len() == 1)
                .execute(&mut **tx)
                .await
                .map_err(error::database("write events to the outbox"))?;
        }
        Ok(())
    }
}

fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    event: &'q Envelope,
) -> Query<'q, Sqlite, SqliteArguments> {
    let metadata = &event.metadata;
    query
        .bind(event.event_id.as_uuid())
        .bind(event.aggregate_type.as_str())
        .bind(event.aggregate_id.as_str())
        .bind(event.event_type.name())
        .bind(event.event_type.version())
        .bind(event.occurred_at.timestamp_micros())
        .bind(event.content_type.as_ref())
        .bind(event.partition_key.as_ref().map(PartitionKey::as_str))
        .bind(metadata.source.as_str())
        .bind(metadata.correlation_id.as_ref().map(|id| id.as_str()))
        .bind(metadata.causation_id.map(|id| id.as_uuid()))
        .bind(metadata.user_id.as_ref().map(|id| id.as_str()))
        .bind(metadata.trace.as_ref().map(|trace| trace.traceparent()))
        .bind(metadata.trace.as_ref().and_then(|trace| trace.tracestate()))
        .bind(metadata.headers.to_json())
        .bind(&event.payload[..])
}
