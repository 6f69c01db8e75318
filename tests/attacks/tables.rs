//! Rows that were inserted into a part of the outbox, not into the outbox.

use relaybox::{ErrorKind, OutboxStore};
use relaybox_tests::Database;
use sqlx::AssertSqlSafe;

use crate::{Reading, Relaying, database, execute};

async fn run(database: &Database, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&database.pool).await.unwrap();
}

const NEXT: &str = "nextval(pg_get_serial_sequence('outbox_events', 'seq'))";

/// The part is locked, the outbox is not: who looks at the outbox's locks alone sees no writer.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_inserted_into_a_part_of_the_outbox_is_given() {
    let Some(database) = database().await else { return };
    run(&database, "CREATE TABLE outbox_part () INHERITS (outbox_events)").await;
    let mut reading = Reading::open(&database).await;
    for settles in [false, true] {
        let mut late = database.pool.begin().await.unwrap();
        execute(&mut late, format!("SELECT raise('late', {NEXT}, 'outbox_part')")).await;
        let mut gone = database.pool.begin().await.unwrap();
        execute(&mut gone, format!("SELECT raise('gone', {NEXT}, 'outbox_part')")).await;
        for _ in 0..5 {
            database.change("other").await;
            assert_eq!(reading.read(10).await, ["other"]);
            if settles {
                reading.settle().await;
            }
        }
        gone.rollback().await.unwrap();
        assert!(reading.read(10).await.is_empty());
        late.commit().await.unwrap();
        database.change("other").await;
        reading.complete(&database, 10).await;
    }
    database.drop().await;
}

/// Before Postgres 17 a partitioned table has no identity: refused. From 17 on it works.
#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_outbox_is_refused_or_read_whole() {
    let Some(database) = database().await else { return };
    let has_identity = database
        .number("SELECT (current_setting('server_version_num')::int >= 170000)::int::bigint")
        .await
        == 1;
    let (like, default) = if has_identity {
        ("INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING IDENTITY", "")
    } else {
        (
            "INCLUDING DEFAULTS INCLUDING CONSTRAINTS",
            "CREATE SEQUENCE outbox_positions OWNED BY outbox_events.seq;
             ALTER TABLE outbox_events ALTER COLUMN seq SET DEFAULT nextval('outbox_positions');",
        )
    };
    run(
        &database,
        &format!(
            "ALTER TABLE outbox_events RENAME TO outbox_whole;
             CREATE TABLE outbox_events (LIKE outbox_whole {like}, PRIMARY KEY (seq))
                 PARTITION BY RANGE (seq);
             CREATE TABLE outbox_low PARTITION OF outbox_events FOR VALUES FROM (MINVALUE) TO (100);
             CREATE TABLE outbox_high PARTITION OF outbox_events FOR VALUES FROM (100) TO (MAXVALUE);
             {default}"
        ),
    )
    .await;
    database.change("waiting").await;
    match database.store().reader().await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}"),
        Ok(_) => {
            let relaying = Relaying::start(&database);
            for _ in 0..100 {
                let mut late = database.pool.begin().await.unwrap();
                let position = database
                    .number("SELECT nextval(pg_get_serial_sequence('outbox_events', 'seq'))")
                    .await;
                let part = if position < 100 { "outbox_low" } else { "outbox_high" };
                execute(&mut late, format!("SELECT raise('late', {position}, '{part}')")).await;
                database.change("other").await;
                late.commit().await.unwrap();
            }
            relaying.complete(&database).await;
        }
    }
    database.drop().await;
}
