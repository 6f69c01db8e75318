//! What reads the outbox: a reader by itself, or a relay to a bus in memory.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use relaybox::{
    Acquired, Envelope, Error, EventId, EventRef, Label, Lease, Origin, OutboxReader, OutboxRow,
    OutboxStore, Published, ReadRequest, Receipt, Relay, RelayId, Settlement, TopicName,
    memory::MemoryBus, postgres::PgOutbox,
};
use relaybox_tests::{Database, Running, on_bus, per_key, quick};

/// Longer than a reader needs to find what it didn't expect.
const PATIENCE: Duration = Duration::from_secs(20);

/// A reader under a lease, what it gave, and what of that is still to be settled.
pub(crate) struct Reading {
    store: PgOutbox,
    reader: Box<dyn OutboxReader>,
    lease: Lease,
    unsettled: Vec<EventRef>,
    known: HashSet<EventId>,
    /// In flight when a reader broke: the next one gives them again.
    repeats: HashSet<EventId>,
    /// In the order in which they were first given.
    pub(crate) given: Vec<Envelope>,
}

impl Reading {
    pub(crate) async fn open(database: &Database) -> Self {
        let store = database.store();
        let relay = RelayId::new(&Label::new("reading").unwrap());
        let ttl = Duration::from_secs(600);
        let Acquired::Held(lease) = store.acquire(&relay, ttl).await.unwrap() else {
            panic!("another holds the lease");
        };
        let reader = store.reader().await.unwrap();
        Self {
            store,
            reader,
            lease,
            unsettled: Vec::new(),
            known: HashSet::new(),
            repeats: HashSet::new(),
            given: Vec::new(),
        }
    }

    /// Reads once; gives the things that were changed. What is in flight or settled must not come again.
    pub(crate) async fn read(&mut self, limit: usize) -> Vec<String> {
        let rows = self.reader.read(&ReadRequest::new(limit)).await.unwrap();
        assert!(rows.len() <= limit, "{} rows for a limit of {limit}", rows.len());
        self.take(rows)
    }

    fn take(&mut self, rows: Vec<OutboxRow>) -> Vec<String> {
        assert!(rows.is_sorted_by_key(|row| row.event.position), "a page out of order");
        let mut things = Vec::new();
        for row in rows {
            assert_eq!((row.parked, row.event.origin), (false, Origin::Outbox));
            let envelope = row.envelope.unwrap();
            things.push(envelope.aggregate_id.to_string());
            self.unsettled.push(row.event);
            if self.known.insert(envelope.event_id) {
                self.given.push(envelope);
            } else {
                assert!(self.repeats.remove(&envelope.event_id), "given twice: {:?}", row.event);
            }
        }
        things
    }

