//! Outboxes with events in them.

use relaybox::{postgres::PgOutbox, sqlite::SqliteOutbox};

use crate::support::{
    PAYLOAD,
    database::{Database, sync},
    sqlite::File,
};

impl Database {
    pub(crate) fn store(&self) -> PgOutbox {
        PgOutbox::new(self.pool.clone())
    }

    /// Puts so many committed events into the empty outbox, and leaves nothing to write to disk.
    pub(crate) async fn fill(&self, events: u64) {
        self.load(events).await;
        self.execute("CHECKPOINT").await;
        sync();
    }

    /// The same without a checkpoint at the end.
    pub(crate) async fn load(&self, events: u64) {
        self.execute("TRUNCATE outbox_events").await;
        sqlx::query(
            "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_name, \
             event_version, occurred_at, content_type, source, correlation_id, payload) \
             SELECT gen_random_uuid(), 'thing', 't' || (n % 10000), 'thing.changed', 1, now(), \
             'application/json', 'bench', n::text, decode(repeat(md5(n::text), $2 / 16), 'hex') \
             FROM generate_series(1, $1) AS n",
        )
        .bind(i64::try_from(events).unwrap())
        .bind(i32::try_from(PAYLOAD).unwrap())
        .execute(&self.pool)
        .await
        .unwrap();
        self.execute("VACUUM ANALYZE outbox_events").await;
    }
}

impl File {
    pub(crate) fn store(&self) -> SqliteOutbox {
        SqliteOutbox::new(self.pool.clone())
    }

    /// Puts so many committed events into it.
    pub(crate) async fn fill(&self, events: u64) {
        sqlx::query("DELETE FROM outbox_events").execute(&self.pool).await.unwrap();
        sqlx::query(
            "WITH RECURSIVE event (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM event WHERE n < ?1) \
             INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_name, \
             event_version, occurred_at, content_type, source, correlation_id, payload) \
             SELECT randomblob(16), 'thing', 't' || (n % 10000), 'thing.changed', 1, \
             unixepoch() * 1000000, 'application/json', 'bench', CAST(n AS text), \
             CAST(substr(replace(hex(zeroblob(?2 / 32)), '00', hex(randomblob(16))), 1, ?2) AS blob) \
             FROM event",
        )
        .bind(i64::try_from(events).unwrap())
        .bind(i64::try_from(PAYLOAD).unwrap())
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.pool).await.unwrap();
        sync();
    }
}
