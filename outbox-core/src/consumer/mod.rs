//! The consumer: from a source, through the inbox, to handlers.

mod attempt;
mod builder;
mod dispatch;
mod giving_up;
mod glance;
mod housekeeping;
mod lane;
mod outside;
mod pace;
mod patience;
mod progress;
mod strand;
#[cfg(test)]
mod tests;
mod upcast;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{sync::RwLock, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use self::builder::{ConsumerBuilder, UnknownEvents};
use self::{
    builder::Settings,
    dispatch::Registry,
    lane::{Lane, Stop},
    patience::Patience,
};
use crate::{
    Delivery, Error, EventSource, Partition, ProcessedEventStore, Received, Result, error_chain,
    retry::Backoff,
};

/// Handles events: the effect, its mark and the events it raises commit as one.
///
/// ```
/// # #[cfg(feature = "derive")] {
/// use relaybox_core::{
///     CancellationToken, Consumer, ConsumerName, DomainEvent, Envelope, EventHandler, HandlerError,
///     TopicName, async_trait, memory::{MemoryBus, MemorySource, MemoryStore, MemoryTx},
/// };
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, DomainEvent)]
/// #[event(aggregate = "user", name = "user.registered", version = 1)]
/// struct UserRegistered { #[event(aggregate_id)] user_id: u64 }
///
/// struct Welcome;
///
/// #[async_trait]
/// impl EventHandler<UserRegistered, MemoryTx> for Welcome {
///     async fn handle(
///         &self, tx: &mut MemoryTx, event: &UserRegistered, _: &Envelope,
///     ) -> Result<(), HandlerError> {
///         tx.put(format!("welcomed/{}", event.user_id), "yes");
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), relaybox_core::Error> {
/// let (bus, store) = (MemoryBus::new(), MemoryStore::new());
/// let topics = vec![TopicName::new("user-events.v1")?];
/// let source = MemorySource::new(&bus, ConsumerName::new("welcome")?, topics);
/// let consumer = Consumer::builder("welcome", source, store)
///     .on::<UserRegistered, _>(Welcome)
///     .build()?;
///
/// let shutdown = CancellationToken::new();
/// # shutdown.cancel();
/// consumer.run(shutdown).await?;
/// # Ok(()) }
/// # }
/// ```
pub struct Consumer<S, P: ProcessedEventStore> {
    shared: Arc<Shared<S, P>>,
}

/// What a lane needs of its consumer.
struct Shared<S, P: ProcessedEventStore> {
    source: S,
    inbox: P,
    registry: Registry<P::Tx>,
    settings: Settings,
    /// Shared by all that handle; taken alone by whoever must know what a crash came from.
    turn: RwLock<()>,
}

/// A partition with a batch out.
struct Busy {
    stop: Stop,
    /// When a handler that is still at it is dropped.
    abort_at: Option<Instant>,
}

impl<S: EventSource, P: ProcessedEventStore> Consumer<S, P> {
    /// Starts from the defaults; each setter says which. `name` is checked by
    /// [`build`](ConsumerBuilder::build).
    pub fn builder(name: impl Into<String>, source: S, inbox: P) -> ConsumerBuilder<S, P> {
        ConsumerBuilder::new(name.into(), source, inbox)
    }

    /// Handles events until `shutdown` is cancelled; then finishes the transaction each partition is at,
    /// up to the drain timeout, and leaves the group.
    ///
    /// An unreachable database ends nothing: it waits with backoff, tells `on_error`, and goes on. So
    /// does a broker's refusal; a broker that is merely away, the source waits for by itself.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`](crate::ErrorKind::Schema) and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid),
    /// which only a person can mend.
    ///
    /// # Cancel safety
    /// Dropping the future stops it at once, as a crash would: what was not acknowledged is delivered
    /// again, and what was committed is known as a repeat.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let settings = &self.shared.settings;
        let mut backoff = Backoff::new(settings.retry.clone(), settings.rng());
        let mut lanes = Lanes::new(Arc::clone(&self.shared));
        // Dropped, and so ended, with this future.
        let mut beside = JoinSet::new();
        beside.spawn(Arc::clone(&self.shared).watch());
        if let Some(age) = settings.keep_marks {
            beside.spawn(Arc::clone(&self.shared).purge(age, shutdown.clone()));
        }
        let mut resume_at = Instant::now();
        let ended = loop {
            let abort_at = lanes.next_abort();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                finished = lanes.finished() => if let Err(error) = finished { break Err(error) },
                () = tokio::time::sleep_until(abort_at.unwrap_or(resume_at)), if abort_at.is_some() => lanes.abort_due(),
                received = self.shared.source.receive(), if Instant::now() >= resume_at => match received {
                    Ok(received) => {
                        backoff.succeed();
                        if let Err(error) = lanes.take(received).await {
                            break Err(error);
                        }
                    }
                    Err(error) if error.is_final() => break Err(error),
                    Err(error) => {
                        let wait = backoff.fail();
                        resume_at = Instant::now() + wait;
                        self.shared.report(&error, wait);
                    }
                },
                () = tokio::time::sleep_until(resume_at), if Instant::now() < resume_at => {}
            }
        };
        lanes.drain().await;
        drop(beside);
        match tokio::time::timeout(settings.drain_timeout, self.shared.source.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(consumer = %settings.name, error = error_chain(&error), "left the group uncleanly");
            }
            Err(_) => warn!(consumer = %settings.name, "the broker doesn't let go; left the group"),
        }
        info!(consumer = %settings.name, "consumer stopped");
        ended
    }
}

