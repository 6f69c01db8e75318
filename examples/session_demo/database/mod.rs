//! The database: Postgres, SQLite or MongoDB, each run with tables of its own.
//!
//! A service has one database and needs no trait for it; this example runs on three.

mod error;
pub(crate) mod mongo;
mod postgres;
mod sqlite;

use relaybox::{OutboxStore, OutboxWriter, ProcessedEventStore, SchemaStore, async_trait};

pub(crate) use self::{
    error::{DatabaseError, Result},
    mongo::MongoDatabase,
    postgres::PostgresDatabase,
    sqlite::SqliteDatabase,
};

/// A connection pool, and what relaybox keeps in that database.
#[async_trait]
pub(crate) trait Database: Clone + Send + Sync + 'static {
    /// The transaction of the service and of its handlers.
    type Tx: Send + 'static;
    type Outbox: OutboxStore + OutboxWriter<Self::Tx> + SchemaStore;
    type Inbox: ProcessedEventStore<Tx = Self::Tx>;

    fn outbox(&self) -> Self::Outbox;

    fn inbox(&self) -> Self::Inbox;

    async fn begin(&self) -> Result<Self::Tx>;

    async fn commit(tx: Self::Tx) -> Result<()>;

    /// Whether it answers.
    async fn ping(&self) -> Result<()>;
}
