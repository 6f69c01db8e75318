//! SQLite: the promises, on files.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use relaybox_core::{
    DeadLetterQuery, DeadLetterStore, ErrorKind, OutboxStore, OutboxWriter, Result, error_chain,
};
use sqlx::{
    AssertSqlSafe, Row, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Harness, acquire, event};
use crate::{SqliteMigrator, SqliteOutbox, SqliteProcessedEvents, Tables};

super::all_promises!(super::SqliteHarness);

pub(super) struct SqliteHarness {
    pool: SqlitePool,
    folder: PathBuf,
}

#[async_trait]
impl Harness for SqliteHarness {
    type Tx = Transaction<'static, Sqlite>;
    type Outbox = SqliteOutbox;
    type Inbox = SqliteProcessedEvents;

    async fn start() -> Option<Self> {
        let id = uuid::Uuid::new_v4().simple();
        let folder = std::env::temp_dir().join(format!("relaybox-sqlite-{id}"));
        std::fs::create_dir(&folder).unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.join("main.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(20));
        let other = folder.join("other.db").display().to_string();
        let attach = SqlitePoolOptions::new().max_connections(10).after_connect(move |conn, _| {
            let attach = format!("ATTACH '{other}' AS other");
            Box::pin(
                async move { sqlx::raw_sql(AssertSqlSafe(attach)).execute(conn).await.map(drop) },
            )
        });
        Some(Self { pool: attach.connect_with(options).await.unwrap(), folder })
    }

    async fn stop(self) {
        self.pool.close().await;
        std::fs::remove_dir_all(self.folder).unwrap();
    }

    fn outbox(&self, tables: Tables) -> SqliteOutbox {
        SqliteOutbox::with_tables(self.pool.clone(), tables)
    }

    fn archiving(&self, tables: Tables) -> SqliteOutbox {
        self.outbox(tables).archive_published()
    }

    fn inbox(&self, tables: Tables) -> SqliteProcessedEvents {
        SqliteProcessedEvents::with_tables(self.pool.clone(), tables)
    }

    async fn migrate(&self, tables: Tables) -> Result<()> {
        SqliteMigrator::new(self.pool.clone(), tables).run().await
    }

    fn script(tables: &Tables) -> String {
        SqliteMigrator::sql(tables)
    }

    async fn schema(&self) -> &'static str {
        "other"
    }

    async fn begin(&self) -> Self::Tx {
        self.pool.begin_with("BEGIN IMMEDIATE").await.unwrap()
    }

    async fn commit(&self, tx: Self::Tx) {
        tx.commit().await.unwrap();
    }

    async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    async fn execute_in(&self, tx: &mut Self::Tx, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **tx).await.unwrap();
    }

    async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    async fn age(&self, table: &str, column: &str, seconds: u32) {
        let micros = u64::from(seconds) * 1_000_000;
        self.execute(&format!("UPDATE {table} SET {column} = {column} - {micros}")).await;
    }
}

