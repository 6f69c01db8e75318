//! A store as a relay takes it.

use std::{sync::Arc, time::Duration};

use relaybox::{
    Acquired, Lease, OutboxReader, OutboxStats, OutboxStore, RelayId, Result, SchemaFingerprint,
    SchemaStore, Settled, Settlement, StoredSchema, async_trait,
};

/// An [`OutboxStore`] behind a pointer: one relay's code serves every database.
#[derive(Clone)]
pub(crate) struct SharedStore(pub(crate) Arc<dyn OutboxStore>);

#[async_trait]
impl OutboxStore for SharedStore {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        self.0.acquire(relay, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.0.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.0.release(lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        self.0.reader().await
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        self.0.settle(lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        self.0.stats().await
    }
}

/// A [`SchemaStore`] behind a pointer.
pub(crate) struct SharedSchemas(pub(crate) Arc<dyn SchemaStore>);

#[async_trait]
impl SchemaStore for SharedSchemas {
    async fn put_schemas(&self, schemas: &[StoredSchema]) -> Result<()> {
        self.0.put_schemas(schemas).await
    }

    async fn schema(&self, fingerprint: &SchemaFingerprint) -> Result<Option<StoredSchema>> {
        self.0.schema(fingerprint).await
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>> {
        self.0.schemas().await
    }
}
