//! Schemas in memory.

use async_trait::async_trait;

use super::MemoryStore;
use crate::{Result, SchemaFingerprint, SchemaStore, StoredSchema};

#[async_trait]
impl SchemaStore for MemoryStore {
    async fn put_schemas(&self, schemas: &[StoredSchema]) -> Result<()> {
        self.shared.faults.step("put schemas", || {
            let stored = &mut self.shared.lock().schemas;
            for schema in schemas {
                stored.entry(schema.fingerprint).or_insert_with(|| schema.clone());
            }
            Ok(())
        })
    }

    async fn schema(&self, fingerprint: &SchemaFingerprint) -> Result<Option<StoredSchema>> {
        self.shared
            .faults
            .step("find a schema", || Ok(self.shared.lock().schemas.get(fingerprint).cloned()))
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>> {
        self.shared
            .faults
            .step("list schemas", || Ok(self.shared.lock().schemas.values().cloned().collect()))
    }
}
