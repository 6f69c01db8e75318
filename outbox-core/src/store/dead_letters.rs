//! The operator's side of the outbox: what was given up on, and putting it back.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{AggregateId, AggregateType, Envelope, EventId, Result};

/// Lists, redrives and discards the relay's dead letters.
///
/// # Contract
/// - **Redrive only flags.** The lease holder publishes what is flagged, with what is parked behind
///   it, in the original order; new events of the aggregate wait until none is left.
/// - Flagging an event flags its aggregate's dead letters before it.
/// - Nothing else ever removes an event that was not published.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// The dead letters and parked events that match, by aggregate and original order.
    ///
    /// # Errors
    /// The store's own.
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>>;

    /// Flags the matching dead letters, and those of their aggregates before them; gives how many.
    ///
    /// # Errors
    /// The store's own.
    async fn redrive(&self, query: &DeadLetterQuery) -> Result<u64>;

    /// Removes the matching events for good; gives how many, successors included.
    ///
    /// # Errors
    /// The store's own.
    async fn discard(&self, query: &DeadLetterQuery, successors: Successors) -> Result<u64>;
}

/// Which dead letters; an empty query matches all.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeadLetterQuery {
    /// These events only, unless empty.
    pub event_ids: Vec<EventId>,
    /// This kind of aggregate only.
    pub aggregate_type: Option<AggregateType>,
    /// This aggregate only.
    pub aggregate_id: Option<AggregateId>,
    /// Only what failed at least so long ago.
    pub older_than: Option<Duration>,
    /// At most so many; all by default.
    pub limit: Option<u32>,
}

impl DeadLetterQuery {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// One event.
    #[must_use]
    pub fn event(id: EventId) -> Self {
        Self { event_ids: vec![id], ..Self::default() }
    }

    /// At most `limit` of them.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// What becomes of the events parked behind a discarded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successors {
    /// They are published, unless another dead letter is before them.
    Release,
    /// They are discarded, too.
    Discard,
}

/// An event that was given up on, or waits behind one.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its place in the original order.
    pub position: i64,
    /// Which event.
    pub event_id: EventId,
    /// Given up on, waiting, or on its way.
    pub state: DeadLetterState,
    /// Why, when it was given up on.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it came here, by the store's clock.
    pub failed_at: DateTime<Utc>,
    /// The event, or why the stored row is none.
    pub envelope: Result<Envelope>,
}

impl DeadLetter {
    /// Makes one. Stores call this.
    #[must_use]
    pub fn new(
        position: i64,
        event_id: EventId,
        state: DeadLetterState,
        failed_at: DateTime<Utc>,
        envelope: Result<Envelope>,
    ) -> Self {
        Self { position, event_id, state, reason: None, attempts: 0, failed_at, envelope }
    }
}

/// How it stands with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterState {
    /// Given up on: waits for a person.
    Dead,
    /// Flagged: the relay will publish it.
    Redriving,
    /// Waits behind a dead one of its aggregate.
    Parked,
}

impl DeadLetterState {
    /// The state in lower case, as the stores and the tools write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Redriving => "redriving",
            Self::Parked => "parked",
        }
    }
}
