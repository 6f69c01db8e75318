//! An outbox in memory with the visibility of a real database, and a reader as `docs/design.md` has it.
//!
//! Positions are taken when a row is written, and seen when its transaction commits; a reader knows
//! gaps. One [`Bug`] at a time may be switched on.

mod archive;
mod database;
mod dead_letters;
mod lease;
mod reader;
mod settle;
mod transaction;

use std::{sync::Arc, time::Duration};

use relaybox_conformance::{StoreCapabilities, StoreFactory, async_trait};
use relaybox_core::{
    Acquired, ArchiveStore, DeadLetterState, EventId, Lease, OutboxReader, OutboxStats,
    OutboxStore, RelayId, Result, Settled, Settlement,
};

pub(crate) use self::transaction::FakeTx;
use self::{database::Shared, reader::FakeReader};
use crate::bug::Bug;

/// The store; clones share it.
#[derive(Clone)]
pub(crate) struct FakeStore {
    shared: Arc<Shared>,
}

/// Makes such stores with a bug, or without.
pub(crate) struct Fake(pub(crate) Option<Bug>);

#[async_trait]
impl StoreFactory for Fake {
    type Database = FakeStore;
    type Store = FakeStore;
    type Tx = FakeTx;

    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities::new().counts_overlooked()
    }

    async fn create(&self) -> Option<FakeStore> {
        Some(FakeStore { shared: Arc::new(Shared::new(self.0)) })
    }

    fn store(&self, database: &FakeStore) -> FakeStore {
        database.clone()
    }

    fn archive(&self, database: &FakeStore) -> Option<Box<dyn ArchiveStore>> {
        Some(Box::new(database.clone()))
    }

    async fn begin(&self, database: &FakeStore) -> FakeTx {
        FakeTx::begin(Arc::clone(&database.shared))
    }

    async fn commit(&self, tx: FakeTx) {
        tx.commit();
    }

    async fn rollback(&self, tx: FakeTx) {
        drop(tx);
    }

    async fn spoil(&self, database: &FakeStore, event: EventId) -> bool {
        let mut state = database.shared.lock();
        let mut rows = state.rows.values_mut();
        rows.find(|row| row.envelope.event_id == event).is_some_and(|row| {
            row.spoilt = true;
            true
        })
    }

    async fn move_below_all(&self, tx: &mut FakeTx, event: EventId) -> bool {
        tx.move_below_all(event)
    }
}

#[async_trait]
impl OutboxStore for FakeStore {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        Ok(self.shared.lock().lease.acquire(relay, ttl))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let mut state = self.shared.lock();
        self.shared.check(&state, lease)?;
        state.lease.prolong(lease, ttl);
        Ok(())
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let mut state = self.shared.lock();
        self.shared.check(&state, lease)?;
        state.lease.free();
        Ok(())
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        Ok(Box::new(FakeReader::new(Arc::clone(&self.shared))))
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        settle::settle(&self.shared, lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        let state = self.shared.lock();
        let committed = || state.rows.values().filter(|row| !state.open.contains(&row.tx));
        let parked = |state: DeadLetterState| state == DeadLetterState::Parked;
        let mut stats = OutboxStats::default();
        stats.backlog = committed().count() as u64;
        stats.oldest_age = committed().map(|row| row.since.elapsed()).max();
        stats.parked = state.dead.values().filter(|dead| parked(dead.state)).count() as u64;
        stats.dead_letters = state.dead.len() as u64 - stats.parked;
        stats.redriving = state.dead.keys().filter(|seq| state.is_free(**seq)).count() as u64;
        stats.holder = state.lease.holder();
        Ok(stats)
    }
}
