//! The schemas of payloads.

use async_trait::async_trait;
use relaybox_core::{Result, SchemaFingerprint, SchemaStore, StoredSchema};

use super::{SqliteOutbox, sql::BEGIN};
use crate::{
    error,
    schemas::{FIND, LIST, PUT, SchemaRow, stored},
};

#[async_trait]
impl SchemaStore for SqliteOutbox {
    async fn put_schemas(&self, schemas: &[StoredSchema]) -> Result<()> {
        let mut tx = self.pool.begin_with(BEGIN).await.map_err(error::database(PUT))?;
        for schema in schemas {
            sqlx::query(self.sql.put_schema.clone())
                .bind(schema.fingerprint.as_bytes().as_slice())
                .bind(&schema.format)
                .bind(&schema.text)
                .execute(&mut *tx)
                .await
                .map_err(error::database(PUT))?;
        }
        tx.commit().await.map_err(error::commit(PUT))
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
