//! The consumer's marks on MongoDB.

mod marks;
mod notes;
mod starts;
#[cfg(test)]
pub(crate) mod testing;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mongodb::{Database, bson::doc};
use relaybox_core::{
    ConsumerName, ErrorKind, EventId, Failure, GivenUpAt, Mark, Offset, Partition,
    ProcessedEventStore, Result,
};

use crate::{Collections, MongoTransactions, MongoTx, error, migrator::strict, purge};

const PURGE: &str = "purge what was handled or given up on";

/// The marks of handled events on MongoDB; handlers get [`MongoTx`].
///
/// Cheap to clone. Each mark is a document, and so is each event given up on: a consumer purges its own, and
/// `purge` removes at most `limit` of both together, marks first, and counts both. (An index with a TTL
/// can't do it: the server's own time, which a mark carries, is no date.)
///
/// # What waits, and for how long
/// In MongoDB a statement that touches what another open transaction has changed fails at once. So marking
/// as the *first* thing of a transaction, as the consumer does, waits by itself: as long as another
/// transaction that has marked one of the events is open, it begins anew with a new snapshot, until the
/// limit that `begin` was given. A mark in a transaction in which something was done before fails with
/// [`ErrorKind::Conflict`] instead: run the unit again.
///
/// A paused process's transaction is ended by the server, within its `transactionLifetimeLimitSeconds` (60 s
/// by default) and not within the limit given to `begin`: that bounds the commit, and how long a mark
/// waits. Set the parameter to what your consumers need.
///
/// ```no_run
/// use std::time::Duration;
/// use relaybox_core::{ConsumerName, EventId, Mark, ProcessedEventStore};
/// use relaybox_mongo::MongoProcessedEvents;
/// use mongodb::bson::doc;
///
/// # async fn handle(database: mongodb::Database, id: EventId) -> Result<(), Box<dyn std::error::Error>> {
/// let users = database.collection::<mongodb::bson::Document>("users");
/// let processed = MongoProcessedEvents::new(database);
/// let mut tx = processed.begin(Duration::from_secs(30)).await?;
/// let marks = processed.mark(&mut tx, &ConsumerName::new("notifications")?, &[id]).await?;
/// if marks[0] == Mark::First {
///     let login = doc! { "$inc": { "logins": 1 } };
///     users.update_one(doc! { "_id": 7 }, login).session(&mut *tx).await?;
/// }
/// processed.commit(tx).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MongoProcessedEvents {
    database: Database,
    names: Arc<Collections>,
    transactions: MongoTransactions,
}

impl MongoProcessedEvents {
    /// The marks in the collections of the default names.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self::with_collections(database, Collections::default())
    }

    /// The marks in collections of these names.
    #[must_use]
    pub fn with_collections(database: Database, names: Collections) -> Self {
        let transactions = MongoTransactions::new(database.client().clone());
        Self { database: strict(&database), names: Arc::new(names), transactions }
    }
}

#[async_trait]
impl ProcessedEventStore for MongoProcessedEvents {
    type Tx = MongoTx;

    async fn begin(&self, limit: Duration) -> Result<MongoTx> {
        self.transactions.begin_within(limit).await
    }

    async fn mark(
        &self,
        tx: &mut MongoTx,
        consumer: &ConsumerName,
        events: &[EventId],
    ) -> Result<Vec<Mark>> {
        marks::mark(self, tx, consumer, events).await
    }

    async fn commit(&self, tx: MongoTx) -> Result<()> {
        tx.commit().await
    }

    async fn rollback(&self, tx: MongoTx) -> Result<()> {
        tx.abort().await
    }

    async fn given_up(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        from: Offset,
    ) -> Result<Vec<GivenUpAt>> {
        notes::given_up(self, consumer, partition, from).await
    }

    async fn give_up(&self, partition: &Partition, at: GivenUpAt, failure: &Failure) -> Result<()> {
        notes::give_up(self, partition, at, failure).await
    }

    async fn known(&self, consumer: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>> {
        marks::known(self, consumer, events).await
    }

    async fn started(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        starts::started(self, consumer, partition, place).await
    }

    async fn attempted(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        starts::attempted(self, consumer, partition, place).await
    }

    async fn survived(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<()> {
        starts::survived(self, consumer, partition, place).await
    }

    async fn stopped(&self, consumer: &ConsumerName, partition: &Partition) -> Result<()> {
        starts::stopped(self, consumer, partition).await
    }

    async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64> {
        let Some(bound) = purge::bound(&self.database, age, PURGE).await? else { return Ok(0) };
        let kinds = [
            (&self.names.processed_events, marks::PROCESSED_AT),
            (&self.names.given_up_events, notes::DECIDED_AT),
        ];
        let mut purged = 0;
        for (from, field) in kinds {
            let own = doc! { "_id.consumer": consumer.as_str() };
            let left = limit.saturating_sub(u32::try_from(purged).unwrap_or(u32::MAX));
            purged += purge::oldest(&self.database, from, own, field, bound, left)
                .await
                .map_err(error::commit(PURGE))?;
        }
        Ok(purged)
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        error::infrastructure(error)
    }
}

impl fmt::Debug for MongoProcessedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoProcessedEvents").field("names", &self.names).finish_non_exhaustive()
    }
}
