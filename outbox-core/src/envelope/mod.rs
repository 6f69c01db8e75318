//! The envelope: one event as it is stored and sent, with everything said about it.

mod headers;
mod names;

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};

pub use self::{
    headers::{Headers, MAX_HEADER_BYTES, MAX_HEADER_COUNT, MAX_HEADER_NAME, MAX_HEADER_VALUE},
    names::{AggregateId, AggregateType, ConsumerName, EventId, Label, PartitionKey, TopicName},
};
use crate::{EventType, trace::TraceContext};

/// One event as it is stored in the outbox and sent to the broker.
///
/// ```
/// use relaybox_core::{AggregateId, AggregateType, Envelope, EventType};
///
/// let mut envelope = Envelope::new(
///     EventType::new("session.created", 1)?,
///     AggregateType::new("session")?,
///     AggregateId::new("s-1")?,
///     &b"{}"[..],
/// );
/// envelope.metadata.headers.insert("tenant", "acme")?;
/// assert_eq!(envelope.key().as_str(), "s-1");
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// What consumers know repeats by.
    pub event_id: EventId,
    /// Name and schema version.
    pub event_type: EventType,
    /// The kind of aggregate.
    pub aggregate_type: AggregateType,
    /// Which aggregate: order is kept per (type, id).
    pub aggregate_id: AggregateId,
    /// When it happened, by the enqueuing process's clock, in microseconds.
    pub occurred_at: DateTime<Utc>,
    /// The media type of the payload: `application/json`.
    pub content_type: Cow<'static, str>,
    /// The encoded event, without anything around it.
    pub payload: Bytes,
    /// What decides the partition, where that is not the aggregate id.
    pub partition_key: Option<PartitionKey>,
    /// What is said about the event.
    pub metadata: Metadata,
}

/// What is said about an event beside its payload.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// The service that raised it (`ce_source`).
    pub source: Label,
    /// The same for every event that follows from one request.
    pub correlation_id: Option<Label>,
    /// The event whose handler raised this one.
    pub causation_id: Option<EventId>,
    /// Who asked for the change.
    pub user_id: Option<Label>,
    /// The W3C trace context of the span that enqueued it.
    pub trace: Option<TraceContext>,
    /// Anything else, limited in count and size.
    pub headers: Headers,
}

impl Envelope {
    /// Makes an envelope with a new event id, now, with JSON as content type and no metadata.
    #[must_use]
    pub fn new(
        event_type: EventType,
        aggregate_type: AggregateType,
        aggregate_id: AggregateId,
        payload: impl Into<Bytes>,
    ) -> Self {
        let (event_id, now) = (EventId::new(), Utc::now().trunc_subsecs(6));
        Self::restore(event_id, now, event_type, aggregate_type, aggregate_id, payload)
    }

    /// Makes the envelope of an event that exists already, with JSON as content type and no metadata.
    ///
    /// Stores and sources call this: a new id costs a system call.
    #[must_use]
    pub fn restore(
        event_id: EventId,
        occurred_at: DateTime<Utc>,
        event_type: EventType,
        aggregate_type: AggregateType,
        aggregate_id: AggregateId,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            event_id,
            event_type,
            aggregate_type,
            aggregate_id,
            occurred_at,
            content_type: Cow::Borrowed("application/json"),
            payload: payload.into(),
            partition_key: None,
            metadata: Metadata::default(),
        }
    }

    /// What decides the partition: the partition key, or else the aggregate id.
    #[must_use]
    pub fn key(&self) -> KeyRef<'_> {
        match &self.partition_key {
            Some(key) => KeyRef(key.as_str()),
            None => KeyRef(self.aggregate_id.as_str()),
        }
    }
}

/// Without the payload, which is the user's data.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("event_id", &self.event_id)
            .field("event_type", &self.event_type)
            .field("aggregate_type", &self.aggregate_type)
            .field("aggregate_id", &self.aggregate_id)
            .field("occurred_at", &self.occurred_at)
            .field("content_type", &self.content_type)
            .field("payload_bytes", &self.payload.len())
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// Without the user and the values of the headers.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("source", &self.source)
            .field("correlation_id", &self.correlation_id)
            .field("causation_id", &self.causation_id)
            .field("trace", &self.trace)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// A borrowed record key; see [`Envelope::key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyRef<'a>(&'a str);

impl<'a> KeyRef<'a> {
    /// The key as text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}
