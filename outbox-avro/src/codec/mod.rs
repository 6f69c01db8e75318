//! `AvroCodec`: events as Avro.

mod builder;
mod content_type;
mod fetch;
mod own;
mod plans;

use std::{collections::HashMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use relaybox_core::{
    Codec, Encoded, Envelope, Error, ErrorKind, EventType, Result, SchemaFingerprint, SchemaStore,
    StoredSchema,
};
use serde::{Serialize, de::DeserializeOwned};

pub use builder::AvroCodecBuilder;

use self::{content_type::ContentType, fetch::Fetch, own::OwnSchema, plans::Plans};
use crate::{
    AvroLimits, EventSchema,
    plan::{Plan, compile, run},
};

/// Encodes events as Avro, each type with a schema of its own.
///
/// An event is written as a bare datum; its content type has the fingerprint of the schema's full text:
/// `application/avro; fingerprint=<64 hexadecimal digits>`. The relay's framing puts the registry's id
/// before it, in the Confluent wire format: a zero byte, the id in four bytes, the datum.
///
/// A reader finds out which schema a payload was written with, by id or by fingerprint, and reads it with
/// its own schema for the event type, by Avro's rules: fields that it doesn't know are left out, fields
/// that were not written take its default, names may be aliases, numbers may grow. All limits are
/// checked over the bytes, before a value is built.
///
/// Cheap to clone.
///
/// ```
/// use apache_avro::AvroSchema;
/// use relaybox_avro::AvroCodec;
/// use relaybox_core::{DomainEvent, Outbox, memory::MemoryStore};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, AvroSchema, DomainEvent)]
/// #[event(aggregate = "session", name = "session.created", version = 1)]
/// struct SessionCreated {
///     #[event(aggregate_id)]
///     session_id: String,
///     user_id: i64,
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), relaybox_core::Error> {
/// let codec = AvroCodec::builder().schema::<SessionCreated>()?.build();
/// let store = MemoryStore::new();
/// codec.store_schemas(&store).await?;
/// let outbox = Outbox::builder(store.clone()).codec(codec).build();
///
/// let mut tx = store.begin();
/// outbox.enqueue(&mut tx, &SessionCreated { session_id: "s-7".into(), user_id: 42 }).await?;
/// tx.commit();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AvroCodec {
    inner: Arc<Inner>,
}

struct Inner {
    events: HashMap<EventType, OwnSchema>,
    /// What unframed payloads were written with.
    known: HashMap<SchemaFingerprint, EventSchema>,
    fetch: Fetch,
    limits: AvroLimits,
    plans: Plans,
}

impl AvroCodec {
    /// Starts without schemas, with the default limits and no registry.
    pub fn builder() -> AvroCodecBuilder {
        AvroCodecBuilder::default()
    }

    /// The schemas of all event types, each once, as a [`SchemaStore`] keeps them.
    #[must_use]
    pub fn schemas(&self) -> Vec<StoredSchema> {
        let mut schemas: Vec<_> =
            self.inner.events.values().map(|own| own.schema().stored()).collect();
        schemas.sort_by_key(|schema| schema.fingerprint);
        schemas.dedup_by_key(|schema| schema.fingerprint);
        schemas
    }

    /// The schema of an event type.
    #[must_use]
    pub fn schema(&self, event_type: &EventType) -> Option<&EventSchema> {
        self.inner.events.get(event_type).map(OwnSchema::schema)
    }

    /// Puts the schemas of all event types beside the outbox, where the relay looks for them. To be
    /// called when a service starts, before its first event.
    ///
    /// # Errors
    /// The store's own.
    pub async fn store_schemas(&self, store: &dyn SchemaStore) -> Result<()> {
        store.put_schemas(&self.schemas()).await
    }
}

impl Codec for AvroCodec {
    fn encode<T: Serialize>(&self, event_type: &EventType, value: &T) -> Result<Encoded> {
        let own = self.inner.own(event_type, ErrorKind::Encode, ENCODE)?;
        let datum = own.write(event_type, value)?;
        run(own.plan(), &self.inner.limits, &datum)
            .map_err(|refusal| refusal.into_error(ENCODE, event_type))?;
        Ok(Encoded::new(own.content_type().clone(), datum))
    }

    fn decode<T: DeserializeOwned>(&self, envelope: &Envelope) -> Result<T> {
        let event_type = &envelope.event_type;
        let own = self.inner.own(event_type, ErrorKind::Decode, DECODE)?;
        let payload = &envelope.payload;
        let refused = |detail| Error::new(ErrorKind::Decode, DECODE).detail(detail);
        let (writer, datum) = match ContentType::of(&envelope.content_type) {
            Some(ContentType::Datum(fingerprint)) => {
                let writer = if fingerprint == own.schema().fingerprint() {
                    Some(own.schema())
                } else {
                    self.inner.known.get(&fingerprint)
                };
                let writer = writer.cloned().ok_or_else(|| {
                    refused(format!(
                        "the {event_type} was written with a schema that is not known here \
                         (fingerprint {fingerprint}); give it to AvroCodecBuilder::writer, or \
                         publish through a schema registry"
                    ))
                })?;
                (writer, &payload[..])
            }
            Some(ContentType::Framed) => {
                let (id, datum) = fetch::split(payload).ok_or_else(|| {
                    refused(format!(
                        "the payload of a {event_type} has no schema id before it, and its content \
                         type no fingerprint"
                    ))
                })?;
                (self.inner.fetch.fetched(id)?, datum)
            }
            None => {
                return Err(refused(format!("the payload of a {event_type} is not Avro")));
            }
        };
        let plan = self.inner.plan(&writer, own)?;
        let datum = run(&plan, &self.inner.limits, datum)
            .map_err(|refusal| refusal.into_error(DECODE, event_type))?;
        own.read(event_type, &datum)
    }

    fn prepare(&self, payload: &[u8]) -> Option<BoxFuture<'static, Result<()>>> {
        let (id, _) = fetch::split(payload)?;
        self.inner.fetch.begin(id)
    }
}

const ENCODE: &str = "encode an event";
const DECODE: &str = "decode an event";

impl Inner {
    fn own(
        &self,
        event_type: &EventType,
        kind: ErrorKind,
        operation: &'static str,
    ) -> Result<&OwnSchema> {
        self.events.get(event_type).ok_or_else(|| {
            Error::new(kind, operation).detail(format!(
                "the codec has no schema for {event_type}; give it one with AvroCodecBuilder"
            ))
        })
    }

    fn plan(&self, writer: &EventSchema, own: &OwnSchema) -> Result<Arc<Plan>> {
        let pair = (writer.fingerprint(), own.schema().fingerprint());
        if pair.0 == pair.1 {
            return Ok(Arc::clone(own.plan()));
        }
        self.plans.get(pair, || compile(writer.model(), own.schema().model()).map(|(plan, _)| plan))
    }
}

impl fmt::Debug for AvroCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut events: Vec<_> = self.inner.events.keys().map(EventType::to_string).collect();
        events.sort();
        f.debug_struct("AvroCodec")
            .field("events", &events)
            .field("limits", &self.inner.limits)
            .finish_non_exhaustive()
    }
}
