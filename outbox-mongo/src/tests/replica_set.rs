//! The whole suite on a real replica set, which `RELAYBOX_MONGODB_URL` names.

use std::{
    future::IntoFuture,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use mongodb::{
    Collection, Database,
    bson::{Document, Timestamp, doc},
};
use relaybox_conformance::{
    InboxFactory, StoreCapabilities, StoreFactory, archive_promises, async_trait, inbox_promises,
    model_check, store_promises,
};
use relaybox_core::{
    ArchiveQuery, ArchiveStore, CancellationToken, ConsumerName, DeadLetterQuery, DeadLetterStore,
    Error, ErrorKind, EventId, Mark, OutboxStore, OutboxWriter, ProcessedEventStore, ReadRequest,
    Relay, RetryPolicy, SchemaFingerprint, SchemaStore, StoredSchema, TopicName, memory::MemoryBus,
};

use super::{drop_database, event, own_database, server, spoil};
use crate::{Collections, MongoMigrator, MongoOutbox, MongoProcessedEvents, MongoTx};

/// Makes a database for each promise, one at a time.
#[derive(Default)]
struct OnReplicaSet {
    /// They keep what was published.
    archives: bool,
    /// The last one: a transaction doesn't say in which database it is.
    database: Mutex<Option<Database>>,
}

const EFFECTS: &str = "effects";

impl OnReplicaSet {
    async fn fresh(&self) -> Option<Database> {
        let database = create().await;
        self.database.lock().unwrap().clone_from(&database);
        database
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.database.lock().unwrap().as_ref().unwrap().collection(name)
    }
}

async fn create() -> Option<Database> {
    let database = own_database(&server("RELAYBOX_MONGODB_URL")?).await;
    MongoMigrator::new(database.clone(), Collections::default()).run().await.unwrap();
    let database = crate::migrator::strict(&database);
    database.create_collection(EFFECTS).await.unwrap();
    Some(database)
}

#[async_trait]
impl StoreFactory for OnReplicaSet {
    type Database = Database;
    type Store = MongoOutbox;
    type Tx = MongoTx;

    // Times are the server's timestamps, in seconds.
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities::new().clock_resolution(Duration::from_secs(1))
    }

    async fn create(&self) -> Option<Database> {
        self.fresh().await
    }

    fn store(&self, database: &Database) -> MongoOutbox {
        let store = MongoOutbox::new(database.clone());
        if self.archives { store.archive_published() } else { store }
    }

    fn archive(&self, database: &Database) -> Option<Box<dyn ArchiveStore>> {
        self.archives.then(|| Box::new(self.store(database)) as _)
    }

    async fn begin(&self, database: &Database) -> MongoTx {
        MongoOutbox::new(database.clone()).begin().await.unwrap()
    }

    async fn commit(&self, tx: MongoTx) {
        tx.commit().await.unwrap();
    }

    async fn rollback(&self, tx: MongoTx) {
        tx.abort().await.unwrap();
    }

    async fn spoil(&self, database: &Database, event: EventId) -> bool {
        spoil(database, event).await
    }

    async fn move_below_all(&self, tx: &mut MongoTx, event: EventId) -> bool {
        let id = doc! { "_id": crate::document::id(event) };
        let below = doc! { "$set": { "position": Timestamp { time: 1, increment: 1 } } };
        let events = self.collection("outbox_events");
        events.update_one(id, below).session(&mut **tx).await.unwrap().matched_count == 1
    }

    async fn destroy(&self, database: Database) {
        drop_database(&database).await;
    }
}

#[async_trait]
impl InboxFactory for OnReplicaSet {
    type Database = Database;
    type Inbox = MongoProcessedEvents;
    type Tx = MongoTx;

    async fn create(&self) -> Option<Database> {
        self.fresh().await
    }

    fn inbox(&self, database: &Database) -> MongoProcessedEvents {
        MongoProcessedEvents::new(database.clone())
    }

    async fn add_effect(&self, tx: &mut MongoTx) {
        self.collection(EFFECTS).insert_one(doc! {}).session(&mut **tx).await.unwrap();
    }

    async fn effects(&self, database: &Database) -> u64 {
        database.collection::<Document>(EFFECTS).count_documents(doc! {}).await.unwrap()
    }

    async fn destroy(&self, database: Database) {
        drop_database(&database).await;
    }
}

mod store {
    use super::*;

    store_promises!(OnReplicaSet::default());
}

mod archive {
    use super::*;

    archive_promises!(OnReplicaSet { archives: true, ..OnReplicaSet::default() });
}

mod inbox {
    use super::*;

    inbox_promises!(OnReplicaSet::default());
}

#[test]
fn random_histories_agree_with_the_model() {
    model_check(&OnReplicaSet::default(), 24);
}

