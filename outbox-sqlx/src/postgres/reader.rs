//! The plain reader: the lowest committed events that are not in flight.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use relaybox_core::{
    AggregateType, Envelope, EventId, EventRef, Origin, OutboxReader, OutboxRow, ReadRequest,
    Result,
};
use sqlx::{PgPool, Row, SqlStr, postgres::PgRow};
use uuid::Uuid;

use super::sql::OutboxSql;
use crate::{
    error,
    in_flight::{InFlight, Read},
    row::{StoredEvent, malformed, stored_event},
};

const READ: &str = "read the outbox";
/// How often dead letters are looked through when they are many and none is redriven.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The first column of the event itself in the reading statement.
const EVENT: usize = 3;

/// Reads from the lowest position each time, so an event that is committed late is simply there.
pub(super) struct PgReader {
    pool: PgPool,
    sql: Arc<OutboxSql>,
    in_flight: InFlight,
    /// When to look through many dead letters again. A poison event with a long tail must not make
    /// every read of the outbox slow.
    next_look: Instant,
    /// The statement for the limit of the last read.
    statement: Option<(usize, SqlStr)>,
}

impl PgReader {
    pub(super) fn new(pool: PgPool, sql: Arc<OutboxSql>) -> Self {
        Self {
            pool,
            sql,
            in_flight: InFlight::default(),
            next_look: Instant::now(),
            statement: None,
        }
    }

    fn statement(&mut self, limit: usize) -> SqlStr {
        if self.statement.as_ref().is_none_or(|(for_limit, _)| *for_limit != limit) {
            self.statement = Some((limit, self.sql.read(limit)));
        }
        let (_, statement) = self.statement.as_ref().expect("it was just made");
        statement.clone()
    }
}

#[async_trait]
impl OutboxReader for PgReader {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        let (seqs, ids): (Vec<i64>, Vec<Uuid>) =
            self.in_flight.dead_letters().map(|(seq, id)| (seq, id.as_uuid())).unzip();
        let held_back: Vec<&str> = request.held_back.iter().map(AggregateType::as_str).collect();
        let looks = Instant::now() >= self.next_look;
        let query = sqlx::query(self.statement(request.limit))
            .bind(self.in_flight.outbox())
            .bind(seqs)
            .bind(ids)
            .bind(held_back)
            .bind(i64::try_from(request.max_bytes).unwrap_or(i64::MAX))
            .bind(looks);
        let mut rows = query.fetch(&self.pool);
        let mut reads: Vec<Read> = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(error::database(READ))? {
            reads.push(decode(&row).map_err(error::database(READ))?);
        }
        drop(rows);
        if looks && !reads.iter().any(|read| read.event.origin == Origin::DeadLetter) {
            self.next_look = Instant::now() + LOOK_EVERY;
        }
        Ok(self.in_flight.give(reads, request))
    }

    fn forget(&mut self, settled: &[EventRef]) {
        self.in_flight.forget(settled);
    }

    fn rewind(&mut self) {
        self.next_look = Instant::now();
        self.in_flight.clear();
    }
}

fn decode(row: &PgRow) -> sqlx::Result<Read> {
    let origin = match row.try_get::<i32, _>(0)? {
        0 => Origin::DeadLetter,
        _ => Origin::Outbox,
    };
    let (event_id, envelope) = envelope(row, EVENT)?;
    Ok(Read {
        event: EventRef::new(row.try_get(1)?, EventId::from_uuid(event_id), origin),
        parked: row.try_get(2)?,
        aggregate: (
            row.try_get(EVENT + 1).unwrap_or_default(),
            row.try_get(EVENT + 2).unwrap_or_default(),
        ),
        payload_bytes: envelope.as_ref().map_or(0, |envelope| envelope.payload.len()),
        envelope,
    })
}

/// The event in the columns from `first` on; or why it is none.
///
/// A column of another type fails the read: the schema is wrong then, not the row.
pub(super) fn envelope(row: &PgRow, first: usize) -> sqlx::Result<(Uuid, Result<Envelope>)> {
    let event_id = row.try_get(first)?;
    let time = |row: &PgRow, at: usize| row.try_get::<DateTime<Utc>, _>(at);
    let stored = || -> sqlx::Result<StoredEvent> { Ok(stored_event!(row, first, time)) };
    match stored() {
        Ok(stored) => Ok((event_id, stored.into_envelope())),
        Err(error) if is_not_text(&error) => Ok((event_id, Err(malformed("with a text")))),
        Err(error) => Err(error),
    }
}

/// A database in SQL_ASCII takes any bytes as text.
fn is_not_text(error: &sqlx::Error) -> bool {
    let sqlx::Error::ColumnDecode { source, .. } = error else { return false };
    source.is::<std::str::Utf8Error>()
}
