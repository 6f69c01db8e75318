//! Transactions that stay open: strangers hold back nothing, a writer its own events only.

use relaybox_tests::{Database, server};

use crate::{Reading, database, execute};

#[tokio::test(flavor = "multi_thread")]
async fn no_strangers_transaction_holds_back_anything() {
    let Some(database) = database().await else { return };
    let Some(url) = server("RELAYBOX_POSTGRES_URL") else { return };
    let elsewhere = Database::create(&url).await;
    let mut strangers = Vec::new();
    for (database, sql) in [
        // A snapshot and a transaction id, here and there.
        (&database, "INSERT INTO things VALUES ('stranger', 0)"),
        (&elsewhere, "INSERT INTO things VALUES ('stranger', 0)"),
        // The lock of a dump.
        (
            &database,
            "LOCK TABLE outbox_events IN ACCESS SHARE MODE; SELECT count(*) FROM outbox_events",
        ),
        // The lock of a writer, on the outbox of another database.
        (&elsewhere, "LOCK TABLE outbox_events IN ROW EXCLUSIVE MODE"),
        // The locks of a relay's settling, and of somebody who looks at rows before deleting them.
        (&database, "SELECT 1 FROM outbox_events FOR UPDATE"),
        (&database, "DELETE FROM outbox_events WHERE false"),
    ] {
        let mut tx =
            database.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        execute(&mut tx, format!("{sql}; SELECT pg_current_xact_id()")).await;
        strangers.push(tx);
    }
    let mut reading = Reading::open(&database).await;
    for round in 0..60 {
        database.change("thing").await;
        assert_eq!(reading.read(10).await, ["thing"], "round {round}");
        if round % 10 == 0 {
            reading.settle().await;
        }
    }
    for stranger in strangers {
        stranger.rollback().await.unwrap();
    }
    reading.complete_at_once(&database, 10).await;
    database.drop().await;
    elsewhere.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_outbox_writer_holds_back_its_own_events_only() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    let mut idle = database.pool.begin().await.unwrap();
    database.raise_in(&mut idle, "idle").await;
    for round in 0..100 {
        // Others commit and roll back around it.
        let mut gone = database.pool.begin().await.unwrap();
        database.raise_in(&mut gone, "thing").await;
        if round % 2 == 0 {
            assert!(reading.read(10).await.is_empty());
        }
        gone.rollback().await.unwrap();
        database.change("thing").await;
        assert_eq!(reading.read(10).await, ["thing"], "round {round}");
        if round % 10 == 0 {
            reading.settle().await;
            database.change("another").await;
            assert_eq!(reading.read(10).await, ["another"]);
        }
    }
    database.raise_in(&mut idle, "idle").await;
    database.change("thing").await;
    assert_eq!(reading.read(10).await, ["thing"]);
    idle.commit().await.unwrap();
    reading.complete_at_once(&database, 10).await;
    database.drop().await;
}
