//! A stored schema, from its columns.

use relaybox_core::{Error, ErrorKind, Result, SchemaFingerprint, StoredSchema};

pub(crate) const PUT: &str = "put schemas";
pub(crate) const FIND: &str = "find a schema";
pub(crate) const LIST: &str = "list schemas";

/// What the columns hold.
pub(crate) type SchemaRow = (Vec<u8>, String, String);

pub(crate) fn stored((fingerprint, format, text): SchemaRow) -> Result<StoredSchema> {
    let digest = <[u8; 32]>::try_from(fingerprint).map_err(|_| {
        Error::new(ErrorKind::Schema, LIST).detail("a fingerprint has not 32 bytes")
    })?;
    Ok(StoredSchema::new(SchemaFingerprint::from_bytes(digest), format, text))
}
