//! The receiving side: deliveries and where they come from.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::{ErrorKind, HeaderName, Result, TopicName};

/// Receives records from a broker, a batch of one partition at a time.
///
/// # Contract
/// - **One batch a partition.** After a batch, its partition gives no other until the batch was
///   [acknowledged](Self::acknowledge) through its last delivery or [released](Self::release). Memory
///   is bounded so: a source holds back the broker rather than buffer.
/// - **In order.** A partition's batches, and the deliveries in each, come in the broker's order.
/// - **At least once.** What was not acknowledged is delivered again, to this or to another consumer
///   of the group.
/// - **Revoked is over.** [`Received::Revoked`] says that a partition is being taken away: finish or
///   abandon its batch, then [`release`](Self::release) it. The source waits for that, up to a
///   deadline of its own. Acknowledging later fails with [`ErrorKind::Revoked`] and changes nothing.
#[async_trait]
pub trait EventSource: Send + Sync + 'static {
    /// Waits for the next batch, or for a partition to be taken away.
    ///
    /// # Errors
    /// The broker's, classified. Calling again is allowed after any of them.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost when the future is dropped.
    async fn receive(&self) -> Result<Received>;

    /// Says that all deliveries of `partition` up to and with `through` are done with. When that is
    /// the batch's last, the next batch may come.
    ///
    /// # Errors
    /// [`ErrorKind::Revoked`] when the partition is another's now.
    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()>;

    /// Gives a partition's batch back: what was not acknowledged of it will be delivered again,
    /// unless the partition was revoked. Does nothing when no batch is out.
    ///
    /// # Errors
    /// The broker's.
    async fn release(&self, partition: &Partition) -> Result<()>;

    /// Writes a delivery to the dead-letter topic, key, value and headers byte for byte, and waits
    /// until the broker has it.
    ///
    /// # Errors
    /// The broker's: the delivery is not dead-lettered then, so don't acknowledge it.
    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()>;

    /// How this source lets a delivery that failed come again later, if its broker can keep it for so
    /// long. `None`: a consumer tries again in place, which keeps the order.
    fn redelivery(&self) -> Option<&dyn Redelivery> {
        None
    }

    /// How much waits, how much was given up on, and how long the broker keeps records.
    ///
    /// # Errors
    /// The broker's.
    async fn stats(&self) -> Result<SourceStats>;

    /// Leaves the group, with all acknowledgements committed.
    ///
    /// # Errors
    /// The broker's: what was not committed is delivered again.
    async fn close(&self) -> Result<()>;
}

/// Delayed redelivery that the broker does itself, so that it survives the consumer's crash.
///
/// Later deliveries overtake the one that waits: the order per key ends with its first failure.
#[async_trait]
pub trait Redelivery: Send + Sync {
    /// Has the broker deliver it again after `delay`, with one more
    /// [attempt](Delivery::attempts), and waits until the broker has taken that on. The delivery is
    /// acknowledged as usual afterwards.
    ///
    /// # Errors
    /// The broker's: it is not known whether it comes again, so don't acknowledge it.
    async fn deliver_later(
        &self,
        delivery: &Delivery,
        failure: &Failure,
        delay: Duration,
    ) -> Result<()>;
}

/// What a source knows of its topics or queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// The partitions that this member holds.
    pub partitions: Vec<PartitionStats>,
    /// The topics it is subscribed to.
    pub topics: Vec<TopicStats>,
}

impl SourceStats {
    /// Gathers them. Sources call this.
    #[must_use]
    pub fn new(partitions: Vec<PartitionStats>, topics: Vec<TopicStats>) -> Self {
        Self { partitions, topics }
    }
}

/// A partition's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStats {
    /// The topic.
    pub topic: TopicName,
    /// Its number within the topic.
    pub number: i32,
    /// Records that are not acknowledged yet; `None` until the broker has said.
    pub lag: Option<u64>,
}

impl PartitionStats {
    /// Gathers them. Sources call this.
    #[must_use]
    pub fn new(topic: TopicName, number: i32, lag: Option<u64>) -> Self {
        Self { topic, number, lag }
    }
}