    /// Reads until something is given, as a relay does when the server was away: a reader that failed
    /// is replaced.
    pub(crate) async fn read_after_restart(&mut self, limit: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing was given");
            match self.reader.read(&ReadRequest::new(limit)).await {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => return self.take(rows),
                Err(error) => {
                    assert!(error.is_infrastructure(), "{error:?}");
                    if let Ok(reader) = self.store.reader().await {
                        self.reader = reader;
                        let unsettled = self.unsettled.drain(..);
                        self.repeats.extend(unsettled.map(|event| event.event_id));
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Settles, gives the lease up, and gives what was given.
    pub(crate) async fn close(mut self) -> Vec<Envelope> {
        self.settle().await;
        self.store.release(&self.lease).await.unwrap();
        self.given
    }

    /// Says that all that was given is published; it is there still.
    pub(crate) async fn settle(&mut self) {
        let given = self.unsettled.len() as u64;
        assert_eq!(self.settle_what_is_left().await, given);
    }

    /// The same, where somebody may have removed some of it; gives how many were there.
    pub(crate) async fn settle_what_is_left(&mut self) -> u64 {
        let topic = TopicName::new("thing-events.v1").unwrap();
        let events = std::mem::take(&mut self.unsettled);
        let mut settlement = Settlement::default();
        settlement.published.extend(
            events.iter().map(|event| Published::new(*event, topic.clone(), Receipt::unnumbered())),
        );
        let settled = self.store.settle(&self.lease, &settlement).await.unwrap();
        self.reader.forget(&events);
        settled.published
    }

    /// Reads and settles until the outbox is empty.
    pub(crate) async fn drain(&mut self, database: &Database, limit: usize) {
        let deadline = Instant::now() + PATIENCE;
        while database.backlog().await > 0 {
            assert!(Instant::now() < deadline, "{} events wait", database.backlog().await);
            if self.read(limit).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.settle().await;
        }
    }

    /// Reads until so many events were given in all, however late they come.
    pub(crate) async fn until_given(&mut self, events: usize, limit: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.given.len() < events {
            assert!(Instant::now() < deadline, "{} of {events} were given", self.given.len());
            if self.read(limit).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Reads and settles, `limit` at a time, until all that is committed was given, however late;
    /// checks that it was all, and in order.
    pub(crate) async fn complete(&mut self, database: &Database, limit: usize) {
        self.complete_in_any_order(database, limit).await;
        database.assert_published(&self.given).await;
    }

    /// As [`complete`](Self::complete), where the positions themselves are not in order.
    pub(crate) async fn complete_in_any_order(&mut self, database: &Database, limit: usize) {
        let committed = usize::try_from(database.changes().await.values().sum::<i64>()).unwrap();
        self.until_given(committed, limit).await;
        assert!(self.read(limit).await.is_empty(), "more than was committed");
        database.assert_none_lost(&self.given).await;
        self.settle().await;
        assert_eq!(database.backlog().await, 0);
    }

    /// How many events came late, since this was last asked: the reader had given up on them.
    pub(crate) fn overlooked(&mut self) -> u64 {
        self.reader.overlooked()
    }

    /// As [`complete`](Self::complete), by reads one after the other: nothing may be late.
    pub(crate) async fn complete_at_once(&mut self, database: &Database, limit: usize) {
        let committed = usize::try_from(database.changes().await.values().sum::<i64>()).unwrap();
        // As many as full pages need, and some to find out what became of each gap.
        let reads = (committed - self.given.len()).div_ceil(limit) + 20;
        for _ in 0..reads {
            self.read(limit).await;
        }
        let given = per_key(&self.given);
        assert_eq!(self.given.len(), committed, "late after {reads} reads: {given:?}");
        self.complete(database, limit).await;
        assert_eq!(self.overlooked(), 0, "found again by chance only");
    }
}

/// A relay to a bus in memory.
pub(crate) struct Relaying {
    bus: MemoryBus,
    running: Running,
    before: Vec<Envelope>,
}

impl Relaying {
    pub(crate) fn start(database: &Database) -> Self {
        Self::after(database, Vec::new())
    }

    /// One that goes on where others stopped, who published this.
    pub(crate) fn after(database: &Database, before: Vec<Envelope>) -> Self {
        let bus = MemoryBus::new();
        let relay = Relay::builder(database.store(), bus.clone())
            .lease_ttl(Duration::from_secs(2))
            .batch(50)
            .retry(quick());
        Self { bus, running: Running::relay(relay), before }
    }

    /// How many events were published, repeats included.
    pub(crate) fn published(&self) -> usize {
        on_bus(&self.bus).len()
    }

    /// Waits until the outbox is empty, stops, and checks that all was published in order.
    pub(crate) async fn complete(self, database: &Database) {
        relaybox_tests::until("the outbox is empty", async || database.backlog().await == 0).await;
        database.assert_published(&self.stop().await).await;
    }

    /// Whether its run loop has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.running.has_ended()
    }

    /// Why it ended by itself, and all that was published.
    pub(crate) async fn failed(self) -> (Error, Vec<Envelope>) {
        let mut published = self.before;
        let error = self.running.failed().await;
        published.extend(on_bus(&self.bus));
        (error, published)
    }

    /// Breaks the relay off, as a crash would; gives all that was published.
    pub(crate) async fn abort(self) -> Vec<Envelope> {
        self.running.abort().await;
        let mut published = self.before;
        published.extend(on_bus(&self.bus));
        published
    }

    /// As [`complete`](Self::complete), where the positions themselves are not in order.
    pub(crate) async fn complete_in_any_order(self, database: &Database) {
        relaybox_tests::until("the outbox is empty", async || database.backlog().await == 0).await;
        database.assert_none_lost(&self.stop().await).await;
    }

    /// Stops, and gives all that was published.
    pub(crate) async fn stop(self) -> Vec<Envelope> {
        self.running.stop().await;
        let mut published = self.before;
        published.extend(on_bus(&self.bus));
        published
    }
}