impl SqliteHarness {
    async fn text(&self, sql: &str) -> String {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let options = SqliteConnectOptions::new().filename("/nonexistent/relaybox/secret.db");
    let pool = SqlitePoolOptions::new().connect_lazy_with(options);
    let error = SqliteOutbox::new(pool).stats().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(!error_chain(&error).contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_busy_database_is_a_conflict_and_a_bad_row_keeps_its_values_to_itself() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let options = SqliteConnectOptions::new()
            .filename(harness.folder.join("main.db"))
            .busy_timeout(Duration::from_millis(1));
        let hasty = SqliteOutbox::new(SqlitePoolOptions::new().connect_lazy_with(options));
        let writer = harness.begin().await;
        let error = hasty.acquire(&super::relay(), super::TTL).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
        drop(writer);

        harness.execute("CREATE TRIGGER t BEFORE INSERT ON outbox_events BEGIN SELECT RAISE(ABORT, 'no'); END").await;
        let outbox = harness.outbox(Tables::default());
        let mut tx = harness.begin().await;
        let error = outbox.write(&mut tx, &[event("s-1", "secret")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(!format!("{error:?}").contains("secret"));
        drop(tx);
        acquire(&outbox).await;
    })
    .await;
}

#[tokio::test]
async fn a_text_that_is_no_text_is_a_malformed_row() {
    super::run_migrated(async |harness: &SqliteHarness| {
        super::enqueue(harness, "s-1", &["a", "b"]).await;
        harness
            .execute("UPDATE outbox_events SET source = CAST(x'ff' AS TEXT) WHERE seq = 1")
            .await;
        harness
            .execute("UPDATE outbox_events SET occurred_at = 9223372036854775807 WHERE seq = 2")
            .await;
        let outbox = harness.outbox(Tables::default());
        let rows = super::read(&mut outbox.reader().await.unwrap()).await;
        for row in rows {
            assert_eq!(row.envelope.unwrap_err().kind(), ErrorKind::Decode);
        }
    })
    .await;
}

#[tokio::test]
async fn reading_sorts_nothing_and_walks_no_backlog() {
    super::run_migrated(async |harness: &SqliteHarness| {
        for sql in crate::sqlite::read_sql() {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let steps = sqlx::query(explain).fetch_all(&harness.pool).await.unwrap();
            let plan: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
            let plan = plan.join("\n");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            let by_position = "USING INTEGER PRIMARY KEY (rowid>?)";
            assert!(plan.contains(by_position) && !plan.contains("SCAN event"), "{plan}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_that_comes_while_events_flow_is_seen_at_once() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let outbox = harness.outbox(Tables::default());
        let mut reader = outbox.reader().await.unwrap();
        let lease = acquire(&outbox).await;
        for round in ["a", "b", "c"] {
            super::enqueue(harness, "s-1", &[round]).await;
            let rows = super::read(&mut reader).await;
            outbox.settle(&lease, &super::published(super::refs(&rows))).await.unwrap();
            reader.forget(&super::refs(&rows));
        }
        // Events flow, nothing is in flight, there are no dead letters: the brief statement serves.
        super::enqueue(harness, "s-1", &["d"]).await;
        let rows = super::read(&mut reader).await;
        outbox.settle(&lease, &super::dead(&super::refs(&rows))).await.unwrap();
        reader.forget(&super::refs(&rows));
        super::enqueue(harness, "s-1", &["e"]).await;
        super::enqueue(harness, "s-2", &["f"]).await;
        let rows = super::read(&mut reader).await;
        assert_eq!(super::names(&rows), ["e parked", "f"]);
        outbox.settle(&lease, &super::parked(super::refs(&rows[..1]))).await.unwrap();
        outbox.settle(&lease, &super::published(super::refs(&rows[1..]))).await.unwrap();
        reader.forget(&super::refs(&rows));

        outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
        let rows = super::read(&mut reader).await;
        assert_eq!(super::names(&rows), ["d", "e"]);
        let settled = outbox.settle(&lease, &super::published(super::refs(&rows))).await.unwrap();
        assert_eq!(settled.published, 2);
        reader.forget(&super::refs(&rows));
        super::enqueue(harness, "s-1", &["g"]).await;
        assert_eq!(super::names(&super::read(&mut reader).await), ["g"]);
    })
    .await;
}

/// How many rows there are, settled or not.
async fn rows_left(harness: &SqliteHarness) -> i64 {
    harness.number("SELECT count(*) FROM outbox_events").await
}

#[tokio::test]
async fn what_is_published_is_settled_at_once_and_removed_when_nothing_waits() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let outbox = harness.outbox(Tables::default());
        let lease = acquire(&outbox).await;
        super::enqueue(harness, "s-1", &["a", "b", "c"]).await;
        let all = super::refs(&super::read(&mut outbox.reader().await.unwrap()).await);
        let settle = async |range: std::ops::Range<usize>| {
            let settlement = super::published(all[range].to_vec());
            outbox.settle(&lease, &settlement).await.unwrap().published
        };
        assert_eq!(settle(0..2).await, 2);
        assert_eq!((rows_left(harness).await, outbox.stats().await.unwrap().backlog), (3, 1));
        // A relay that starts now knows no more than the tables.
        let names = super::names(&super::read(&mut outbox.reader().await.unwrap()).await);
        assert_eq!(names, ["c"]);
        assert_eq!(settle(0..3).await, 1, "the others were settled before");
        assert_eq!((rows_left(harness).await, outbox.stats().await.unwrap().backlog), (0, 0));
        assert_eq!(settle(0..3).await, 0);
        super::enqueue(harness, "s-1", &["d"]).await;
        let names = super::names(&super::read(&mut outbox.reader().await.unwrap()).await);
        assert_eq!(names, ["d"]);
    })
    .await;
}

#[tokio::test]
async fn what_was_settled_is_neither_parked_nor_given_up_on_nor_archived_again() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let outbox = harness.archiving(Tables::default());
        let lease = acquire(&outbox).await;
        super::enqueue(harness, "s-1", &["a", "b"]).await;
        let all = super::refs(&super::read(&mut outbox.reader().await.unwrap()).await);
        let first = &all[..1];
        outbox.settle(&lease, &super::published(first.to_vec())).await.unwrap();
        assert_eq!(rows_left(harness).await, 2, "it is there still");
        for late in
            [super::published(first.to_vec()), super::parked(first.to_vec()), super::dead(first)]
        {
            let settled = outbox.settle(&lease, &late).await.unwrap();
            assert_eq!(settled, relaybox_core::Settled::default());
        }
        assert_eq!(harness.number("SELECT count(*) FROM outbox_dead_letters").await, 0);
        assert_eq!(harness.number("SELECT count(*) FROM outbox_archive").await, 1);
    })
    .await;
}

