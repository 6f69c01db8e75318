//! The service's side of the outbox: writing in the caller's transaction.

use async_trait::async_trait;

use crate::{Envelope, Result};

/// Writes events in the caller's own transaction.
///
/// `Tx` is a transaction, never a pool or a bare connection: what can't be rolled back together with
/// the business rows must not compile. A user calls [`Outbox`](crate::Outbox), which encodes and
/// checks, not this.
///
/// # Contract
/// - The events become visible to the relay when `tx` commits, and never if it doesn't.
/// - They are stored in the order given; within an aggregate, later calls come later.
/// - All or none: after an error the caller rolls back.
/// - One statement for a slice, or as few as the database's limits allow; nothing is read.
#[async_trait]
pub trait OutboxWriter<Tx: Send>: Send + Sync {
    /// Stores `events` in `tx`.
    ///
    /// # Errors
    /// The database's, classified. The transaction should be rolled back.
    async fn write(&self, tx: &mut Tx, events: &[Envelope]) -> Result<()>;
}
