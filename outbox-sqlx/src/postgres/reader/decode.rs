//! What a row of the reading statement says.

use chrono::{DateTime, Utc};
use relaybox_core::{Envelope, EventId, EventRef, Origin, Result};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::status::Status;
use crate::{
    in_flight::Read,
    row::{StoredEvent, malformed, stored_event},
};

/// The columns before the event itself, behind the status.
const EVENT: usize = Status::COLUMNS + 5;

/// Where the payload is among the event's columns.
const PAYLOAD: usize = 15;

/// An event, or a place where one is left.
pub(super) struct Line {
    pub(super) position: i64,
    pub(super) origin: Origin,
    /// None when it is held back.
    pub(super) read: Option<Read>,
    /// The transaction that wrote it.
    pub(super) transaction: i64,
}

/// Reads a row; none when it has the status alone.
pub(super) fn line(row: &PgRow, status: &Status, keeps_parked: bool) -> sqlx::Result<Option<Line>> {
    let at = Status::COLUMNS;
    let origin = match row.try_get::<Option<i32>, _>(at)? {
        None => return Ok(None),
        Some(0) => Origin::DeadLetter,
        Some(_) => Origin::Outbox,
    };
    let position = row.try_get(at + 1)?;
    let held: bool = row.try_get(at + 3)?;
    let transaction = status.transaction(row.try_get(at + 4)?);
    let read = if held { None } else { Some(read(row, position, origin, keeps_parked)?) };
    Ok(Some(Line { position, origin, read, transaction }))
}

fn read(row: &PgRow, position: i64, origin: Origin, keeps_parked: bool) -> sqlx::Result<Read> {
    let (event_id, envelope) = envelope(row, EVENT)?;
    let parked = row.try_get(Status::COLUMNS + 2)?;
    let text = |at| row.try_get(at).unwrap_or_default();
    Ok(Read {
        event: EventRef::new(position, EventId::from_uuid(event_id), origin),
        parked,
        aggregate: (parked || keeps_parked).then(|| (text(EVENT + 1), text(EVENT + 2))),
        payload_bytes: row.try_get::<&[u8], _>(EVENT + PAYLOAD)?.len(),
        envelope,
    })
}

/// The event in the columns from `first` on; or why it is none.
///
/// A column of another type fails the read: the schema is wrong then, not the row.
pub(in crate::postgres) fn envelope(
    row: &PgRow,
    first: usize,
) -> sqlx::Result<(Uuid, Result<Envelope>)> {
    let event_id = row.try_get(first)?;
    let time = |row: &PgRow, at: usize| row.try_get::<DateTime<Utc>, _>(at);
    let stored = || -> sqlx::Result<StoredEvent<'_>> { Ok(stored_event!(row, first, time)) };
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
