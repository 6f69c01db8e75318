//! What Postgres alone has of archiving, purging and measuring.

use std::time::Duration;

use relaybox_core::{ArchiveQuery, ArchiveStore, DeadLetterQuery, DeadLetterStore, OutboxStore};
use sqlx::AssertSqlSafe;

use super::{
    Harness, acquire, enqueue, expire, one_dead_rest_parked, postgres::PgHarness, published, read,
    refs, run_migrated,
};
use crate::{Tables, postgres::purge_sql};

const PUBLISH: &str = "INSERT INTO outbox_archive (seq, event_id, aggregate_type, aggregate_id, \
     event_name, event_version, occurred_at, content_type, source, payload, enqueued_at, \
     published_at, topic) \
     SELECT n, gen_random_uuid(), 'session', 's-' || n % 100, 'session.created', 1, now(), \
     'application/json', '', '{}', now(), clock_timestamp(), 't' FROM generate_series(1, 20000) AS n";

#[tokio::test]
async fn a_purge_looks_at_nothing_that_is_too_young() {
    run_migrated(async |harness: &PgHarness| {
        harness
            .execute(&format!(
                "{PUBLISH}; \
                 INSERT INTO processed_events (consumer, event_id) \
                 SELECT c, gen_random_uuid() FROM unnest(ARRAY['c', 'd', 'e']) AS c, \
                 generate_series(1, 10000); \
                 INSERT INTO given_up_events (consumer, topic, partition, record_offset, \
                 fingerprint, progress, error_kind, reason, attempts) \
                 SELECT 'c', 't', 0, n, 0, 'decided', 'rejected', '', 1 \
                 FROM generate_series(1, 20000) AS n; \
                 ANALYZE outbox_archive, processed_events, given_up_events"
            ))
            .await;
        let columns = ["published_at", "processed_at", "decided_at"];
        for (sql, column) in purge_sql().iter().zip(columns) {
            let mut tx = harness.begin().await;
            // The plan that a prepared statement may end up with.
            harness.execute_in(&mut tx, "SET LOCAL plan_cache_mode = force_generic_plan").await;
            harness.execute_in(&mut tx, &format!("PREPARE purge AS {sql}")).await;
            let whose = if sql.contains("$3") { ", 'c'" } else { "" };
            let explain = format!("EXPLAIN EXECUTE purge (3600000000, 1000{whose})");
            let plan: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *tx).await.unwrap();
            let plan = plan.join("\n");
            let bounded =
                |line: &str| line.contains("Index Cond:") && line.contains(&format!("({column} <"));
            assert!(plan.lines().any(bounded), "{plan}");
            assert!(!plan.contains("Seq Scan on"), "{plan}");
            harness.execute_in(&mut tx, "DEALLOCATE purge").await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_oldest_event_need_not_have_the_lowest_number() {
    run_migrated(async |harness: &PgHarness| {
        enqueue(harness, "s-1", &["a", "b", "c"]).await;
        // A writer that took its number first and its time last.
        harness
            .execute(
                "UPDATE outbox_events SET enqueued_at = enqueued_at - interval '1 hour' \
                 WHERE seq = 2",
            )
            .await;
        let stats = harness.outbox(Tables::default()).stats().await.unwrap();
        let age = stats.oldest_age.unwrap();
        assert!(age >= Duration::from_secs(3600) && age < Duration::from_secs(3700), "{age:?}");
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_there_twice_keeps_no_settlement_from_going_through() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.archiving(Tables::default());
        // As after a restore of one table.
        one_dead_rest_parked(harness, "s-1", &["a"]).await;
        let restore = "INSERT INTO outbox_events (seq, event_id, aggregate_type, aggregate_id, \
             event_name, event_version, occurred_at, content_type, source, payload) \
             OVERRIDING SYSTEM VALUE SELECT seq, event_id, 'other', aggregate_id, event_name, \
             event_version, occurred_at, content_type, source, payload FROM ";
        harness.execute(&format!("{restore} outbox_dead_letters")).await;
        outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
        for kept in [1, 2] {
            expire(harness).await;
            let lease = acquire(&outbox).await;
            let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
            let settled = outbox.settle(&lease, &published(rows.clone())).await.unwrap();
            assert_eq!(settled.published, rows.len() as u64);
            assert_eq!(outbox.archived(&ArchiveQuery::latest()).await.unwrap().len(), kept);
            // And again from the archive: it went twice, so it is there twice.
            harness.execute(&format!("{restore} outbox_archive LIMIT 1")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_archive_may_be_partitioned_by_time() {
    run_migrated(async |harness: &PgHarness| {
        harness
            .execute(
                "ALTER TABLE outbox_archive RENAME TO plain; \
                 CREATE TABLE outbox_archive (LIKE plain INCLUDING DEFAULTS, \
                     PRIMARY KEY (event_id, seq, published_at)) PARTITION BY RANGE (published_at); \
                 CREATE TABLE past PARTITION OF outbox_archive \
                     FOR VALUES FROM (MINVALUE) TO ('2020-01-01'); \
                 CREATE TABLE present PARTITION OF outbox_archive \
                     FOR VALUES FROM ('2020-01-01') TO (MAXVALUE); \
                 DROP TABLE plain",
            )
            .await;
        let outbox = harness.archiving(Tables::default());
        let publish = async || {
            enqueue(harness, "s-1", &["a", "b"]).await;
            expire(harness).await;
            let lease = acquire(&outbox).await;
            let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
            outbox.settle(&lease, &published(rows)).await.unwrap();
        };
        publish().await;
        harness
            .execute("UPDATE outbox_archive SET published_at = '2010-01-01'; TRUNCATE present")
            .await;
        publish().await;
        // Those of each partition are at the same places.
        let places = "SELECT count(DISTINCT ctid) FROM outbox_archive";
        assert_eq!(harness.number(places).await, 2);
        assert_eq!(harness.number("SELECT count(*) FROM present").await, 2);
        while outbox.purge_archive(Duration::from_secs(3600), 1).await.unwrap() > 0 {}
        assert_eq!(harness.number("SELECT count(*) FROM past").await, 0);
        assert_eq!(harness.number("SELECT count(*) FROM present").await, 2);
    })
    .await;
}

#[tokio::test]
async fn several_may_purge_at_once() {
    run_migrated(async |harness: &PgHarness| {
        harness.execute(PUBLISH).await;
        let outbox = harness.outbox(Tables::default());
        let purges = (0..4).map(|_| async {
            let mut purged = 0;
            while harness.number("SELECT count(*) FROM outbox_archive").await > 0 {
                purged += outbox.purge_archive(Duration::ZERO, 700).await.unwrap();
            }
            purged
        });
        let purged: u64 = futures::future::join_all(purges).await.into_iter().sum();
        assert_eq!(purged, 20_000);
    })
    .await;
}
