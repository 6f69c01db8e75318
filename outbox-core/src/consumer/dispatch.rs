//! From an envelope to the typed handlers of its event type.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::{
    Codec, DomainEvent, Envelope, Error, ErrorKind, EventHandler, EventType, HandlerError, Result,
};

/// The handlers of one event type, in the order of registration.
type Handlers<Tx> = Vec<Arc<dyn Dispatch<Tx>>>;

/// All handlers, by event name and version.
pub(super) struct Registry<Tx>(HashMap<String, BTreeMap<u16, Handlers<Tx>>>);

/// What the registry knows of an event type.
pub(super) enum Known<'a, Tx> {
    Handlers(&'a Handlers<Tx>),
    /// The name is known, with these versions.
    OtherVersions(Vec<u16>),
    Unknown,
}

impl<Tx: Send + 'static> Registry<Tx> {
    pub(super) fn register<E, H, C>(&mut self, handler: H, codec: C)
    where
        E: DomainEvent + DeserializeOwned + Send + Sync + 'static,
        H: EventHandler<E, Tx>,
        C: Codec,
    {
        let typed: Arc<dyn Dispatch<Tx>> =
            Arc::new(Typed { handler, codec, event: PhantomData::<fn(E)> });
        for event_type in E::EVENT_TYPES {
            let versions = self.0.entry(event_type.name().to_owned()).or_default();
            versions.entry(event_type.version()).or_default().push(Arc::clone(&typed));
        }
    }

    pub(super) fn find(&self, event_type: &EventType) -> Known<'_, Tx> {
        let Some(versions) = self.0.get(event_type.name()) else { return Known::Unknown };
        match versions.get(&event_type.version()) {
            Some(handlers) => Known::Handlers(handlers),
            None => Known::OtherVersions(versions.keys().copied().collect()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<Tx> Default for Registry<Tx> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Tx> fmt::Debug for Registry<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions =
            self.0.iter().map(|(name, versions)| (name, versions.keys().collect::<Vec<_>>()));
        f.debug_map().entries(versions).finish()
    }
}

/// A handler whose event type is forgotten.
#[async_trait]
pub(super) trait Dispatch<Tx>: Send + Sync {
    async fn dispatch(&self, tx: &mut Tx, envelope: &Envelope) -> Result<(), HandlerError>;
}

struct Typed<E, H, C> {
    handler: H,
    codec: C,
    event: PhantomData<fn(E)>,
}

#[async_trait]
impl<E, H, C, Tx> Dispatch<Tx> for Typed<E, H, C>
where
    E: DomainEvent + DeserializeOwned + Send + Sync + 'static,
    H: EventHandler<E, Tx>,
    C: Codec,
    Tx: Send + 'static,
{
    async fn dispatch(&self, tx: &mut Tx, envelope: &Envelope) -> Result<(), HandlerError> {
        let event = decode::<E, C>(&self.codec, envelope)?;
        self.handler.handle(tx, &event, envelope).await
    }
}

fn decode<E: DomainEvent + DeserializeOwned, C: Codec>(
    codec: &C,
    envelope: &Envelope,
) -> Result<E> {
    let error = |detail: String| Error::new(ErrorKind::Decode, "decode an event").detail(detail);
    if envelope.content_type != codec.content_type() {
        return Err(error(format!("the payload is not {}", codec.content_type())));
    }
    let event: E = codec.decode(&envelope.event_type, &envelope.payload)?;
    // An untagged enum can take one variant's payload for another's.
    let decoded = event.event_type();
    if decoded != envelope.event_type {
        return Err(error(format!(
            "the payload of a {} reads as a {decoded}; tag the enum or use a struct per event",
            envelope.event_type
        )));
    }
    Ok(event)
}
