//! What the suite must know of a store, a bus, a source or an inbox, and what it needs to test one.

use std::time::Duration;

use async_trait::async_trait;
use relaybox_core::{
    ArchiveStore, ConsumerName, DeadLetterStore, EventBus, EventId, EventSource, OutboxStore,
    OutboxWriter, ProcessedEventStore, Receipt, TopicName, memory::StoredRecord,
};

/// Makes the stores that are tested: each promise asks for one of its own.
///
/// [`lib.rs`](crate) shows one.
#[async_trait]
pub trait StoreFactory: Send + Sync {
    /// An empty store's surroundings: the pool, say, and what to remove afterwards.
    type Database: Send + Sync;
    /// The store under test; a handle.
    type Store: OutboxStore + DeadLetterStore + OutboxWriter<Self::Tx> + Clone;
    /// A service's transaction on it.
    type Tx: Send + 'static;

    /// What this store can't do.
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities::default()
    }

    /// Makes an empty database that shares nothing with any other, with the store's tables. `None` says
    /// that its server is not there; print why. The promise is then not tested.
    async fn create(&self) -> Option<Self::Database>;

    /// The store in it.
    fn store(&self, database: &Self::Database) -> Self::Store;

    /// The archive of what that store publishes. `None`: it keeps none.
    fn archive(&self, _database: &Self::Database) -> Option<Box<dyn ArchiveStore>> {
        None
    }

    /// Begins a transaction in which a service would change its rows and enqueue.
    async fn begin(&self, database: &Self::Database) -> Self::Tx;

    /// Commits it.
    async fn commit(&self, tx: Self::Tx);

    /// Rolls it back, and waits until that is done.
    async fn rollback(&self, tx: Self::Tx);

    /// Spoils the stored row of a committed event, behind the store's back, so that it is no event any
    /// more: an event name that is none, say. Says whether it could.
    async fn spoil(&self, _database: &Self::Database, _event: EventId) -> bool {
        false
    }

    /// Gives an event that was written in this transaction a position below all others, as a
    /// restored row, a cached sequence or a number taken by hand may have one. Says whether it could.
    async fn move_below_all(&self, _tx: &mut Self::Tx, _event: EventId) -> bool {
        false
    }

    /// Removes what [`create`](Self::create) made. Called even when the promise was broken.
    async fn destroy(&self, _database: Self::Database) {}
}

/// What a store can and can't do, so that nothing is asked of it that it doesn't claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCapabilities {
    /// One transaction writes at a time; the next one waits for its end, so no commit is ever late.
    pub single_writer: bool,
    /// What its times are rounded to: what was published within so long of each other may have one time,
    /// and be purged so much later than it could be.
    pub clock_resolution: Duration,
    /// Its readers remember how far they came, and count what they find behind that place:
    /// [`OutboxReader::overlooked`](relaybox_core::OutboxReader::overlooked).
    pub counts_overlooked: bool,
}

impl StoreCapabilities {
    /// A store that takes any number of transactions at once.
    #[must_use]
    pub fn new() -> Self {
        Self {
            single_writer: false,
            clock_resolution: Duration::from_millis(1),
            counts_overlooked: false,
        }
    }

    /// A store that takes one at a time.
    #[must_use]
    pub fn single_writer(mut self) -> Self {
        self.single_writer = true;
        self
    }

    /// A store whose times are rounded to so much. Default 1 ms.
    #[must_use]
    pub fn clock_resolution(mut self, resolution: Duration) -> Self {
        self.clock_resolution = resolution;
        self
    }

    /// A store whose readers remember how far they came. Without it they must have overlooked nothing.
    #[must_use]
    pub fn counts_overlooked(mut self) -> Self {
        self.counts_overlooked = true;
        self
    }
}

impl Default for StoreCapabilities {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the buses that are tested, and looks at their broker.
#[async_trait]
pub trait BusFactory: Send + Sync {
    /// Where the bus publishes to, and what to remove afterwards.
    type Broker: Send + Sync;
    /// The bus under test.
    type Bus: EventBus;

    /// What its broker can't do.
    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::default()
    }

    /// Makes a broker, or reaches one that others use as well. `None` says that it is not there; print
    /// why. The promise is then not tested.
    async fn create(&self) -> Option<Self::Broker>;

    /// Makes a bus to it.
    fn bus(&self, broker: &Self::Broker) -> Self::Bus;

    /// Makes a topic that nobody else uses, of several partitions where the broker has them.
    async fn topic(&self, broker: &Self::Broker) -> TopicName;

    /// All records of a topic, in the broker's order within each partition, each with its place.
    ///
    /// Promises look more than once: where reading takes a record away, as from a queue that is bound to
    /// the topic, keep what was read.
    async fn records(
        &self,
        broker: &Self::Broker,
        topic: &TopicName,
    ) -> Vec<(Receipt, StoredRecord)>;

    /// How large a payload is refused, in bytes, while one of a tenth is not. `None`: none is.
    fn refused_payload(&self) -> Option<usize>;

    /// Removes what [`create`](Self::create) made. Called even when the promise was broken.
    async fn destroy(&self, _broker: Self::Broker) {}
}

/// What a broker can and can't do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusCapabilities {
    /// It numbers the records of a partition, so receipts say where a record is.
    pub numbers_records: bool,
    /// It keeps the order of a key.
    pub keeps_order: bool,
}

impl BusCapabilities {
    /// A broker with ordered partitions and numbered records, as Kafka has them.
    #[must_use]
    pub fn new() -> Self {
        Self { numbers_records: true, keeps_order: true }
    }

    /// A broker that doesn't say where a record is.
    #[must_use]
    pub fn unnumbered(mut self) -> Self {
        self.numbers_records = false;
        self
    }

