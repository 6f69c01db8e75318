//! Receiving.

mod assignment;
mod committer;
mod context;
mod offsets;
mod poller;
pub(crate) mod record;
mod shared;
mod stats;

use std::{fmt, sync::Arc, thread, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
};
use relaybox_core::{
    ConsumerName, Delivery, Error, ErrorKind, EventSource, Failure, Offset, Partition, Received,
    Result, SourceStats, TopicName,
};

use self::{
    assignment::{Assignment, Limits},
    committer::Committer,
    context::Context,
    poller::Poller,
    shared::Shared,
    stats::Stats,
};
use crate::{
    KafkaConfig,
    client::Monitor,
    dead_letter::{DeadLetters, dead_letter_topic},
    error,
};

/// How long `close` waits: for a last commit, tried for 2.5 s during a rebalance, and for leaving, at most
/// 5 s. Below a consumer's `drain_timeout` of 10 s, so that it is told why.
const CLOSE_PATIENCE: Duration = Duration::from_secs(8);

/// Receives from Kafka as a member of a consumer group.
///
/// A thread of its own keeps the membership while handlers are slow, however long they take.
/// Acknowledgements are committed at once, or gathered for 100 ms under load.
///
/// # Memory
/// Records wait in librdkafka's queues until [`receive`](EventSource::receive) takes a batch: for each
/// partition of this member up to 1 MiB (`queued.max.messages.kbytes`) and what one fetch brings
/// (`fetch.message.max.bytes`, 32 KiB as sent, but at least one batch of its producer, and as much as
/// that is when decompressed). So 12 partitions of well compressed records take some 70 MiB. Of a topic
/// with hundreds of partitions, lower the first, or let more members share it; over a slow network,
/// raise the second and `fetch.max.bytes`.
///
/// # Rebalances
/// The group rebalances cooperatively (`cooperative-sticky`): partitions that stay are not interrupted.
/// When a partition is taken away while a batch of it is out, the source waits for that batch for
/// [`handover`](KafkaSourceBuilder::handover) and commits what was acknowledged. When it was lost with
/// the membership, nobody waits, and nothing of it is committed. Either way
/// [`Received::Revoked`] says so.
///
/// To share a group with members that rebalance eagerly, set `partition.assignment.strategy` to their
/// strategy (`range`, `roundrobin`) with [`KafkaConfig::set`]: then every rebalance takes all partitions
/// away, and each comes back as another one. A group never mixes the two.
///
/// # Headers
/// A header whose value is null is delivered as an empty one; one whose name is not UTF-8 as
/// `\u{fffd}` with an empty value.
///
/// # Outages
/// The source gets over an outage by itself: it warns in the log, and
/// [`receive`](EventSource::receive) waits. librdkafka reports "all brokers down" also while a client
/// is merely connecting, so a caller is not told of it.
///
/// Dropping the source closes it in the background.
///
/// ```
/// use relaybox_core::{ConsumerName, EventSource, Received, TopicName};
/// use relaybox_kafka::{EmbeddedCluster, KafkaConfig, KafkaSource};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> relaybox_core::Result<()> {
/// let cluster = EmbeddedCluster::start(1)?;
/// let topic = TopicName::new("session-events.v1")?;
/// cluster.create_topic(&topic, 3)?;
///
/// let config = KafkaConfig::new(cluster.brokers());
/// let source = KafkaSource::new(config, ConsumerName::new("notifications")?, vec![topic])?;
/// # async fn work(source: KafkaSource) -> relaybox_core::Result<()> {
/// while let Received::Batch { partition, deliveries } = source.receive().await? {
///     for delivery in &deliveries { /* handle it */ }
///     source.acknowledge(&partition, deliveries[deliveries.len() - 1].offset).await?;
/// }
/// # Ok(()) }
/// source.close().await?;
/// # Ok(()) }
/// ```
pub struct KafkaSource {
    shared: Arc<Shared>,
    limits: Limits,
    dead_letters: DeadLetters,
    stats: Stats,
}

/// Where a group begins on a partition that it has no offset for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With the oldest record.
    #[default]
    Earliest,
    /// With what is written from now on.
    Latest,
    /// With the first record whose timestamp is this or later; with what is written from now on when
    /// there is none. Partitions that are added to a topic later begin so, too.
    Timestamp(DateTime<Utc>),
}

impl KafkaSource {
    /// Joins the group of `consumer` with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// As [`KafkaSourceBuilder::build`].
    pub fn new(
        config: KafkaConfig,
        consumer: ConsumerName,
        topics: Vec<TopicName>,
    ) -> Result<Self> {
        Self::builder(config, consumer, topics).build()
    }

    /// Batches of at most 500 records or 4 MiB, from the earliest record on, 10 s for a hand-over.
    pub fn builder(
        config: KafkaConfig,
        consumer: ConsumerName,
        topics: Vec<TopicName>,
    ) -> KafkaSourceBuilder {
        KafkaSourceBuilder {
            config,
            consumer,
            topics,
            limits: Limits { records: 500, bytes: 4 * 1024 * 1024 },
            start_at: StartAt::Earliest,
            handover: Duration::from_secs(10),
        }
    }
}

/// Builds a [`KafkaSource`].
#[derive(Debug)]
#[must_use]
pub struct KafkaSourceBuilder {
    config: KafkaConfig,
    consumer: ConsumerName,
    topics: Vec<TopicName>,
    limits: Limits,
    start_at: StartAt,
    handover: Duration,
}

impl KafkaSourceBuilder {
    /// Sets how many records a batch may have, at least one.
    pub fn max_batch(mut self, records: usize) -> Self {
        self.limits.records = records.max(1);
        self
    }

