#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use relaybox_core::*;

/// PostgreSQL: outbox, inbox and migrations.
///
/// What is not in a transaction must not be enqueued, and so does not compile. With a transaction:
///
/// ```no_run
/// # use relaybox::{DomainEvent, Outbox, postgres::PgOutbox};
/// # #[derive(serde::Serialize, DomainEvent)]
/// # #[event(aggregate = "user", name = "user.registered")]
/// # struct Registered { #[event(aggregate_id)] id: u64 }
/// # async fn example(pool: sqlx::PgPool, outbox: Outbox<PgOutbox>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = pool.begin().await?;
/// outbox.enqueue(&mut tx, &Registered { id: 1 }).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
///
/// The same with a bare connection:
///
/// ```compile_fail
/// # use relaybox::{DomainEvent, Outbox, postgres::PgOutbox};
/// # #[derive(serde::Serialize, DomainEvent)]
/// # #[event(aggregate = "user", name = "user.registered")]
/// # struct Registered { #[event(aggregate_id)] id: u64 }
/// # async fn example(pool: sqlx::PgPool, outbox: Outbox<PgOutbox>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut connection = pool.acquire().await?;
/// outbox.enqueue(&mut connection, &Registered { id: 1 }).await?;
/// # Ok(()) }
/// ```
///
/// And with a pool:
///
/// ```compile_fail
/// # use relaybox::{DomainEvent, Outbox, postgres::PgOutbox};
/// # #[derive(serde::Serialize, DomainEvent)]
/// # #[event(aggregate = "user", name = "user.registered")]
/// # struct Registered { #[event(aggregate_id)] id: u64 }
/// # async fn example(mut pool: sqlx::PgPool, outbox: Outbox<PgOutbox>) -> Result<(), Box<dyn std::error::Error>> {
/// outbox.enqueue(&mut pool, &Registered { id: 1 }).await?;
/// # Ok(()) }
/// ```
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod postgres {
    pub use relaybox_sqlx::{PgMigrator, PgOutbox, PgProcessedEvents, TableName, Tables};
}

/// SQLite: outbox, inbox and migrations.
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub mod sqlite {
    pub use relaybox_sqlx::{
        SqliteMigrator, SqliteOutbox, SqliteProcessedEvents, TableName, Tables,
    };
}

/// Kafka: bus, source, topic admin, and an embedded cluster for tests and demos.
#[cfg(feature = "kafka")]
#[cfg_attr(docsrs, doc(cfg(feature = "kafka")))]
pub mod kafka {
    #[doc(inline)]
    pub use relaybox_kafka::*;
}

/// RabbitMQ: bus, source, topology and redrive.
#[cfg(feature = "rabbitmq")]
#[cfg_attr(docsrs, doc(cfg(feature = "rabbitmq")))]
pub mod rabbitmq {
    #[doc(inline)]
    pub use relaybox_rabbitmq::*;
}

/// MongoDB: transactions, outbox and inbox.
#[cfg(feature = "mongodb")]
#[cfg_attr(docsrs, doc(cfg(feature = "mongodb")))]
pub mod mongodb {
    #[doc(inline)]
    pub use relaybox_mongo::*;
}

/// Avro payloads; with the feature `registry`, governed by a schema registry.
#[cfg(feature = "avro")]
#[cfg_attr(docsrs, doc(cfg(feature = "avro")))]
pub mod avro {
    #[doc(inline)]
    pub use relaybox_avro::*;
}

/// What most services import.
pub mod prelude {
    pub use relaybox_core::{
        AtLeastOnceHandler, CancellationToken, Consumer, DomainEvent, Envelope, EventContext,
        EventHandler, HandlerError, IdempotencyKey, Outbox, PermanentExt, Relay, RetryPolicy,
        TopicMap, async_trait,
    };

    #[cfg(feature = "kafka")]
    pub use crate::kafka::{KafkaBus, KafkaConfig, KafkaSource};
    #[cfg(feature = "postgres")]
    pub use crate::postgres::{PgOutbox, PgProcessedEvents};
    #[cfg(feature = "rabbitmq")]
    pub use crate::rabbitmq::{RabbitBus, RabbitConfig, RabbitQueue, RabbitSource, RabbitTopology};
    #[cfg(feature = "sqlite")]
    pub use crate::sqlite::{SqliteOutbox, SqliteProcessedEvents};
}
