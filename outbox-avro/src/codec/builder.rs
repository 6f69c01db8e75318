//! Building an `AvroCodec`.

use std::{collections::HashMap, fmt, sync::Arc};

use apache_avro::AvroSchema;
use relaybox_core::{DomainEvent, Error, ErrorKind, EventType, Result, SchemaFingerprint};

use super::{AvroCodec, Inner, fetch::Fetch, own::OwnSchema, plans::Plans};
use crate::{AvroLimits, EventSchema, SchemaSource, WriterSchemas};

/// Builds an [`AvroCodec`].
#[derive(Default)]
#[must_use]
pub struct AvroCodecBuilder {
    events: HashMap<EventType, OwnSchema>,
    known: HashMap<SchemaFingerprint, EventSchema>,
    writers: WriterSchemas,
    source: Option<Arc<dyn SchemaSource>>,
    limits: AvroLimits,
}

impl AvroCodecBuilder {
    /// Takes the schema of an event from its type, which derives apache-avro's `AvroSchema`.
    ///
    /// An enum of several events has one schema for all: give it by [`schema_of`](Self::schema_of).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it has no or several event types, or the event type a schema already;
    /// [`ErrorKind::Decode`] when what it derives is no schema.
    pub fn schema<E: DomainEvent + AvroSchema>(self) -> Result<Self> {
        let [event_type] = E::EVENT_TYPES else {
            return Err(invalid(format!(
                "a type with {} event types derives no schema for each; make it a struct an event, or \
                 give the schema by schema_of",
                E::EVENT_TYPES.len()
            )));
        };
        self.event(event_type.clone(), EventSchema::of::<E>()?)
    }

    /// Takes the schema of all events of a type from a text: an .avsc file, by `include_str!`.
    ///
    /// For an enum of several events it is a union, with a record for each variant: of the variant's
    /// name, in the order of the variants. A struct an event is simpler, and better read elsewhere.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn schema_of<E: DomainEvent>(self, text: impl Into<String>) -> Result<Self> {
        let schema = EventSchema::parse(text)?;
        E::EVENT_TYPES
            .iter()
            .try_fold(self, |builder, event_type| builder.event(event_type.clone(), schema.clone()))
    }

    /// Takes the schema of one event type from a text.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn schema_text(self, event_type: EventType, text: impl Into<String>) -> Result<Self> {
        self.event(event_type, EventSchema::parse(text)?)
    }

    /// Takes the schema of one event type.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the event type has one; [`ErrorKind::Decode`] when it is no schema.
    pub fn event(mut self, event_type: EventType, schema: EventSchema) -> Result<Self> {
        if self.events.contains_key(&event_type) {
            return Err(invalid(format!("{event_type} has a schema already")));
        }
        self = self.writer(schema.clone());
        self.events.insert(event_type, OwnSchema::new(schema)?);
        Ok(self)
    }

    /// Makes known a schema that payloads without a registry's id were written with: an earlier one of
    /// an event type, say.
    pub fn writer(mut self, schema: EventSchema) -> Self {
        self.known.insert(schema.fingerprint(), schema);
        self
    }

    /// Asks a registry for writers' schemas. Only a consumer needs it.
    pub fn registry(mut self, source: impl SchemaSource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Keeps writers' schemas there, to share them with another codec of the same registry.
    pub fn writers(mut self, writers: WriterSchemas) -> Self {
        self.writers = writers;
        self
    }

    /// Sets what a payload may hold.
    pub fn limits(mut self, limits: AvroLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Builds it.
    #[must_use]
    pub fn build(self) -> AvroCodec {
        let Self { events, known, writers, source, limits } = self;
        let fetch = Fetch::new(source, writers);
        let plans = Plans::default();
        AvroCodec { inner: Arc::new(Inner { events, known, fetch, limits, plans }) }
    }
}

impl fmt::Debug for AvroCodecBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvroCodecBuilder")
            .field("events", &self.events.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Invalid, "build an Avro codec").detail(detail)
}
