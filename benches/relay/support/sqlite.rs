//! A SQLite file of one's own, with the settings that the library's documentation asks for.

use std::time::Duration;

use relaybox::sqlite::{SqliteMigrator, SqliteOutbox, Tables};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tempfile::TempDir;

use super::{PAYLOAD, database::sync};

/// A file in a directory that is removed with it.
pub(crate) struct File {
    pub(crate) pool: SqlitePool,
    _directory: TempDir,
}

impl File {
    /// Makes it beside the build, for /tmp may be memory.
    pub(crate) async fn create() -> Self {
        let beside = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
        let connect = SqliteConnectOptions::new()
            .filename(directory.path().join("bench.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(connect).await.unwrap();
        SqliteMigrator::new(pool.clone(), Tables::default()).run().await.unwrap();
        Self { pool, _directory: directory }
    }

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
