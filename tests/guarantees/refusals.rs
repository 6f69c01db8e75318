//! What a broker refuses for a record's own sake: order exact, nothing lost.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relaybox::{
    CancellationToken, DeadLetterQuery, DeadLetterStore, ErrorKind, EventId, OnDeadLetter,
    OutboxStats, OutboxStore,
};
use relaybox_tests::{Database, Running, Topic, per_key, servers, until};

use crate::{
    drained,
    poison::{Bulky, noise},
    relay,
};

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
