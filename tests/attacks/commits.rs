//! Transactions that end late, or not as expected.

use sqlx::Acquire;

use crate::{Reading, Relaying, database, execute};

#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_is_given_later_and_holds_back_nothing() {
    let Some(database) = database().await else { return };
    let mut before = Vec::new();
    for settles in [false, true] {
        let mut reading = Reading::open(&database).await;
        let mut late = database.pool.begin().await.unwrap();
        database.raise_in(&mut late, "late").await;
        database.change("early").await;
        assert_eq!(reading.read(10).await, ["early"]);
        if settles {
            reading.settle().await;
        }
        // However often it is looked for while its transaction is open.
        for _ in 0..20 {
            assert!(reading.read(10).await.is_empty());
        }
        database.change("next").await;
        assert_eq!(reading.read(10).await, ["next"]);
        late.commit().await.unwrap();
        assert_eq!(reading.read(10).await, ["late"]);
        before.extend(reading.close().await);
        database.assert_published(&before).await;
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_never_given_and_holds_back_nothing() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    for round in 0..30 {
        let mut open = Vec::new();
        for thing in ["a", "b", "c"] {
            let mut tx = database.pool.begin().await.unwrap();
            database.raise_in(&mut tx, thing).await;
            database.change("between").await;
            open.push(tx);
        }
        if round % 3 == 0 {
            reading.read(10).await;
        }
        for (n, tx) in open.into_iter().enumerate() {
            match (round + n) % 3 {
                0 => tx.commit().await.unwrap(),
                1 => tx.rollback().await.unwrap(),
                _ => drop(tx),
            }
        }
        if round % 5 == 0 {
            reading.read(10).await;
            reading.settle().await;
        }
    }
    reading.complete_at_once(&database, 500).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_takes_its_own_events_with_it_and_no_others() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    for (before, inside, after) in
        [("a", "a", "a"), ("a", "b", "c"), ("a", "b", "a"), ("b", "a", "a"), ("c", "b", "b")]
    {
        let mut tx = database.pool.begin().await.unwrap();
        database.raise_in(&mut tx, before).await;
        database.change("other").await;
        reading.read(10).await;
        for kept in [false, true] {
            let mut savepoint = tx.begin().await.unwrap();
            database.raise_in(&mut savepoint, inside).await;
            reading.read(10).await;
            if kept {
                savepoint.commit().await.unwrap();
            } else {
                savepoint.rollback().await.unwrap();
            }
            database.change("other").await;
            reading.read(10).await;
        }
        database.raise_in(&mut tx, after).await;
        database.change("other").await;
        reading.read(10).await;
        tx.commit().await.unwrap();
        reading.read(10).await;
    }
    reading.complete_at_once(&database, 10).await;
    database.drop().await;
}

/// Locks that were taken in a savepoint go with it: the transaction, though still open, holds none on the
/// outbox any more. And it may take them again.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_rolled_back_its_first_event_may_raise_another() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    let mut tx = database.pool.begin().await.unwrap();
    for _ in 0..3 {
        let mut savepoint = tx.begin().await.unwrap();
        database.raise_in(&mut savepoint, "again").await;
        database.change("other").await;
        reading.read(10).await;
        savepoint.rollback().await.unwrap();
        reading.read(10).await;
        reading.read(10).await;
    }
    database.raise_in(&mut tx, "again").await;
    database.change("other").await;
    reading.read(10).await;
    reading.read(10).await;
    tx.commit().await.unwrap();
    reading.complete_at_once(&database, 10).await;
    database.drop().await;
}

/// The order by transaction id is another one: the id is taken early, the row is written late.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_id_that_was_taken_early_says_nothing_about_the_order() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    for round in 0..10 {
        let mut old = database.pool.begin().await.unwrap();
        execute(&mut old, "SELECT pg_current_xact_id()").await;
        database.change("thing").await;
        if round % 2 == 0 {
            reading.read(10).await;
        }
        database.raise_in(&mut old, "thing").await;
        old.commit().await.unwrap();
    }
    reading.complete_at_once(&database, 3).await;
    database.drop().await;
}

/// Copies of rows, as a service may write them without this library.
#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_copy_that_commits_late_is_given_whole() {
    let Some(database) = database().await else { return };
    let relaying = Relaying::start(&database);
    let mut tx = database.pool.begin().await.unwrap();
    copy(&mut tx, "copied", 2_000).await;
    for _ in 0..20 {
        database.change("other").await;
    }
    relaybox_tests::until("the others are published", async || relaying.published() >= 20).await;
    tx.commit().await.unwrap();
    relaying.complete(&database).await;
    database.drop().await;
}

/// Changes a thing so often, and copies the events into the outbox.
pub(crate) async fn copy(tx: &mut sqlx::Transaction<'_, sqlx::Postgres>, thing: &str, times: i64) {
    use std::fmt::Write;
    let last: i64 = sqlx::query_scalar(
        "INSERT INTO things VALUES ($1, $2)
         ON CONFLICT (id) DO UPDATE SET n = things.n + excluded.n RETURNING n",
    )
    .bind(thing)
    .bind(times)
    .fetch_one(&mut **tx)
    .await
    .unwrap();
    let mut rows = String::new();
    for n in last - times + 1..=last {
        let id = uuid::Uuid::new_v4();
        let row = format!(
            r#"{id},thing,{thing},thing.changed,1,now,application/json,test,"{{""id"":""{thing}"",""n"":{n}}}""#
        );
        writeln!(rows, "{row}").unwrap();
    }
    let mut copy = tx
        .copy_in_raw(
            "COPY outbox_events (event_id, aggregate_type, aggregate_id, event_name, event_version,
                 occurred_at, content_type, source, payload) FROM STDIN (FORMAT csv)",
        )
        .await
        .unwrap();
    copy.send(rows.into_bytes()).await.unwrap();
    copy.finish().await.unwrap();
}
