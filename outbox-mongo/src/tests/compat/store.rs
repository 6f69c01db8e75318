//! The promises of a store, with a buffer for a transaction.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use mongodb::{
    Collection, Database,
    bson::{Bson, Document, Timestamp, doc},
};
use relaybox_conformance::{
    StoreCapabilities, StoreFactory, archive_promises, async_trait, model_check, store_promises,
};
use relaybox_core::{
    Acquired, ArchiveQuery, ArchiveStore, ArchivedEvent, DeadLetter, DeadLetterQuery,
    DeadLetterStore, Envelope, EventId, EventRef, Lease, OutboxReader, OutboxRow, OutboxStats,
    OutboxStore, OutboxWriter, ReadRequest, RelayId, Result, Settled, Settlement, Successors,
};
use tokio::sync::Mutex;

use super::{
    super::{drop_database, spoil},
    create, fill_in,
};
use crate::{
    MongoOutbox, document, error,
    migrator::LEASE,
    outbox::testing::{self, Page},
    unit::Unit,
};

#[derive(Default)]
struct OnCompat {
    /// They keep what was published.
    archives: bool,
}

#[derive(Clone)]
struct CompatStore {
    database: Database,
    outbox: MongoOutbox,
    /// One at a time, as a transaction would have it.
    lock: Arc<Mutex<()>>,
}

struct Fresh {
    database: Database,
    lock: Arc<Mutex<()>>,
    clock: Arc<AtomicU32>,
}

/// What is written and not committed, with the positions that a server would have given.
struct Buffer {
    documents: Vec<Document>,
    database: Database,
    clock: Arc<AtomicU32>,
}

#[async_trait]
impl StoreFactory for OnCompat {
    type Database = Fresh;
    type Store = CompatStore;
    type Tx = Buffer;

    // Times are the server's timestamps, in seconds.
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities::new().clock_resolution(Duration::from_secs(1))
    }

    async fn create(&self) -> Option<Fresh> {
        let database = create().await?;
        Some(Fresh { database, lock: Arc::default(), clock: Arc::default() })
    }

    fn store(&self, fresh: &Fresh) -> CompatStore {
        CompatStore {
            database: fresh.database.clone(),
            outbox: MongoOutbox::new(fresh.database.clone()).archive_published(),
            lock: Arc::clone(&fresh.lock),
        }
    }

    fn archive(&self, fresh: &Fresh) -> Option<Box<dyn ArchiveStore>> {
        self.archives.then(|| Box::new(self.store(fresh)) as _)
    }

    async fn begin(&self, fresh: &Fresh) -> Buffer {
        let (database, clock) = (fresh.database.clone(), Arc::clone(&fresh.clock));
        Buffer { documents: Vec::new(), database, clock }
    }

    async fn commit(&self, tx: Buffer) {
        if !tx.documents.is_empty() {
            let events = tx.database.collection::<Document>("outbox_events");
            events.insert_many(tx.documents).await.unwrap();
        }
    }

    async fn rollback(&self, tx: Buffer) {
        drop(tx);
    }

    async fn spoil(&self, fresh: &Fresh, event: EventId) -> bool {
        spoil(&fresh.database, event).await
    }

    async fn move_below_all(&self, tx: &mut Buffer, event: EventId) -> bool {
        for document in &mut tx.documents {
            if document.get("_id") == Some(&document::id(event)) {
                document.insert("position", Timestamp { time: 1, increment: 1 });
                return true;
            }
        }
        false
    }

    async fn destroy(&self, fresh: Fresh) {
        drop_database(&fresh.database).await;
    }
}

#[async_trait]
impl OutboxWriter<Buffer> for CompatStore {
    async fn write(&self, tx: &mut Buffer, events: &[Envelope]) -> Result<()> {
        for event in events {
            let mut document = document::of_event(event);
            let time = u32::try_from(chrono::Utc::now().timestamp()).unwrap();
            let increment = tx.clock.fetch_add(1, SeqCst) + 1;
            document.insert("position", Timestamp { time, increment });
            tx.documents.push(document);
        }
        Ok(())
    }
}

