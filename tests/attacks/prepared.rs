//! Transactions that are prepared, and committed by nobody in particular, later, even after a restart.

use relaybox_tests::{Database, PostgresServer, server};
use sqlx::{AssertSqlSafe, Postgres, Transaction};

use crate::{Reading, Relaying, database, database_on, execute};

/// Prepares a transaction; its session is free then, and its locks belong to nobody.
pub(crate) async fn prepare(mut tx: Transaction<'_, Postgres>, name: &str) {
    execute(&mut tx, format!("PREPARE TRANSACTION '{name}'")).await;
    // There is none left to commit, which the server only warns about.
    tx.commit().await.unwrap();
}

pub(crate) async fn end(database: &Database, name: &str, how: &str) {
    let sql = format!("{how} PREPARED '{name}'");
    sqlx::query(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_is_given_after_its_commit_and_holds_back_nothing() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    // Names are the server's, not the database's.
    let name = |what: &str| format!("{what}-{}", database.url());
    // Looked for before it is prepared, after, or both: its lock changes hands in between.
    for (before, after) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut tx = database.pool.begin().await.unwrap();
        database.raise_in(&mut tx, "prepared").await;
        let mut gone = database.pool.begin().await.unwrap();
        database.raise_in(&mut gone, "gone").await;
        database.change("other").await;
        if before {
            assert_eq!(reading.read(10).await, ["other"]);
        }
        prepare(tx, &name("kept")).await;
        prepare(gone, &name("gone")).await;
        if after {
            let expected = if before { vec![] } else { vec!["other".to_owned()] };
            assert_eq!(reading.read(10).await, expected);
            for _ in 0..10 {
                assert!(reading.read(10).await.is_empty());
            }
        }
        database.change("other").await;
        end(&database, &name("kept"), "COMMIT").await;
        end(&database, &name("gone"), "ROLLBACK").await;
        database.change("other").await;
        reading.complete(&database, 10).await;
        assert_eq!(reading.overlooked(), 0, "found again by chance only");
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_survives_a_crash_of_the_server_and_is_given_after_its_commit() {
    let Some(_) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(mut postgres) = PostgresServer::start(&[]).await else { return };
    let database = database_on(&postgres.url()).await;
    let mut reading = Reading::open(&database).await;
    let mut tx = database.pool.begin().await.unwrap();
    database.raise_in(&mut tx, "prepared").await;
    database.change("other").await;
    assert_eq!(reading.read(10).await, ["other"]);
    prepare(tx, "kept").await;
    assert!(reading.read(10).await.is_empty());
    reading.settle().await;

    postgres.restart_immediately().await;
    database.change("other").await;
    assert_eq!(reading.read_after_restart(10).await.last().unwrap(), "other");
    for _ in 0..10 {
        assert!(reading.read(10).await.is_empty());
    }
    // A relay that starts now has never seen the transaction that wrote it.
    let relaying = Relaying::after(&database, reading.close().await);
    database.change("other").await;
    relaybox_tests::until("the other is published", async || relaying.published() >= 1).await;
    end(&database, "kept", "COMMIT").await;
    relaying.complete(&database).await;
}
