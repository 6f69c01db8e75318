//! Postgres (fsync on) to Kafka (12 partitions, acks=all).

use std::{str::FromStr, time::Instant};

use relaybox::{
    AggregateType, CancellationToken, OutboxStore, Relay, TopicMap, TopicName,
    kafka::{KafkaAdmin, KafkaBus, KafkaConfig, TopicSpec},
    postgres::{PgMigrator, PgOutbox, Tables},
};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::{Options, Row, bare, report::median};

const PAYLOAD: usize = 1024;
const PARTITIONS: i32 = 12;

pub(crate) async fn drain(options: &Options, server: &str, brokers: &str) {
    let events = options.events.unwrap_or(300_000);
    let name = format!("relaybox_bench_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(server).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut admin)
        .await
        .unwrap();
    let connect = PgConnectOptions::from_str(server).unwrap().database(&name);
    let pool = PgPoolOptions::new().max_connections(4).connect_with(connect).await.unwrap();
    PgMigrator::new(pool.clone(), Tables::default()).run().await.unwrap();

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        fill(&pool, events).await;
        let topic = topic(brokers).await;
        bare.push(rate(events, bare::drain(&pool, brokers, topic.as_str(), events).await));
        let topic = self::topic(brokers).await;
        ours.push(rate(events, relay(&pool, brokers, topic).await));
    }
    pool.close().await;
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::query(AssertSqlSafe(drop)).execute(&mut admin).await.unwrap();

    let (events_per_s, bare_events_per_s) = (median(ours), median(bare));
    options.print(&Row {
        bench: "drain",
        store: "postgres",
        bus: "kafka",
        events,
        payload_bytes: PAYLOAD,
        events_per_s,
        bare_events_per_s,
        ratio: events_per_s / bare_events_per_s,
    });
}

async fn fill(pool: &PgPool, events: u64) {
    sqlx::query("TRUNCATE outbox_events").execute(pool).await.unwrap();
    sqlx::query(
        "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_name, event_version, occurred_at, \
         content_type, source, correlation_id, payload) \
         SELECT gen_random_uuid(), 'thing', 't' || n % 10000, 'thing.changed', 1, now(), 'application/json', 'bench', \
         n::text, decode(repeat(md5(n::text), $2 / 16), 'hex') FROM generate_series(1, $1) AS n",
    )
    .bind(i64::try_from(events).unwrap())
    .bind(i32::try_from(PAYLOAD).unwrap())
    .execute(pool)
    .await
    .unwrap();
    sqlx::query("VACUUM ANALYZE outbox_events").execute(pool).await.unwrap();
    sqlx::query("CHECKPOINT").execute(pool).await.unwrap();
}

async fn topic(brokers: &str) -> TopicName {
    let topic = TopicName::new(format!("bench-{}", Uuid::new_v4().simple())).unwrap();
    let spec = TopicSpec::new(topic.clone(), PARTITIONS, 1);
    KafkaAdmin::new(KafkaConfig::new(brokers)).unwrap().ensure_topics(&[spec]).await.unwrap();
    topic
}

async fn relay(pool: &PgPool, brokers: &str, topic: TopicName) -> f64 {
    let store = PgOutbox::new(pool.clone());
    let bus = KafkaBus::new(KafkaConfig::new(brokers)).unwrap();
    let topics = TopicMap::new().route(AggregateType::new("thing").unwrap(), topic);
    let shutdown = CancellationToken::new();
    let since = Instant::now();
    let relay = Relay::builder(store.clone(), bus).topics(topics).build();
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    while waits(pool).await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let took = since.elapsed().as_secs_f64();
    shutdown.cancel();
    relay.await.unwrap().unwrap();
    assert_eq!(store.stats().await.unwrap().dead_letters, 0);
    took
}

async fn waits(pool: &PgPool) -> bool {
    let last = "SELECT EXISTS (SELECT 1 FROM outbox_events ORDER BY seq DESC LIMIT 1)";
    sqlx::query_scalar(last).fetch_one(pool).await.unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds
}
