//! A consumer: a handler's effect, and the mark that keeps it from happening twice, in one
//! transaction.
//!
//! `cargo run --example consumer`: SQLite, and a Kafka cluster inside this process.

use std::{error::Error, time::Duration};

use relaybox::{
    CancellationToken, Consumer, ConsumerName, DomainEvent, Envelope, EventBus, EventHandler,
    HandlerError, Outbox, Record, TopicName, async_trait,
    kafka::{EmbeddedCluster, KafkaBus, KafkaConfig, KafkaSource},
    sqlite::{SqliteMigrator, SqliteOutbox, SqliteProcessedEvents, Tables},
};
use serde::{Deserialize, Serialize};
use sqlx::{
    Sqlite, Transaction,
    sqlite::{SqliteConnectOptions, SqlitePool},
};

#[derive(Debug, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "account", name = "account.credited", version = 1)]
struct AccountCredited {
    #[event(aggregate_id)]
    account: String,
    cents: i64,
}

/// Adds to the balance: doing that twice would be wrong.
struct AddToBalance;

#[async_trait]
impl EventHandler<AccountCredited, Transaction<'static, Sqlite>> for AddToBalance {
    async fn handle(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        event: &AccountCredited,
        _envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        sqlx::query(
            "INSERT INTO balances (account, cents) VALUES ($1, $2) \
             ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents",
        )
        .bind(&event.account)
        .bind(event.cents)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("balances.sqlite"))
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await?;
    SqliteMigrator::new(pool.clone(), Tables::default()).run().await?;
    sqlx::query("CREATE TABLE balances (account TEXT PRIMARY KEY, cents INTEGER NOT NULL)")
        .execute(&pool)
        .await?;

    let cluster = EmbeddedCluster::start(1)?;
    let topic = TopicName::new("account-events.v1")?;
    cluster.create_topic(&topic, 3)?;
    let config = KafkaConfig::new(cluster.brokers());

    let source =
        KafkaSource::new(config.clone(), ConsumerName::new("balances")?, vec![topic.clone()])?;
    let consumer = Consumer::builder("balances", source, SqliteProcessedEvents::new(pool.clone()))
        .on::<AccountCredited, _>(AddToBalance)
        .build()?;
    let shutdown = CancellationToken::new();
    let consumer = tokio::spawn(consumer.run(shutdown.clone()));

    // Another service's relay publishes two events, crashes before it settles, and publishes them
    // again. (Here the bus is called directly; see `outbox_sqlite` for the sending side.)
    let outbox = Outbox::new(SqliteOutbox::new(pool.clone()));
    let credit = |cents| outbox.envelope(&AccountCredited { account: "ada".to_owned(), cents });
    let (first, second, third) = (credit(500)?, credit(250)?, credit(1)?);
    let events = [&first, &second, &first, &second, &third];
    let records = events.map(|event| Record::new(topic.clone(), event.clone()));
    for result in KafkaBus::new(config)?.publish(records.to_vec()).await {
        result?;
    }

    // They have one key, so the third is handled last. Had a repeat counted, this would never be.
    tokio::time::timeout(Duration::from_secs(30), async {
        while balance(&pool).await? != Some(751) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, sqlx::Error>(())
    })
    .await??;
    shutdown.cancel(); // it commits its offsets before it ends
    consumer.await??;
    let balance = balance(&pool).await?;
    println!("five deliveries of three events, and a balance of {balance:?} cents");
    assert_eq!(balance, Some(751), "each event counts once");
    Ok(())
}

async fn balance(pool: &SqlitePool) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT cents FROM balances WHERE account = 'ada'")
        .fetch_optional(pool)
        .await
}
