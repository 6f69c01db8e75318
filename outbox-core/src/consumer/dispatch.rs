//! From an envelope to the typed handlers of its event type.

use std::{collections::HashMap, fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::{
    AtLeastOnceHandler, Codec, DomainEvent, Envelope, Error, ErrorKind, EventHandler, EventType,
    HandlerError, IdempotencyKey, Result,
};

/// The handlers of one event type, in the order of registration.
pub(super) enum Handlers<Tx> {
    Transactional(Vec<Arc<dyn Dispatch<Tx>>>),
    AtLeastOnce(Vec<Arc<dyn DispatchOutside>>),
}

/// An event type with its handlers.
pub(super) struct Entry<Tx> {
    pub(super) event_type: EventType,
    pub(super) handlers: Handlers<Tx>,
}

/// All handlers, by event type as `ce_type` has it.
pub(super) struct Registry<Tx> {
    entries: HashMap<String, Entry<Tx>>,
    /// An event type that was registered for handlers of both kinds.
    mixed: Option<EventType>,
}

/// What the registry knows of an event type.
pub(super) enum Known<'a, Tx> {
    Handlers(&'a Entry<Tx>),
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
        let typed: Arc<dyn Dispatch<Tx>> = Arc::new(Typed::<E, H, C>::new(handler, codec));
        self.add(
            E::EVENT_TYPES,
            || Handlers::Transactional(Vec::new()),
            |handlers| {
                match handlers {
                    Handlers::Transactional(all) => all.push(Arc::clone(&typed)),
                    Handlers::AtLeastOnce(_) => return false,
                }
                true
            },
        );
    }

    pub(super) fn register_at_least_once<E, H, C>(&mut self, handler: H, codec: C)
    where
        E: DomainEvent + DeserializeOwned + Send + Sync + 'static,
        H: AtLeastOnceHandler<E>,
        C: Codec,
    {
        let typed: Arc<dyn DispatchOutside> = Arc::new(Typed::<E, H, C>::new(handler, codec));
        self.add(
            E::EVENT_TYPES,
            || Handlers::AtLeastOnce(Vec::new()),
            |handlers| {
                match handlers {
                    Handlers::AtLeastOnce(all) => all.push(Arc::clone(&typed)),
                    Handlers::Transactional(_) => return false,
                }
                true
            },
        );
    }

    fn add(
        &mut self,
        event_types: &[EventType],
        none: impl Fn() -> Handlers<Tx>,
        push: impl Fn(&mut Handlers<Tx>) -> bool,
    ) {
        for event_type in event_types {
            let new = || Entry { event_type: event_type.clone(), handlers: none() };
            let entry = self.entries.entry(event_type.to_string()).or_insert_with(new);
            if !push(&mut entry.handlers) {
                self.mixed = Some(event_type.clone());
            }
        }
    }

    /// The handlers of an event type as `ce_type` has it.
    pub(super) fn named(&self, event_type: &str) -> Option<&Entry<Tx>> {
        self.entries.get(event_type)
    }

    pub(super) fn find(&self, event_type: &EventType) -> Known<'_, Tx> {
        if let Some(entry) = self.named(&event_type.to_string()) {
            return Known::Handlers(entry);
        }
        let known = self.entries.values().map(|entry| &entry.event_type);
        let mut versions: Vec<_> = known
            .filter(|known| known.name() == event_type.name())
            .map(EventType::version)
            .collect();
        versions.sort_unstable();
        if versions.is_empty() { Known::Unknown } else { Known::OtherVersions(versions) }
    }

    /// Fails when there is nothing to do, or when it is not clear what.
    pub(super) fn check(&self) -> Result<()> {
        let error = |detail| Err(Error::new(ErrorKind::Invalid, "build a consumer").detail(detail));
        if let Some(event_type) = &self.mixed {
            return error(format!(
                "{event_type} has handlers with and without a transaction; give each kind a consumer \
                 of its own name"
            ));
        }
        if self.entries.is_empty() {
            return error("it has no handler; register one with `on`".to_owned());
        }
        Ok(())
    }
}

impl<Tx> Default for Registry<Tx> {
    fn default() -> Self {
        Self { entries: HashMap::new(), mixed: None }
    }
}

impl<Tx> fmt::Debug for Registry<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// A handler whose event type is forgotten.
#[async_trait]
pub(super) trait Dispatch<Tx>: Send + Sync {
    async fn dispatch(&self, tx: &mut Tx, envelope: &Envelope) -> Result<(), HandlerError>;
}

/// The same, of a handler that has no transaction.
#[async_trait]
pub(super) trait DispatchOutside: Send + Sync {
    async fn dispatch(&self, envelope: &Envelope) -> Result<(), HandlerError>;
}

struct Typed<E, H, C> {
    handler: H,
    codec: C,
    event: PhantomData<fn(E)>,
}

impl<E, H, C> Typed<E, H, C> {
    fn new(handler: H, codec: C) -> Self {
        Self { handler, codec, event: PhantomData }
    }
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

#[async_trait]
impl<E, H, C> DispatchOutside for Typed<E, H, C>
where
    E: DomainEvent + DeserializeOwned + Send + Sync + 'static,
    H: AtLeastOnceHandler<E>,
    C: Codec,
{
    async fn dispatch(&self, envelope: &Envelope) -> Result<(), HandlerError> {
        let event = decode::<E, C>(&self.codec, envelope)?;
        self.handler.handle(&event, envelope, IdempotencyKey::new(envelope.event_id)).await
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
