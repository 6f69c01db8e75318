//! The relay's side of the outbox: reading committed events and settling them under a lease.

mod archive;
mod dead_letters;
mod lease;
mod retention;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use self::{
    archive::{ArchiveQuery, ArchiveStore, ArchivedEvent},
    dead_letters::{DeadLetter, DeadLetterQuery, DeadLetterState, DeadLetterStore, Successors},
    lease::{Acquired, Lease, RelayId},
    retention::Retention,
};
use crate::{AggregateType, Envelope, ErrorKind, EventId, Receipt, Result, TopicName};

/// What a [`Relay`](crate::Relay) needs of a database: a lease, a reader, and settling.
///
/// # Contract
/// - **One works.** At most one unexpired lease exists; each acquisition has a higher epoch than
///   all before. Expiry goes by the store's clock.
/// - **The loser changes nothing.** [`settle`](Self::settle), [`renew`](Self::renew) and
///   [`release`](Self::release) check the lease's epoch in the same transaction as their change, and
///   a takeover can't slip in between. With a lost lease they fail with [`ErrorKind::LeaseLost`].
/// - **All or none.** A settlement is one transaction. Settling again what is settled changes
///   nothing and is no error: the count tells.
/// - **Nothing is lost.** An event leaves the store only by a settlement that says it was
///   published, or by an explicit discard.
#[async_trait]
pub trait OutboxStore: Send + Sync + 'static {
    /// Takes the lease if it is free or expired, or says who holds it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the store can't be reached: safe to call again. If the outcome
    /// was unknown, the lease may be held by an epoch nobody knows until it expires.
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired>;

    /// Prolongs the lease to `ttl` from now.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`] when it is another's.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()>;

    /// Gives the lease up, so that a standby need not wait for its expiry.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`] when it is another's.
    async fn release(&self, lease: &Lease) -> Result<()>;

    /// Makes a reader that has nothing in flight, after checking that the store can be read safely.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] when the tables are missing or don't fit, the store's own otherwise.
    async fn reader(&self) -> Result<Box<dyn OutboxReader>>;

    /// Records what became of events.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`] when the lease is another's: nothing was changed.
    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled>;

    /// How much is waiting, and who works.
    ///
    /// # Errors
    /// The store's own.
    async fn stats(&self) -> Result<OutboxStats>;
}

/// Reads committed events in order.
///
/// # Contract
/// - Gives each committed event that is neither settled nor in flight (given before and not
///   [forgotten](Self::forget)), lowest position first: within an aggregate, in commit order.
/// - An event whose transaction commits late is given by a later read; it holds back nothing else.
/// - Events of an aggregate that has dead letters, or an event given as parked that is not settled
///   yet, come with [`OutboxRow::parked`]. Dead letters to be
///   redriven, and what is parked behind them, come with [`Origin::DeadLetter`].
/// - Rows that can't be read as an envelope are given all the same, as [`OutboxRow::envelope`]'s error.
#[async_trait]
pub trait OutboxReader: Send {
    /// Reads the next events; none when nothing is there.
    ///
    /// # Errors
    /// The store's own; the reader is then as before the call.
    ///
    /// # Cancel safety
    /// Not cancel safe: events may be taken as given. Call [`rewind`](Self::rewind) after dropping it.
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>>;

    /// Says that these are settled.
    fn forget(&mut self, settled: &[EventRef]);

    /// Forgets all that is in flight: whatever is not settled is given again.
    fn rewind(&mut self);

    /// How many of the events given since the last call came late, because the reader had missed them
    /// when it was their turn, and found them by looking again.
    ///
    /// A reader that remembers how far it came finds so what was written behind its back: with a
    /// number made by hand, with a sequence that was set back. One that remembers nothing has none.
    fn overlooked(&mut self) -> u64 {
        0
    }
}

/// What to read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadRequest {
    /// At most so many events.
    pub limit: usize,
    /// Stop after the event that passes so many bytes of payload.
    pub max_bytes: usize,
    /// Leave events of these aggregate types where they are.
    pub held_back: Vec<AggregateType>,
}

