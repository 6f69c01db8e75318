//! The schemas of payloads, kept for the relay.

use relaybox_core::{SchemaFingerprint, SchemaStore, StoredSchema};

use super::Harness;
use crate::Tables;

fn schema(digest: u8, text: &str) -> StoredSchema {
    StoredSchema::new(SchemaFingerprint::from_bytes([digest; 32]), "avro", text)
}

pub(super) async fn a_schema_that_was_put_is_found_by_every_process<H: Harness>(harness: &H) {
    let writer = harness.outbox(Tables::default());
    let (one, two) = (schema(1, r#"{"type":"string","doc":"ünïcode"}"#), schema(2, "\"long\""));
    writer.put_schemas(&[two.clone(), one.clone()]).await.unwrap();
    let relay = harness.outbox(Tables::default());
    assert_eq!(relay.schema(&one.fingerprint).await.unwrap(), Some(one.clone()));
    assert_eq!(relay.schema(&schema(3, "").fingerprint).await.unwrap(), None);
    assert_eq!(relay.schemas().await.unwrap(), [one, two]);
}

pub(super) async fn putting_a_schema_again_changes_nothing<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    outbox.put_schemas(&[]).await.unwrap();
    outbox.put_schemas(&[schema(1, "first")]).await.unwrap();
    outbox.put_schemas(&[schema(1, "another"), schema(2, "new"), schema(2, "new")]).await.unwrap();
    assert_eq!(outbox.schemas().await.unwrap(), [schema(1, "first"), schema(2, "new")]);
}
