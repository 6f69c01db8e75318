//! The schemas that payloads were written with.

use async_trait::async_trait;
use mongodb::{
    bson::{Document, doc},
    error::Result as DriverResult,
};
use relaybox_core::{Error, ErrorKind, Result, SchemaFingerprint, SchemaStore, StoredSchema};

use super::MongoOutbox;
use crate::{
    error,
    unit::{Unit, Wanted, one_of},
};

const PUT: &str = "put schemas beside the outbox";
const LOOK: &str = "look up schemas";

#[async_trait]
impl SchemaStore for MongoOutbox {
    async fn put_schemas(&self, schemas: &[StoredSchema]) -> Result<()> {
        if schemas.is_empty() {
            return Ok(());
        }
        self.transactions
            .run(|mut tx| async move {
                let put = put(self, &mut tx.unit(&self.database), schemas).await;
                // Who puts the same at this moment wins; the next run finds it there.
                tx.watch(put.map_err(error::race(PUT)))?;
                Ok((tx, ()))
            })
            .await
    }

    async fn schema(&self, fingerprint: &SchemaFingerprint) -> Result<Option<StoredSchema>> {
        let id = doc! { "_id": fingerprint.to_string() };
        let found = Unit::alone(&self.database)
            .find_one(&self.names.outbox_schemas, id, Wanted::default())
            .await
            .map_err(error::database(LOOK))?;
        found.as_ref().map(decode).transpose()
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>> {
        let wanted = Wanted { sort: Some(doc! { "_id": 1 }), ..Wanted::default() };
        let found =
            Unit::alone(&self.database).find(&self.names.outbox_schemas, doc! {}, wanted).await;
        found.map_err(error::database(LOOK))?.iter().map(decode).collect()
    }
}

/// Puts in what is not there.
pub(super) async fn put(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    schemas: &[StoredSchema],
) -> DriverResult<()> {
    let collection = &outbox.names.outbox_schemas;
    let ids = schemas.iter().map(|schema| schema.fingerprint.to_string());
    let there = unit.find(collection, one_of("_id", ids), Wanted::fields(&["_id"])).await?;
    let mut known: Vec<String> =
        there.iter().filter_map(|old| old.get_str("_id").ok().map(str::to_owned)).collect();
    let mut new = Vec::new();
    for StoredSchema { fingerprint, format, text, .. } in schemas {
        let id = fingerprint.to_string();
        if !known.contains(&id) {
            new.push(doc! { "_id": &id, "format": format, "text": text });
            known.push(id);
        }
    }
    unit.insert(collection, new).await
}

fn decode(schema: &Document) -> Result<StoredSchema> {
    let text = |field| {
        schema.get_str(field).map_err(|_| {
            Error::new(ErrorKind::Schema, LOOK)
                .detail(format!("the field {field} of a schema is malformed"))
        })
    };
    Ok(StoredSchema::new(text("_id")?.parse()?, text("format")?, text("text")?))
}