    /// A broker that doesn't keep any order.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.keeps_order = false;
        self
    }
}

impl Default for BusCapabilities {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the sources that are tested, and writes and reads their broker's records as a stranger would.
#[async_trait]
pub trait SourceFactory: Send + Sync {
    /// Where the sources receive from, and what to remove afterwards.
    type Broker: Send + Sync;
    /// The source under test: one member of a group.
    type Source: EventSource;

    /// What its broker can't do.
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::default()
    }

    /// Makes a broker, or reaches one that others use as well. `None` says that it is not there; print
    /// why. The promise is then not tested.
    async fn create(&self) -> Option<Self::Broker>;

    /// Makes a topic or queue that nobody else uses, of three partitions or more where the broker has
    /// them; also what it takes to give up on its records, and for `group` to get whatever is written
    /// from now on, even before its first member is there.
    async fn topic(&self, broker: &Self::Broker, group: &ConsumerName) -> TopicName;

    /// Makes a member of `group`. Batches may have 50 records and more; let a source that can have the
    /// broker deliver something later do so.
    async fn source(
        &self,
        broker: &Self::Broker,
        group: &ConsumerName,
        topic: &TopicName,
    ) -> Self::Source;

    /// Writes a record, to the partition of its key, and waits until the broker has it.
    async fn append(&self, broker: &Self::Broker, topic: &TopicName, record: StoredRecord);

    /// All dead letters that `group` has of `topic`, in any order. Asked more than once.
    async fn dead_letters(
        &self,
        broker: &Self::Broker,
        group: &ConsumerName,
        topic: &TopicName,
    ) -> Vec<StoredRecord>;

    /// Removes what [`create`](Self::create) made. Called even when the promise was broken.
    async fn destroy(&self, _broker: Self::Broker) {}
}

/// What a source's broker can and can't do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCapabilities {
    /// A topic has several partitions.
    pub several_partitions: bool,
    /// One member of the group receives from a partition at a time. Without it, members share what
    /// waits, and a key has no order among them.
    pub exclusive: bool,
    /// A member that joins takes partitions over from those that are there already.
    pub reassigns: bool,
    /// What is given back comes again in its order, before what is behind it.
    pub ordered_when_released: bool,
    /// Records are numbered once and for all: a delivery's place is its offset.
    pub places_are_offsets: bool,
    /// Headers are a list, with repeats, in the writer's order; not a map.
    pub headers_are_a_list: bool,
    /// A record may be without a value, or without a key.
    pub has_tombstones: bool,
    /// It tells how much waits.
    pub knows_lag: bool,
}

impl SourceCapabilities {
    /// A partitioned log, as Kafka is one.
    #[must_use]
    pub fn log() -> Self {
        Self {
            several_partitions: true,
            exclusive: true,
            reassigns: true,
            ordered_when_released: true,
            places_are_offsets: true,
            headers_are_a_list: true,
            has_tombstones: true,
            knows_lag: true,
        }
    }

    /// A queue with one active consumer, as RabbitMQ has them: the others wait for its end.
    #[must_use]
    pub fn queue() -> Self {
        Self {
            several_partitions: false,
            reassigns: false,
            places_are_offsets: false,
            headers_are_a_list: false,
            has_tombstones: false,
            ..Self::log()
        }
    }

    /// Members share what waits.
    #[must_use]
    pub fn shared(mut self) -> Self {
        (self.exclusive, self.reassigns) = (false, false);
        self
    }

    /// What is given back goes behind what waits.
    #[must_use]
    pub fn unordered_when_released(mut self) -> Self {
        self.ordered_when_released = false;
        self
    }

    /// Nobody knows how much waits.
    #[must_use]
    pub fn without_lag(mut self) -> Self {
        self.knows_lag = false;
        self
    }
}

impl Default for SourceCapabilities {
    fn default() -> Self {
        Self::log()
    }
}

/// Makes the inboxes that are tested, and an effect that shows.
#[async_trait]
pub trait InboxFactory: Send + Sync {
    /// An empty inbox's surroundings: the pool, say, and what to remove afterwards.
    type Database: Send + Sync;
    /// The inbox under test; a handle.
    type Inbox: ProcessedEventStore<Tx = Self::Tx> + Clone;
    /// The transaction that handlers get.
    type Tx: Send + 'static;

    /// What this inbox can't do.
    fn capabilities(&self) -> InboxCapabilities {
        InboxCapabilities::default()
    }

    /// Makes an empty database that shares nothing with any other, with the inbox's tables. `None` says
    /// that its server is not there; print why. The promise is then not tested.
    async fn create(&self) -> Option<Self::Database>;

    /// The inbox in it.
    fn inbox(&self, database: &Self::Database) -> Self::Inbox;

    /// Has an effect in a transaction: adds one to the count, as a row inserted into a table does.
    async fn add_effect(&self, tx: &mut Self::Tx);

    /// How many effects were committed.
    async fn effects(&self, database: &Self::Database) -> u64;

    /// Removes what [`create`](Self::create) made. Called even when the promise was broken.
    async fn destroy(&self, _database: Self::Database) {}
}

/// What an inbox can and can't do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxCapabilities {
    /// It ends a transaction that stands idle for longer than its limit.
    pub ends_idle_transactions: bool,
}

impl InboxCapabilities {
    /// An inbox whose database keeps an idle transaction open as long as its client does.
    #[must_use]
    pub fn new() -> Self {
        Self { ends_idle_transactions: false }
    }

    /// An inbox whose database ends a transaction that stands idle.
    #[must_use]
    pub fn ends_idle_transactions(mut self) -> Self {
        self.ends_idle_transactions = true;
        self
    }
}

impl Default for InboxCapabilities {
    fn default() -> Self {
        Self::new()
    }
}
