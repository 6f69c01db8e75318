//! The consumer's settings.

use std::{fmt, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use tokio::sync::RwLock;

use super::{Consumer, Shared, dispatch::Registry};
use crate::{
    AtLeastOnceHandler, Clock, Codec, ConsumerName, DeadLetterNotice, DomainEvent, ErrorNotice,
    EventHandler, EventSource, HandlerError, JsonCodec, ProcessedEventStore, Result, RetryPolicy,
    SystemClock, hooks::Hooks,
};

/// What becomes of events whose name no handler was registered for.
///
/// A known name of an unknown version always goes to the dead letters: it was meant for us, and we
/// can't read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownEvents {
    /// They are passed over and counted.
    #[default]
    Skip,
    /// They go to the dead letters.
    Refuse,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) name: ConsumerName,
    pub(super) unknown: UnknownEvents,
    pub(super) retry: RetryPolicy,
    pub(super) handler_timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) max_batch: usize,
    pub(super) concurrency: usize,
    pub(super) keep_marks: Option<Duration>,
    pub(super) hooks: Hooks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) seed: Option<u64>,
}

impl Settings {
    pub(super) fn rng(&self) -> fastrand::Rng {
        self.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)
    }
}

/// Builds a [`Consumer`].
#[must_use]
pub struct ConsumerBuilder<S, P: ProcessedEventStore, C = JsonCodec> {
    name: String,
    source: S,
    inbox: P,
    codec: C,
    registry: Registry<P::Tx>,
    unknown: UnknownEvents,
    retry: RetryPolicy,
    handler_timeout: Duration,
    drain_timeout: Duration,
    max_batch: usize,
    concurrency: usize,
    keep_marks: Option<Duration>,
    hooks: Hooks,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
}

impl<S: EventSource, P: ProcessedEventStore> ConsumerBuilder<S, P> {
    pub(super) fn new(name: String, source: S, inbox: P) -> Self {
        Self {
            name,
            source,
            inbox,
            codec: JsonCodec,
            registry: Registry::default(),
            unknown: UnknownEvents::Skip,
            retry: RetryPolicy::default(),
            handler_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            max_batch: 100,
            concurrency: 1,
            keep_marks: None,
            hooks: Hooks::default(),
            clock: Arc::new(SystemClock),
            seed: None,
        }
    }
}

impl<S: EventSource, P: ProcessedEventStore, C: Codec> ConsumerBuilder<S, P, C> {
    /// Registers a handler for all event types of `E`.
    ///
    /// Several handlers may be registered for one event type: they run in the order of registration,
    /// in one transaction, and all succeed or none.
    pub fn on<E, H>(mut self, handler: H) -> Self
    where
        E: DomainEvent + DeserializeOwned + Send + Sync + 'static,
        H: EventHandler<E, P::Tx>,
    {
        self.registry.register::<E, H, C>(handler, self.codec.clone());
        self
    }

    /// Registers a handler that has no transaction, for all event types of `E`: it runs at least once.
    ///
    /// Several may be registered for one event type: they run in the order of registration, and when
    /// one fails, all run again.
    pub fn on_at_least_once<E, H>(mut self, handler: H) -> Self
    where
        E: DomainEvent + DeserializeOwned + Send + Sync + 'static,
        H: AtLeastOnceHandler<E>,
    {
        self.registry.register_at_least_once::<E, H, C>(handler, self.codec.clone());
        self
    }