impl ReadRequest {
    /// At most `limit` events, of any size and type.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, max_bytes: usize::MAX, held_back: Vec::new() }
    }
}

/// Where a stored event is, as its store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct EventRef {
    /// Its place in the order.
    pub position: i64,
    /// Its identity.
    pub event_id: EventId,
    /// From which part of the store it came.
    pub origin: Origin,
}

impl EventRef {
    /// Names an event. Stores call this.
    #[must_use]
    pub fn new(position: i64, event_id: EventId, origin: Origin) -> Self {
        Self { position, event_id, origin }
    }
}

/// From which part of the store an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// It waits to be published for the first time.
    Outbox,
    /// It is redriven.
    DeadLetter,
}

/// One event as a reader gives it.
#[derive(Debug)]
#[non_exhaustive]
pub struct OutboxRow {
    /// Where it is.
    pub event: EventRef,
    /// Whether its aggregate has dead letters before it.
    pub parked: bool,
    /// The event, or why the stored row is none.
    pub envelope: Result<Envelope>,
}

impl OutboxRow {
    /// Makes a row. Stores call this.
    #[must_use]
    pub fn new(event: EventRef, parked: bool, envelope: Result<Envelope>) -> Self {
        Self { event, parked, envelope }
    }
}

/// What became of events; a settlement is one transaction.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settlement {
    /// Acknowledged by the broker: to be removed.
    pub published: Vec<Published>,
    /// To wait behind the dead letter of their aggregate.
    pub parked: Vec<EventRef>,
    /// Given up on.
    pub dead: Vec<GivenUp>,
}

impl Settlement {
    /// Whether nothing became of anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.published.len() + self.parked.len() + self.dead.len()
    }

    /// Adds another's events behind these.
    pub fn append(&mut self, later: Self) {
        self.published.extend(later.published);
        self.parked.extend(later.parked);
        self.dead.extend(later.dead);
    }

    /// All events in it.
    pub fn events(&self) -> impl Iterator<Item = EventRef> + '_ {
        let dead = self.dead.iter().map(|dead| dead.event);
        let published = self.published.iter().map(|published| published.event);
        published.chain(self.parked.iter().copied()).chain(dead)
    }
}

/// An event that the broker has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Which.
    pub event: EventRef,
    /// To which topic it went.
    pub topic: TopicName,
    /// Where the broker put it.
    pub receipt: Receipt,
}

impl Published {
    /// Says where `event` went.
    #[must_use]
    pub fn new(event: EventRef, topic: TopicName, receipt: Receipt) -> Self {
        Self { event, topic, receipt }
    }
}

/// An event that the relay gives up on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GivenUp {
    /// Which.
    pub event: EventRef,
    /// Why, as a kind.
    pub kind: ErrorKind,
    /// Why, in words, bounded in length.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl GivenUp {
    /// Gives up on `event`.
    #[must_use]
    pub fn new(event: EventRef, kind: ErrorKind, reason: String, attempts: u32) -> Self {
        Self { event, kind, reason, attempts }
    }
}

/// How many events a settlement found in their place.
///
/// Fewer than were given: an operator was there first, or a settlement whose reply was lost is
/// repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Settled {
    /// Removed because published.
    pub published: u64,
    /// Moved behind a dead letter.
    pub parked: u64,
    /// Moved to the dead letters.
    pub dead: u64,
}

impl Settled {
    /// Counts of what was found. Stores call this.
    #[must_use]
    pub fn new(published: u64, parked: u64, dead: u64) -> Self {
        Self { published, parked, dead }
    }
}

/// How much is waiting, and who works.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Committed events that are not settled.
    pub backlog: u64,
    /// How long the oldest of them has been waiting, by the store's clock.
    pub oldest_age: Option<Duration>,
    /// Events given up on.
    pub dead_letters: u64,
    /// Events waiting behind them.
    pub parked: u64,
    /// How many of both are on their way: flagged, or parked with nothing before them that is not.
    pub redriving: u64,
    /// Who holds the lease, until when by the store's clock.
    pub holder: Option<(RelayId, DateTime<Utc>)>,
}