/// A topic's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicStats {
    /// The topic.
    pub topic: TopicName,
    /// Records in its dead-letter topic or queue; `None` when that is not to be learned.
    pub dead_letters: Option<u64>,
    /// How long the broker keeps a record; `None` when it says nothing, or keeps it for ever.
    pub retention: Option<Duration>,
}

impl TopicStats {
    /// Gathers them. Sources call this.
    #[must_use]
    pub fn new(topic: TopicName) -> Self {
        Self { topic, dead_letters: None, retention: None }
    }
}

/// What a source gives.
#[derive(Debug)]
pub enum Received {
    /// Deliveries of one partition, at least one.
    Batch {
        /// Whose.
        partition: Partition,
        /// In the broker's order.
        deliveries: Vec<Delivery>,
    },
    /// A partition is being taken away.
    Revoked(Partition),
}

/// A place in a partition.
pub type Offset = i64;

/// A topic's partition, as held since one assignment.
///
/// A partition that is revoked and assigned again is another one: its generation differs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Partition {
    /// The topic.
    pub topic: TopicName,
    /// Its number within the topic.
    pub number: i32,
    /// Which assignment of it.
    pub generation: u64,
}

impl Partition {
    /// Names a partition. Sources call this.
    #[must_use]
    pub fn new(topic: TopicName, number: i32, generation: u64) -> Self {
        Self { topic, number, generation }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.number)
    }
}

/// A record as the broker delivered it, nothing interpreted.
#[derive(Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// From where.
    pub partition: Partition,
    /// Its place there.
    pub offset: Offset,
    /// The record key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order, repeats included.
    pub headers: Vec<(HeaderName, Bytes)>,
    /// The broker's or the producer's time.
    pub timestamp: Option<DateTime<Utc>>,
    /// How often it failed before, by a source with [`Redelivery`]; 0 from every other.
    pub attempts: u32,
    /// Where notes about it are kept: the same when it is delivered again. The offset, unless the
    /// broker numbers its records anew with each delivery; then a number made of the record.
    pub place: Offset,
}

impl Delivery {
    /// Makes a delivery. Sources call this.
    #[must_use]
    pub fn new(partition: Partition, offset: Offset) -> Self {
        Self {
            partition,
            offset,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
            attempts: 0,
            place: offset,
        }
    }

    /// A number that tells this record from another at the same place: FNV-1a (64 bits) over key,
    /// value and headers. The same in every version of the library.
    #[must_use]
    pub fn fingerprint(&self) -> i64 {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
        };
        add(self.key.as_deref().unwrap_or_default());
        add(self.value.as_deref().unwrap_or_default());
        for (name, value) in self.headers() {
            add(name.as_bytes());
            add(value);
        }
        hash.cast_signed()
    }

    /// Names and values of the headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()))
    }
}

/// Sizes only: keys, values and headers are the user's data.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// Why a delivery was given up on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The consumer that gave up.
    pub consumer: crate::ConsumerName,
    /// Why, as a kind.
    pub kind: ErrorKind,
    /// Why, in words, bounded in length.
    pub reason: String,
    /// How often it was tried; 0 when it never reached a handler.
    pub attempts: u32,
    /// When.
    pub failed_at: DateTime<Utc>,
}

impl Failure {
    /// Gives up.
    #[must_use]
    pub fn new(
        consumer: crate::ConsumerName,
        kind: ErrorKind,
        reason: String,
        attempts: u32,
        failed_at: DateTime<Utc>,
    ) -> Self {
        Self { consumer, kind, reason, attempts, failed_at }
    }

    /// The headers that a dead letter carries beside its own.
    #[must_use]
    pub fn headers(&self, delivery: &Delivery) -> Vec<(&'static str, String)> {
        vec![
            ("dlq-original-topic", delivery.partition.topic.to_string()),
            ("dlq-original-partition", delivery.partition.number.to_string()),
            ("dlq-original-offset", delivery.offset.to_string()),
            ("dlq-failed-at", self.failed_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            ("dlq-attempts", self.attempts.to_string()),
            ("dlq-error-kind", self.kind.to_string()),
            ("dlq-error", self.reason.clone()),
            ("dlq-consumer", self.consumer.to_string()),
        ]
    }
}
