//! Postgres: the promises, each in a schema of its own, and those that only Postgres makes.

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;
use relaybox_core::{
    AggregateType, ConsumerName, ErrorKind, EventId, Label, Mark, OutboxStore, OutboxWriter,
    ProcessedEventStore, RelayId, Result, Retry, error_chain,
};
use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Harness, LIMIT, TTL, acquire, enqueue, event, names, published, read, refs, run_migrated,
};
use crate::{PgMigrator, PgOutbox, PgProcessedEvents, Tables};

super::all_promises!(super::PgHarness);

/// Where the server is; none, with a note, when nobody said. In CI that is an error.
fn postgres_url() -> Option<String> {
    let url = std::env::var("RELAYBOX_POSTGRES_URL").ok();
    if url.is_none() {
        assert!(std::env::var_os("CI").is_none(), "RELAYBOX_POSTGRES_URL is not set");
        eprintln!("SKIPPED: RELAYBOX_POSTGRES_URL is not set (scripts/services up postgres)");
    }
    url
}

pub(super) struct PgHarness {
    pool: PgPool,
    options: PgConnectOptions,
    pub(super) schema: String,
}

impl PgHarness {
    /// A pool as another user.
    pub(super) fn pool_of(&self, user: &str) -> PgPool {
        let options = self.options.clone().username(user);
        PgPoolOptions::new().max_connections(2).connect_lazy_with(options)
    }
}

#[async_trait]
impl Harness for PgHarness {
    type Tx = Transaction<'static, Postgres>;
    type Outbox = PgOutbox;
    type Inbox = PgProcessedEvents;

    async fn start() -> Option<Self> {
        let schema = format!("relaybox_test_{}", uuid::Uuid::new_v4().simple());
        let options = PgConnectOptions::from_str(&postgres_url()?)
            .unwrap()
            .options([("search_path", schema.as_str())]);
        let pool =
            PgPoolOptions::new().max_connections(10).connect_with(options.clone()).await.unwrap();
        let harness = Self { pool, options, schema };
        harness.execute(&format!("CREATE SCHEMA {}", harness.schema)).await;
        Some(harness)
    }

    async fn stop(self) {
        let drop =
            format!("DROP SCHEMA {0} CASCADE; DROP SCHEMA IF EXISTS {0}_b CASCADE", self.schema);
        self.execute(&drop).await;
        self.pool.close().await;
    }

    fn outbox(&self, tables: Tables) -> PgOutbox {
        PgOutbox::with_tables(self.pool.clone(), tables)
    }

    fn archiving(&self, tables: Tables) -> PgOutbox {
        self.outbox(tables).archive_published()
    }

    fn inbox(&self, tables: Tables) -> PgProcessedEvents {
        PgProcessedEvents::with_tables(self.pool.clone(), tables)
    }

    async fn migrate(&self, tables: Tables) -> Result<()> {
        PgMigrator::new(self.pool.clone(), tables).run().await
    }

    fn script(tables: &Tables) -> String {
        PgMigrator::sql(tables)
    }

    async fn schema(&self) -> &'static str {
        self.execute(&format!("CREATE SCHEMA {}_b", self.schema)).await;
        format!("{}_b", self.schema).leak()
    }

    async fn begin(&self) -> Self::Tx {
        self.pool.begin().await.unwrap()
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
        let sql = format!("UPDATE {table} SET {column} = {column} - interval '{seconds} seconds'");
        self.execute(&sql).await;
    }
}

#[tokio::test]
async fn a_late_commit_is_given_later_and_holds_back_nothing() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        let mut late = harness.begin().await;
        outbox.write(&mut late, &[event("s-1", "late")]).await.unwrap();
        enqueue(harness, "s-2", &["early"]).await;

        let mut reader = outbox.reader().await.unwrap();
        let early = read(&mut reader).await;
        assert_eq!(names(&early), ["early"]);
        let lease = acquire(&outbox).await;
        outbox.settle(&lease, &published(refs(&early))).await.unwrap();
        reader.forget(&refs(&early));
        assert!(read(&mut reader).await.is_empty());

        harness.commit(late).await;
        let late = read(&mut reader).await;
        assert_eq!(names(&late), ["late"]);
        assert!(late[0].event.position < early[0].event.position);
    })
    .await;
}

