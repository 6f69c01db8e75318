//! The schemas of payloads.

use async_trait::async_trait;
use relaybox_core::{Result, SchemaFingerprint, SchemaStore, StoredSchema};

use super::PgOutbox;
use crate::{
    error,
    schemas::{FIND, LIST, PUT, SchemaRow, stored},
};

#[async_trait]
impl SchemaStore for PgOutbox {
    async fn put_schemas(&self, schemas: &[StoredSchema]) -> Result<()> {
        let column = |of: fn(&StoredSchema) -> &str| schemas.iter().map(of).collect::<Vec<_>>();
        let fingerprints: Vec<_> =
            schemas.iter().map(|schema| schema.fingerprint.as_bytes().to_vec()).collect();
        sqlx::query(self.sql.put_schemas.clone())
            .bind(fingerprints)
            .bind(column(|schema| &schema.format))
            .bind(column(|schema| &schema.text))
            .execute(&self.pool)
            .await
            .map_err(error::commit(PUT))
            .map(drop)
    }

    async fn schema(&self, fingerprint: &SchemaFingerprint) -> Result<Option<StoredSchema>> {
        let row: Option<SchemaRow> = sqlx::query_as(self.sql.schema.clone())
            .bind(fingerprint.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(error::database(FIND))?;
        row.map(stored).transpose()
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>> {
        let rows: Vec<SchemaRow> = sqlx::query_as(self.sql.schemas.clone())
            .fetch_all(&self.pool)
            .await
            .map_err(error::database(LIST))?;
        rows.into_iter().map(stored).collect()
    }
}
