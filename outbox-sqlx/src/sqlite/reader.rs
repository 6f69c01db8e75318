//! The reader: new events from a position on.
//!
//! With one writer at a time, positions are in the order of the commits and there are no gaps. Now and
//! then, and at first, it looks from the lowest row that is not settled again, for one whose position was
//! made by hand.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use relaybox_core::{
    AggregateType, Envelope, Error, ErrorKind, EventId, EventRef, Origin, OutboxReader, OutboxRow,
    ReadRequest, Result,
};
use sqlx::{
    Row, Sqlite, SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use tokio::{runtime::Handle, task::spawn_blocking};
use uuid::Uuid;

use super::{json, sql::OutboxSql};
use crate::{
    error,
    in_flight::{InFlight, Read},
    row::{StoredEvent, malformed, stored_event},
};

const READ: &str = "read the outbox";
/// The first column of the event itself in the reading statement.
const EVENT: usize = 3;

/// How often it looks from the lowest row.
const SWEEP_EVERY: Duration = Duration::from_secs(3);

/// How long it takes it that there still are dead letters, once it saw some.
const DEAD_LETTERS_FOR: Duration = Duration::from_secs(3);

pub(super) struct SqliteReader {
    pool: SqlitePool,
    sql: Arc<OutboxSql>,
    in_flight: InFlight,
    /// The lowest position that was not read yet.
    next: i64,
    next_sweep: Instant,
    /// The last read gave events of the outbox, so that more may follow.
    flows: bool,
    dead_letters_until: Instant,
    /// The aggregate types that the last read left where they are.
    held_back: Vec<AggregateType>,
    /// Events that only a look from the lowest row has found, since somebody asked.
    overlooked: u64,
}

impl SqliteReader {
    pub(super) fn new(pool: SqlitePool, sql: Arc<OutboxSql>) -> Self {
        Self {
            pool,
            sql,
            in_flight: InFlight::default(),
            next: i64::MIN,
            next_sweep: Instant::now(),
            flows: false,
            dead_letters_until: Instant::now(),
            held_back: Vec::new(),
            overlooked: 0,
        }
    }
}

#[async_trait]
impl OutboxReader for SqliteReader {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        if self.held_back.iter().any(|held| !request.held_back.contains(held)) {
            // What was held back lies below.
            self.next = i64::MIN;
        }
        self.held_back.clone_from(&request.held_back);
        let now = Instant::now();
        let from = if now >= self.next_sweep { i64::MIN } else { self.next };
        let reads = match self.read_new(request, from, now).await? {
            Some(reads) => reads,
            None => self.read_all(request, from).await?,
        };
        self.flows = reads.iter().any(|read| read.event.origin == Origin::Outbox);
        self.advance(&reads, now);
        Ok(self.in_flight.give(reads))
    }

    fn forget(&mut self, settled: &[EventRef]) {
        self.in_flight.forget(settled);
    }

    fn rewind(&mut self) {
        self.in_flight.clear();
        self.next = i64::MIN;
    }

    fn overlooked(&mut self) -> u64 {
        std::mem::take(&mut self.overlooked)
    }
}

impl SqliteReader {
    /// Reads what is new with the brief statement; `None` when that is not enough.
    async fn read_new(
        &mut self,
        request: &ReadRequest,
        from: i64,
        now: Instant,
    ) -> Result<Option<Vec<Read>>> {
        let brief = self.flows
            && now >= self.dead_letters_until
            && self.held_back.is_empty()
            && self.in_flight.outbox(from..).next().is_none()
            && self.in_flight.dead_letters().next().is_none();
        if !brief {
            return Ok(None);
        }
        let query = sqlx::query(self.sql.read_new.clone()).bind(from).bind(limit(request));
        let reads = self.fetch(query, request).await?;
        if reads.first().is_some_and(|read| read.parked) {
            self.dead_letters_until = now + DEAD_LETTERS_FOR;
            return Ok(None);
        }
        // Without a row it doesn't say whether there are dead letters.
        Ok((!reads.is_empty()).then_some(reads))
    }

    async fn read_all(&self, request: &ReadRequest, from: i64) -> Result<Vec<Read>> {
        let query = sqlx::query(self.sql.read.clone())
            .bind(json(self.in_flight.outbox(from..)))
            .bind(json(self.in_flight.dead_letters().map(|(seq, _)| seq)))
            .bind(json(self.held_back.iter().map(AggregateType::as_str)))
            .bind(limit(request))
            .bind(from);
        self.fetch(query, request).await
    }

    /// Takes rows up to the limits of the request.
    ///
    /// On a thread that may block: SQLite's thread hands each row over by itself, and wakes a parked thread
    /// for less than a runtime that also watches sockets.
    async fn fetch(
        &self,
        query: Query<'static, Sqlite, SqliteArguments>,
        request: &ReadRequest,
    ) -> Result<Vec<Read>> {
        let keeps_parked = self.in_flight.keeps_parked();
        let (max_bytes, limit) = (request.max_bytes, request.limit);
        let pool = self.pool.clone();
        let fetch = async move {
            let mut rows = query.fetch(&pool);
            let mut reads = Vec::new();
            let mut bytes = 0_usize;
            // The rows come in order, so the rest needs no fetching.
            while bytes < max_bytes
                && reads.len() < limit
                && let Some(row) = rows.try_next().await.map_err(error::database(READ))?
            {
                let read = decode(&row, keeps_parked).map_err(error::database(READ))?;
                bytes = bytes.saturating_add(read.payload_bytes);
                reads.push(read);
            }
            Ok(reads)
        };
        let runtime = Handle::current();
        spawn_blocking(move || runtime.block_on(fetch))
            .await
            .unwrap_or_else(|failure| Err(Error::new(ErrorKind::Other, READ).caused_by(failure)))
    }

    /// Moves on behind what was read.
    fn advance(&mut self, reads: &[Read], now: Instant) {
        let positions = || {
            let of_outbox = reads.iter().filter(|read| read.event.origin == Origin::Outbox);
            of_outbox.map(|read| read.event.position)
        };
        let missed = positions().filter(|position| *position < self.next).count();
        self.overlooked += missed as u64;
        if missed == 0 && now >= self.next_sweep {
            self.next_sweep = now + SWEEP_EVERY;
        }
        // Where something was missed, it goes on from there: there may be more behind it.
        if let Some(last) = positions().last() {
            self.next = last.saturating_add(1);
        }
    }
}

fn limit(request: &ReadRequest) -> i64 {
    i64::try_from(request.limit).unwrap_or(i64::MAX)
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