#[tokio::test]
async fn what_waits_holds_the_mark_back_and_nothing_else() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let outbox = harness.outbox(Tables::default());
        let lease = acquire(&outbox).await;
        super::enqueue(harness, "s-1", &["a", "b", "c", "d", "e"]).await;
        let all = super::refs(&super::read(&mut outbox.reader().await.unwrap()).await);
        let settle = async |some: &[usize]| {
            let some = some.iter().map(|n| all[*n]).collect();
            outbox.settle(&lease, &super::published(some)).await.unwrap().published
        };
        let left = async || super::names(&super::read(&mut outbox.reader().await.unwrap()).await);
        assert_eq!(settle(&[1, 2]).await, 2);
        assert_eq!(left().await, ["a", "d", "e"]);
        assert_eq!(settle(&[0, 4]).await, 2);
        assert_eq!(left().await, ["d"]);
        assert_eq!(settle(&[3]).await, 1);
        assert_eq!(rows_left(harness).await, 0);
    })
    .await;
}

#[tokio::test]
async fn published_rows_go_in_slices_while_something_always_waits() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let outbox = harness.outbox(Tables::default());
        let lease = acquire(&outbox).await;
        let mut reader = outbox.reader().await.unwrap();
        super::enqueue(harness, "s-1", &["0"; 90]).await;
        let mut most = 0;
        for round in 0..10 {
            // One more than is settled: something always waits.
            super::enqueue(harness, "s-1", &["n"; 11]).await;
            let rows = reader.read(&relaybox_core::ReadRequest::new(10)).await.unwrap();
            let settlement = super::published(super::refs(&rows));
            match round {
                // However long it took to come here.
                0..5 => outbox.nothing_left(),
                5 => outbox.age(Duration::from_secs(5)),
                _ => {}
            }
            assert_eq!(outbox.settle(&lease, &settlement).await.unwrap().published, 10);
            reader.forget(&super::refs(&rows));
            let settled = rows_left(harness).await - 90 - round - 1;
            match round {
                0..5 => assert_eq!(settled, (round + 1) * 10, "they are young"),
                _ => most = settled,
            }
        }
        assert_eq!(most, 0, "they are gone");
    })
    .await;
}

