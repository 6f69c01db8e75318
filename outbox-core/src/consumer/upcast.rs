//! Bringing older versions of an event up to the newest, which is the only one that handlers see.

use std::{
    any::{Any, TypeId},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::dispatch::decode;
use crate::{Codec, DomainEvent, Envelope, Error, ErrorKind, EventType, HandlerError, Result};

/// An event whose type is forgotten.
pub(super) type Event = Box<dyn Any + Send + Sync>;

/// From one version of an event to a later one.
pub(super) trait Step: Send + Sync {
    fn from(&self) -> &EventType;
    fn to(&self) -> &EventType;
    fn takes(&self) -> TypeId;
    fn gives(&self) -> TypeId;
    fn prepare(&self, payload: &[u8]) -> Option<BoxFuture<'static, Result<()>>>;
    /// The event as it was sent.
    fn read(&self, envelope: &Envelope) -> Result<Event>;
    fn lift(&self, old: Event) -> Result<Event>;
}

/// The steps from a version that was sent to the one that handlers take; at least one.
#[derive(Clone)]
pub(super) struct Upcast {
    steps: Vec<Arc<dyn Step>>,
}

impl Upcast {
    /// The steps from `from` on, as far as they go.
    pub(super) fn from(steps: &[Arc<dyn Step>], first: &Arc<dyn Step>) -> Result<Self> {
        let mut chain = vec![Arc::clone(first)];
        let mut last = first;
        // Versions only rise, so it ends.
        while let Some(next) = steps.iter().find(|step| step.from() == last.to()) {
            if next.takes() != last.gives() {
                return Err(invalid(format!(
                    "the step to {} gives another type than the step from it takes",
                    last.to()
                )));
            }
            chain.push(Arc::clone(next));
            last = next;
        }
        Ok(Self { steps: chain })
    }

    /// What comes out.
    pub(super) fn to(&self) -> &EventType {
        self.last().to()
    }

    /// The type that comes out.
    pub(super) fn gives(&self) -> TypeId {
        self.last().gives()
    }

    pub(super) fn prepare(&self, payload: &[u8]) -> Option<BoxFuture<'static, Result<()>>> {
        self.steps[0].prepare(payload)
    }

    pub(super) fn lift(&self, envelope: &Envelope) -> Result<Event> {
        let event = self.steps[0].read(envelope)?;
        self.steps.iter().try_fold(event, |event, step| step.lift(event))
    }

    fn last(&self) -> &Arc<dyn Step> {
        &self.steps[self.steps.len() - 1]
    }
}

/// A step as the user wrote it.
pub(super) struct TypedStep<Old, New, F, C> {
    from: EventType,
    to: EventType,
    lift: F,
    codec: C,
    types: PhantomData<fn(Old) -> New>,
}

impl<Old: DomainEvent, New: DomainEvent, F, C> TypedStep<Old, New, F, C> {
    /// Finds out from which version to which it goes.
    pub(super) fn new(lift: F, codec: C) -> Result<Self> {
        let [from] = Old::EVENT_TYPES else {
            return Err(invalid("the old type of a step must be one event type".to_owned()));
        };
        let mut same_name = New::EVENT_TYPES.iter().filter(|to| to.name() == from.name());
        let (Some(to), None) = (same_name.next(), same_name.next()) else {
            return Err(invalid(format!(
                "the new type of the step from {from} must have one event type of that name"
            )));
        };
        if to.version() <= from.version() {
            return Err(invalid(format!("the step from {from} goes to {to}, which is not later")));
        }
        Ok(Self { from: from.clone(), to: to.clone(), lift, codec, types: PhantomData })
    }
}

impl<Old, New, F, C> Step for TypedStep<Old, New, F, C>
where
    Old: DomainEvent + DeserializeOwned + Send + Sync + 'static,
    New: DomainEvent + Send + Sync + 'static,
    F: Fn(Old) -> Result<New, HandlerError> + Send + Sync + 'static,
    C: Codec,
{
    fn from(&self) -> &EventType {
        &self.from
    }

    fn to(&self) -> &EventType {
        &self.to
    }

    fn takes(&self) -> TypeId {
        TypeId::of::<Old>()
    }

    fn gives(&self) -> TypeId {
        TypeId::of::<New>()
    }

    fn prepare(&self, payload: &[u8]) -> Option<BoxFuture<'static, Result<()>>> {
        self.codec.prepare(payload)
    }

    fn read(&self, envelope: &Envelope) -> Result<Event> {
        Ok(Box::new(decode::<Old, C>(&self.codec, envelope)?))
    }

    fn lift(&self, old: Event) -> Result<Event> {
        let error = |detail| Error::new(ErrorKind::Decode, "upcast an event").detail(detail);
        let (from, to) = (&self.from, &self.to);
        // Checked when the consumer was built.
        let old = old.downcast::<Old>().map_err(|_| error(format!("it is not a {from}")))?;
        let new = (self.lift)(*old).map_err(|failure| {
            error(format!("the step from {from} to {to} failed")).caused_by(failure.into_source())
        })?;
        if new.event_type() != self.to {
            let given = new.event_type();
            return Err(error(format!("the step from {from} to {to} gave a {given}")));
        }
        Ok(Box::new(new))
    }
}

pub(super) fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Invalid, "build a consumer").detail(detail)
}

impl fmt::Debug for Upcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.to())).finish()
    }
}
