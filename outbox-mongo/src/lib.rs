//! MongoDB for [relaybox](https://docs.rs/relaybox): transactions, outbox and inbox.
//!
//! | | |
//! |---|---|
//! | transaction | [`MongoTx`]: a session that is in one; [`MongoTransactions`] begins and runs them |
//! | outbox | [`MongoOutbox`] |
//! | inbox | [`MongoProcessedEvents`] |
//! | collections and indexes | [`MongoMigrator`] |
//!
//! The outbox is the [`OutboxWriter`](relaybox_core::OutboxWriter) of [`MongoTx`], the
//! [`OutboxStore`](relaybox_core::OutboxStore) of the relay, the
//! [`DeadLetterStore`](relaybox_core::DeadLetterStore) and [`ArchiveStore`](relaybox_core::ArchiveStore) of
//! the operator and the [`SchemaStore`](relaybox_core::SchemaStore) of codecs; the inbox is the
//! [`ProcessedEventStore`](relaybox_core::ProcessedEventStore) of a consumer. All take a `mongodb::Database`
//! and are cheap to clone. No collections are made unasked: run the migrator.
//!
//! ```no_run
//! use mongodb::{Client, bson::{Document, doc}};
//! use relaybox_core::{CancellationToken, DomainEvent, Outbox, Relay, memory::MemoryBus};
//! use relaybox_mongo::{Collections, MongoMigrator, MongoOutbox};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, DomainEvent)]
//! #[event(aggregate = "session", name = "session.created", version = 1)]
//! struct SessionCreated { #[event(aggregate_id)] session_id: u64, user_id: u64 }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::with_uri_str("mongodb://localhost:27017/?replicaSet=rs0").await?;
//! let database = client.database("sessions");
//! MongoMigrator::new(database.clone(), Collections::default()).run().await?;
//! let store = MongoOutbox::new(database.clone());
//! let outbox = Outbox::new(store.clone());
//! let sessions = database.collection::<Document>("sessions");
//!
//! let (sessions, outbox) = (&sessions, &outbox);
//! store
//!     .transactions()
//!     .run(|mut tx| async move {
//!         let inserted = sessions.insert_one(doc! { "_id": 7_i64 }).session(&mut *tx).await;
//!         tx.checked(inserted)?;
//!         outbox.enqueue(&mut tx, &SessionCreated { session_id: 7, user_id: 1 }).await?;
//!         Ok::<_, relaybox_core::Error>((tx, ()))
//!     })
//!     .await?;
//!
//! let bus = MemoryBus::new(); // or KafkaBus, RabbitBus
//! Relay::builder(store, bus).build().run(CancellationToken::new()).await?;
//! # Ok(()) }
//! ```
//!
//! # What it needs
//! MongoDB 5.0 or later, as a replica set (one member will do) or a sharded cluster; a standalone server has no
//! transactions and is refused, with what to do about it. Collections of one outbox are in one database. The
//! client's concerns don't matter: reads are the majority's, on the primary, and writes go to a majority.
//!
//! # Order
//! An event's position is an empty BSON timestamp in the document that is inserted: the server fills it in
//! with its cluster time, which it counts one further for it. So positions are the server's, never a
//! client's clock's; no two that a server gave are the same; and in one insert of many they grow in the order
//! of the events. What is left out on purpose is a counter document: every writer would wait for every other
//! one.
//!
//! The server does this at the statement, not at the commit. Events of *different* aggregates may therefore be
//! committed in another order than their positions', which nobody can tell. Those of *one* aggregate are in the
//! order of their commits, provided that its writers change the aggregate's own document in the same
//! transaction, as they do anyway:
//!
//! - Of two transactions that change the same document, the later one commits only if its snapshot was taken
//!   after the earlier one's commit; else it has a write conflict. This is so wherever in the transaction the
//!   document is changed, before the events are enqueued or after.
//! - All its statements come after its snapshot, and the cluster time never falls: the positions that it is given
//!   are higher than the earlier one's commit, and so than the earlier one's positions. After a failover this
//!   still holds, for the new primary has the commit, and goes on from its time.
//!
//! The reader remembers no position: it gives what is in the collection and not in flight, lowest first. So an event that is committed late is late and never lost; nor is one whose position was made by
//! hand.
//!
//! # Time
//! The lease goes by the server's clock (`$$NOW`), so relays' clocks don't matter. In a sharded cluster `$$NOW` is
//! the clock of the router (`mongos`): keep those within a fraction of the lease's ttl of one another. Whatever
//! clocks do, a relay that lost the lease changes nothing: each settlement writes to the lease's document, and so
//! conflicts with a takeover. Ages (of the oldest event, of marks and dead letters) are the cluster time's, in
//! whole seconds.
//!
//! # A process that is killed
//! leaves its transaction open on the server, with the locks of what it wrote, until the server ends it after its
//! `transactionLifetimeLimitSeconds` (60 s by default; it looks twice in that time, so it may take half as long again). Whoever writes to the same documents conflicts with it
//! meanwhile: marks of the same events wait, and a relay that took over publishes what the dead one was settling
//! once more but settles it only then. A takeover itself waits only if the dead one was committing. Set the
//! parameter to a few seconds, above your longest handler: `db.adminCommand({setParameter: 1,
//! transactionLifetimeLimitSeconds: 10})`.
//!
//! # Users and rights
//! A service needs `find`, `insert` on `outbox_events` (and, as a consumer, `find`, `insert`, `update`, `remove` on
//! `processed_events`, `given_up_events` and `consumer_starts`); the relay `find`, `insert`, `update`, `remove`,
//! `listIndexes` on all `outbox_…` collections, and `changeStream` for
//! [`wake_on_commit`](MongoOutbox::wake_on_commit). The role `readWrite` on the database has all of them, and what
//! the migrator needs.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod deployment;
mod document;
mod error;
mod in_flight;
mod inbox;
mod migrator;
mod names;
mod outbox;
mod position;
mod purge;
#[cfg(test)]
mod tests;
mod transactions;
mod tx;
mod unit;

pub use self::{
    inbox::MongoProcessedEvents,
    migrator::MongoMigrator,
    names::{CollectionName, Collections},
    outbox::MongoOutbox,
    transactions::MongoTransactions,
    tx::MongoTx,
};
