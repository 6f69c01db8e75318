//! 3. A handler's effect happens exactly once per (consumer, event id), whatever is redelivered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use relaybox::{
    Consumer, ConsumerBuilder, ConsumerName, Envelope, EventHandler, HandlerError, async_trait,
    kafka::KafkaSource, postgres::PgProcessedEvents,
};
use relaybox_tests::{Changed, Database, Topic, servers, until};
use sqlx::{Postgres, Transaction};

use crate::{Running, drained, quick, relay};

/// Writes an effect row; fails so many times first, after having written it.
#[derive(Clone, Default)]
pub(crate) struct WriteEffect {
    failures: Arc<AtomicU32>,
    slow: bool,
}

impl WriteEffect {
    pub(crate) fn failing(failures: Arc<AtomicU32>) -> Self {
        Self { failures, slow: false }
    }
}

#[async_trait]
impl EventHandler<Changed, Transaction<'static, Postgres>> for WriteEffect {
    async fn handle(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        event: &Changed,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        sqlx::query("INSERT INTO effects (event_id, id, n) VALUES ($1, $2, $3)")
            .bind(envelope.event_id.as_uuid())
            .bind(&event.id)
            .bind(event.n)
            .execute(&mut **tx)
            .await?;
        if self.slow {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let one_less = |left: u32| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(HandlerError::retryable("told to fail"));
        }
        Ok(())
    }
}

pub(crate) fn consumer(
    database: &Database,
    topic: &Topic,
    group: &str,
    handler: WriteEffect,
) -> Consumer<KafkaSource, PgProcessedEvents> {
    builder(database, topic, group, handler).build().unwrap()
}

pub(crate) fn builder(
    database: &Database,
    topic: &Topic,
    group: &str,
    handler: WriteEffect,
) -> ConsumerBuilder<KafkaSource, PgProcessedEvents> {
    let group = ConsumerName::new(format!("{group}-{}", topic.name)).unwrap();
    let source = KafkaSource::new(topic.config(), group, vec![topic.name.clone()]).unwrap();
    Consumer::builder("effects", source, database.inbox()).retry(quick()).on::<Changed, _>(handler)
}

async fn effects(database: &Database) -> i64 {
    database.number("SELECT count(*) FROM effects").await
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_concurrent_deliveries_of_one_event_make_one_effect() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    // Eight groups, so the broker delivers everything eight times at once; one consumer name, so it
    // is one and the same consumer that handles it.
    let consumers: Vec<_> = (0..8)
        .map(|n| {
            let handler = WriteEffect { slow: true, ..WriteEffect::default() };
            let consumer = consumer(&database, &topic, &format!("g{n}"), handler);
            Running::start(|shutdown| consumer.run(shutdown))
        })
        .collect();
    let relay = Running::relay(relay(&database, &topic));
    for n in 0..20 {
        database.change(&format!("t{}", n % 3)).await;
    }
    drained(&database).await;
    until("twenty effects", async || effects(&database).await == 20).await;
    // Every group has read to the end once its members have nothing left to acknowledge.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for consumer in consumers {
        consumer.stop().await;
    }
    relay.stop().await;
    assert_eq!(effects(&database).await, 20);
    assert_eq!(database.number("SELECT count(DISTINCT event_id) FROM effects").await, 20);
    assert_eq!(database.number("SELECT count(*) FROM processed_events").await, 20);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_handler_leaves_neither_effect_nor_mark() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let failures = Arc::new(AtomicU32::new(u32::MAX));
    let handler = WriteEffect { failures: Arc::clone(&failures), ..WriteEffect::default() };
    let relay = Running::relay(relay(&database, &topic));
    database.change("doomed").await;
    drained(&database).await;
    let first = consumer(&database, &topic, "g", handler.clone());
    let first = Running::start(|shutdown| first.run(shutdown));
    // Five attempts, then the dead-letter topic.
    until("the dead letter", async || {
        database
            .number("SELECT count(*) FROM given_up_events WHERE progress = 'dead_lettered'")
            .await
            == 1
    })
    .await;
    assert_eq!(u32::MAX - failures.load(Ordering::SeqCst), 5);
    assert_eq!(effects(&database).await, 0);
    assert_eq!(database.number("SELECT count(*) FROM processed_events").await, 0);

    failures.store(2, Ordering::SeqCst);
    database.change("saved").await;
    until("the effect", async || effects(&database).await == 1).await;
    first.stop().await;
    relay.stop().await;
    assert_eq!(failures.load(Ordering::SeqCst), 0);
    assert_eq!(effects(&database).await, 1);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_dropped_in_the_middle_makes_no_effect_twice() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let relay = Running::relay(relay(&database, &topic));
    for n in 0..200 {
        database.change(&format!("t{}", n % 7)).await;
    }
    for round in 1..5 {
        let handler = WriteEffect { slow: true, ..WriteEffect::default() };
        let consumer = consumer(&database, &topic, "g", handler);
        let running = Running::start(|shutdown| consumer.run(shutdown));
        until("some effects", async || effects(&database).await >= round * 20).await;
        running.abort().await;
    }
    let last = consumer(&database, &topic, "g", WriteEffect::default());
    let last = Running::start(|shutdown| last.run(shutdown));
    until("all effects", async || effects(&database).await >= 200).await;
    last.stop().await;
    relay.stop().await;
    assert_eq!(effects(&database).await, 200);
    assert_eq!(database.number("SELECT count(DISTINCT event_id) FROM effects").await, 200);
    let inversions = "SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY id ORDER BY at) AS before FROM effects) AS pairs WHERE n <> coalesce(before, 0) + 1";
    assert_eq!(database.number(inversions).await, 0);
    database.drop().await;
}
