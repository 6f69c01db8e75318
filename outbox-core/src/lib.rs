//! The core of [relaybox](https://docs.rs/relaybox): a transactional outbox and idempotent consumers,
//! without any driver.
//!
//! A service raises a [`DomainEvent`] through an [`Outbox`] in its own transaction; a [`Relay`] reads
//! the [`OutboxStore`] and publishes to an [`EventBus`]; a [`Consumer`] receives from an
//! [`EventSource`] and runs [`EventHandler`]s, each in one transaction with its mark in a
//! [`ProcessedEventStore`]. The [`memory`] module implements all of them for tests.
//!
//! Most users depend on the facade `relaybox`, which re-exports this with the adapters.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bus;
mod clock;
pub mod cloudevents;
mod codec;
mod consumer;
mod context;
mod envelope;
mod error;
mod event;
mod framing;
mod handler;
mod header_name;
mod hooks;
mod inbox;
pub mod memory;
#[cfg(feature = "mock")]
pub mod mock;
mod outbox;
mod redrive;
mod relay;
mod retry;
mod schema;
mod secret;
mod source;
mod store;
pub mod telemetry;
mod trace;
mod writer;

pub use async_trait::async_trait;
pub use tokio_util::sync::CancellationToken;

pub use self::{
    bus::{EventBus, Receipt, Record, TopicMap},
    clock::{Clock, SystemClock},
    codec::{Codec, Encoded, JsonCodec},
    consumer::{Consumer, ConsumerBuilder, UnknownEvents},
    context::EventContext,
    envelope::{
        AggregateId, AggregateType, ConsumerName, Envelope, EventId, Headers, KeyRef, Label,
        MAX_HEADER_BYTES, MAX_HEADER_COUNT, MAX_HEADER_NAME, MAX_HEADER_VALUE, Metadata,
        PartitionKey, TopicName,
    },
    error::{Error, ErrorKind, Result, Retry, error_chain},
    event::{DomainEvent, EventType, MAX_EVENT_NAME},
    framing::Framing,
    handler::{AtLeastOnceHandler, EventHandler, HandlerError, IdempotencyKey, PermanentExt},
    header_name::HeaderName,
    hooks::{DeadLetterNotice, ErrorNotice},
    inbox::{GiveUp, GivenUpAt, Mark, ProcessedEventStore},
    outbox::{DEFAULT_MAX_PAYLOAD, Outbox, OutboxBuilder},
    redrive::{ConsumerDeadLetter, RedriveQuery, RedriveSummary, RedriveVerdict},
    relay::{OnDeadLetter, Relay, RelayBuilder, WakeUp},
    retry::RetryPolicy,
    schema::{SchemaFingerprint, SchemaStore, StoredSchema},
    secret::Secret,
    source::{
        Delivery, EventSource, Failure, Offset, Partition, PartitionStats, Received, Redelivery,
        SourceStats, TopicStats,
    },
    store::{
        Acquired, ArchiveQuery, ArchiveStore, ArchivedEvent, DeadLetter, DeadLetterQuery,
        DeadLetterState, DeadLetterStore, EventRef, GivenUp, Lease, Origin, OutboxReader,
        OutboxRow, OutboxStats, OutboxStore, Published, ReadRequest, RelayId, Retention, Settled,
        Settlement, Successors,
    },
    trace::TraceContext,
    writer::OutboxWriter,
};
/// Derives [`DomainEvent`] for a struct (one event) or an enum (the events of one aggregate).
#[cfg(feature = "derive")]
#[cfg_attr(docsrs, doc(cfg(feature = "derive")))]
pub use relaybox_derive::DomainEvent;
