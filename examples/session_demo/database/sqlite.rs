//! SQLite: a file in a folder of its own, which goes at the end.

use std::{path::Path, sync::Arc, time::Duration};

use relaybox::{
    async_trait,
    sqlite::{SqliteMigrator, SqliteOutbox, SqliteProcessedEvents, Tables},
};
use sqlx::{
    ConnectOptions, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tempfile::TempDir;

use super::{Database, Result};
use crate::error::DemoError;

#[derive(Clone)]
pub(crate) struct SqliteDatabase {
    pool: SqlitePool,
    folder: Arc<TempDir>,
}

impl SqliteDatabase {
    /// Makes the file of this run, with its tables.
    pub(crate) async fn create(run: &str) -> std::result::Result<Self, DemoError> {
        let folder = TempDir::with_prefix(format!("relaybox-demo-{run}-"))?;
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_with(options(&folder.path().join("demo.sqlite")))
            .await?;
        SqliteMigrator::new(pool.clone(), Tables::default()).run().await?;
        sqlx::raw_sql(include_str!("sqlite.sql")).execute(&pool).await?;
        Ok(Self { pool, folder: Arc::new(folder) })
    }

    /// Closes the file; its folder goes with the last clone.
    pub(crate) async fn remove(self) {
        self.pool.close().await;
        drop(self.folder);
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        // Readers don't wait for the writer.
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // The service, the relay and the consumers take turns.
        .busy_timeout(Duration::from_secs(30))
        .disable_statement_logging()
}

#[async_trait]
impl Database for SqliteDatabase {
    type Tx = Transaction<'static, Sqlite>;
    type Outbox = SqliteOutbox;
    type Inbox = SqliteProcessedEvents;

    fn outbox(&self) -> SqliteOutbox {
        SqliteOutbox::new(self.pool.clone())
    }

    fn inbox(&self) -> SqliteProcessedEvents {
        SqliteProcessedEvents::new(self.pool.clone())
    }

    /// Immediate: a transaction that reads first and writes later would fail as locked, whatever the
    /// busy timeout.
    async fn begin(&self) -> Result<Self::Tx> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    async fn commit(tx: Self::Tx) -> Result<()> {
        Ok(tx.commit().await?)
    }

    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }
}
