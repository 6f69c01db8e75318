//! The reader: the lowest committed events that are not in flight. With one writer at a time there
//! are no gaps.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use relaybox_core::{
    AggregateType, Envelope, EventId, EventRef, Origin, OutboxReader, OutboxRow, ReadRequest,
    Result,
};
use sqlx::{Row, SqlStr, SqlitePool, sqlite::SqliteRow};
use uuid::Uuid;

use super::json;
use crate::{
    error,
    in_flight::{InFlight, Read},
    row::{StoredEvent, malformed, stored_event},
};

const READ: &str = "read the outbox";
/// The first column of the event itself in the reading statement.
const EVENT: usize = 3;

pub(super) struct SqliteReader {
    pool: SqlitePool,
    statement: SqlStr,
    in_flight: InFlight,
}

impl SqliteReader {
    pub(super) fn new(pool: SqlitePool, statement: SqlStr) -> Self {
        Self { pool, statement, in_flight: InFlight::default() }
    }
}

#[async_trait]
impl OutboxReader for SqliteReader {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        let query = sqlx::query(self.statement.clone())
            .bind(json(self.in_flight.outbox(..)))
            .bind(json(self.in_flight.dead_letters().map(|(seq, _)| seq)))
            .bind(json(request.held_back.iter().map(AggregateType::as_str)))
            .bind(i64::try_from(request.limit).unwrap_or(i64::MAX));
        let keeps_parked = self.in_flight.keeps_parked();
        let mut rows = query.fetch(&self.pool);
        let mut reads = Vec::new();
        let mut bytes = 0_usize;
        // The rows come in order, so the rest needs no fetching.
        while bytes < request.max_bytes
            && reads.len() < request.limit
            && let Some(row) = rows.try_next().await.map_err(error::database(READ))?
        {
            let read = decode(&row, keeps_parked).map_err(error::database(READ))?;
            bytes = bytes.saturating_add(read.payload_bytes);
            reads.push(read);
        }
        drop(rows);
        Ok(self.in_flight.give(reads))
    }

    fn forget(&mut self, settled: &[EventRef]) {
        self.in_flight.forget(settled);
    }

    fn rewind(&mut self) {
        self.in_flight.clear();
    }
}

fn decode(row: &SqliteRow, keeps_parked: bool) -> sqlx::Result<Read> {
    let origin = match row.try_get::<i64, _>(0)? {
        0 => Origin::DeadLetter,
        _ => Origin::Outbox,
    };
    let (event_id, envelope) = envelope(row, EVENT)?;
    let parked = row.try_get(2)?;
    let text = |at| row.try_get(at).unwrap_or_default();
    Ok(Read {
        event: EventRef::new(row.try_get(1)?, EventId::from_uuid(event_id), origin),
        parked,
        aggregate: (parked || keeps_parked).then(|| (text(EVENT + 1), text(EVENT + 2))),
        payload_bytes: envelope.as_ref().map_or(0, |envelope| envelope.payload.len()),
        envelope,
    })
}

/// The event in the columns from `first` on; or why it is none.
pub(super) fn envelope(row: &SqliteRow, first: usize) -> sqlx::Result<(Uuid, Result<Envelope>)> {
    let event_id = row.try_get(first)?;
    let stored = || -> sqlx::Result<StoredEvent<'_>> { Ok(stored_event!(row, first, time)) };
    match stored() {
        Ok(stored) => Ok((event_id, stored.into_envelope())),
        // The tables are strict about types, not about what is in a text or an integer.
        Err(sqlx::Error::ColumnDecode { .. }) => Ok((event_id, Err(malformed("of some value")))),
        Err(error) => Err(error),
    }
}

/// A time in microseconds.
pub(super) fn time(row: &SqliteRow, at: usize) -> sqlx::Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(row.try_get(at)?).ok_or_else(|| sqlx::Error::ColumnDecode {
        index: at.to_string(),
        source: "no time that a calendar has".into(),
    })
}