    /// Sets after how many bytes a batch ends: the record that passes them is its last.
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes.max(1);
        self
    }

    /// Sets where the group begins on a partition that it has no offset for.
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.start_at = start_at;
        self
    }

    /// Sets how long a partition that is taken away waits for its batch. Keep it well below
    /// `max.poll.interval.ms` (5 minutes): the whole group waits meanwhile.
    pub fn handover(mut self, handover: Duration) -> Self {
        self.handover = handover;
        self
    }

    /// Joins the group, in the background.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when no topic is named, the name of a topic's
    /// [dead-letter topic](crate::dead_letter_topic) would be too long, a setting or a certificate file
    /// can't be used, or TLS or SCRAM is asked for without the feature `tls`.
    pub fn build(self) -> Result<KafkaSource> {
        let Self { config, consumer: group, topics, limits, start_at, handover } = self;
        const JOIN: &str = "join the group";
        if topics.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, JOIN).detail("no topic is named"));
        }
        // Now, rather than when the first delivery is given up on.
        for topic in &topics {
            dead_letter_topic(topic)?;
        }
        let mut settings = config.consumer()?;
        settings.set("group.id", group.as_str()).set(
            "auto.offset.reset",
            match start_at {
                // For a time it is looked up; this is for when the group's offset has expired.
                StartAt::Earliest | StartAt::Timestamp(_) => "earliest",
                StartAt::Latest => "latest",
            },
        );
        let start_time = match start_at {
            StartAt::Timestamp(time) => Some(time),
            StartAt::Earliest | StartAt::Latest => None,
        };
        let shared = Arc::new(Shared::new(Assignment::new(start_time.is_some())));
        let context = Context::new(Arc::clone(&shared), Monitor::new(&config), handover);
        let mut consumer = BaseConsumer::from_config_and_context(&settings, context)
            .map_err(|error| error::convert(JOIN, error))?;
        let bell = Arc::downgrade(&shared);
        consumer.set_nonempty_callback(move || {
            if let Some(shared) = bell.upgrade() {
                shared.bell.ring();
            }
        });
        let consumer = Arc::new(consumer);
        consumer.client().context().introduce(&consumer);
        let names: Vec<_> = topics.iter().map(TopicName::as_str).collect();
        consumer.subscribe(&names).map_err(|error| error::convert(JOIN, error))?;
        let stats = Stats::new(config.clone(), topics, start_at, Arc::downgrade(&consumer));
        let committer = Committer::start(Arc::clone(&consumer), Arc::clone(&shared))?;
        let poller = Poller::new(consumer, Arc::clone(&shared), committer, start_time);
        thread::Builder::new()
            .name("relaybox-consumer".to_owned())
            .spawn(move || poller.run())
            .map_err(|source| Error::new(ErrorKind::Other, JOIN).caused_by(source))?;
        Ok(KafkaSource { shared, limits, dead_letters: DeadLetters::new(config), stats })
    }
}

#[async_trait]
impl EventSource for KafkaSource {
    async fn receive(&self) -> Result<Received> {
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let mut state = self.shared.lock();
                if state.closing {
                    return Err(Error::new(ErrorKind::Invalid, "receive from Kafka")
                        .detail("the source is closed"));
                }
                if let Some(next) = state.assignment.next(self.limits) {
                    return next;
                }
            }
            news.await;
        }
    }

    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()> {
        let result = self.shared.lock().assignment.acknowledge(partition, through);
        self.shared.settled();
        result
    }

    async fn release(&self, partition: &Partition) -> Result<()> {
        self.shared.lock().assignment.release(partition);
        self.shared.settled();
        Ok(())
    }

    /// A dead-letter topic that doesn't exist is [`ErrorKind::TopicUnavailable`].
    ///
    /// # Cancel safety
    /// When the future is dropped, the delivery may be on the dead-letter topic or not.
    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()> {
        self.dead_letters.write(delivery, failure).await
    }

    /// Asks the brokers anew with each call, in at most 8 s: a request to each for the ends of this
    /// member's partitions and for the dead-letter topics, none through the queues of records. How long
    /// a topic keeps its records is asked every ten minutes, on a connection of its own.
    ///
    /// A partition's lag counts from the first record that was not acknowledged, so what is out or was
    /// prefetched counts, too. Dead letters are all records of the dead-letter topic, whether they were
    /// redriven or not. A figure that the brokers don't give, for want of a right or of the topic, is
    /// `None`.
    async fn stats(&self) -> Result<SourceStats> {
        self.stats.ask(&self.shared).await
    }

    /// Batches that are out count as released. Afterwards nothing can be received or acknowledged.
    ///
    /// Waits at most 8 s. Without a coordinator librdkafka gives up after `session.timeout.ms` only. And
    /// when this member waits to join while another one of the group is slow to, the broker reads neither
    /// the last commit nor the goodbye before that is over. The source's thread waits for that, and ends
    /// then.
    ///
    /// # Errors
    /// The broker's; [`ErrorKind::Unavailable`] when it doesn't answer in time. What was not committed
    /// is delivered again.
    ///
    /// # Cancel safety
    /// The source closes all the same when the future is dropped.
    async fn close(&self) -> Result<()> {
        self.shared.begin_close();
        let closed = async {
            loop {
                let news = self.shared.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if let Some(closed) = &mut self.shared.lock().closed {
                    return std::mem::replace(closed, Ok(()));
                }
                news.await;
            }
        };
        tokio::time::timeout(CLOSE_PATIENCE, closed).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, "leave the group")
                .detail("the broker doesn't answer: what was acknowledged last may come again"))
        })
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource").field("limits", &self.limits).finish_non_exhaustive()
    }
}
