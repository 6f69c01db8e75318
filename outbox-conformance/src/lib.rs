//! The promises that any outbox store, event bus, event source or inbox of [relaybox](https://docs.rs/relaybox) must
//! keep, as tests.
//!
//! Each promise is a function, named as a sentence, that takes a factory and panics with what was
//! promised and what was seen. The macros make a test of each, so that the output names what is broken:
//!
//! | you wrote | you implement | and call |
//! |---|---|---|
//! | an [`OutboxStore`] with its [`OutboxWriter`] and [`DeadLetterStore`] | [`StoreFactory`] | [`store_promises!`], [`model_check`] |
//! | an [`ArchiveStore`](relaybox_core::ArchiveStore) beside it | the factory's [`archive`](StoreFactory::archive) | [`archive_promises!`] |
//! | an [`EventBus`] | [`BusFactory`] | [`bus_promises!`] |
//! | an [`EventSource`] | [`SourceFactory`] | [`source_promises!`] |
//! | a [`ProcessedEventStore`] | [`InboxFactory`] | [`inbox_promises!`] |
//!
//! ```
//! use relaybox_conformance::{StoreFactory, async_trait, store_promises};
//! use relaybox_core::memory::{MemoryStore, MemoryTx};
//!
//! struct Memory;
//!
//! #[async_trait]
//! impl StoreFactory for Memory {
//!     type Database = MemoryStore;
//!     type Store = MemoryStore;
//!     type Tx = MemoryTx;
//!
//!     async fn create(&self) -> Option<MemoryStore> {
//!         Some(MemoryStore::new())
//!     }
//!
//!     fn store(&self, database: &MemoryStore) -> MemoryStore {
//!         database.clone()
//!     }
//!
//!     async fn begin(&self, database: &MemoryStore) -> MemoryTx {
//!         database.begin()
//!     }
//!
//!     async fn commit(&self, tx: MemoryTx) {
//!         tx.commit();
//!     }
//!
//!     async fn rollback(&self, tx: MemoryTx) {
//!         tx.rollback();
//!     }
//! }
//!
//! store_promises!(Memory);
//!
//! ```
//!
//! A promise runs in bounded time, and on a store of its own. What a store can't do it says in its
//! [`StoreCapabilities`], and what only can be done behind its back is a method of the factory with a
//! default that says so; the promises that need it are then passed over, each with a line
//! `PASSED OVER: promise: why`, which `cargo test -- --show-output` shows.
//!
//! Beyond the single promises there are a [model check](model) of random histories, which shrink to a
//! short one, and a [simulation] of the whole pipeline on the in-memory parts, with faults at every
//! step.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![expect(clippy::future_not_send, reason = "a promise is run by the test that waits for it")]

pub mod archive;
pub mod bus;
mod events;
mod factory;
pub mod inbox;
mod macros;
pub mod model;
mod run;
pub mod simulation;
pub mod source;
pub mod store;

pub use async_trait::async_trait;

pub use self::{
    factory::{
        BusCapabilities, BusFactory, InboxCapabilities, InboxFactory, SourceCapabilities,
        SourceFactory, StoreCapabilities, StoreFactory,
    },
    model::model_check,
    run::run,
};
pub(crate) use relaybox_core::{
    DeadLetterStore, EventBus, EventSource, OutboxStore, OutboxWriter, ProcessedEventStore,
};
