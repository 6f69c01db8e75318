//! What is taken away from a relay for a while, a topic, a right, a rate: order exact, nothing lost.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use relaybox::{
    AggregateType, DomainEvent, ErrorKind, OutboxStore, Relay, RelayBuilder, TopicMap,
    kafka::{KafkaBus, KafkaConfig, Sasl, Secret},
    postgres::PgOutbox,
};
use relaybox_tests::{
    Database, Running, Topic, Writers, allow_write, deny_write, lift_limit, limit_bytes, per_key,
    quick, server, servers, share, until,
};
use serde::Serialize;

use crate::drained;

/// An event of another kind of aggregate, with a topic of its own.
#[derive(Serialize, DomainEvent)]
#[event(aggregate = "note", name = "note.taken")]
struct Noted {
    #[event(aggregate_id)]
    id: String,
    n: i64,
}

/// Two topics, the errors of their relay, and who writes things to the one and notes to the other.
struct TwoTopics {
    database: Database,
    things: Topic,
    notes: Topic,
    errors: Arc<Mutex<Vec<ErrorKind>>>,
    written: i64,
}

impl TwoTopics {
    async fn create(postgres: &str, kafka: &str) -> Self {
        Self {
            database: Database::create(postgres).await,
            things: Topic::create(kafka, &[]).await,
            notes: Topic::create(kafka, &[]).await,
            errors: Arc::default(),
            written: 0,
        }
    }

    fn relay(&self, config: KafkaConfig) -> RelayBuilder<PgOutbox, KafkaBus> {
        let errors = Arc::clone(&self.errors);
        let topics = TopicMap::new()
            .route(AggregateType::new("thing").unwrap(), self.things.name.clone())
            .route(AggregateType::new("note").unwrap(), self.notes.name.clone());
        Relay::builder(self.database.store(), KafkaBus::new(config).unwrap())
            .topics(topics)
            .lease_ttl(Duration::from_secs(10))
            .retry(quick())
            .on_error(move |notice| errors.lock().unwrap().push(notice.error.kind()))
    }