/// Runs a test in a database of its own.
async fn on_database(test: impl AsyncFnOnce(&Database)) {
    let Some(database) = create().await else { return };
    test(&database).await;
    drop_database(&database).await;
}

#[tokio::test]
async fn two_units_that_change_the_same_document_are_both_run_to_their_end() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone());
        // On a slow disk, each of eight commits may take half a second.
        let transactions = outbox.transactions().retry(RetryPolicy::default().max_attempts(100));
        let counters = database.collection::<Document>(EFFECTS);
        counters.insert_one(doc! { "_id": "a", "n": 0 }).await.unwrap();
        let runs = Arc::new(AtomicU32::new(0));
        let units = (0..8).map(|_| {
            let (outbox, counters, runs) = (outbox.clone(), counters.clone(), Arc::clone(&runs));
            let transactions = transactions.clone();
            tokio::spawn(async move {
                let (writer, counters, runs) = (&outbox, &counters, &runs);
                let unit = |mut tx: MongoTx| async move {
                    runs.fetch_add(1, SeqCst);
                    let a = doc! { "_id": "a" };
                    let found = counters.find_one(a.clone()).session(&mut *tx).await;
                    let n = tx.checked(found)?.unwrap().get_i32("n").unwrap();
                    writer.write(&mut tx, &[event("a", &n.to_string())]).await?;
                    let set = doc! { "$set": { "n": n + 1 } };
                    let written = counters.update_one(a, set).session(&mut *tx).await;
                    tx.checked(written)?;
                    Ok::<_, Error>((tx, ()))
                };
                transactions.run(unit).await.unwrap();
            })
        });
        for unit in units.collect::<Vec<_>>() {
            unit.await.unwrap();
        }
        assert!(runs.load(SeqCst) >= 8);
        let rows = outbox.reader().await.unwrap().read(&ReadRequest::new(100)).await.unwrap();
        let names: Vec<_> =
            rows.iter().map(|row| row.envelope.as_ref().unwrap().payload.to_vec()).collect();
        let promised: Vec<_> = (0..8).map(|n| n.to_string().into_bytes()).collect();
        assert_eq!(
            names, promised,
            "in the order of the commits, though all enqueue before they change"
        );
    })
    .await;
}

