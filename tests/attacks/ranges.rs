//! Gaps by the million: they cost a range, not an entry each.

use std::time::{Duration, Instant};

use relaybox_tests::Database;

use crate::{Reading, database, execute};

/// Far more than a read takes, far less than a look at each of a million numbers, sent to the server at
/// every read, would.
const SLOW: Duration = Duration::from_millis(250);

/// Reads once so often as events are raised; gives the least of what a read took.
async fn reads_with_others(reading: &mut Reading, database: &Database, times: usize) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..times {
        database.change("other").await;
        let since = Instant::now();
        assert_eq!(reading.read(10).await, ["other"]);
        least = least.min(since.elapsed());
        reading.settle().await;
    }
    least
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_many_rows_is_forgotten_and_slows_down_nobody() {
    let Some(database) = database().await else { return };
    let rows = if std::env::var_os("RELAYBOX_LONG").is_some() { 1_000_000 } else { 100_000 };
    let mut reading = Reading::open(&database).await;
    let undisturbed = reads_with_others(&mut reading, &database, 21).await;
    for ends in ["it is rolled back", "its connection is cut"] {
        let mut many = database.pool.begin().await.unwrap();
        let half = format!(
            "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_name,
                 event_version, occurred_at, content_type, source, payload)
             SELECT gen_random_uuid(), 'thing', 'gone', 'thing.changed', 1, now(),
                 'application/json', 'test', '{{}}' FROM generate_series(1, {})",
            rows / 2
        );
        execute(&mut many, half.clone()).await;
        reads_with_others(&mut reading, &database, 3).await;
        execute(&mut many, half).await;
        let open = reads_with_others(&mut reading, &database, 21).await;
        if ends == "it is rolled back" {
            many.rollback().await.unwrap();
        } else {
            let pid: i32 =
                sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *many).await.unwrap();
            execute(
                &mut database.pool.acquire().await.unwrap(),
                format!("SELECT pg_terminate_backend({pid}, 30000)"),
            )
            .await;
            let _ = many.rollback().await;
        }
        let gone = reads_with_others(&mut reading, &database, 21).await;
        println!("a read: {undisturbed:?} undisturbed, {open:?} while open, {gone:?} after");
        // While it is open, each read has to look whether any of it is there.
        assert!(open < SLOW * 4 && gone < SLOW, "a read: {open:?} while open, {gone:?} after");
    }
    reading.complete_at_once(&database, 500).await;
    database.drop().await;
}

/// A server plans a statement once for a connection that uses it again and again. What is best for an
/// empty table, to walk it, must not be what is done for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_planned_for_an_empty_outbox_does_not_walk_a_full_one() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    reads_with_others(&mut reading, &database, 30).await;
    let mut many = database.pool.begin().await.unwrap();
    execute(
        &mut many,
        "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_name,
             event_version, occurred_at, content_type, source, payload)
         SELECT gen_random_uuid(), 'thing', 'gone', 'thing.changed', 1, now(),
             'application/json', 'test', '{}' FROM generate_series(1, 20000)",
    )
    .await;
    many.rollback().await.unwrap();
    reads_with_others(&mut reading, &database, 3).await;
    let before = walks(&mut reading, &database).await;
    reads_with_others(&mut reading, &database, 20).await;
    let after = walks(&mut reading, &database).await;
    assert!(after - before < 20, "{} walks through the table", after - before);
    reading.complete_at_once(&database, 500).await;
    database.drop().await;
}

/// How often the table was walked, as the server's sessions have told by now: each tells once a second at
/// most, after a statement.
async fn walks(reading: &mut Reading, database: &Database) -> i64 {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    reads_with_others(reading, database, 3).await;
    database
        .number("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'outbox_events'")
        .await
}

/// One idle writer keeps every gap alive that came after its own.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_gaps_under_an_idle_writer_lose_nothing() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    let mut idle = database.pool.begin().await.unwrap();
    database.raise_in(&mut idle, "idle").await;
    let mut late = Vec::new();
    for round in 0..4 {
        // A gap beside each row, in one transaction.
        let mut tx = database.pool.begin().await.unwrap();
        execute(
            &mut tx,
            format!(
                "DO $$ BEGIN FOR n IN 1..4000 LOOP
                     PERFORM raise('gaps{round}');
                     PERFORM nextval(pg_get_serial_sequence('outbox_events', 'seq'));
                 END LOOP; END $$"
            ),
        )
        .await;
        // And somewhere in between one that is late.
        let mut one = database.pool.begin().await.unwrap();
        database.raise_in(&mut one, &format!("late{round}")).await;
        late.push(one);
        tx.commit().await.unwrap();
        while !reading.read(500).await.is_empty() {}
        reading.settle().await;
    }
    let least = reads_with_others(&mut reading, &database, 21).await;
    println!("a read with 16,000 gaps: {least:?}");
    assert!(least < SLOW, "a read with 16,000 gaps: {least:?}");
    for one in late {
        one.commit().await.unwrap();
    }
    idle.commit().await.unwrap();
    reading.complete(&database, 500).await;
    database.drop().await;
}