#[tokio::test]
async fn many_published_rows_are_removed_after_their_settlement_and_what_comes_meanwhile_stays() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let outbox = harness.outbox(Tables::default());
        let lease = acquire(&outbox).await;
        let mut reader = outbox.reader().await.unwrap();
        for round in 0..3 {
            super::enqueue(harness, "s-1", &["x"; 6_000]).await;
            let request = relaybox_core::ReadRequest::new(6_000);
            let rows = reader.read(&request).await.unwrap();
            let settlement = super::published(super::refs(&rows));
            assert_eq!(outbox.settle(&lease, &settlement).await.unwrap().published, 6_000);
            assert_eq!(outbox.stats().await.unwrap().backlog, 0);
            reader.forget(&super::refs(&rows));
            if round == 1 {
                // Before or behind the removal.
                super::enqueue(harness, "s-1", &["y"]).await;
                let rows = super::read(&mut reader).await;
                assert_eq!(super::names(&rows), ["y"]);
                outbox.settle(&lease, &super::published(super::refs(&rows))).await.unwrap();
                reader.forget(&super::refs(&rows));
            }
            while rows_left(harness).await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_number_from_before_the_mark_is_late_and_not_lost() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let outbox = harness.outbox(Tables::default());
        let lease = acquire(&outbox).await;
        super::enqueue(harness, "s-1", &["a", "b", "c", "d"]).await;
        let mut reader = outbox.reader().await.unwrap();
        let all = super::refs(&super::read(&mut reader).await);
        outbox.settle(&lease, &super::published(all[..3].to_vec())).await.unwrap();
        let read = async || {
            // None of what is settled comes again.
            let mut names = super::names(&super::read(&mut outbox.reader().await.unwrap()).await);
            names.sort();
            names
        };
        assert_eq!(read().await, ["d"]);
        // By hand.
        super::enqueue(harness, "s-1", &["e"]).await;
        harness.execute("DELETE FROM outbox_events WHERE seq = 2").await;
        harness.execute("UPDATE outbox_events SET seq = seq").await;
        assert_eq!(read().await, ["d", "e"], "nothing has moved");
        harness.execute("UPDATE outbox_events SET rowid = 2 WHERE seq = 5").await;
        assert_eq!(read().await, ["d", "e"]);
        outbox.settle(&lease, &super::published(all[3..].to_vec())).await.unwrap();
        assert_eq!(read().await, ["e"]);
        harness.execute("DELETE FROM outbox_events").await;
        harness.execute("UPDATE outbox_relay SET settled_to = 9").await;
        // As if somebody had restored the table without its sequence.
        harness.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox_events'").await;
        super::enqueue(harness, "s-1", &["f", "g"]).await;
        assert_eq!(read().await, ["f", "g"]);
    })
    .await;
}

#[tokio::test]
async fn a_table_that_was_made_anew_without_its_triggers_is_not_read() {
    super::run_migrated(async |harness: &SqliteHarness| {
        let outbox = harness.outbox(Tables::default());
        let lease = acquire(&outbox).await;
        super::enqueue(harness, "s-1", &["a"]).await;
        let all = super::refs(&super::read(&mut outbox.reader().await.unwrap()).await);
        outbox.settle(&lease, &super::published(all)).await.unwrap();
        let make: String =
            harness.text("SELECT sql FROM sqlite_master WHERE name = 'outbox_events'").await;
        let anew = make.replacen("outbox_events", "anew", 1);
        harness
            .execute(&format!(
                "{anew}; DROP TABLE outbox_events; ALTER TABLE anew RENAME TO outbox_events"
            ))
            .await;
        let Err(error) = outbox.reader().await else { panic!("what is written would be lost") };
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(error.to_string().contains("migration 5"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_outbox_in_two_files_is_refused() {
    super::run(async |harness: &SqliteHarness| {
        let elsewhere = crate::TableName::new("other.outbox_relay").unwrap();
        let error = harness.migrate(Tables::default().outbox_relay(elsewhere)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    })
    .await;
}
