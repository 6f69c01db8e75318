//! Postgres and SQLite for relaybox, on [sqlx](https://docs.rs/sqlx).
//!
//! | | Postgres (feature `postgres`) | SQLite (feature `sqlite`) |
//! |---|---|---|
//! | outbox | `PgOutbox` | `SqliteOutbox` |
//! | inbox | `PgProcessedEvents` | `SqliteProcessedEvents` |
//! | migrations | `PgMigrator` | `SqliteMigrator` |
//!
//! An outbox is the [`OutboxWriter`](relaybox_core::OutboxWriter) of sqlx's transactions, the
//! [`OutboxStore`](relaybox_core::OutboxStore) of the relay, and the
//! [`DeadLetterStore`](relaybox_core::DeadLetterStore) and
//! [`ArchiveStore`](relaybox_core::ArchiveStore) of the operator; an inbox is the
//! [`ProcessedEventStore`](relaybox_core::ProcessedEventStore) of a consumer. All take your pool, and
//! all are cheap to clone. No tables are created unasked: run the migrator, or the script that it prints.
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
//! use relaybox_core::{DomainEvent, Outbox, OutboxStore, ReadRequest};
//! use relaybox_sqlx::{SqliteMigrator, SqliteOutbox, Tables};
//! use serde::{Deserialize, Serialize};
//! use sqlx::sqlite::SqlitePoolOptions;
//!
//! #[derive(Serialize, Deserialize, DomainEvent)]
//! #[event(aggregate = "session", name = "session.created", version = 1)]
//! struct SessionCreated { #[event(aggregate_id)] session_id: u64, user_id: u64 }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In memory, every connection would have a database of its own.
//! let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
//! SqliteMigrator::new(pool.clone(), Tables::default()).run().await?;
//! let store = SqliteOutbox::new(pool.clone());
//! let outbox = Outbox::new(store.clone());
//! sqlx::query("CREATE TABLE sessions (id integer)").execute(&pool).await?;
//!
//! let mut tx = pool.begin().await?;
//! sqlx::query("INSERT INTO sessions VALUES (7)").execute(&mut *tx).await?;
//! let id = outbox.enqueue(&mut tx, &SessionCreated { session_id: 7, user_id: 1 }).await?;
//! tx.commit().await?;
//!
//! // What a relay would publish now.
//! let rows = store.reader().await?.read(&ReadRequest::new(10)).await?;
//! assert_eq!(rows[0].event.event_id, id);
//! # Ok(()) }
//! ```
//!
//! # Pools
//! - The relay needs three connections at most (to settle, renew and measure), a consumer one for each
//!   partition that it handles at once. Give them a pool of their own if the service's is small. The
//!   relay's reader takes a fourth one out of a Postgres pool, and keeps it.
//! - `test_before_acquire(false)` saves a round trip on every call: a connection that was closed is told
//!   from other errors, and the call is tried again anyway. But a half-open connection, whose server
//!   went without a word, is then found only by timeouts.
//! - A pooler in transaction mode (PgBouncer) works from version 1.21 with prepared statements; before
//!   that, set `statement_cache_capacity(0)`.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod error;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod in_flight;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod lease;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod marks;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migrate;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod row;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod runs;
mod schemas;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tables;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod template;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[cfg(test)]
mod tests;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod time;

pub use self::tables::{TableName, Tables};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::{
    migrate::PgMigrator,
    postgres::{PgOutbox, PgProcessedEvents},
};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use self::{
    migrate::SqliteMigrator,
    sqlite::{SqliteOutbox, SqliteProcessedEvents},
};
