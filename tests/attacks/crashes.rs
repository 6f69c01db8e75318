//! Commits that return before they are on disk, and crashes that undo them.

use std::{str::FromStr, time::Duration};

use relaybox_tests::{PostgresServer, Writers, server, share};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{Reading, database_on, execute};

/// Nobody but a commit that waits writes the log to the disk at once.
const LAZY: [&str; 3] = ["wal_writer_delay=2s", "wal_writer_flush_after=1GB", "autovacuum=off"];

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_not_given_before_its_commit_is_on_disk() {
    let Some(_) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(postgres) = PostgresServer::start(&LAZY).await else { return };
    let database = database_on(&postgres.url()).await;
    let mut reading = Reading::open(&database).await;
    let mut writer = database.pool.acquire().await.unwrap();
    execute(&mut writer, "SET synchronous_commit = off").await;
    let mut before_disk = 0;
    for n in 1..=4 {
        execute(&mut writer, "SELECT raise('lazy')").await;
        let committed: i64 =
            sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
                .fetch_one(&mut *writer)
                .await
                .unwrap();
        let on_disk = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint";
        before_disk += u32::from(database.number(on_disk).await < committed);
        reading.until_given(n, 10).await;
        assert!(
            database.number(on_disk).await >= committed,
            "event {n} was given, and a crash would undo it"
        );
    }
    assert!(before_disk > 0, "each commit was on disk at once: this has shown nothing");
    drop(writer);
    reading.complete(&database, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_undoes_nothing_that_was_given() {
    let Some(_) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(mut postgres) = PostgresServer::start(&LAZY).await else { return };
    let database = database_on(&postgres.url()).await;
    let mut reading = Reading::open(&database).await;
    let options = PgConnectOptions::from_str(&database.url())
        .unwrap()
        .options([("synchronous_commit", "off")]);
    let lazy = PgPoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
    for _ in 0..share(20) {
        let writers = Writers::start(&lazy, 4, Duration::from_millis(2));
        let enough = reading.given.len() + 50;
        reading.until_given(enough, 20).await;
        for _ in 0..fastrand::usize(1..20) {
            reading.read(20).await;
        }
        postgres.restart_immediately().await;
        reading.read_after_restart(20).await;
        writers.stop().await;
    }
    reading.complete(&database, 20).await;
}
