//! The relay's framing: a schema's id before each payload.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{BufMut, BytesMut};
use relaybox_core::{
    Envelope, Error, ErrorKind, Framing, Result, SchemaFingerprint, SchemaStore, TopicName,
};
use tracing::info;

use super::{
    SchemaRegistry, SubjectStrategy,
    search::{Searches, Times},
};
use crate::EventSchema;

pub(super) const OPERATION: &str = "frame an event";
/// The content type of a framed payload, and of a bare one before its parameter.
const AVRO: &str = "application/avro";
const FINGERPRINT: &str = "fingerprint=";
/// The first byte of Confluent's
/// [wire format](https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format).
const MAGIC: u8 = 0;
/// It and the id.
const HEAD: usize = 5;
/// Puts the registry's id before Avro payloads: what
/// [`Relay::builder(…).framing(…)`](relaybox_core::Relay) takes.
///
/// A payload lies in the outbox as a bare datum, with the fingerprint of its schema in its content type.
/// The first of each topic and schema is looked up: the schema's text in the store, where the service
/// put it when it started, its id in the registry. If the registry doesn't have it, it is registered
/// once it is found compatible. From then on the id is known here, and events pass whether the registry
/// can be reached or not.
///
/// An event that can't be framed yet is held back with its aggregate type, and nothing is lost: when the
/// registry is down, when it refuses the schema, when nobody stored the schema. What is behind it waits a
/// second at most while the search goes on. Events with any other content type pass as they are.
///
/// Cheap to clone; the clones share what they know.
///
/// ```no_run
/// use relaybox_avro::{RegistryConfig, RegistryFraming, SchemaRegistry};
/// # use relaybox_core::{CancellationToken, SchemaStore, memory::{MemoryBus, MemoryStore}};
/// # async fn run(store: impl SchemaStore) -> Result<(), relaybox_core::Error> {
/// let registry = SchemaRegistry::new(RegistryConfig::new("https://registry:8081"))?;
/// let framing = RegistryFraming::new(registry, store);
/// // Relay::builder(outbox, bus).framing(framing).build().run(shutdown).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RegistryFraming {
    search: Search,
    times: Times,
    searches: Arc<Searches>,
}

/// How an id is found.
#[derive(Clone)]
struct Search {
    registry: SchemaRegistry,
    schemas: Arc<dyn SchemaStore>,
    subjects: SubjectStrategy,
    registers: bool,
}

impl RegistryFraming {
    /// Finds texts in `schemas` and ids in `registry`; registers what is new.
    pub fn new(registry: SchemaRegistry, schemas: impl SchemaStore) -> Self {
        let search = Search {
            registry,
            schemas: Arc::new(schemas),
            subjects: SubjectStrategy::default(),
            registers: true,
        };
        let times = Times { patience: Duration::from_secs(1), search: Duration::from_secs(30) };
        Self { search, times, searches: Arc::default() }
    }

    /// Sets how subjects are named; `{topic}-{record}` by default. Set it before the first event.
    pub fn subjects(mut self, strategy: SubjectStrategy) -> Self {
        self.search.subjects = strategy;
        self
    }

    /// Sets whether schemas that the registry doesn't have are registered; they are by default. `false`
    /// is for where the relay may not write to it, and schemas are seeded before a service is deployed:
    /// the events of one that was forgotten wait for it.
    pub fn register(mut self, registers: bool) -> Self {
        self.search.registers = registers;
        self
    }

    /// Sets how long an event waits for an id that is not known, and holds up those behind it; 1 s by
    /// default. The search goes on without it, and the next try finds what it found.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.times.patience = patience;
        self
    }

    /// Sets how long the search for an id goes on, with all that it asks of store and registry; 30 s by
    /// default. After that the next event of that schema begins another: a store that never answers
    /// holds nothing back for longer than it is ill.
    pub fn search_timeout(mut self, timeout: Duration) -> Self {
        self.times.search = timeout;
        self
    }
}

impl Search {
    /// Finds or makes the id of a schema on a topic. Each step is one that may be repeated.
    async fn run(self, topic: TopicName, fingerprint: SchemaFingerprint) -> Result<u32> {
        let held = |what: String| Error::new(ErrorKind::TopicUnavailable, OPERATION).detail(what);
        let stored = self.schemas.schema(&fingerprint).await?.ok_or_else(|| {
            held(format!(
                "the schema with fingerprint {fingerprint} is not in the outbox's schema store: call \
                 AvroCodec::store_schemas when the service that raises the event starts"
            ))
        })?;
        let schema = EventSchema::parse(stored.text)?;
        if schema.fingerprint() != fingerprint {
            return Err(held(format!(
                "the text that the schema store has for the fingerprint {fingerprint} has another one: \
                 it was changed"
            )));
        }
        let subject = self.subjects.subject(&topic, &schema)?;
        if let Some(found) = self.registry.lookup(&subject, &schema).await? {
            return Ok(found.id);
        }
        if !self.registers {
            return Err(held(format!(
                "the schema with fingerprint {fingerprint} is not registered under {subject}, and this \
                 relay registers none: seed it there"
            )));
        }
        let verdict = self.registry.check_compatibility(&subject, &schema).await?;
        if !verdict.is_compatible {
            return Err(held(format!(
                "the schema with fingerprint {fingerprint} is incompatible with {subject}: {}; its \
                 events wait until it is registered, or the subject's compatibility allows it",
                verdict.messages.join("; ")
            )));
        }
        let id = self.registry.register(&subject, &schema).await?;
        info!(subject, id, "registered a schema");
        Ok(id)
    }
}

#[async_trait]
impl Framing for RegistryFraming {
    async fn frame(&self, topic: &TopicName, envelope: &mut Envelope) -> Result<()> {
        let Some(fingerprint) = fingerprint(&envelope.content_type)? else { return Ok(()) };
        let id = match self.searches.known(topic, &fingerprint) {
            Some(id) => id,
            None => {
                let begin = || self.search.clone().run(topic.clone(), fingerprint);
                self.searches.wait(topic, fingerprint, self.times, begin).await?
            }
        };
        let mut framed = BytesMut::with_capacity(HEAD + envelope.payload.len());
        framed.put_u8(MAGIC);
        framed.put_u32(id);
        framed.extend_from_slice(&envelope.payload);
        envelope.payload = framed.freeze();
        envelope.content_type = Cow::Borrowed(AVRO);
        Ok(())
    }
}

impl fmt::Debug for RegistryFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryFraming")
            .field("subjects", &self.search.subjects)
            .field("registers", &self.search.registers)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

/// The fingerprint in the content type of a bare datum; `None` when it is of anything else.
fn fingerprint(content_type: &str) -> Result<Option<SchemaFingerprint>> {
    let Some((media_type, parameter)) = content_type.split_once(';') else { return Ok(None) };
    match parameter.trim().strip_prefix(FINGERPRINT) {
        Some(digits) if media_type.trim() == AVRO => digits.parse().map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_datums_content_type_names_a_fingerprint() {
        let digits = "0a".repeat(32);
        let of = |text: &str| fingerprint(text);
        let found = of(&format!("application/avro; fingerprint={digits}")).unwrap().unwrap();
        assert_eq!(found.to_string(), digits);
        assert!(of(&format!("application/avro;fingerprint={digits}")).unwrap().is_some());
        for other in ["application/avro", "application/json", "application/avro; charset=x", ""] {
            assert!(of(other).unwrap().is_none(), "{other}");
        }
        assert!(of(&format!("application/json; fingerprint={digits}")).unwrap().is_none());
        let wrong = of("application/avro; fingerprint=7").unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Decode);
    }
}
