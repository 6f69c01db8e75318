//! The relay's settings.

use std::{fmt, sync::Arc, time::Duration};

use super::{Relay, Shared, WakeUp, framer::Framer};
use crate::{
    DeadLetterNotice, ErrorNotice, EventBus, Framing, Label, OutboxStore, RelayId, RetryPolicy,
    TopicMap, hooks::Hooks,
};

/// What becomes of an aggregate's later events after one is given up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDeadLetter {
    /// They wait behind it, so that order is kept when it is redriven.
    #[default]
    Park,
    /// They go on: order has a hole.
    Skip,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) id: RelayId,
    pub(super) name: String,
    pub(super) topics: TopicMap,
    pub(super) framer: Framer,
    pub(super) lease_ttl: Duration,
    pub(super) poll: (Duration, Duration),
    pub(super) batch: usize,
    pub(super) batch_bytes: usize,
    pub(super) max_in_flight: usize,
    pub(super) retry: RetryPolicy,
    pub(super) on_dead_letter: OnDeadLetter,
    pub(super) drain_timeout: Duration,
    pub(super) stats_interval: Duration,
    pub(super) hooks: Hooks,
    pub(super) seed: Option<u64>,
}

impl Settings {
    pub(super) fn rng(&self) -> fastrand::Rng {
        self.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)
    }
}

/// Builds a [`Relay`].
#[must_use]
pub struct RelayBuilder<S, B> {
    store: S,
    bus: B,
    settings: Settings,
}

impl<S: OutboxStore, B: EventBus> RelayBuilder<S, B> {
    pub(super) fn new(store: S, bus: B) -> Self {
        let name = Label::new("relay").expect("a valid label");
        Self {
            store,
            bus,
            settings: Settings {
                id: RelayId::new(&name),
                name: name.to_string(),
                topics: TopicMap::new(),
                framer: Framer::default(),
                lease_ttl: Duration::from_secs(10),
                poll: (Duration::from_micros(500), Duration::from_millis(100)),
                batch: 500,
                batch_bytes: 4 * 1024 * 1024,
                max_in_flight: 8,
                retry: RetryPolicy::default(),
                on_dead_letter: OnDeadLetter::Park,
                drain_timeout: Duration::from_secs(10),
                stats_interval: Duration::from_secs(10),
                hooks: Hooks::default(),
                seed: None,
            },
        }
    }

    /// Names it, for logs, metrics and the lease: the host's or pod's name, say. Default `relay`.
    pub fn name(mut self, name: &Label) -> Self {
        self.settings.id = RelayId::new(name);
        self.settings.name = name.to_string();
        self
    }

    /// Sets where events go. Default: `{aggregate-type}-events.v1`.
    pub fn topics(mut self, topics: TopicMap) -> Self {
        self.settings.topics = topics;
        self
    }

    /// Sets what is put around payloads on their way to the bus. Default: nothing.
    pub fn framing(mut self, framing: impl Framing) -> Self {
        self.settings.framer = Framer::new(framing);
        self
    }

    /// Sets how long after a crash a standby takes over. Default 10 s; at least 100 ms.
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.settings.lease_ttl = ttl.max(Duration::from_millis(100));
        self
    }

    /// Sets how long it waits between looks while events come (`min`) and while none do (up to
    /// `max`, by way of 16 ms in the first ten seconds of silence). Default 0.5 ms and 100 ms; `min`
    /// is at least 100 µs.
    pub fn poll_interval(mut self, min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_micros(100));
        self.settings.poll = (min, max.max(min));
        self
    }

    /// Sets how many events it reads and hands over at once. Default 500; at least 1.
    pub fn batch(mut self, events: usize) -> Self {
        self.settings.batch = events.max(1);
        self
    }

    /// Sets how many bytes of payload, more or less the last event, a batch may have. Default 4 MiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.batch_bytes = bytes.max(1);
        self
    }

    /// Sets how many full batches, counted in events and in bytes, may be on their way to the broker at
    /// once. Default 8; at least 1.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.settings.max_in_flight = batches.max(1);
        self
    }

    /// Sets how it backs off from an unreachable broker or database, and how often it tries an event
    /// that the bus calls its own fault, yet retryable.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// Sets what becomes of the events behind one that was given up on. Default: they are parked.
    pub fn dead_letters(mut self, policy: OnDeadLetter) -> Self {
        self.settings.on_dead_letter = policy;
        self
    }

    /// Sets how long a shutdown waits for what is in flight. Default 10 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    /// Sets how often the backlog is measured for the metrics. Default 10 s; at least 10 ms.
    pub fn stats_interval(mut self, interval: Duration) -> Self {
        self.settings.stats_interval = interval.max(Duration::from_millis(10));
        self
    }

    /// Calls `hook` when something failed that will be tried again.
    pub fn on_error(mut self, hook: impl Fn(&ErrorNotice<'_>) + Send + Sync + 'static) -> Self {
        self.settings.hooks.on_error = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` when an event was given up on.
    pub fn on_dead_letter(
        mut self,
        hook: impl Fn(&DeadLetterNotice<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.settings.hooks.on_dead_letter = Some(Arc::new(hook));
        self
    }

    /// Makes the jitter repeatable, for tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Builds it.
    #[must_use]
    pub fn build(self) -> Relay<S, B> {
        let Self { store, bus, settings } = self;
        Relay { shared: Arc::new(Shared { store, bus, settings, wake_up: WakeUp::default() }) }
    }
}

impl<S, B> fmt::Debug for RelayBuilder<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