    /// Changes three things and takes three notes, so many times, each in a transaction.
    async fn write(&mut self, times: i64) {
        for n in self.written + 1..=self.written + times {
            for key in ["a", "b", "c"] {
                let id = key.to_owned();
                self.database.change(&id).await;
                let mut tx = self.database.pool.begin().await.unwrap();
                self.database.outbox().enqueue(&mut tx, &Noted { id, n }).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
        self.written += times;
    }

    async fn waiting(&self, aggregate_type: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox_events WHERE aggregate_type = $1")
            .bind(aggregate_type)
            .fetch_one(&self.database.pool)
            .await
            .unwrap()
    }

    /// While the topic of things is away: notes go on, things wait, and somebody is told.
    async fn only_notes_go_on(&mut self) {
        let things = self.waiting("thing").await;
        self.notes_go_on(20).await;
        assert_eq!(self.waiting("thing").await, things + 120);
    }

    /// While the topic of things is away: somebody is told, before and after which notes go on.
    async fn notes_go_on(&mut self, times: i64) {
        self.errors.lock().unwrap().clear();
        self.write(times).await;
        until("somebody is told", async || {
            self.errors.lock().unwrap().contains(&ErrorKind::TopicUnavailable)
        })
        .await;
        until("the notes go on", async || self.waiting("note").await == 0).await;
        self.write(times).await;
        until("the notes still go on", async || self.waiting("note").await == 0).await;
        self.assert_nobody_blamed().await;
    }

    async fn assert_nobody_blamed(&self) {
        let stats = self.database.store().stats().await.unwrap();
        assert_eq!((stats.dead_letters, stats.parked), (0, 0), "no event is at fault");
    }

    /// Waits until all that was written by now is published and settled.
    async fn caught_up(&self) {
        let pool = &self.database.pool;
        let last = "SELECT coalesce(max(seq), 0) FROM outbox_events";
        let last = self.database.number(last).await;
        until("it has caught up", async || {
            let waits = "SELECT EXISTS (SELECT 1 FROM outbox_events WHERE seq <= $1)";
            !sqlx::query_scalar::<_, bool>(waits).bind(last).fetch_one(pool).await.unwrap()
        })
        .await;
    }

    async fn assert_notes(&self) {
        let notes = per_key(&self.notes.envelopes().await);
        for key in ["a", "b", "c"] {
            assert_eq!(notes[key], (1..=self.written).collect::<Vec<_>>(), "{key}");
        }
    }

    /// At the end: every note and every thing's change is on its topic, in order, and no event was given up on.
    async fn assert_whole(self) {
        self.assert_nobody_blamed().await;
        self.assert_notes().await;
        self.database.assert_published(&self.things.envelopes().await).await;
        self.database.drop().await;
    }
}

/// A user whose rights can be taken away, and how to be it.
fn guest() -> Option<(String, KafkaConfig)> {
    let guest = server("RELAYBOX_KAFKA_GUEST")?;
    let password = Secret::new(server("RELAYBOX_KAFKA_PASSWORD")?);
    let config = KafkaConfig::new(server("RELAYBOX_KAFKA_SASL_BROKERS")?);
    let config = config.sasl(Sasl::plain(&guest, password));
    Some((guest, config))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_quota_is_slowed_down_and_loses_nothing() {
    let Some((postgres, kafka)) = servers() else { return };
    let mut two = TwoTopics::create(&postgres, &kafka).await;
    let client = two.things.name.as_str().to_owned();
    // 240 events of some 400 bytes, which the broker's burst of ten seconds doesn't cover.
    limit_bytes(&kafka, &client, 5_000).await;
    let config = two.things.config().client_id(client.as_str());
    let config = config.set("compression.type", "none").unwrap();
    let relay = Running::relay(two.relay(config).batch(20));
    let since = Instant::now();
    two.write(40).await;
    drained(&two.database).await;
    let limited = since.elapsed();
    lift_limit(&kafka, &client).await;
    two.write(40).await;
    drained(&two.database).await;
    relay.stop().await;
    println!("240 events within the quota took {limited:?}");
    assert!(limited > Duration::from_secs(3), "the broker held nothing back: {limited:?}");
    two.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_taken_away_holds_back_its_own_events_until_it_is_given_back() {
    let Some((postgres, kafka)) = servers() else { return };
    let mut two = TwoTopics::create(&postgres, &kafka).await;
    let relay = Running::relay(two.relay(two.things.config()));
    two.write(20).await;
    drained(&two.database).await;
    let mut envelopes = two.things.envelopes().await;

    two.things.delete().await;
    two.only_notes_go_on().await;
    two.things.make(&[]).await;
    two.write(20).await;
    drained(&two.database).await;
    relay.stop().await;
    two.assert_notes().await;
    envelopes.extend(two.things.envelopes().await);
    two.database.assert_published(&envelopes).await;
    two.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_holds_back_the_events_of_its_topic_until_it_is_given_back() {
    let Some((postgres, kafka)) = servers() else { return };
    let Some((guest, config)) = guest() else { return };
    let mut two = TwoTopics::create(&postgres, &kafka).await;
    let relay = Running::relay(two.relay(config));
    two.write(20).await;
    drained(&two.database).await;
    for _ in 0..2 {
        deny_write(&kafka, &guest, &two.things.name).await;
        two.only_notes_go_on().await;
        allow_write(&kafka, &guest, &two.things.name).await;
        two.write(20).await;
        drained(&two.database).await;
    }
    relay.stop().await;
    two.assert_whole().await;
}

/// Records of both topics are on their way whenever it is taken away or given back.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_comes_and_goes_under_load_loses_nothing_and_keeps_the_order() {
    let Some((postgres, kafka)) = servers() else { return };
    let Some((guest, config)) = guest() else { return };
    let mut two = TwoTopics::create(&postgres, &kafka).await;
    let relay = Running::relay(two.relay(config).batch(20));
    let writers = Writers::start(&two.database.pool, 4, Duration::from_millis(1));
    for _ in 0..share(20) {
        two.write(5).await;
        deny_write(&kafka, &guest, &two.things.name).await;
        two.notes_go_on(5).await;
        allow_write(&kafka, &guest, &two.things.name).await;
        two.caught_up().await;
    }
    writers.stop().await;
    drained(&two.database).await;
    relay.stop().await;
    two.assert_whole().await;
}
