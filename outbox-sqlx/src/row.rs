//! A stored event: its columns, and the envelope they make.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use relaybox_core::{
    AggregateId, AggregateType, ArchivedEvent, DeadLetterState, Envelope, Error, ErrorKind,
    EventId, EventRef, EventType, Headers, Label, Origin, PartitionKey, Published, Receipt, Result,
    TopicName, TraceContext,
};
use uuid::Uuid;

/// The columns of an event in the order in which every statement selects them.
pub(crate) const COLUMNS: &str = "event_id, aggregate_type, aggregate_id, event_name, \
     event_version, occurred_at, content_type, partition_key, source, correlation_id, \
     causation_id, user_id, traceparent, tracestate, headers, payload";

/// What the columns hold, nothing checked.
pub(crate) struct StoredEvent<'r> {
    pub(crate) event_id: Uuid,
    pub(crate) aggregate_type: &'r str,
    pub(crate) aggregate_id: &'r str,
    pub(crate) event_name: &'r str,
    pub(crate) event_version: i32,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) content_type: &'r str,
    pub(crate) partition_key: Option<&'r str>,
    pub(crate) source: &'r str,
    pub(crate) correlation_id: Option<&'r str>,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) user_id: Option<&'r str>,
    pub(crate) traceparent: Option<&'r str>,
    pub(crate) tracestate: Option<&'r str>,
    pub(crate) headers: Option<&'r str>,
    pub(crate) payload: Vec<u8>,
}

/// Takes [`COLUMNS`] from a row, from the column `$first` on; `$time` reads `occurred_at`.
macro_rules! stored_event {
    ($row:expr, $first:expr, $time:expr) => {{
        let (row, first) = ($row, $first);
        $crate::row::StoredEvent {
            event_id: row.try_get(first)?,
            aggregate_type: row.try_get(first + 1)?,
            aggregate_id: row.try_get(first + 2)?,
            event_name: row.try_get(first + 3)?,
            event_version: row.try_get(first + 4)?,
            occurred_at: $time(row, first + 5)?,
            content_type: row.try_get(first + 6)?,
            partition_key: row.try_get(first + 7)?,
            source: row.try_get(first + 8)?,
            correlation_id: row.try_get(first + 9)?,
            causation_id: row.try_get(first + 10)?,
            user_id: row.try_get(first + 11)?,
            traceparent: row.try_get(first + 12)?,
            tracestate: row.try_get(first + 13)?,
            headers: row.try_get(first + 14)?,
            payload: row.try_get(first + 15)?,
        }
    }};
}
pub(crate) use stored_event;

impl StoredEvent<'_> {
    /// Makes the envelope, or says which column is none; never what is in it.
    pub(crate) fn into_envelope(self) -> Result<Envelope> {
        let version = u16::try_from(self.event_version).map_err(|_| malformed("event_version"))?;
        let mut envelope = Envelope::restore(
            EventId::from_uuid(self.event_id),
            self.occurred_at,
            valid("event_name", EventType::new(self.event_name, version))?,
            valid("aggregate_type", self.aggregate_type.parse::<AggregateType>())?,
            valid("aggregate_id", self.aggregate_id.parse::<AggregateId>())?,
            Bytes::from(self.payload),
        );
        envelope.content_type = match self.content_type {
            "application/json" => Cow::Borrowed("application/json"),
            other => Cow::Owned(other.to_owned()),
        };
        envelope.partition_key = self
            .partition_key
            .map(|key| valid("partition_key", key.parse::<PartitionKey>()))
            .transpose()?;
        let label = |column, text: Option<&str>| {
            text.map(|text| valid(column, text.parse::<Label>())).transpose()
        };
        let metadata = &mut envelope.metadata;
        metadata.source = valid("source", self.source.parse())?;
        metadata.correlation_id = label("correlation_id", self.correlation_id)?;
        metadata.causation_id = self.causation_id.map(EventId::from_uuid);
        metadata.user_id = label("user_id", self.user_id)?;
        // A broken trace must not cost an event: the recommendation says to start a new one.
        metadata.trace =
            self.traceparent.and_then(|parent| TraceContext::parse(parent, self.tracestate).ok());
        if let Some(headers) = self.headers {
            metadata.headers = valid("headers", Headers::from_json(headers))?;
        }
        Ok(envelope)
    }
}

/// What the archive says of an event beside the event itself.
pub(crate) struct StoredArchived {
    pub(crate) position: i64,
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    pub(crate) enqueued_at: DateTime<Utc>,
    pub(crate) published_at: DateTime<Utc>,
}

/// Takes a [`StoredArchived`] from the first columns of a row; `$time` reads a time.
macro_rules! archived_event {
    ($row:expr, $time:expr) => {{
        let row = $row;
        $crate::row::StoredArchived {
            position: row.try_get(0)?,
            topic: row.try_get(1)?,
            partition: row.try_get(2)?,
            offset: row.try_get(3)?,
            enqueued_at: $time(row, 4)?,
            published_at: $time(row, 5)?,
        }
    }};
}
pub(crate) use archived_event;

impl StoredArchived {
    /// Puts it together with the event, however that is.
    pub(crate) fn into_event(
        self,
        event_id: Uuid,
        envelope: Result<Envelope>,
    ) -> Result<ArchivedEvent> {
        let event = EventRef::new(self.position, EventId::from_uuid(event_id), Origin::Outbox);
        let mut receipt = Receipt::unnumbered();
        (receipt.partition, receipt.offset) = (self.partition, self.offset);
        let published = Published::new(event, valid("topic", TopicName::new(self.topic))?, receipt);
        Ok(ArchivedEvent::new(published, self.enqueued_at, self.published_at, envelope))
    }
}

/// Why a stored row is no event.
pub(crate) fn malformed(column: &'static str) -> Error {
    Error::new(ErrorKind::Decode, "read a stored event")
        .detail(format!("the column {column} is malformed"))
}

/// The state of a dead letter, from its columns.
pub(crate) fn dead_letter_state(state: &str, flagged: bool) -> Result<DeadLetterState> {
    match (state, flagged) {
        ("dead", false) => Ok(DeadLetterState::Dead),
        ("dead", true) => Ok(DeadLetterState::Redriving),
        ("parked", _) => Ok(DeadLetterState::Parked),
        _ => Err(Error::new(ErrorKind::Schema, "list the dead letters")
            .detail("a dead letter is neither 'dead' nor 'parked'")),
    }
}

fn valid<T>(column: &'static str, parsed: Result<T>) -> Result<T> {
    parsed.map_err(|_| malformed(column))
}
