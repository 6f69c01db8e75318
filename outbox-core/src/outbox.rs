//! `Outbox`: what a service calls to raise an event.

use std::{borrow::Cow, sync::Arc};

use chrono::SubsecRound;
use serde::Serialize;
use tracing::{Instrument, field::Empty};

use crate::{
    AggregateId, AggregateType, Clock, Codec, DomainEvent, Encoded, Envelope, Error, ErrorKind,
    EventContext, EventId, JsonCodec, Label, OutboxWriter, PartitionKey, Result, SystemClock,
    telemetry, trace,
};

/// How large a payload may be unless the builder says otherwise: what a Kafka broker takes by
/// default (1 MB a batch), less room for key and headers.
pub const DEFAULT_MAX_PAYLOAD: usize = 900_000;

/// Raises events in the caller's transaction.
///
/// Encodes, fills in the metadata from the [`EventContext`], refuses what is too large, and writes.
/// Cheap to clone.
///
/// ```
/// # #[cfg(feature = "derive")] {
/// use relaybox_core::{DomainEvent, Outbox, memory::MemoryStore};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, DomainEvent)]
/// #[event(aggregate = "user", name = "user.registered", version = 1)]
/// struct UserRegistered { #[event(aggregate_id)] user_id: u64 }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), relaybox_core::Error> {
/// let store = MemoryStore::new();
/// let outbox = Outbox::builder(store.clone()).source("accounts")?.build();
///
/// let mut tx = store.begin();
/// outbox.enqueue(&mut tx, &UserRegistered { user_id: 7 }).await?;
/// tx.commit();
/// # Ok(()) }
/// # }
/// ```
#[derive(Debug)]
pub struct Outbox<W, C = JsonCodec> {
    inner: Arc<Inner<W, C>>,
}

#[derive(Debug)]
struct Inner<W, C> {
    writer: W,
    codec: C,
    source: Label,
    max_payload: usize,
    clock: Arc<dyn Clock>,
}

impl<W, C> Clone for Outbox<W, C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<W> Outbox<W> {
    /// An outbox with JSON payloads, [`DEFAULT_MAX_PAYLOAD`] and the source `relaybox`.
    #[must_use]
    pub fn new(writer: W) -> Self {
        Self::builder(writer).build()
    }

    /// Starts from the defaults of [`new`](Self::new).
    pub fn builder(writer: W) -> OutboxBuilder<W> {
        OutboxBuilder {
            writer,
            codec: JsonCodec,
            source: Label::new("relaybox").expect("a constant, and valid"),
            max_payload: DEFAULT_MAX_PAYLOAD,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Builds an [`Outbox`].
#[derive(Debug)]
#[must_use]
pub struct OutboxBuilder<W, C = JsonCodec> {
    writer: W,
    codec: C,
    source: Label,
    max_payload: usize,
    clock: Arc<dyn Clock>,
}

impl<W, C> OutboxBuilder<W, C> {
    /// Sets the name of this service, which events carry as `ce_source`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is empty or no [`Label`].
    pub fn source(mut self, source: impl Into<Cow<'static, str>>) -> Result<Self> {
        let source = Label::new(source)?;
        if source.as_str().is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "name the source of events")
                .detail("it is empty; give the service's name"));
        }
        self.source = source;
        Ok(self)
    }

    /// Sets how many bytes a payload may have. The broker's limit must be larger.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets the clock that `occurred_at` is read from.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Replaces JSON.
    pub fn codec<D: Codec>(self, codec: D) -> OutboxBuilder<W, D> {
        let Self { writer, source, max_payload, clock, .. } = self;
        OutboxBuilder { writer, codec, source, max_payload, clock }
    }

    /// Builds it.
    #[must_use]
    pub fn build(self) -> Outbox<W, C> {
        let Self { writer, codec, source, max_payload, clock } = self;
        Outbox { inner: Arc::new(Inner { writer, codec, source, max_payload, clock }) }
    }
}

impl<W, C: Codec> Outbox<W, C> {
    /// Raises one event in the caller's transaction; gives its id.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] and [`ErrorKind::TooLarge`] before anything is written;
    /// [`ErrorKind::Invalid`] when the aggregate id or the partition key is empty or too long; the
    /// store's own. On any error, roll back.
    ///
    /// # Cancel safety
    /// Roll the transaction back when the future was dropped.
    pub async fn enqueue<Tx, E>(&self, tx: &mut Tx, event: &E) -> Result<EventId>
    where
        Tx: Send,
        W: OutboxWriter<Tx>,
        E: DomainEvent + Serialize + Sync,
    {
        self.enqueue_all(tx, std::slice::from_ref(event)).await.map(|ids| ids[0])
    }

    /// Raises several events, in order, with one statement; gives their ids in that order.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue); none is written when one is refused.
    ///
    /// # Cancel safety
    /// Roll the transaction back when the future was dropped.
    pub async fn enqueue_all<Tx, E>(&self, tx: &mut Tx, events: &[E]) -> Result<Vec<EventId>>
    where
        Tx: Send,
        W: OutboxWriter<Tx>,
        E: DomainEvent + Serialize + Sync,
    {
        let span = tracing::info_span!(
            "relaybox.enqueue",
            otel.kind = "producer",
            events = events.len(),
            event_type = Empty
        );
        let envelopes = span.in_scope(|| {
            let context = EventContext::current();
            events.iter().map(|event| self.seal(event, &context)).collect::<Result<Vec<_>>>()
        })?;
        if let [first, ..] = &envelopes[..] {
            span.record("event_type", tracing::field::display(&first.event_type));
            self.inner.writer.write(tx, &envelopes).instrument(span).await?;
            telemetry::enqueued(envelopes.len());
        }
        Ok(envelopes.iter().map(|envelope| envelope.event_id).collect())
    }

    /// Encodes an event and puts it into its envelope, without storing it.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue), less the store's own.
    pub fn envelope<E: DomainEvent + Serialize>(&self, event: &E) -> Result<Envelope> {
        self.seal(event, &EventContext::current())
    }

    fn seal<E: DomainEvent + Serialize>(
        &self,
        event: &E,
        context: &EventContext,
    ) -> Result<Envelope> {
        let Inner { codec, source, max_payload, clock, .. } = &*self.inner;
        let event_type = event.event_type();
        let Encoded { content_type, payload } = codec.encode(&event_type, event)?;
        if payload.len() > *max_payload {
            return Err(Error::new(ErrorKind::TooLarge, "enqueue an event").detail(format!(
                "the payload of {event_type} has {} bytes, more than {max_payload}; store the bulk \
                 elsewhere and send its address",
                payload.len()
            )));
        }
        let mut envelope = Envelope::new(
            event_type,
            AggregateType::new(event.aggregate_type())?,
            AggregateId::new(event.aggregate_id())?,
            payload,
        );
        envelope.content_type = content_type;
        envelope.occurred_at = clock.now().trunc_subsecs(6);
        envelope.partition_key = event.partition_key().map(PartitionKey::new).transpose()?;
        let metadata = &mut envelope.metadata;
        metadata.source = source.clone();
        metadata.correlation_id =
            Some(context.correlation_id.clone().unwrap_or_else(|| envelope.event_id.into()));
        metadata.causation_id = context.causation_id;
        metadata.user_id = context.user_id.clone();
        metadata.trace = trace::of_current_span().or_else(|| context.trace.clone());
        metadata.headers = context.headers.clone();
        Ok(envelope)
    }
}
