//! The outbox on MongoDB.

mod archive;
mod change_stream;
mod dead_letters;
mod lease;
mod letters;
mod reader;
mod schemas;
mod settle;
mod stats;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mongodb::{Database, options::ReadConcern};
use relaybox_core::{
    Acquired, Lease, OutboxReader, OutboxStats, OutboxStore, RelayId, Result, Settled, Settlement,
};

use self::reader::MongoReader;
use crate::{
    Collections, MongoTransactions, MongoTx,
    migrator::{concerned, strict},
};

/// The outbox on MongoDB: writes in the caller's transaction, and serves the relay and the operator.
///
/// Cheap to clone. It never makes its collections by itself: see
/// [`MongoMigrator`](crate::MongoMigrator). Whatever concerns the database was configured with, the outbox
/// reads from the primary what a majority has, and writes to a majority: what is published can't be undone
/// by a failover.
///
/// The crate's documentation says [why events are in order](crate#order).
#[derive(Clone)]
pub struct MongoOutbox {
    database: Database,
    /// The same, for sessions whose reads all see one moment.
    snapshots: Database,
    names: Arc<Collections>,
    transactions: MongoTransactions,
    archives: bool,
}

impl MongoOutbox {
    /// The outbox in the collections of the default names.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self::with_collections(database, Collections::default())
    }

    /// The outbox in collections of these names.
    #[must_use]
    pub fn with_collections(database: Database, names: Collections) -> Self {
        let transactions = MongoTransactions::new(database.client().clone());
        let snapshots = concerned(&database, ReadConcern::snapshot());
        let (database, names) = (strict(&database), Arc::new(names));
        Self { database, snapshots, names, transactions, archives: false }
    }

    /// Keeps published events: a settlement moves them to the archive, with the topic, partition and
    /// offset they went to, instead of deleting them.
    ///
    /// Say so to every relay of the outbox: it is the one that settles who archives. Each event is then
    /// read and written once more; [`ArchiveStore`](relaybox_core::ArchiveStore) finds them, and a
    /// [`Retention`](relaybox_core::Retention) must be run to purge them.
    #[must_use]
    pub fn archive_published(mut self) -> Self {
        self.archives = true;
        self
    }

    /// Begins a transaction in which a service changes its documents and enqueues.
    ///
    /// # Errors
    /// As [`MongoTransactions::begin`].
    pub async fn begin(&self) -> Result<MongoTx> {
        self.transactions.begin().await
    }

    /// Transactions of the outbox's client, and what runs them again where they conflict.
    pub fn transactions(&self) -> MongoTransactions {
        self.transactions.clone()
    }
}

#[async_trait]
impl OutboxStore for MongoOutbox {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        lease::acquire(self, relay, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        lease::renew(self, lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        lease::release(self, lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        stats::is_readable(self).await?;
        Ok(Box::new(MongoReader::new(self.clone())))
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        settle::settle(self, lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        stats::stats(self).await
    }
}

impl fmt::Debug for MongoOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoOutbox")
            .field("names", &self.names)
            .field("archives", &self.archives)
            .finish_non_exhaustive()
    }
}
