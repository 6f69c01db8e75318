//! Positions that were not given out one by one, in order.

use std::time::{Duration, Instant};

use relaybox::{ErrorKind, OutboxStore, ReadRequest};
use relaybox_tests::Database;
use sqlx::{AssertSqlSafe, Executor};

use crate::{Reading, Relaying, database, execute};

async fn run(database: &Database, sql: &str) {
    database.pool.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}

const NEXT: &str = "nextval(pg_get_serial_sequence('outbox_events', 'seq'))";

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_taken_by_hand_may_be_used_much_later() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    for settles in [false, true] {
        // Without any lock on the outbox: nobody can tell it from a rollback.
        let sql = format!("SELECT {NEXT}");
        let taken: i64 =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap();
        for _ in 0..5 {
            database.change("other").await;
            assert_eq!(reading.read(10).await, ["other"]);
            if settles {
                reading.settle().await;
            }
        }
        // A sweep in the middle of this sees that the gap is one.
        for _ in 0..5 {
            reading.read(10).await;
        }
        run(&database, &format!("SELECT raise('late{settles}', {taken})")).await;
        database.change("other").await;
        reading.complete(&database, 10).await;
        assert_eq!(reading.overlooked(), 1, "late, and reported");
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_ones_own_choice_is_given_wherever_it_is() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    for _ in 0..5 {
        database.change("other").await;
    }
    assert_eq!(reading.read(10).await.len(), 5);
    reading.settle().await;
    // Below all, negative, and far above; the sequence then runs into the latter's neighbourhood.
    for (position, late) in [(0, 1), (-7, 1), (i64::MIN, 1), (1_000, 0)] {
        // So that the reader knows what it lacks, and that nobody is about to write it.
        for _ in 0..5 {
            reading.read(10).await;
        }
        run(&database, &format!("SELECT raise('own{position}', {position})")).await;
        database.change("other").await;
        reading.complete(&database, 10).await;
        assert_eq!(reading.overlooked(), late, "late, and reported");
    }
    run(&database, "ALTER TABLE outbox_events ALTER COLUMN seq RESTART WITH 995").await;
    for _ in 0..10 {
        database.change("other").await;
    }
    reading.complete_in_any_order(&database, 10).await;
    // The last one there is: everything else is below.
    run(&database, &format!("SELECT raise('last', {})", i64::MAX)).await;
    database.change("other").await;
    reading.complete_in_any_order(&database, 10).await;
    database.change("other").await;
    reading.complete_in_any_order(&database, 10).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_starts_again_makes_events_late_at_most() {
    let Some(database) = database().await else { return };
    let relaying = Relaying::start(&database);
    for _ in 0..50 {
        database.change("thing").await;
    }
    relaybox_tests::until("it is idle", async || database.backlog().await == 0).await;
    run(&database, "TRUNCATE outbox_events RESTART IDENTITY").await;
    // The sequence passes where it was.
    for _ in 0..100 {
        database.change("thing").await;
    }
    relaying.complete_in_any_order(&database).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_starts_again_under_events_in_flight_loses_nothing() {
    let Some(database) = database().await else { return };
    // As many as are in flight, and fewer: what is settled has the numbers of some, of all, or of no others.
    for others in [30, 12, 0] {
        let mut reading = Reading::open(&database).await;
        run(&database, "TRUNCATE outbox_events RESTART IDENTITY").await;
        for _ in 0..30 {
            database.change("thing").await;
        }
        while !reading.read(10).await.is_empty() {}
        run(&database, "TRUNCATE outbox_events RESTART IDENTITY").await;
        for _ in 0..others {
            database.change("other").await;
        }
        // Of the events that were given, not of those that have their numbers now.
        assert_eq!(reading.settle_what_is_left().await, 0);
        assert_eq!(database.backlog().await, others);
        for _ in 0..others {
            assert_eq!(reading.read_after_restart(1).await, ["other"]);
        }
        reading.close().await;
        assert_eq!(database.backlog().await, 0);
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_below_where_the_sequence_was_are_late_and_in_order() {
    let Some(database) = database().await else { return };
    run(&database, "ALTER TABLE outbox_events ALTER COLUMN seq RESTART WITH 1000000").await;
    let mut reading = Reading::open(&database).await;
    database.change("thing").await;
    reading.complete(&database, 10).await;
    run(&database, "ALTER TABLE outbox_events ALTER COLUMN seq RESTART WITH 1").await;
    for _ in 0..30 {
        database.change("thing").await;
        reading.read(7).await;
    }
    reading.complete(&database, 7).await;
    assert!(reading.overlooked() > 0, "late, and reported");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_a_session_has_in_stock_make_events_late_at_most() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    run(&database, "ALTER TABLE outbox_events ALTER COLUMN seq SET CACHE 10").await;
    // Each session has ten positions in stock, and each its own things.
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(database.pool.acquire().await.unwrap());
    }
    for round in 0..25 {
        for (n, session) in sessions.iter_mut().enumerate() {
            execute(session, format!("SELECT raise('session{n}')")).await;
            if (round + n) % 3 == 0 {
                reading.read(10).await;
            }
        }
        if round % 4 == 0 {
            reading.settle().await;
        }
    }
    // An order there is none: that is why such a sequence is refused at the start.
    reading.complete_in_any_order(&database, 10).await;
    assert!(reading.overlooked() > 0, "late, and reported");
    drop(sessions);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_survives_that_its_sequence_is_cached_or_ends_and_says_so() {
    let Some(database) = database().await else { return };
    let relaying = Relaying::start(&database);
    database.change("before").await;
    relaybox_tests::until("it works", async || relaying.published() == 1).await;
    run(&database, "ALTER TABLE outbox_events ALTER COLUMN seq SET CACHE 10").await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(database.pool.acquire().await.unwrap());
    }
    for _ in 0..25 {
        for (n, session) in sessions.iter_mut().enumerate() {
            execute(session, format!("SELECT raise('session{n}')")).await;
        }
    }
    drop(sessions);
    let deadline = Instant::now() + Duration::from_secs(20);
    while database.backlog().await > 0 && !relaying.has_ended() {
        assert!(Instant::now() < deadline, "{} events wait", database.backlog().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let published = if relaying.has_ended() {
        let (error, published) = relaying.failed().await;
        assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
        published
    } else {
        relaying.stop().await
    };
    // What is left is given once the cause is mended.
    run(&database, "ALTER TABLE outbox_events ALTER COLUMN seq SET CACHE 1").await;
    Relaying::after(&database, published).complete_in_any_order(&database).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_gives_positions_out_of_order_is_refused_at_the_start() {
    let Some(database) = database().await else { return };
    database.change("waiting").await;
    for (change, named) in [
        ("SET CACHE 10", "CACHE 10"),
        ("SET CACHE 1 SET INCREMENT BY -1", "INCREMENT -1"),
        ("SET INCREMENT BY 2", "INCREMENT 2"),
        ("SET INCREMENT BY 1 SET CYCLE", "CYCLE"),
    ] {
        run(&database, &format!("ALTER TABLE outbox_events ALTER COLUMN seq {change}")).await;
        let Err(error) = database.store().reader().await else { panic!("{change} was not seen") };
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(error.to_string().contains(named), "{error}");
    }
    // A relay ends with it rather than wait for a miracle, and leaves everything where it is.
    let relaying = Relaying::start(&database);
    relaybox_tests::until("the relay ends", async || relaying.has_ended()).await;
    let (error, published) = relaying.failed().await;
    assert_eq!((error.kind(), published.len()), (ErrorKind::Schema, 0));
    run(&database, "ALTER TABLE outbox_events ALTER COLUMN seq SET NO CYCLE").await;
    let mut reader = database.store().reader().await.unwrap();
    assert_eq!(reader.read(&ReadRequest::new(10)).await.unwrap().len(), 1);
    database.drop().await;
}
