//! Where published events went: the archive, for people who have to find one.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{AggregateId, AggregateType, Envelope, EventId, Receipt, Result, TopicName};

/// Looks into the archive of published events, and keeps it from growing without end.
///
/// Archiving is an option of a store. Without it published events are removed, and the archive stays
/// empty.
///
/// # Contract
/// - **Moved, not copied.** A store that archives puts an event there in the transaction of the
///   settlement that makes it published: it waits or is archived, never both or neither.
///   A redriven dead letter goes there as well; a discarded one doesn't, nobody has it.
/// - The time is the store's, and that of the settlement: a moment after the broker's acknowledgement.
/// - Nothing but [`purge_archive`](Self::purge_archive) removes an event from it.
#[async_trait]
pub trait ArchiveStore: Send + Sync {
    /// The published events that match, the latest first.
    ///
    /// # Errors
    /// The store's own.
    async fn archived(&self, query: &ArchiveQuery) -> Result<Vec<ArchivedEvent>>;

    /// Removes at most `limit` events that were published at least `age` ago, the oldest first; gives
    /// how many. Fewer than `limit` were all there are.
    ///
    /// One call is one short transaction: call it again until nothing is left, or let a
    /// [`Retention`](crate::Retention) do that.
    ///
    /// # Errors
    /// The store's own. It is safe to call again.
    async fn purge_archive(&self, age: Duration, limit: u32) -> Result<u64>;
}

/// Which published events; the latest thousand unless said otherwise.
///
/// ```
/// use relaybox_core::{AggregateId, AggregateType, ArchiveQuery};
/// // Where did the last ten events of session s-1 go?
/// let query = ArchiveQuery::aggregate(AggregateType::new("session")?, AggregateId::new("s-1")?)
///     .limit(10);
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ArchiveQuery {
    /// These events only, unless empty.
    pub event_ids: Vec<EventId>,
    /// This kind of aggregate only.
    pub aggregate_type: Option<AggregateType>,
    /// This aggregate only.
    pub aggregate_id: Option<AggregateId>,
    /// Only what was published at this time or later.
    pub published_from: Option<DateTime<Utc>>,
    /// Only what was published before this time.
    pub published_before: Option<DateTime<Utc>>,
    /// At most so many.
    pub limit: u32,
}

impl Default for ArchiveQuery {
    fn default() -> Self {
        Self {
            event_ids: Vec::new(),
            aggregate_type: None,
            aggregate_id: None,
            published_from: None,
            published_before: None,
            limit: 1000,
        }
    }
}

impl ArchiveQuery {
    /// The latest of all.
    #[must_use]
    pub fn latest() -> Self {
        Self::default()
    }

    /// One event.
    #[must_use]
    pub fn event(id: EventId) -> Self {
        Self { event_ids: vec![id], ..Self::default() }
    }

    /// The events of one aggregate.
    #[must_use]
    pub fn aggregate(aggregate_type: AggregateType, aggregate_id: AggregateId) -> Self {
        Self {
            aggregate_type: Some(aggregate_type),
            aggregate_id: Some(aggregate_id),
            ..Self::default()
        }
    }

    /// At most `limit` of them.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// An event that was published: where it went, and when.
#[derive(Debug)]
#[non_exhaustive]
pub struct ArchivedEvent {
    /// Its place in the original order.
    pub position: i64,
    /// Which event.
    pub event_id: EventId,
    /// The topic it went to.
    pub topic: TopicName,
    /// Where in the topic the broker put it, as far as it said.
    pub receipt: Receipt,
    /// When it was written to the outbox, by the store's clock.
    pub enqueued_at: DateTime<Utc>,
    /// When it was settled as published, by the store's clock.
    pub published_at: DateTime<Utc>,
    /// The event, or why the stored row is none.
    pub envelope: Result<Envelope>,
}

impl ArchivedEvent {
    /// Makes one. Stores call this.
    #[must_use]
    pub fn new(
        published: crate::Published,
        enqueued_at: DateTime<Utc>,
        published_at: DateTime<Utc>,
        envelope: Result<Envelope>,
    ) -> Self {
        let crate::Published { event, topic, receipt } = published;
        Self {
            position: event.position,
            event_id: event.event_id,
            topic,
            receipt,
            enqueued_at,
            published_at,
            envelope,
        }
    }
}