/// All partitions at work.
struct Lanes<S, P: ProcessedEventStore> {
    shared: Arc<Shared<S, P>>,
    busy: HashMap<Partition, Busy>,
    /// Partitions whose batch is done: what is known of them is kept for their next one.
    idle: HashMap<Partition, Lane<S, P>>,
    tasks: JoinSet<(Lane<S, P>, Result<()>)>,
}

impl<S: EventSource, P: ProcessedEventStore> Lanes<S, P> {
    fn new(shared: Arc<Shared<S, P>>) -> Self {
        Self { shared, busy: HashMap::new(), idle: HashMap::new(), tasks: JoinSet::new() }
    }

    async fn take(&mut self, received: Received) -> Result<()> {
        match received {
            Received::Batch { partition, deliveries } => {
                // Its last batch is acknowledged, or there would be no other: that task is about to
                // end. Two at once would break the order.
                while self.busy.contains_key(&partition) {
                    self.finished().await?;
                }
                self.start(partition, deliveries);
            }
            Received::Revoked(partition) => {
                debug!(%partition, "partition is taken away");
                self.idle.remove(&partition);
                let patience = self.shared.settings.drain_timeout;
                match self.busy.get_mut(&partition) {
                    Some(busy) => busy.soft(patience),
                    None => lane::release(&self.shared, &partition).await,
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, partition: Partition, deliveries: Vec<Delivery>) {
        let known = self.idle.remove(&partition);
        // A partition that went and came back is another one; nobody says when an idle one goes.
        self.idle
            .retain(|idle, _| idle.topic != partition.topic || idle.number != partition.number);
        let mut lane =
            known.unwrap_or_else(|| Lane::new(Arc::clone(&self.shared), partition.clone()));
        let stop = Stop::default();
        self.busy.insert(partition, Busy { stop: stop.clone(), abort_at: None });
        self.tasks.spawn(async move {
            let result = lane.handle(deliveries, &stop).await;
            (lane, result)
        });
    }

    /// Waits for a batch to be done, for ever if none is out.
    async fn finished(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok((lane, result))) => {
                let revoked = self
                    .busy
                    .remove(&lane.partition)
                    .is_some_and(|busy| busy.stop.soft.is_cancelled());
                if !revoked {
                    self.idle.insert(lane.partition.clone(), lane);
                }
                result
            }
            // A lane catches its handlers' panics; this one is ours, and must not be hidden.
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    fn next_abort(&self) -> Option<Instant> {
        self.busy.values().filter_map(|busy| busy.abort_at).min()
    }

    fn abort_due(&mut self) {
        let now = Instant::now();
        for busy in self.busy.values_mut().filter(|busy| busy.abort_at.is_some_and(|at| at <= now))
        {
            busy.abort_at = None;
            busy.stop.hard.cancel();
        }
    }

    async fn drain(&mut self) {
        let patience = self.shared.settings.drain_timeout;
        self.busy.values_mut().for_each(|busy| busy.soft(patience));
        while !self.tasks.is_empty() {
            let abort_at = self.next_abort();
            tokio::select! {
                biased;
                finished = self.finished() => if let Err(error) = finished {
                    warn!(error = error_chain(&error), "a partition failed while stopping");
                },
                () = tokio::time::sleep_until(abort_at.unwrap_or_else(Instant::now)), if abort_at.is_some() => self.abort_due(),
            }
        }
        join_all(self.idle.values().map(Lane::note_stop)).await;
    }
}

impl Busy {
    /// Lets the transaction under way finish, within `patience`.
    fn soft(&mut self, patience: Duration) {
        self.stop.soft.cancel();
        self.abort_at.get_or_insert(Instant::now() + patience);
    }
}

impl<S, P: ProcessedEventStore> Shared<S, P> {
    fn patience(&self) -> Patience {
        Patience::new(Backoff::new(self.settings.retry.clone(), self.settings.rng()))
    }

    fn report(&self, error: &Error, retry_in: Duration) {
        warn!(
            consumer = %self.settings.name,
            error = error_chain(error),
            retry_in_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX),
            "consumer failed and will try again"
        );
        self.settings.hooks.error(self.settings.name.as_str(), error, Some(retry_in));
    }
}

impl<S, P: ProcessedEventStore> fmt::Debug for Consumer<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("settings", &self.shared.settings)
            .field("registry", &self.shared.registry)
            .finish_non_exhaustive()
    }
}