#[tokio::test]
async fn a_mark_in_a_transaction_that_did_something_conflicts_and_does_not_wait() {
    on_database(async |database| {
        let inbox = MongoProcessedEvents::new(database.clone());
        let consumer = ConsumerName::new("notifications").unwrap();
        let (id, limit) = (EventId::new(), Duration::from_secs(30));
        let mut first = inbox.begin(limit).await.unwrap();
        assert_eq!(inbox.mark(&mut first, &consumer, &[id]).await.unwrap(), [Mark::First]);
        let mut second = inbox.begin(limit).await.unwrap();
        let effects = database.collection::<Document>(EFFECTS);
        effects.insert_one(doc! {}).session(&mut *second).await.unwrap();
        let error = inbox.mark(&mut second, &consumer, &[id]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(inbox.commit(second).await.unwrap_err().kind(), ErrorKind::Conflict);
        inbox.commit(first).await.unwrap();
        assert_eq!(effects.count_documents(doc! {}).await.unwrap(), 0, "rolled back");
        assert_eq!(inbox.known(&consumer, &[id]).await.unwrap(), [Mark::Repeat]);
    })
    .await;
}

#[tokio::test]
async fn a_change_stream_wakes_a_relay_that_hardly_polls() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone());
        let bus = MemoryBus::new();
        let shutdown = CancellationToken::new();
        let (slow, stop) = (Duration::from_secs(3600), shutdown.clone());
        let relay = Relay::builder(outbox.clone(), bus.clone()).poll_interval(slow, slow).build();
        let (wake_up, watched) = (relay.wake_up(), outbox.clone());
        let watch = tokio::spawn(async move { watched.wake_on_commit(wake_up, stop).await });
        let running = tokio::spawn(relay.run(shutdown.clone()));
        let topic = TopicName::new("thing-events.v1").unwrap();
        for n in 1..=5 {
            let mut tx = outbox.begin().await.unwrap();
            outbox.write(&mut tx, &[event("a", &n.to_string())]).await.unwrap();
            tx.commit().await.unwrap();
            let arrived = async {
                while bus.records(&topic).len() < n {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), arrived).await.unwrap();
        }
        shutdown.cancel();
        running.await.unwrap().unwrap();
        watch.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_relay_published_is_in_the_archive_until_it_is_purged() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone()).archive_published();
        let events = [event("a", "1"), event("b", "2"), event("a", "3")];
        let mut tx = outbox.begin().await.unwrap();
        outbox.write(&mut tx, &events).await.unwrap();
        tx.commit().await.unwrap();
        let (bus, shutdown) = (MemoryBus::new(), CancellationToken::new());
        let relay = Relay::builder(outbox.clone(), bus.clone()).build();
        let relay = tokio::spawn(relay.run(shutdown.clone()));
        let in_the_end = async |count: usize| {
            let limit = Duration::from_secs(30);
            let settled = async {
                while outbox.archived(&ArchiveQuery::latest()).await.unwrap().len() != count {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if count == 0 {
                        // It goes by whole seconds.
                        outbox.purge_archive(Duration::ZERO, 2).await.unwrap();
                    }
                }
            };
            tokio::time::timeout(limit, settled).await.expect("in half a minute");
        };
        in_the_end(events.len()).await;
        assert_eq!(outbox.stats().await.unwrap().backlog, 0);
        for event in &events {
            let archived = outbox.archived(&ArchiveQuery::event(event.event_id)).await.unwrap();
            assert_eq!(archived[0].envelope.as_ref().unwrap(), event);
            assert_eq!(archived[0].topic.as_str(), "thing-events.v1");
            assert!(archived[0].receipt.offset.is_some());
        }
        assert_eq!(outbox.purge_archive(Duration::from_secs(3600), 10).await.unwrap(), 0);
        in_the_end(0).await;
        shutdown.cancel();
        relay.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn schemas_are_put_once_and_kept() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone());
        let schema = |n: u8| {
            StoredSchema::new(SchemaFingerprint::from_bytes([n; 32]), "avro", format!("schema {n}"))
        };
        outbox.put_schemas(&[schema(2), schema(1), schema(2)]).await.unwrap();
        let third = [schema(3)];
        let both = tokio::join!(outbox.put_schemas(&third), outbox.put_schemas(&third));
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        assert_eq!(outbox.schemas().await.unwrap(), [schema(1), schema(2), schema(3)]);
        assert_eq!(outbox.schema(&schema(2).fingerprint).await.unwrap(), Some(schema(2)));
        assert_eq!(outbox.schema(&schema(9).fingerprint).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_whose_first_statement_was_given_up_on_keeps_no_lock() {
    on_database(async |database| {
        let transactions = MongoOutbox::new(database.clone()).transactions();
        let things = database.collection::<Document>(EFFECTS);
        let (a, add) = (doc! { "_id": "a" }, doc! { "$inc": { "n": 1 } });
        things.insert_one(doc! { "_id": "a", "n": 0 }).await.unwrap();
        for round in 0..20_u32 {
            let mut tx = transactions.begin().await.unwrap();
            let update = things.update_one(a.clone(), add.clone()).session(&mut *tx).into_future();
            let limit = Duration::from_micros(u64::from(round) * 100);
            let _ = tokio::time::timeout(limit, update).await;
            drop(tx);
            // Outside of any transaction a write waits for the lock.
            let write = things.update_one(a.clone(), add.clone()).into_future();
            let written = tokio::time::timeout(Duration::from_secs(20), write).await;
            assert_eq!(written.expect("nobody holds the lock").unwrap().modified_count, 1);
        }
        let thing = things.find_one(a).await.unwrap().unwrap();
        assert_eq!(thing.get_i32("n").unwrap(), 20, "what was dropped was rolled back");
    })
    .await;
}

#[tokio::test]
async fn more_dead_letters_than_a_transaction_takes_are_redriven_and_discarded() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone());
        let letters = (1..=2_300_u32).map(|n| {
            let mut letter = crate::document::of_event(&event("a", "x"));
            letter.extend(doc! {
                "aggregate": { "type": "thing", "id": n.to_string() },
                "position": Timestamp { time: n, increment: 1 },
                "state": "dead", "redrive": false, "ready": false, "attempts": 1_i64,
                "failed_at": Timestamp { time: 0, increment: 0 },
            });
            letter
        });
        let collection = database.collection::<Document>("outbox_dead_letters");
        collection.insert_many(letters).await.unwrap();
        let all = DeadLetterQuery::all();
        assert_eq!(outbox.redrive(&DeadLetterQuery::all().limit(1_100)).await.unwrap(), 1_100);
        assert_eq!(outbox.redrive(&all).await.unwrap(), 1_200);
        let rows = outbox.reader().await.unwrap().read(&ReadRequest::new(5_000)).await.unwrap();
        assert_eq!(rows.len(), 2_300);
        let release = relaybox_core::Successors::Release;
        assert_eq!(outbox.discard(&all, release).await.unwrap(), 2_300);
        assert_eq!(outbox.stats().await.unwrap().dead_letters, 0);
    })
    .await;
}
