//! Writing events in the caller's transaction.

use async_trait::async_trait;
use relaybox_core::{Envelope, OutboxWriter, Result};

use super::MongoOutbox;
use crate::{MongoTx, document, error};

const WRITE: &str = "write events to the outbox";

#[async_trait]
impl OutboxWriter<MongoTx> for MongoOutbox {
    /// One statement; the driver splits it above 100,000 events or 48 MB. The server gives each event its
    /// position as it inserts it, in the order of the slice.
    async fn write(&self, tx: &mut MongoTx, events: &[Envelope]) -> Result<()> {
        let documents = events.iter().map(document::of_event).collect();
        let written = tx.unit(&self.database).insert(&self.names.outbox_events, documents).await;
        tx.watch(written.map_err(error::database(WRITE)))
    }
}
