//! Receiving.

mod state;
mod subscription;

use std::{fmt, num::NonZeroU16, sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{
    Connection,
    options::{BasicAckOptions, QueueDeclareOptions},
    types::FieldTable,
};
use relaybox_core::{
    Delivery, Error, ErrorKind, EventSource, Failure, Offset, Partition, PartitionStats, Received,
    Redelivery, Result, SourceStats, TopicName, TopicStats,
};
use tokio::{runtime::Handle, sync::Mutex, task::JoinHandle};
use tracing::debug;

use self::{
    state::{State, revoked},
    subscription::{RECEIVE, Shared, Subscription},
};
use crate::{
    RabbitConfig, RabbitQueue,
    connection::{answered, channel, close_channel},
    message,
    publisher::Publisher,
};

const DEAD_LETTER: &str = "write a dead letter";
const DELIVER_LATER: &str = "have a delivery come later";
const STATS: &str = "look at the queues";
/// How long `close` waits for the broker's goodbye.
const CLOSE_PATIENCE: Duration = Duration::from_secs(8);

/// Receives from a queue, with manual acknowledgements.
///
/// A task of its own keeps the subscription: when the connection is lost it warns in the log, subscribes
/// again with backoff, and [`receive`](EventSource::receive) gives [`Received::Revoked`] for what was
/// out, and the error. The queue is one partition, number 0, whose generation is the subscription; a
/// delivery's offset counts within it. Its [place](Delivery::place) is made of the record, and so is the
/// same when it is delivered again.
///
/// The broker sends at most [`prefetch`](RabbitSourceBuilder::prefetch) messages ahead of the
/// acknowledgements; they wait in memory. What is [released](EventSource::release) waits in front of them,
/// and goes back to the queue when the source closes or its connection ends.
///
/// A delivery that failed waits in one of the queue's waiting queues and comes back behind what is in
/// the queue then: see [`RabbitQueue::retry_levels`] and [`RabbitQueue::retry_in_place`]. How often it
/// failed is in its header `x-retry-count`, [`Delivery::attempts`].
///
/// AMQP's headers have no order and no repeats. They are given in the order in which every event has
/// them, free ones by name; numbers as decimal text; lists and tables not at all, yet a dead letter keeps
/// them.
///
/// Dropping the source closes it in the background.
///
/// ```no_run
/// use relaybox_core::{EventSource, Received};
/// use relaybox_rabbitmq::{RabbitConfig, RabbitQueue, RabbitSource};
///
/// # async fn work() -> relaybox_core::Result<()> {
/// let config = RabbitConfig::from_url("amqp://guest:guest@localhost/%2f")?;
/// let source = RabbitSource::new(config, RabbitQueue::new("notifications")?)?;
/// while let Received::Batch { partition, deliveries } = source.receive().await? {
///     for delivery in &deliveries { /* handle it */ }
///     source.acknowledge(&partition, deliveries[deliveries.len() - 1].offset).await?;
/// }
/// # Ok(()) }
/// ```
pub struct RabbitSource {
    queue: RabbitQueue,
    max_batch: usize,
    shared: Arc<Shared>,
    publisher: Publisher,
    task: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl RabbitSource {
    /// Subscribes to a queue with the defaults of [`builder`](Self::builder). The queue is to be
    /// [declared](crate::RabbitTopology) with the same settings.
    ///
    /// # Errors
    /// As [`RabbitSourceBuilder::build`].
    pub fn new(config: RabbitConfig, queue: RabbitQueue) -> Result<Self> {
        Self::builder(config, queue).build()
    }

    /// 1,000 messages ahead, batches of at most 500, 10 s for what is out when the connection is lost.
    pub fn builder(config: RabbitConfig, queue: RabbitQueue) -> RabbitSourceBuilder {
        RabbitSourceBuilder {
            config,
            queue,
            prefetch: NonZeroU16::new(1_000).expect("it is not zero"),
            max_batch: 500,
            handover: Duration::from_secs(10),
        }
    }

    fn closed() -> Error {
        Error::new(ErrorKind::Invalid, RECEIVE).detail("the source is closed")
    }
}

/// Builds a [`RabbitSource`].
#[derive(Debug)]
#[must_use]
pub struct RabbitSourceBuilder {
    config: RabbitConfig,
    queue: RabbitQueue,
    prefetch: NonZeroU16,
    max_batch: usize,
    handover: Duration,
}

impl RabbitSourceBuilder {
    /// Sets how many messages the broker may send ahead of the acknowledgements. They wait in memory.
    pub fn prefetch(mut self, messages: NonZeroU16) -> Self {
        self.prefetch = messages;
        self
    }

    /// Sets how many messages a batch may have, at least one. No more than the prefetch can be.
    pub fn max_batch(mut self, messages: usize) -> Self {
        self.max_batch = messages.max(1);
        self
    }

    /// Sets how long a new subscription gives nothing while a batch of the lost one is still out.
    pub fn handover(mut self, handover: Duration) -> Self {
        self.handover = handover;
        self
    }

    /// Subscribes, in the background, in the current tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a setting can't be used, TLS is asked for without the feature `tls`,
    /// or there is no tokio runtime.
    pub fn build(self) -> Result<RabbitSource> {
        let Self { config, queue, prefetch, max_batch, handover } = self;
        config.uri()?;
        let runtime = Handle::try_current().map_err(|source| {
            Error::new(ErrorKind::Invalid, "make a source")
                .detail("call it inside a tokio runtime")
                .caused_by(source)
        })?;
        let shared = Arc::new(Shared::new(State::new(queue.name().clone(), handover)));
        let subscription = Subscription {
            config: config.clone(),
            queue: queue.clone(),
            prefetch: prefetch.get(),
            shared: Arc::clone(&shared),
        };
        let task = runtime.spawn(subscription.run());
        Ok(RabbitSource {
            queue,
            max_batch,
            shared,
            publisher: Publisher::new(config, "dead letters"),
            task: Mutex::new(Some(task)),
        })
    }
}

#[async_trait]
impl EventSource for RabbitSource {
    async fn receive(&self) -> Result<Received> {
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let until = {
                let mut state = self.shared.lock();
                if state.closing {
                    return Err(Self::closed());
                }
                if let Some(next) = state.next(self.max_batch) {
                    return next;
                }
                state.leaving_until()
            };
            match until {
                Some(until) => drop(tokio::time::timeout_at(until, news).await),
                None => news.await,
            }
        }
    }

    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()> {
        let done = self.shared.lock().acknowledge(partition, through)?;
        self.shared.news.notify_waiters();
        let Some((channel, tag)) = done else { return Ok(()) };
        // The batch's are the oldest that are held, so all before are its own.
        channel.basic_ack(tag, BasicAckOptions { multiple: true }).await.map_err(|error| {
            debug!(%error, "an acknowledgement came too late");
            revoked()
        })
    }

    async fn release(&self, partition: &Partition) -> Result<()> {
        self.shared.lock().release(partition);
        self.shared.news.notify_waiters();
        Ok(())
    }

    /// A dead-letter exchange that doesn't exist, or that no queue is bound to, is
    /// [`ErrorKind::TopicUnavailable`].
    ///
    /// # Cancel safety
    /// When the future is dropped, the delivery may be in the dead-letter queue or not.
    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()> {
        let original = self.shared.lock().original(delivery);
        let exchange = self.queue.dead_letter_queue();
        let message = message::of_dead_letter(delivery, original.as_ref(), failure, &exchange);
        self.publisher.publish(DEAD_LETTER, vec![message]).await
    }

    fn redelivery(&self) -> Option<&dyn Redelivery> {
        self.queue.retries_later().then_some(self)
    }

    /// Ready messages and those that this source holds; what other consumers hold is not counted.
    async fn stats(&self) -> Result<SourceStats> {
        let queue = self.queue.name();
        let live = self.shared.lock().live();
        let (mut lag, mut dead_letters) = (None, None);
        if let Some((connection, held)) = live {
            lag = length(&connection, queue).await?.map(|ready| ready + held as u64);
            dead_letters = length(&connection, &self.queue.dead_letter_queue()).await?;
        }
        let mut topic = TopicStats::new(queue.clone());
        topic.dead_letters = dead_letters;
        topic.retention = self.queue.ttl();
        Ok(SourceStats::new(vec![PartitionStats::new(queue.clone(), 0, lag)], vec![topic]))
    }

    /// Batches that are out count as released. Afterwards nothing can be received or acknowledged.
    ///
    /// # Errors
    /// The broker's; [`ErrorKind::Unavailable`] when it doesn't answer in 8 s. What was acknowledged last
    /// may be delivered again then.
    ///
    /// # Cancel safety
    /// The source closes all the same when the future is dropped.
    async fn close(&self) -> Result<()> {
        self.shared.lock().closing = true;
        self.shared.closing.cancel();
        self.shared.news.notify_waiters();
        let Some(task) = self.task.lock().await.take() else { return Ok(()) };
        match tokio::time::timeout(CLOSE_PATIENCE, task).await {
            Ok(Ok(closed)) => closed,
            Ok(Err(panicked)) => {
                Err(Error::new(ErrorKind::Other, "close the source").caused_by(panicked))
            }
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "close the source")
                .detail("the broker doesn't answer: what was acknowledged last may come again")),
        }
    }
}

