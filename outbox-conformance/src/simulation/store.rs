//! The store as a relay reaches it: over a line that is slow and breaks.

use std::time::Duration;

use async_trait::async_trait;
use relaybox_core::{
    Acquired, Error, ErrorKind, EventRef, Lease, OutboxReader, OutboxRow, OutboxStats, ReadRequest,
    RelayId, Result, Settled, Settlement, memory::MemoryStore,
};

use super::weather::{Chance, Weather};
use crate::OutboxStore;

pub(super) struct DistantStore {
    pub(super) inner: MemoryStore,
    pub(super) weather: Weather,
    pub(super) chance: Chance,
}

#[async_trait]
impl OutboxStore for DistantStore {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        let work = async || self.inner.acquire(relay, ttl).await;
        self.weather.call(&self.chance, "acquire the lease", work).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let work = async || self.inner.renew(lease, ttl).await;
        self.weather.call(&self.chance, "renew the lease", work).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let work = async || self.inner.release(lease).await;
        self.weather.call(&self.chance, "release the lease", work).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        let work = async || OutboxStore::reader(&self.inner).await;
        let inner = self.weather.call(&self.chance, "open the outbox", work).await?;
        let (weather, chance) = (self.weather.clone(), self.chance.fork());
        Ok(Box::new(DistantReader { inner, weather, chance }))
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        let work = async || self.inner.settle(lease, settlement).await;
        self.weather.call(&self.chance, "settle events", work).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        self.inner.stats().await
    }
}

struct DistantReader {
    inner: Box<dyn OutboxReader>,
    weather: Weather,
    chance: Chance,
}

#[async_trait]
impl OutboxReader for DistantReader {
    /// Fails before it has read: a reader whose read fails is as before.
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        self.weather.pass(&self.chance).await;
        if self.weather.strikes(&self.chance) {
            return Err(Error::new(ErrorKind::Unavailable, "read the outbox"));
        }
        let rows = self.inner.read(request).await?;
        self.weather.pass(&self.chance).await;
        Ok(rows)
    }

    fn forget(&mut self, settled: &[EventRef]) {
        self.inner.forget(settled);
    }

    fn rewind(&mut self) {
        self.inner.rewind();
    }
}
