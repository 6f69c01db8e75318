//! What a broker refuses, for a record's own sake or for its topic's: order exact, nothing lost.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use relaybox::{
    AggregateType, CancellationToken, DeadLetterQuery, DeadLetterStore, DomainEvent, ErrorKind,
    EventId, OnDeadLetter, OutboxStats, OutboxStore, Relay, RelayBuilder, TopicMap,
    kafka::{KafkaBus, KafkaConfig, Sasl, Secret},
    postgres::PgOutbox,
};
use relaybox_tests::{
    Database, Running, Topic, allow_write, deny_write, lift_limit, limit_bytes, per_key, quick,
    server, servers, until,
};
use serde::Serialize;

use crate::{
    drained,
    poison::{Bulky, noise},
    relay,
};

/// An event of another kind of aggregate, with a topic of its own.
#[derive(Serialize, DomainEvent)]
#[event(aggregate = "note", name = "note.taken")]
struct Noted {
    #[event(aggregate_id)]
    id: String,
    n: i64,
}

async fn stats(database: &Database) -> OutboxStats {
    database.store().stats().await.unwrap()
}

/// The numbers that a key must have.
fn up_to(last: i64) -> Vec<i64> {
    (1..=last).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_full_pipeline_only_the_records_that_are_too_large_are_given_up_on() {
    let Some((postgres, kafka)) = servers() else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::create(&kafka, &[("max.message.bytes", "20000")]).await;
    let (things, each) = (20, 200);
    let is_too_large = |thing, n| matches!((thing, n), (3, 70) | (11, 71) | (12, 150));
    let mut tx = database.pool.begin().await.unwrap();
    for n in 1..=each {
        let events: Vec<_> = (0..things)
            .map(|thing| Bulky {
                id: format!("t{thing}"),
                n,
                bulk: noise(if is_too_large(thing, n) { 60_000 } else { 200 }),
            })
            .collect();
        database.outbox().enqueue_all(&mut tx, &events).await.unwrap();
    }
    tx.commit().await.unwrap();

    // Ten batches at once: what is too large has innocent neighbours before it, behind it, beside it.
    let given_up: Arc<Mutex<Vec<_>>> = Arc::default();
    let seen = Arc::clone(&given_up);
    let relay =
        relay(&database, &topic).batch(40).max_in_flight(10).on_dead_letter(move |notice| {
            let (_, id) = notice.aggregate.unwrap();
            seen.lock().unwrap().push((id.to_string(), notice.kind));
        });
    let relay = Running::relay(relay);
    drained(&database).await;
    relay.stop().await;
    let published = per_key(&topic.envelopes().await);
    for (thing, last) in (0..things).map(|thing| match thing {
        3 => (thing, 69),
        11 => (thing, 70),
        12 => (thing, 149),
        _ => (thing, each),
    }) {
        assert_eq!(published[&format!("t{thing}")], up_to(last), "t{thing}");
    }
    let mut given_up = given_up.lock().unwrap().clone();
    given_up.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(given_up, ["t11", "t12", "t3"].map(|id| (id.to_owned(), ErrorKind::TooLarge)));
    let stats = stats(&database).await;
    assert_eq!((stats.dead_letters, stats.parked), (3, 130 + 129 + 50));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_choice_an_aggregate_goes_on_without_what_was_given_up_on() {
    let Some((postgres, kafka)) = servers() else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::create(&kafka, &[("max.message.bytes", "20000")]).await;
    let is_too_large = |n| matches!(n, 40 | 41 | 90);
    let relay = Running::relay(
        relay(&database, &topic).batch(25).max_in_flight(8).dead_letters(OnDeadLetter::Skip),
    );
    for n in 1..=150 {
        let mut tx = database.pool.begin().await.unwrap();
        for id in ["sick", "healthy"] {
            let bulk = noise(if id == "sick" && is_too_large(n) { 60_000 } else { 200 });
            let event = Bulky { id: id.to_owned(), n, bulk };
            database.outbox().enqueue(&mut tx, &event).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    drained(&database).await;
    let published = per_key(&topic.envelopes().await);
    assert_eq!(published["healthy"], up_to(150));
    let mut others = up_to(150);
    others.retain(|n| !is_too_large(*n));
    assert_eq!(published["sick"], others, "in order, past what was given up on");
    let given_up = stats(&database).await;
    assert_eq!((given_up.dead_letters, given_up.parked), (3, 0));

    // What is put back comes late: that was the choice.
    let (id, _) = poisoned(&database, 40).await.unwrap();
    mend(&database, id, 40).await;
    assert_eq!(database.store().redrive(&DeadLetterQuery::event(id)).await.unwrap(), 1);
    until("it is published", async || stats(&database).await.dead_letters < 3).await;
    relay.stop().await;
    others.push(40);
    assert_eq!(per_key(&topic.envelopes().await)["sick"], others);
    assert_eq!(stats(&database).await.dead_letters, 2);
    database.drop().await;
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
    let stats = stats(&two.database).await;
    assert_eq!((stats.dead_letters, stats.parked), (0, 0), "no event is at fault");
    two.assert_notes().await;
    two.database.assert_published(&two.things.envelopes().await).await;
    two.database.drop().await;
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
        self.errors.lock().unwrap().clear();
        let things = self.waiting("thing").await;
        self.write(20).await;
        until("somebody is told", async || {
            self.errors.lock().unwrap().contains(&ErrorKind::TopicUnavailable)
        })
        .await;
        until("the notes go on", async || self.waiting("note").await == 0).await;
        self.write(20).await;
        until("the notes still go on", async || self.waiting("note").await == 0).await;
        assert_eq!(self.waiting("thing").await, things + 120);
        let stats = stats(&self.database).await;
        assert_eq!((stats.dead_letters, stats.parked), (0, 0), "no event is at fault");
    }

    async fn assert_notes(&self) {
        let notes = per_key(&self.notes.envelopes().await);
        for key in ["a", "b", "c"] {
            assert_eq!(notes[key], up_to(self.written), "{key}");
        }
    }
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
    let Some(sasl) = server("RELAYBOX_KAFKA_SASL_BROKERS") else { return };
    let Some(guest) = server("RELAYBOX_KAFKA_GUEST") else { return };
    let Some(password) = server("RELAYBOX_KAFKA_PASSWORD") else { return };
    let mut two = TwoTopics::create(&postgres, &kafka).await;
    let config = KafkaConfig::new(sasl).sasl(Sasl::plain(&guest, Secret::new(password)));
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
    two.assert_notes().await;
    two.database.assert_published(&two.things.envelopes().await).await;
    two.database.drop().await;
}

/// A redrive takes its time, and so do the relay's deaths in the middle of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_while_new_events_of_the_aggregate_arrive_keeps_the_order() {
    let Some((postgres, kafka)) = servers() else { return };
    let database = Arc::new(Database::create(&postgres).await);
    let topic = Topic::create(&kafka, &[("max.message.bytes", "20000")]).await;
    let start = || Running::relay(relay(&database, &topic).batch(10));
    let mut running = start();
    let stop = CancellationToken::new();
    let writers: Vec<_> = ["sick", "healthy"]
        .map(|id| tokio::spawn(write_until(Arc::clone(&database), id, stop.clone())))
        .into();

    let state = |n: i64| {
        let database = Arc::clone(&database);
        async move {
            let row: Option<(EventId, String)> = poisoned(&database, n).await;
            row
        }
    };
    for poison in [20, 60, 61] {
        until("the record is given up on", async || {
            state(poison).await.is_some_and(|(_, state)| state == "dead")
        })
        .await;
        until("some wait behind it", async || stats(&database).await.parked > 30).await;
        let (id, _) = state(poison).await.unwrap();
        // Redriven as it is, it fails again, and nothing passes it.
        assert_eq!(database.store().redrive(&DeadLetterQuery::event(id)).await.unwrap(), 1);
        until("it has failed again", async || {
            let again = "SELECT count(*) FROM outbox_dead_letters WHERE attempts > 1 AND redrive_requested_at IS NULL";
            database.number(again).await == 1
        })
        .await;
        assert_eq!(per_key(&topic.envelopes().await)["sick"].last(), Some(&(poison - 1)));
        mend(&database, id, poison).await;
        assert_eq!(database.store().redrive(&DeadLetterQuery::event(id)).await.unwrap(), 1);
        // And the relay dies on the way.
        until("it is on its way", async || state(poison).await.is_none()).await;
        running.abort().await;
        running = start();
    }
    until("nothing is parked", async || {
        let stats = stats(&database).await;
        (stats.dead_letters, stats.parked) == (0, 0)
    })
    .await;
    stop.cancel();
    for writer in writers {
        writer.await.unwrap();
    }
    drained(&database).await;
    running.stop().await;
    let stats = stats(&database).await;
    assert_eq!((stats.dead_letters, stats.parked), (0, 0));
    database.assert_published(&topic.envelopes().await).await;
    Arc::into_inner(database).unwrap().drop().await;
}

/// Changes a thing again and again; some changes of the sick one are too large.
async fn write_until(database: Arc<Database>, id: &'static str, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut tx = database.pool.begin().await.unwrap();
        let n = Database::change_in(&mut tx, id).await.n;
        let too_large = id == "sick" && [20, 60, 61].contains(&n);
        let bulk = if too_large { noise(60_000) } else { String::new() };
        let event = Bulky { id: id.to_owned(), n, bulk };
        database.outbox().enqueue(&mut tx, &event).await.unwrap();
        tx.commit().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The dead letter of the sick thing's `n`th change, and its state.
async fn poisoned(database: &Database, n: i64) -> Option<(EventId, String)> {
    let row: Option<(uuid::Uuid, String)> = sqlx::query_as(
        "SELECT event_id, state FROM outbox_dead_letters
         WHERE (convert_from(payload, 'UTF8')::json ->> 'n')::bigint = $1",
    )
    .bind(n)
    .fetch_optional(&database.pool)
    .await
    .unwrap();
    row.map(|(id, state)| (EventId::from_uuid(id), state))
}

/// Takes what is too large out of a dead letter.
async fn mend(database: &Database, id: EventId, n: i64) {
    sqlx::query(
        "UPDATE outbox_dead_letters SET payload = convert_to($1, 'UTF8') WHERE event_id = $2",
    )
    .bind(format!(r#"{{"id":"sick","n":{n},"bulk":""}}"#))
    .bind(id.as_uuid())
    .execute(&database.pool)
    .await
    .unwrap();
}