    /// Registers a step from one version of an event to a later one, so that handlers need to know only
    /// the newest. Steps follow one another: with v1 → v2 and v2 → v3, what was sent as v1 is handled
    /// as v3.
    ///
    /// `Old` is read with the codec that is set when this is called; the rest is Rust, whatever the
    /// codec. A step is a function of the event alone: when it fails, it would fail again, and the event
    /// goes to the dead letters, as does a version that is newer than every handler and step. The
    /// envelope that handlers get says what was sent, so its event type is the old one.
    ///
    /// ```
    /// # #[cfg(feature = "derive")] {
    /// use relaybox_core::{
    ///     Consumer, ConsumerName, DomainEvent, Envelope, EventHandler, HandlerError, TopicName,
    ///     async_trait, memory::{MemoryBus, MemorySource, MemoryStore, MemoryTx},
    /// };
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize, DomainEvent)]
    /// #[event(aggregate = "user", name = "user.registered", version = 1)]
    /// struct RegisteredV1 { #[event(aggregate_id)] user_id: u64, name: String }
    ///
    /// #[derive(Serialize, Deserialize, DomainEvent)]
    /// #[event(aggregate = "user", name = "user.registered", version = 2)]
    /// struct Registered { #[event(aggregate_id)] user_id: u64, first: String, last: String }
    ///
    /// fn split(old: RegisteredV1) -> Result<Registered, HandlerError> {
    ///     let (first, last) = old.name.split_once(' ').unwrap_or((&old.name, ""));
    ///     Ok(Registered { user_id: old.user_id, first: first.into(), last: last.into() })
    /// }
    /// # struct Welcome;
    /// # #[async_trait]
    /// # impl EventHandler<Registered, MemoryTx> for Welcome {
    /// #     async fn handle(&self, _: &mut MemoryTx, _: &Registered, _: &Envelope) -> Result<(), HandlerError> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// # fn build() -> Result<(), relaybox_core::Error> {
    /// # let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    /// # let source = MemorySource::new(&bus, ConsumerName::new("w")?, vec![TopicName::new("user-events.v1")?]);
    /// let consumer = Consumer::builder("welcome", source, store)
    ///     .on::<Registered, _>(Welcome)
    ///     .upcast(split)
    ///     .build()?;
    /// # Ok(()) }
    /// # build().unwrap();
    /// # }
    /// ```
    pub fn upcast<Old, New>(
        mut self,
        step: impl Fn(Old) -> Result<New, HandlerError> + Send + Sync + 'static,
    ) -> Self
    where
        Old: DomainEvent + DeserializeOwned + Send + Sync + 'static,
        New: DomainEvent + Send + Sync + 'static,
    {
        self.registry.register_step(step, self.codec.clone());
        self
    }

    /// Replaces JSON for the handlers and steps that are registered after.
    pub fn codec<D: Codec>(self, codec: D) -> ConsumerBuilder<S, P, D> {
        let Self {
            name,
            source,
            inbox,
            codec: _,
            registry,
            unknown,
            retry,
            handler_timeout,
            drain_timeout,
            max_batch,
            concurrency,
            keep_marks,
            hooks,
            clock,
            seed,
        } = self;
        ConsumerBuilder {
            name,
            source,
            inbox,
            codec,
            registry,
            unknown,
            retry,
            handler_timeout,
            drain_timeout,
            max_batch,
            concurrency,
            keep_marks,
            hooks,
            clock,
            seed,
        }
    }

    /// Sets what becomes of events no handler was registered for. Default: they are skipped.
    pub fn unknown_events(mut self, policy: UnknownEvents) -> Self {
        self.unknown = policy;
        self
    }

    /// Sets how an event that fails is tried again, and how often.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets how long the handlers of one event may take, all together. Default 30 s.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = timeout;
        self
    }

    /// Sets how long a shutdown or a rebalance waits for the transaction under way. Default 10 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Sets how many events of a partition share a transaction at most, at least one. Default 100.
    ///
    /// Batches are smaller while handlers are slow, so that no transaction lasts long. When a handler
    /// fails, its batch is rolled back and its events are handled one by one.
    pub fn max_batch(mut self, events: usize) -> Self {
        self.max_batch = events.max(1);
        self
    }

    /// Sets how many transactions of a partition may be under way at once, at least one. Default 1.
    ///
    /// Events with the same record key stay in order; those with different keys may overtake each
    /// other. The offset moves on only as far as everything before it is done.
    pub fn concurrency(mut self, transactions: usize) -> Self {
        self.concurrency = transactions.max(1);
        self
    }

    /// Removes this consumer's marks when they are older than `age`, in bounded batches while it runs.
    /// They are kept for ever by default.
    ///
    /// Keep them longer than the broker keeps records: a record whose mark is gone would be handled
    /// again if it is delivered again. The consumer warns when it finds that they are kept for less.
    pub fn keep_marks(mut self, age: Duration) -> Self {
        self.keep_marks = Some(age);
        self
    }

    /// Calls `hook` when something failed that will be tried again.
    pub fn on_error(mut self, hook: impl Fn(&ErrorNotice<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.on_error = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` when an event was given up on.
    pub fn on_dead_letter(
        mut self,
        hook: impl Fn(&DeadLetterNotice<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_dead_letter = Some(Arc::new(hook));
        self
    }

    /// Sets the clock that `dlq-failed-at` is read from.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Makes the jitter repeatable, for tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the name is none, when no handler was registered, when an event type
    /// has handlers with and without a transaction, or when [steps](Self::upcast) lead to no handler, or
    /// to one of another type, or start where there are handlers.
    ///
    /// [`ErrorKind::Invalid`]: crate::ErrorKind::Invalid
    pub fn build(mut self) -> Result<Consumer<S, P>> {
        self.registry.complete()?;
        let settings = Settings {
            name: ConsumerName::new(self.name)?,
            unknown: self.unknown,
            retry: self.retry,
            handler_timeout: self.handler_timeout,
            drain_timeout: self.drain_timeout,
            max_batch: self.max_batch,
            concurrency: self.concurrency,
            keep_marks: self.keep_marks,
            hooks: self.hooks,
            clock: self.clock,
            seed: self.seed,
        };
        let Self { source, inbox, registry, .. } = self;
        let turn = RwLock::new(());
        Ok(Consumer { shared: Arc::new(Shared { source, inbox, registry, settings, turn }) })
    }
}

impl<S, P: ProcessedEventStore, C> fmt::Debug for ConsumerBuilder<S, P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("name", &self.name)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}