#[tokio::test]
async fn a_takeover_waits_for_a_settlement_that_has_begun() {
    run_migrated(async |harness: &PgHarness| {
        let impatient = harness.options.clone().options([("lock_timeout", "100ms")]);
        let successor = PgOutbox::new(PgPoolOptions::new().connect_lazy_with(impatient));
        for (parks, archives) in [(false, false), (false, true), (true, false)] {
            let tables = Tables::default();
            let outbox = if archives { harness.archiving(tables) } else { harness.outbox(tables) };
            enqueue(harness, "s-1", &["a"]).await;
            super::expire(harness).await;
            let lease = acquire(&outbox).await;
            let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
            super::expire(harness).await;

            // Holds the settlement up at its delete, after it has looked at the lease.
            let mut holder = harness.begin().await;
            harness.execute_in(&mut holder, "SELECT seq FROM outbox_events FOR UPDATE").await;
            let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
                .fetch_one(&mut *holder)
                .await
                .unwrap();
            let settlement = if parks { super::parked(rows) } else { published(rows) };
            let takeover = async {
                let waiting = format!(
                    "SELECT count(*) FROM pg_stat_activity WHERE {pid} = ANY(pg_blocking_pids(pid))"
                );
                while harness.number(&waiting).await == 0 {
                    tokio::task::yield_now().await;
                }
                let error = successor.acquire(&super::relay(), TTL).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
                harness.commit(holder).await;
            };
            let (settled, ()) = tokio::join!(outbox.settle(&lease, &settlement), takeover);
            let settled = settled.unwrap();
            assert_eq!(settled.published + settled.parked, 1);
            acquire(&successor).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_commit_after_a_failed_statement_is_an_error() {
    run_migrated(async |harness: &PgHarness| {
        let inbox = harness.inbox(Tables::default());
        let mut tx = inbox.begin(LIMIT).await.unwrap();
        let consumer = ConsumerName::new("notifications").unwrap();
        inbox.mark(&mut tx, &consumer, &[EventId::new()]).await.unwrap();
        // A handler that passes over an error.
        let _ = sqlx::query("SELECT 1 / 0").execute(&mut *tx).await.unwrap_err();
        let error = inbox.commit(tx).await.unwrap_err();
        assert!(error.to_string().contains("passed over"), "{error}");
        assert!(!error.is_infrastructure(), "the event is at fault");
        assert_eq!(harness.number("SELECT count(*) FROM processed_events").await, 0);
    })
    .await;
}

#[tokio::test]
async fn the_server_ends_a_transaction_that_stands_idle() {
    run_migrated(async |harness: &PgHarness| {
        let inbox = harness.inbox(Tables::default());
        let consumer = ConsumerName::new("notifications").unwrap();
        let id = EventId::new();
        let mut paused = inbox.begin(Duration::from_secs(2)).await.unwrap();
        inbox.mark(&mut paused, &consumer, &[id]).await.unwrap();

        // Its successor waits for the mark, and gets it.
        let mut tx = inbox.begin(LIMIT).await.unwrap();
        assert_eq!(inbox.mark(&mut tx, &consumer, &[id]).await.unwrap(), [Mark::First]);
        inbox.commit(tx).await.unwrap();
        let error = inbox.commit(paused).await.unwrap_err();
        assert!(error.is_infrastructure(), "{error:?}");
        assert_eq!(inbox.classify(&error), Some(error.kind()));
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_ends_at_the_limit() {
    run_migrated(async |harness: &PgHarness| {
        let inbox = harness.inbox(Tables::default());
        let consumer = ConsumerName::new("notifications").unwrap();
        let id = EventId::new();
        let mut holder = inbox.begin(LIMIT).await.unwrap();
        inbox.mark(&mut holder, &consumer, &[id]).await.unwrap();

        let short = Duration::from_secs(2);
        let mut tx = inbox.begin(short).await.unwrap();
        let since = std::time::Instant::now();
        let error = inbox.mark(&mut tx, &consumer, &[id]).await.unwrap_err();
        assert!(since.elapsed() >= short);
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        inbox.rollback(tx).await.unwrap();

        // A handler's own statement as well.
        let mut tx = inbox.begin(short).await.unwrap();
        let error = sqlx::query("LOCK TABLE processed_events").execute(&mut *tx).await.unwrap_err();
        assert_eq!(inbox.classify(&error), Some(ErrorKind::Timeout), "{error:?}");
        inbox.rollback(tx).await.unwrap();
        inbox.commit(holder).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_limit_is_never_none() {
    run_migrated(async |harness: &PgHarness| {
        let inbox = harness.inbox(Tables::default());
        let mut tx = inbox.begin(Duration::MAX).await.unwrap();
        for setting in ["statement_timeout", "idle_in_transaction_session_timeout"] {
            let sql = format!("SELECT setting FROM pg_settings WHERE name = '{setting}'");
            let millis: String =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *tx).await.unwrap();
            assert_eq!(millis, i32::MAX.to_string(), "{setting}");
        }
        inbox.rollback(tx).await.unwrap();
        if let Ok(mut tx) = inbox.begin(Duration::ZERO).await {
            sqlx::query("SELECT pg_sleep(60)").execute(&mut *tx).await.unwrap_err();
        }
    })
    .await;
}

#[tokio::test]
async fn a_standby_is_unavailable_until_it_is_promoted() {
    run_migrated(async |harness: &PgHarness| {
        // A stand-in: found before the server's own function.
        let path = format!("{},pg_catalog", harness.schema);
        let options = harness.options.clone().options([("search_path", path)]);
        let outbox = PgOutbox::new(PgPoolOptions::new().connect_lazy_with(options));
        harness
            .execute(&format!(
                "CREATE FUNCTION {}.pg_is_in_recovery() RETURNS bool LANGUAGE sql RETURN true",
                harness.schema
            ))
            .await;
        let Err(error) = outbox.reader().await else { panic!("it is a standby") };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_infrastructure() && error.to_string().contains("standby"), "{error}");
        harness.execute(&format!("DROP FUNCTION {}.pg_is_in_recovery()", harness.schema)).await;
        outbox.reader().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_killed_connection_leaves_the_outcome_of_a_commit_unknown() {
    run_migrated(async |harness: &PgHarness| {
        let inbox = harness.inbox(Tables::default());
        let mut tx = inbox.begin(LIMIT).await.unwrap();
        let pid: i32 =
            sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *tx).await.unwrap();
        harness.execute(&format!("SELECT pg_terminate_backend({pid}, 5000)")).await;
        let error = inbox.commit(tx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.is_infrastructure());
    })
    .await;
}

#[tokio::test]
async fn an_identity_that_gives_positions_out_of_order_is_refused() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        for change in
            ["SET CACHE 20", "SET CACHE 1 SET INCREMENT BY 2", "SET INCREMENT BY 1 SET CYCLE"]
        {
            harness.execute(&format!("ALTER TABLE outbox_events ALTER COLUMN seq {change}")).await;
            let Err(error) = outbox.reader().await else { panic!("{change} was not seen") };
            assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        }
        harness.execute("ALTER TABLE outbox_events ALTER COLUMN seq SET NO CYCLE").await;
        outbox.reader().await.unwrap();
        harness.execute("ALTER TABLE outbox_events ALTER COLUMN seq DROP IDENTITY").await;
        assert!(outbox.reader().await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_stored_tells_nothing_of_its_values() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        harness.execute("ALTER TABLE outbox_events ADD CHECK (user_id <> 'secret')").await;
        let mut bad = event("s-1", "secret payload");
        bad.metadata.user_id = Some(Label::new("secret").unwrap());
        let mut tx = harness.begin().await;
        let error = outbox.write(&mut tx, &[bad]).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Rejected, Retry::Never));
        assert!(!format!("{error:?} {}", error_chain(&error)).contains("secret"), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_time_that_no_calendar_has_is_refused() {
    run_migrated(async |harness: &PgHarness| {
        enqueue(harness, "s-1", &["a"]).await;
        for time in ["infinity", "-infinity", "20000-01-01"] {
            let sql = format!("UPDATE outbox_events SET occurred_at = '{time}'");
            let refused = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&harness.pool).await;
            assert!(refused.unwrap_err().as_database_error().unwrap().is_check_violation());
        }
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(500))
        .connect_lazy("postgres://me:secret@127.0.0.1:1/hidden")
        .unwrap();
    let outbox = PgOutbox::new(pool.clone());
    let error = outbox.acquire(&RelayId::new(&Label::default()), TTL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let inbox = PgProcessedEvents::new(pool.clone());
    let said = format!(
        "{error:?} {} {outbox:?} {inbox:?} {:?}",
        error_chain(&error),
        PgMigrator::new(pool, Tables::default())
    );
    assert!(!said.contains("secret") && !said.contains("hidden"), "{said}");
}

#[tokio::test]
async fn a_poison_event_with_a_long_tail_is_not_looked_through_on_every_read() {
    use relaybox_core::{DeadLetterQuery, DeadLetterStore};
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        harness
            .execute(
                "INSERT INTO outbox_dead_letters (seq, event_id, aggregate_type, aggregate_id, \
                 event_name, event_version, occurred_at, content_type, source, payload, \
                 enqueued_at, state) \
                 SELECT -n, gen_random_uuid(), 'session', 'poison', 'session.created', 1, now(), \
                 'application/json', '', '{}', now(), \
                 CASE n WHEN 2000 THEN 'dead' ELSE 'parked' END FROM generate_series(1, 2000) AS n",
            )
            .await;
        enqueue(harness, "s-1", &["a"]).await;
        let mut reader = outbox.reader().await.unwrap();
        assert_eq!(names(&read(&mut reader).await), ["a"]);
        outbox.redrive(&DeadLetterQuery::all().limit(1)).await.unwrap();
        assert!(read(&mut reader).await.is_empty(), "looked a moment ago");
        reader.rewind();
        let redriven = read(&mut reader).await;
        assert_eq!((redriven.len(), redriven[0].event.position), (100, -2000));
        // As long as there is something to redrive, each read looks.
        assert_eq!(read(&mut reader).await[0].event.position, -1900);
    })
    .await;
}

#[tokio::test]
async fn a_read_of_a_full_outbox_walks_the_primary_key() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        harness
            .execute(
                "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_name, \
                 event_version, occurred_at, content_type, source, payload) \
                 SELECT gen_random_uuid(), 'session', 's-' || n % 100, 'session.created', 1, now(), \
                 'application/json', '', '{}' FROM generate_series(1, 30000) AS n; \
                 ANALYZE outbox_events",
            )
            .await;
        let sql = crate::postgres::read_sql(&outbox, 100);
        let mut tx = harness.begin().await;
        // The plan that a prepared statement ends up with.
        harness.execute_in(&mut tx, "SET LOCAL plan_cache_mode = force_generic_plan").await;
        harness.execute_in(&mut tx, &format!("PREPARE read AS {sql}")).await;
        let plan: Vec<String> =
            sqlx::query_scalar("EXPLAIN EXECUTE read (1, '{}', '{}', '{}', '{}', '{}', '{}', 1000000, true, true, '{}', '{}')")
                .fetch_all(&mut *tx)
                .await
                .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Scan using outbox_events_pkey"), "{plan}");
        assert!(!plan.contains("Seq Scan on outbox_events"), "{plan}");

        // And what is in flight and held back makes no difference.
        let mut reader = outbox.reader().await.unwrap();
        let mut request = relaybox_core::ReadRequest::new(8000);
        reader.read(&request).await.unwrap();
        request.limit = 100;
        request.held_back = vec![AggregateType::new("other").unwrap()];
        let rows = reader.read(&request).await.unwrap();
        assert_eq!((rows.len(), rows[0].event.position), (100, 8001));
    })
    .await;
}

#[tokio::test]
async fn a_begin_that_is_dropped_leaves_no_transaction_in_the_pool() {
    run_migrated(async |harness: &PgHarness| {
        let pool =
            PgPoolOptions::new().max_connections(1).connect_lazy_with(harness.options.clone());
        let inbox = PgProcessedEvents::new(pool.clone());
        for n in 0..100 {
            // Some of them are dropped between the request and the answer.
            let patience = Duration::from_micros(20 * n);
            drop(tokio::time::timeout(patience, inbox.begin(LIMIT)).await);
            let now = async || -> chrono::DateTime<chrono::Utc> {
                sqlx::query_scalar("SELECT now()").fetch_one(&pool).await.unwrap()
            };
            // The time of a transaction stands still.
            assert_ne!(now().await, now().await, "round {n}");
        }
    })
    .await;
}
