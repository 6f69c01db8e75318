//! The consumer's side of the database: marks that make a handler's effect happen once.

use std::{error::Error as StdError, time::Duration};

use async_trait::async_trait;

use crate::{ConsumerName, ErrorKind, EventId, Failure, Offset, Partition, Result};

/// Remembers, in the transaction of the effect, which events a consumer has handled.
///
/// # Contract
/// - **Once.** Of all transactions that mark the same (consumer, event) as [`Mark::First`], at most
///   one commits. A transaction that marks while another one has marked but not ended waits for it.
/// - **Together.** Mark, effect and enqueued events commit or roll back as one. Dropping a
///   transaction rolls it back.
/// - **Repeats within a call.** Of ids 1, 2, 2 the second 2 is [`Mark::Repeat`].
/// - **Bounded.** A transaction that stands idle (its process is paused), or waits in a statement, is
///   ended by the database within the limit given to [`begin`](Self::begin), so that its successor's
///   mark is not blocked for ever. A store that can't do that says so.
/// - **Counted starts.** Starts and attempts are noted for a consumer's partition whatever its
///   generation, so that the next process knows what the one before died of.
/// - **Given up is not processed.** The record of what was given up on is apart from the marks: an
///   event that is redriven from the dead letters is at another place, and handled.
#[async_trait]
pub trait ProcessedEventStore: Send + Sync + 'static {
    /// The transaction that handlers get.
    type Tx: Send + 'static;

    /// Begins a transaction in which nothing may take longer than `limit`.
    ///
    /// # Errors
    /// The database's, classified.
    async fn begin(&self, limit: Duration) -> Result<Self::Tx>;

    /// Marks events as handled by `consumer`; says of each whether this is the first time.
    ///
    /// # Errors
    /// The database's. The transaction is of no use then.
    async fn mark(
        &self,
        tx: &mut Self::Tx,
        consumer: &ConsumerName,
        events: &[EventId],
    ) -> Result<Vec<Mark>>;

    /// Commits effect and marks.
    ///
    /// # Errors
    /// With [`Retry::OutcomeUnknown`](crate::Retry::OutcomeUnknown) when the connection broke: begin
    /// anew, the marks tell.
    async fn commit(&self, tx: Self::Tx) -> Result<()>;

    /// Rolls back, and waits until that is done.
    ///
    /// # Errors
    /// The database's. The transaction will not commit in any case.
    async fn rollback(&self, tx: Self::Tx) -> Result<()>;

    /// What was given up on in a partition, from a place on, in any order.
    ///
    /// Asked once when a partition is assigned: only what was decided and not acknowledged before a
    /// crash can be there.
    ///
    /// # Errors
    /// The database's.
    async fn given_up(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        from: Offset,
    ) -> Result<Vec<GivenUpAt>>;

    /// Records how far giving up on the delivery at this place has come, in a transaction of its own.
    ///
    /// What was recorded for the same place and fingerprint before keeps its failure: only the
    /// progress changes. Another fingerprint replaces it all, for the place has another record now.
    ///
    /// # Errors
    /// The database's: nothing is decided then.
    async fn give_up(&self, partition: &Partition, at: GivenUpAt, failure: &Failure) -> Result<()>;

    /// Says of each event whether `consumer` has handled it, outside any transaction: for handlers
    /// that have none.
    ///
    /// # Errors
    /// The database's.
    async fn known(&self, consumer: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>>;

    /// Notes that `consumer` begins on a partition at this place, and gives how often in a row it did
    /// so without a [`stopped`](Self::stopped) in between: 1 for a place that is new, 2 or more when
    /// whoever began there before died. A place that was last noted as [`attempted`](Self::attempted)
    /// is not new: the count goes on.
    ///
    /// # Errors
    /// The database's.
    async fn started(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32>;

    /// Notes, in a transaction of its own, that the delivery at this place is about to be tried, and
    /// gives how often in a row it was noted, this one included. A note of another place replaces it.
    ///
    /// # Errors
    /// The database's: don't try it then.
    async fn attempted(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32>;

    /// Notes that the process lived through the attempt at this place, whatever came of it: the next one
    /// there is the first again. The place is still one that was attempted, for
    /// [`started`](Self::started).
    ///
    /// # Errors
    /// The database's: the attempt counts as one that the process died of.
    async fn survived(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<()>;

    /// Notes that `consumer` left a partition in an orderly way, and forgets what was noted of its
    /// starts and attempts there.
    ///
    /// # Errors
    /// The database's: the next start counts as one after a crash.
    async fn stopped(&self, consumer: &ConsumerName, partition: &Partition) -> Result<()>;

    /// Removes at most `limit` marks of `consumer`, and its notes of what was given up on, older than
    /// `age`; gives how many. The oldest go first, marks before notes.
    ///
    /// # Errors
    /// The database's.
    async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64>;

    /// Finds a failure of the surroundings (connection loss, deadlock, busy) among an error and its
    /// sources: nobody's attempt is charged for it.
    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind>;
}

/// Whether an event is new to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// It was not marked before: handle it.
    First,
    /// It was: skip it.
    Repeat,
}

/// A delivery that was given up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GivenUpAt {
    /// Its [place](crate::Delivery::place).
    pub offset: Offset,
    /// What the record there was, by its [fingerprint](crate::Delivery::fingerprint): a topic that is
    /// made anew has other records at the same places.
    pub fingerprint: i64,
    /// How far it has come.
    pub progress: GiveUp,
}

impl GivenUpAt {
    /// Names a delivery that was given up on.
    #[must_use]
    pub fn new(offset: Offset, fingerprint: i64, progress: GiveUp) -> Self {
        Self { offset, fingerprint, progress }
    }
}

/// How far giving up on a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// Decided: no handler runs any more. The dead letter may or may not be written.
    Decided,
    /// The dead letter is written.
    DeadLettered,
}
