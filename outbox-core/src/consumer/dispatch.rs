//! From an envelope to the typed handlers of its event type.

use std::{any::TypeId, collections::HashMap, fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::upcast::{Event, Step, TypedStep, Upcast, invalid};
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
    /// How it becomes what the handlers take, if they take a later version.
    upcast: Option<Upcast>,
}

/// All handlers, by event type as `ce_type` has it.
pub(super) struct Registry<Tx> {
    entries: HashMap<String, Entry<Tx>>,
    steps: Vec<Arc<dyn Step>>,
    /// What was registered and makes no sense.
    invalid: Option<Error>,
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

    pub(super) fn register_step<Old, New, F, C>(&mut self, lift: F, codec: C)
    where
        Old: DomainEvent + DeserializeOwned + Send + Sync + 'static,
        New: DomainEvent + Send + Sync + 'static,
        F: Fn(Old) -> Result<New, HandlerError> + Send + Sync + 'static,
        C: Codec,
    {
        match TypedStep::<Old, New, F, C>::new(lift, codec) {
            Ok(step) => self.steps.push(Arc::new(step)),
            Err(error) => self.invalid = Some(error),
        }
    }

    fn add(
        &mut self,
        event_types: &[EventType],
        none: impl Fn() -> Handlers<Tx>,
        push: impl Fn(&mut Handlers<Tx>) -> bool,
    ) {
        for event_type in event_types {
            let new = || Entry { event_type: event_type.clone(), handlers: none(), upcast: None };
            let entry = self.entries.entry(event_type.to_string()).or_insert_with(new);
            if !push(&mut entry.handlers) {
                self.invalid = Some(invalid(format!(
                    "{event_type} has handlers with and without a transaction; give each kind a \
                     consumer of its own name"
                )));
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

    /// Leads older versions to the handlers of the newest. Fails when there is nothing to do, or when it
    /// is not clear what.
    pub(super) fn complete(&mut self) -> Result<()> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        if self.entries.is_empty() {
            return Err(invalid("it has no handler; register one with `on`".to_owned()));
        }
        for first in &self.steps {
            let from = first.from();
            if self.entries.contains_key(&from.to_string()) {
                return Err(invalid(format!(
                    "{from} has a step to a later version, and also handlers or another step"
                )));
            }
            let upcast = Upcast::from(&self.steps, first)?;
            let to = upcast.to();
            let Some(newest) = self.entries.get(&to.to_string()) else {
                return Err(invalid(format!(
                    "the steps from {from} lead to {to}, without handlers"
                )));
            };
            if !newest.handlers.take(upcast.gives()) {
                return Err(invalid(format!(
                    "a handler of {to} takes another type than the step to it gives"
                )));
            }
            let handlers = newest.handlers.clone();
            let entry = Entry { event_type: from.clone(), handlers, upcast: Some(upcast) };
            self.entries.insert(from.to_string(), entry);
        }
        Ok(())
    }
}

impl<Tx> Default for Registry<Tx> {
    fn default() -> Self {
        Self { entries: HashMap::new(), steps: Vec::new(), invalid: None }
    }
}

impl<Tx> fmt::Debug for Registry<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl<Tx> Entry<Tx> {
    /// Fetches what decoding will need, outside any transaction.
    pub(super) async fn prepare(&self, payload: &[u8]) -> Result<()> {
        let mut needed = Vec::new();
        match (&self.upcast, &self.handlers) {
            (Some(upcast), _) => needed.extend(upcast.prepare(payload)),
            (None, Handlers::Transactional(all)) => {
                needed.extend(all.iter().filter_map(|handler| handler.prepare(payload)));
            }
            (None, Handlers::AtLeastOnce(all)) => {
                needed.extend(all.iter().filter_map(|handler| handler.prepare(payload)));
            }
        }
        for work in needed {
            work.await?;
        }
        Ok(())
    }

    /// The event in the version that handlers take, if that is not the one that was sent.
    pub(super) fn lift(&self, envelope: &Envelope) -> Result<Option<Event>> {
        self.upcast.as_ref().map(|upcast| upcast.lift(envelope)).transpose()
    }
}

impl<Tx> Handlers<Tx> {
    /// Whether all of them take a value of this type.
    fn take(&self, event: TypeId) -> bool {
        match self {
            Self::Transactional(all) => all.iter().all(|handler| handler.takes() == event),
            Self::AtLeastOnce(all) => all.iter().all(|handler| handler.takes() == event),
        }
    }
}

impl<Tx> Clone for Handlers<Tx> {
    fn clone(&self) -> Self {
        match self {
            Self::Transactional(all) => Self::Transactional(all.clone()),
            Self::AtLeastOnce(all) => Self::AtLeastOnce(all.clone()),
        }
    }
}

/// What a handler says of the events it takes.
pub(super) trait Takes: Send + Sync {
    fn takes(&self) -> TypeId;
    fn prepare(&self, payload: &[u8]) -> Option<BoxFuture<'static, Result<()>>>;
}

/// A handler whose event type is forgotten.
#[async_trait]
pub(super) trait Dispatch<Tx>: Takes {
    /// Handles the event in the envelope, or what was `lifted` from it.
    async fn dispatch(
        &self,
        tx: &mut Tx,
        envelope: &Envelope,
        lifted: Option<&Event>,
    ) -> Result<(), HandlerError>;
}

/// The same, of a handler that has no transaction.
#[async_trait]
pub(super) trait DispatchOutside: Takes {
    async fn dispatch(
        &self,
        envelope: &Envelope,
        lifted: Option<&Event>,
    ) -> Result<(), HandlerError>;
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

impl<E, H, C> Typed<E, H, C>
where
    E: DomainEvent + DeserializeOwned + 'static,
    C: Codec,
{
    /// The event as the handler takes it.
    fn event<'a>(
        &self,
        envelope: &Envelope,
        lifted: Option<&'a Event>,
        decoded: &'a mut Option<E>,
    ) -> Result<&'a E> {
        match lifted.and_then(|event| event.downcast_ref()) {
            Some(event) => Ok(event),
            None => Ok(decoded.insert(decode::<E, C>(&self.codec, envelope)?)),
        }
    }
}

impl<E, H, C> Takes for Typed<E, H, C>
where
    E: 'static,
    H: Send + Sync,
    C: Codec,
{
    fn takes(&self) -> TypeId {
        TypeId::of::<E>()
    }

    fn prepare(&self, payload: &[u8]) -> Option<BoxFuture<'static, Result<()>>> {
        self.codec.prepare(payload)
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
    async fn dispatch(
        &self,
        tx: &mut Tx,
        envelope: &Envelope,
        lifted: Option<&Event>,
    ) -> Result<(), HandlerError> {
        let mut decoded = None;
        let event = self.event(envelope, lifted, &mut decoded)?;
        self.handler.handle(tx, event, envelope).await
    }
}

#[async_trait]
impl<E, H, C> DispatchOutside for Typed<E, H, C>
where
    E: DomainEvent + DeserializeOwned + Send + Sync + 'static,
    H: AtLeastOnceHandler<E>,
    C: Codec,
{
    async fn dispatch(
        &self,
        envelope: &Envelope,
        lifted: Option<&Event>,
    ) -> Result<(), HandlerError> {
        let mut decoded = None;
        let event = self.event(envelope, lifted, &mut decoded)?;
        self.handler.handle(event, envelope, IdempotencyKey::new(envelope.event_id)).await
    }
}

/// The event in an envelope, in the version that was sent.
pub(super) fn decode<E: DomainEvent + DeserializeOwned, C: Codec>(
    codec: &C,
    envelope: &Envelope,
) -> Result<E> {
    let event: E = codec.decode(envelope)?;
    // An untagged enum can take one variant's payload for another's.
    let decoded = event.event_type();
    if decoded != envelope.event_type {
        return Err(Error::new(ErrorKind::Decode, "decode an event").detail(format!(
            "the payload of a {} reads as a {decoded}; tag the enum or use a struct per event",
            envelope.event_type
        )));
    }
    Ok(event)
}
