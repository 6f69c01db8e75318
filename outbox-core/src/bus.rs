//! The publishing side: records, topics and the bus.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;

use crate::{AggregateType, Envelope, Offset, Result, TopicName};

/// Publishes records, in the order in which it is handed them.
///
/// # Contract
/// - [`publish`](Self::publish) hands the records over *in order before it returns*; the future only
///   waits. So several calls may be in flight, and the order is that of the calls.
/// - The future resolves to one result per record, in order. `Ok` means that the broker has the
///   record as durably as the topic promises, and says where.
/// - **Latched.** Once a record has failed, nothing behind it is acknowledged: whatever is in flight
///   fails, and later calls fail with [`ErrorKind::Halted`](crate::ErrorKind::Halted), until
///   [`recover`](Self::recover). Acknowledged records of a key are so always the ones before the
///   first that failed (a failed record whose outcome is unknown may be on the topic nevertheless).
/// - The future may be dropped; the records go on.
/// - A bus classifies its errors: [`Rejected`](crate::ErrorKind::Rejected) or
///   [`TooLarge`](crate::ErrorKind::TooLarge) for the record's own fault,
///   [`TopicUnavailable`](crate::ErrorKind::TopicUnavailable) for the topic's,
///   anything else for the surroundings.
pub trait EventBus: Send + Sync + 'static {
    /// Hands `records` over, and gives a future of their results.
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>>;

    /// Drops what is in flight and makes the bus usable again after a failure.
    ///
    /// # Errors
    /// When the client can't be made anew: try again later.
    fn recover(&self) -> BoxFuture<'_, Result<()>>;
}

/// An event on its way to a topic.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Record {
    /// Where to.
    pub topic: TopicName,
    /// The event; its key is the record's.
    pub envelope: Envelope,
}

impl Record {
    /// Addresses an event.
    #[must_use]
    pub fn new(topic: TopicName, envelope: Envelope) -> Self {
        Self { topic, envelope }
    }
}

/// Where the broker put a record, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Receipt {
    /// The partition of the topic, on brokers that have them.
    pub partition: Option<i32>,
    /// The place in the partition, on brokers that number their records.
    pub offset: Option<Offset>,
}

impl Receipt {
    /// From a broker that has the record and doesn't say where.
    #[must_use]
    pub fn unnumbered() -> Self {
        Self::default()
    }

    /// From a broker that numbers the records of a partition.
    #[must_use]
    pub fn at(partition: i32, offset: Offset) -> Self {
        Self { partition: Some(partition), offset: Some(offset) }
    }
}

/// Which topic an aggregate type's events go to: `{aggregate-type}-events.v1` unless said otherwise.
///
/// It goes by aggregate type, not by event type, because order holds within a topic only.
///
/// ```
/// use relaybox_core::{AggregateType, TopicMap, TopicName};
/// let topics = TopicMap::new()
///     .route(AggregateType::new("invoice")?, TopicName::new("billing.v2")?);
/// assert_eq!(topics.topic(&AggregateType::new("session")?).as_str(), "session-events.v1");
/// assert_eq!(topics.topic(&AggregateType::new("invoice")?).as_str(), "billing.v2");
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct TopicMap {
    routes: Arc<BTreeMap<AggregateType, TopicName>>,
}

impl TopicMap {
    /// The default names only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends the events of `aggregate_type` to `topic`.
    #[must_use]
    pub fn route(mut self, aggregate_type: AggregateType, topic: TopicName) -> Self {
        Arc::make_mut(&mut self.routes).insert(aggregate_type, topic);
        self
    }

    /// The topic of an aggregate type.
    #[must_use]
    pub fn topic(&self, aggregate_type: &AggregateType) -> TopicName {
        self.routes.get(aggregate_type).cloned().unwrap_or_else(|| {
            TopicName::new(format!("{aggregate_type}-events.v1"))
                .expect("an aggregate type has at most 64 bytes, all of them allowed in a topic")
        })
    }

    /// The routes that were set, by aggregate type.
    pub fn routes(&self) -> impl Iterator<Item = (&AggregateType, &TopicName)> {
        self.routes.iter()
    }
}
