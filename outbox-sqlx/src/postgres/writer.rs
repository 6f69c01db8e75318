//! Writing events in the caller's transaction.

use async_trait::async_trait;
use relaybox_core::{Envelope, OutboxWriter, PartitionKey, Result};
use sqlx::{Postgres, Transaction};

use super::PgOutbox;
use crate::error;

#[async_trait]
impl<'c> OutboxWriter<Transaction<'c, Postgres>> for PgOutbox {
    async fn write(&self, tx: &mut Transaction<'c, Postgres>, events: &[Envelope]) -> Result<()> {
        match events {
            [] => return Ok(()),
            [event] => self.write_one(tx, event).await,
            events => self.write_all(tx, events).await,
        }
        .map_err(error::database("write events to the outbox"))
    }
}

impl PgOutbox {
    async fn write_one(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        event: &Envelope,
    ) -> sqlx::Result<()> {
        let metadata = &event.metadata;
        sqlx::query(self.sql.insert.clone())
            .bind(event.event_id.as_uuid())
            .bind(event.aggregate_type.as_str())
            .bind(event.aggregate_id.as_str())
            .bind(event.event_type.name())
            .bind(i32::from(event.event_type.version()))
            .bind(event.occurred_at)
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
            .execute(&mut **tx)
            .await
            .map(drop)
    }

    async fn write_all(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        events: &[Envelope],
    ) -> sqlx::Result<()> {
        sqlx::query(self.sql.insert_all.clone())
            .bind(column(events, |event| event.event_id.as_uuid()))
            .bind(column(events, |event| event.aggregate_type.as_str()))
            .bind(column(events, |event| event.aggregate_id.as_str()))
            .bind(column(events, |event| event.event_type.name()))
            .bind(column(events, |event| i32::from(event.event_type.version())))
            .bind(column(events, |event| event.occurred_at))
            .bind(column(events, |event| event.content_type.as_ref()))
            .bind(column(events, |event| event.partition_key.as_ref().map(PartitionKey::as_str)))
            .bind(column(events, |event| event.metadata.source.as_str()))
            .bind(column(events, |event| {
                event.metadata.correlation_id.as_ref().map(|id| id.as_str())
            }))
            .bind(column(events, |event| event.metadata.causation_id.map(|id| id.as_uuid())))
            .bind(column(events, |event| event.metadata.user_id.as_ref().map(|id| id.as_str())))
            .bind(column(events, |event| {
                event.metadata.trace.as_ref().map(|trace| trace.traceparent())
            }))
            .bind(column(events, |event| {
                event.metadata.trace.as_ref().and_then(|trace| trace.tracestate())
            }))
            .bind(column(events, |event| event.metadata.headers.to_json()))
            .bind(column(events, |event| &event.payload[..]))
            .execute(&mut **tx)
            .await
            .map(drop)
    }
}

fn column<'e, T>(events: &'e [Envelope], value: impl Fn(&'e Envelope) -> T) -> Vec<T> {
    events.iter().map(value).collect()
}
