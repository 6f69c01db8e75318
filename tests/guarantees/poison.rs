//! 5. One poison event holds back its own aggregate at most, never the outbox.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

use relaybox::{
    AggregateId, DeadLetterQuery, DeadLetterState, DeadLetterStore, DomainEvent, ErrorKind,
    OutboxStore, Successors,
};
use relaybox_tests::{Database, Topic, per_key, servers, until};
use serde::Serialize;

use crate::{Running, drained, relay};

/// A change with a payload of any size.
#[derive(Serialize, DomainEvent)]
#[event(aggregate = "thing", name = "thing.changed", version = 1)]
pub(crate) struct Bulky {
    #[event(aggregate_id)]
    pub(crate) id: String,
    pub(crate) n: i64,
    pub(crate) bulk: String,
}

/// Bytes that lz4 can't shrink below the topic's limit.
pub(crate) fn noise(bytes: usize) -> String {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + u8::try_from(state % 90).unwrap())
    };
    (0..bytes).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_the_broker_refuses_parks_its_own_aggregate_only_and_redrive_keeps_the_order() {
    let Some((postgres, kafka)) = servers() else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::create(&kafka, &[("max.message.bytes", "20000")]).await;
    let notices: Arc<Mutex<Vec<_>>> = Arc::default();
    let seen = Arc::clone(&notices);
    let outbox = database.outbox();

    let mut tx = database.pool.begin().await.unwrap();
    for n in 1..=100 {
        for key in ["healthy", "sick", "fine"] {
            let bulk = if key == "sick" && n == 50 { noise(60_000) } else { String::new() };
            outbox.enqueue(&mut tx, &Bulky { id: key.to_owned(), n, bulk }).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    let relay = Running::relay(relay(&database, &topic).on_dead_letter(move |notice| {
        seen.lock().unwrap().push((notice.kind, notice.event_id.unwrap()));
    }));
    drained(&database).await;
    let found = per_key(&topic.envelopes().await);
    assert_eq!(found["healthy"], (1..=100).collect::<Vec<_>>());
    assert_eq!(found["fine"], (1..=100).collect::<Vec<_>>());
    assert_eq!(found["sick"], (1..50).collect::<Vec<_>>());
    let stats = database.store().stats().await.unwrap();
    assert_eq!((stats.dead_letters, stats.parked), (1, 50));
    until("somebody is told", async || !notices.lock().unwrap().is_empty()).await;
    let (kind, poison) = notices.lock().unwrap()[0];
    assert_eq!(kind, ErrorKind::TooLarge);

    // The cause is mended in the stored payload, and the event is put back.
    sqlx::query("UPDATE outbox_dead_letters SET payload = $1 WHERE event_id = $2")
        .bind(&br#"{"id":"sick","n":50,"bulk":""}"#[..])
        .bind(poison.as_uuid())
        .execute(&database.pool)
        .await
        .unwrap();
    let store = database.store();
    assert_eq!(store.redrive(&DeadLetterQuery::event(poison)).await.unwrap(), 1);
    for n in 101..=120 {
        let mut tx = database.pool.begin().await.unwrap();
        let event = Bulky { id: "sick".to_owned(), n, bulk: String::new() };
        outbox.enqueue(&mut tx, &event).await.unwrap();
        tx.commit().await.unwrap();
    }
    until("nothing is parked or waiting", async || {
        let stats = store.stats().await.unwrap();
        (stats.dead_letters, stats.parked, stats.backlog) == (0, 0, 0)
    })
    .await;
    relay.stop().await;
    assert_eq!(per_key(&topic.envelopes().await)["sick"], (1..=120).collect::<Vec<_>>());
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_a_dead_letter_releases_or_removes_what_is_parked_behind_it_and_nothing_else() {
    let Some((postgres, kafka)) = servers() else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::create(&kafka, &[("max.message.bytes", "20000")]).await;
    let store = database.store();
    let is_too_large = |key, n| matches!((key, n), ("freed" | "cut", 10) | ("freed", 20));
    let write = async |numbers: RangeInclusive<i64>| {
        let mut tx = database.pool.begin().await.unwrap();
        for n in numbers {
            for key in ["freed", "cut", "healthy"] {
                let bulk = if is_too_large(key, n) { noise(60_000) } else { String::new() };
                let event = Bulky { id: key.to_owned(), n, bulk };
                database.outbox().enqueue(&mut tx, &event).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
    };
    let discard = async |key: &'static str, successors| {
        let mut query = DeadLetterQuery::all();
        query.aggregate_id = Some(AggregateId::new(key).unwrap());
        let head = store.dead_letters(&query.limit(1)).await.unwrap().remove(0);
        assert_eq!(head.state, DeadLetterState::Dead);
        store.discard(&DeadLetterQuery::event(head.event_id), successors).await.unwrap()
    };
    let settled = async |dead, parked| {
        until("what is left to wait", async || {
            let stats = store.stats().await.unwrap();
            (stats.dead_letters, stats.parked, stats.backlog) == (dead, parked, 0)
        })
        .await;
        per_key(&topic.envelopes().await)
    };
    let numbers =
        |ranges: &[RangeInclusive<i64>]| -> Vec<i64> { ranges.iter().cloned().flatten().collect() };

    let relay = Running::relay(relay(&database, &topic));
    write(1..=30).await;
    settled(2, 40).await;
    assert_eq!(discard("freed", Successors::Release).await, 1);
    let found = settled(2, 30).await;
    assert_eq!(found["freed"], numbers(&[1..=9, 11..=19]), "up to the next that is refused");
    assert_eq!(found["cut"], numbers(&[1..=9]));
    assert_eq!(discard("cut", Successors::Discard).await, 21);
    settled(1, 10).await;
    assert_eq!(discard("freed", Successors::Release).await, 1);
    settled(0, 0).await;
    write(31..=40).await;
    let found = settled(0, 0).await;
    relay.stop().await;
    assert_eq!(found["freed"], numbers(&[1..=9, 11..=19, 21..=40]));
    assert_eq!(found["cut"], numbers(&[1..=9, 31..=40]));
    assert_eq!(found["healthy"], numbers(&[1..=40]));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_no_event_is_given_up_on_and_the_rest_goes_on() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    for _ in 0..3 {
        database.change("before").await;
        database.change("broken").await;
    }
    sqlx::query("UPDATE outbox_events SET event_name = 'No Event Name' WHERE aggregate_id = 'broken' AND seq = (SELECT min(seq) FROM outbox_events WHERE aggregate_id = 'broken')")
        .execute(&database.pool)
        .await
        .unwrap();
    let relay = Running::relay(relay(&database, &topic));
    drained(&database).await;
    relay.stop().await;
    let stats = database.store().stats().await.unwrap();
    assert_eq!((stats.dead_letters, stats.parked), (1, 2));
    assert_eq!(per_key(&topic.envelopes().await).keys().collect::<Vec<_>>(), ["before"]);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_holds_back_its_own_aggregate_type_only() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    #[derive(Serialize, DomainEvent)]
    #[event(aggregate = "stray", name = "stray.changed")]
    struct Stray {
        #[event(aggregate_id)]
        id: String,
    }
    let nowhere = relaybox::TopicName::new(format!("{}-nowhere", topic.name)).unwrap();
    let map = topic.map().route(relaybox::AggregateType::new("stray").unwrap(), nowhere);
    let mut tx = database.pool.begin().await.unwrap();
    database.outbox().enqueue(&mut tx, &Stray { id: "s".to_owned() }).await.unwrap();
    tx.commit().await.unwrap();
    for _ in 0..20 {
        database.change("t").await;
    }
    let relay = Running::relay(relay(&database, &topic).topics(map));
    until("all but the stray", async || database.backlog().await == 1).await;
    let stats = database.store().stats().await.unwrap();
    assert_eq!((stats.dead_letters, stats.parked), (0, 0), "a topic's fault is no event's");
    relay.stop().await;
    assert_eq!(per_key(&topic.envelopes().await)["t"].len(), 20);
    database.drop().await;
}
