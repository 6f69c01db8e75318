//! A SQLite file of one's own, with the settings that the library's documentation asks for.

use std::time::Duration;

use relaybox::sqlite::{SqliteMigrator, Tables};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tempfile::TempDir;

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
            .busy_timeout(Duration::from_secs(5))
            .row_buffer_size(500);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(connect).await.unwrap();
        SqliteMigrator::new(pool.clone(), Tables::default()).run().await.unwrap();
        Self { pool, _directory: directory }
    }
}