#[async_trait]
impl OutboxStore for CompatStore {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        let _guard = self.lock.lock().await;
        let now = chrono::Utc::now().timestamp_millis();
        let lease = self.leases().find_one(doc! { "_id": LEASE }).await.unwrap().unwrap();
        let left = match lease.get("until") {
            Some(Bson::DateTime(until)) => until.timestamp_millis() - now,
            _ => 0,
        };
        if let Ok(left @ 1..) = u64::try_from(left) {
            let holder = RelayId::from_stored(lease.get_str("owner").unwrap().to_owned());
            return Ok(Acquired::Elsewhere { holder, expires_in: Duration::from_millis(left) });
        }
        let epoch = lease.get_i64("epoch").unwrap() + 1;
        let taken = doc! { "owner": relay.as_str(), "epoch": epoch, "until": until(ttl) };
        self.leases().update_one(doc! { "_id": LEASE }, doc! { "$set": taken }).await.unwrap();
        Ok(Acquired::Held(Lease::new(relay.clone(), epoch)))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let _guard = self.lock.lock().await;
        let renewed = doc! { "$set": { "until": until(ttl) } };
        let renewed = self.leases().update_one(testing::held(lease), renewed).await.unwrap();
        if renewed.matched_count == 0 { Err(error::lease_lost("renew", lease)) } else { Ok(()) }
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let _guard = self.lock.lock().await;
        self.outbox.release(lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        testing::has_collections(&self.outbox).await?;
        Ok(Box::new(Reader { store: self.clone(), page: Page::default() }))
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        let (store, lease, settlement) = (self.clone(), lease.clone(), settlement.clone());
        // To its end, as a transaction's commit would be.
        let settling = tokio::spawn(async move {
            let _guard = store.lock.lock().await;
            let mut unit = Unit::alone(&store.database);
            let settled = testing::apply(&store.outbox, &mut unit, &lease, &settlement).await;
            fill_in(&store.database, "outbox_dead_letters", "failed_at").await;
            fill_in(&store.database, "outbox_archive", "published_at").await;
            settled
        });
        settling.await.unwrap()
    }

    async fn stats(&self) -> Result<OutboxStats> {
        let _guard = self.lock.lock().await;
        let now = crate::deployment::now(&self.database, "measure").await?;
        testing::measure(&self.outbox, &mut Unit::alone(&self.database), now).await
    }
}

#[async_trait]
impl DeadLetterStore for CompatStore {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>> {
        let _guard = self.lock.lock().await;
        self.outbox.dead_letters(query).await
    }

    async fn redrive(&self, query: &DeadLetterQuery) -> Result<u64> {
        let _guard = self.lock.lock().await;
        let mut unit = Unit::alone(&self.database);
        testing::redrive(&self.outbox, &mut unit, query).await
    }

    async fn discard(&self, query: &DeadLetterQuery, successors: Successors) -> Result<u64> {
        let _guard = self.lock.lock().await;
        let mut unit = Unit::alone(&self.database);
        testing::discard(&self.outbox, &mut unit, query, successors).await
    }
}

#[async_trait]
impl ArchiveStore for CompatStore {
    async fn archived(&self, query: &ArchiveQuery) -> Result<Vec<ArchivedEvent>> {
        let _guard = self.lock.lock().await;
        self.outbox.archived(query).await
    }

    async fn purge_archive(&self, age: Duration, limit: u32) -> Result<u64> {
        let _guard = self.lock.lock().await;
        self.outbox.purge_archive(age, limit).await
    }
}

impl CompatStore {
    fn leases(&self) -> Collection<Document> {
        self.database.collection("outbox_relay")
    }
}

fn until(ttl: Duration) -> mongodb::bson::DateTime {
    let ttl = i64::try_from(ttl.as_millis()).unwrap();
    mongodb::bson::DateTime::from_millis(chrono::Utc::now().timestamp_millis() + ttl)
}

struct Reader {
    store: CompatStore,
    page: Page,
}

#[async_trait]
impl OutboxReader for Reader {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        let _guard = self.store.lock.lock().await;
        let mut unit = Unit::alone(&self.store.database);
        self.page.read(&self.store.outbox, &mut unit, request).await
    }

    fn forget(&mut self, settled: &[EventRef]) {
        self.page.forget(settled);
    }

    fn rewind(&mut self) {
        self.page.rewind();
    }
}

store_promises!(OnCompat::default());
archive_promises!(OnCompat { archives: true });

#[test]
fn random_histories_agree_with_the_model() {
    model_check(&OnCompat::default(), 64);
}