#[async_trait]
impl Redelivery for RabbitSource {
    /// Publishes a copy to the waiting queue for this delay, and waits until the broker has it on disk.
    ///
    /// # Cancel safety
    /// When the future is dropped, the copy may be there or not: an inbox knows the repeat.
    async fn deliver_later(
        &self,
        delivery: &Delivery,
        _failure: &Failure,
        delay: Duration,
    ) -> Result<()> {
        let queue = self.queue.retry_queue(delay).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, DELIVER_LATER).detail("the queue is retried in place")
        })?;
        let original = self.shared.lock().original(delivery);
        let message = message::of_retry(delivery, original.as_ref(), queue);
        self.publisher.publish(DELIVER_LATER, vec![message]).await
    }
}

impl Drop for RabbitSource {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}

impl fmt::Debug for RabbitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitSource")
            .field("queue", self.queue.name())
            .field("max_batch", &self.max_batch)
            .finish_non_exhaustive()
    }
}

/// How many messages are ready in a queue; `None` when it isn't there.
pub(crate) async fn length(connection: &Connection, queue: &TopicName) -> Result<Option<u64>> {
    // A queue that isn't there costs the channel.
    let channel = channel(STATS, connection).await?;
    let looking = channel.queue_declare(
        queue.as_str().into(),
        QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() },
        FieldTable::default(),
    );
    match answered(STATS, looking).await {
        Ok(found) => {
            close_channel(STATS, &channel).await?;
            Ok(Some(found.message_count().into()))
        }
        Err(error) if error.kind() == ErrorKind::TopicUnavailable => Ok(None),
        Err(error) => Err(error),
    }
}
