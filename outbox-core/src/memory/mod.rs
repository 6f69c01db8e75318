//! In-memory store, bus and source: real implementations, for tests and examples.
//!
//! They keep the contracts of the traits (transactions roll back, a lost lease settles nothing, a
//! failed bus latches), and can be told to fail at any step with [`Faults`]. Nothing survives the
//! process.
//!
//! ```
//! use relaybox_core::{
//!     AggregateId, AggregateType, CancellationToken, Envelope, EventType, OutboxWriter, Relay,
//!     TopicName, memory::{MemoryBus, MemoryStore},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), relaybox_core::Error> {
//! let (store, bus) = (MemoryStore::new(), MemoryBus::new());
//! let event = Envelope::new(
//!     EventType::new("user.registered", 1)?, AggregateType::new("user")?, AggregateId::new("7")?, "{}",
//! );
//! let mut tx = store.begin();
//! store.write(&mut tx, &[event]).await?;
//! tx.commit();
//!
//! let shutdown = CancellationToken::new();
//! let relay = Relay::builder(store, bus.clone()).build().run(shutdown.clone());
//! let relay = tokio::spawn(relay);
//! bus.wait_for(&TopicName::new("user-events.v1")?, 1).await;
//! shutdown.cancel();
//! relay.await.expect("the relay doesn't panic")?;
//! # Ok(()) }
//! ```

mod archive;
mod bus;
mod faults;
mod inbox;
mod outbox;
mod schemas;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod tx;

#[cfg(test)]
pub(crate) use self::bus::partition_of;
pub use self::{
    bus::{MemoryBus, StoredRecord},
    faults::{Fault, Faults},
    source::MemorySource,
    store::MemoryStore,
    tx::MemoryTx,
};
