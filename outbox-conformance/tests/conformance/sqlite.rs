//! SQLite, on files.

use std::time::Duration;

use relaybox_conformance::{
    InboxFactory, StoreCapabilities, StoreFactory, archive_promises, async_trait, inbox_promises,
    store_promises,
};
use relaybox_core::{ArchiveStore, EventId};
use relaybox_sqlx::{SqliteMigrator, SqliteOutbox, SqliteProcessedEvents, Tables};
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tempfile::TempDir;

#[derive(Default)]
pub(crate) struct OnSqlite {
    /// It keeps what was published.
    archives: bool,
}

/// A file in a folder that goes with it.
pub(crate) struct File {
    pool: SqlitePool,
    folder: TempDir,
}

impl File {
    async fn create() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("outbox.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Nothing here is about a loss of power.
            .synchronous(SqliteSynchronous::Off)
            .busy_timeout(Duration::from_secs(30));
        let pool =
            SqlitePoolOptions::new().max_connections(10).connect_with(options).await.unwrap();
        SqliteMigrator::new(pool.clone(), Tables::default()).run().await.unwrap();
        sqlx::query("CREATE TABLE effects (n integer)").execute(&pool).await.unwrap();
        Self { pool, folder }
    }

    async fn remove(self) {
        self.pool.close().await;
        self.folder.close().unwrap();
    }
}

#[async_trait]
impl StoreFactory for OnSqlite {
    type Database = File;
    type Store = SqliteOutbox;
    type Tx = Transaction<'static, Sqlite>;

    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities::new().single_writer().counts_overlooked()
    }

    async fn create(&self) -> Option<File> {
        Some(File::create().await)
    }

    fn store(&self, file: &File) -> SqliteOutbox {
        let store = SqliteOutbox::new(file.pool.clone());
        if self.archives { store.archive_published() } else { store }
    }

    fn archive(&self, file: &File) -> Option<Box<dyn ArchiveStore>> {
        self.archives.then(|| Box::new(self.store(file)) as _)
    }

    async fn begin(&self, file: &File) -> Self::Tx {
        file.pool.begin_with("BEGIN IMMEDIATE").await.unwrap()
    }

    async fn commit(&self, tx: Self::Tx) {
        tx.commit().await.unwrap();
    }

    async fn rollback(&self, tx: Self::Tx) {
        tx.rollback().await.unwrap();
    }

    async fn spoil(&self, file: &File, event: EventId) -> bool {
        let sql = "UPDATE outbox_events SET event_name = 'Not A Name' WHERE event_id = ?";
        let spoilt = sqlx::query(sql).bind(event.as_uuid()).execute(&file.pool).await.unwrap();
        spoilt.rows_affected() == 1
    }

    async fn move_below_all(&self, tx: &mut Self::Tx, event: EventId) -> bool {
        let sql = "UPDATE outbox_events SET seq = -1000 WHERE event_id = ?";
        let moved = sqlx::query(sql).bind(event.as_uuid()).execute(&mut **tx).await.unwrap();
        moved.rows_affected() == 1
    }

    async fn destroy(&self, file: File) {
        file.remove().await;
    }
}

#[async_trait]
impl InboxFactory for OnSqlite {
    type Database = File;
    type Inbox = SqliteProcessedEvents;
    type Tx = Transaction<'static, Sqlite>;

    async fn create(&self) -> Option<File> {
        Some(File::create().await)
    }

    fn inbox(&self, file: &File) -> SqliteProcessedEvents {
        SqliteProcessedEvents::new(file.pool.clone())
    }

    async fn add_effect(&self, tx: &mut Self::Tx) {
        sqlx::query("INSERT INTO effects VALUES (1)").execute(&mut **tx).await.unwrap();
    }

    async fn effects(&self, file: &File) -> u64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM effects");
        let count: i64 = count.fetch_one(&file.pool).await.unwrap();
        count.try_into().unwrap()
    }

    async fn destroy(&self, file: File) {
        file.remove().await;
    }
}

mod store {
    use super::{OnSqlite, store_promises};

    store_promises!(OnSqlite::default());
}

mod archive {
    use super::{OnSqlite, archive_promises};

    archive_promises!(OnSqlite { archives: true });
}

mod inbox {
    use super::{OnSqlite, inbox_promises};

    inbox_promises!(OnSqlite::default());
}

#[test]
fn any_history_is_that_of_the_model() {
    relaybox_conformance::model_check(&OnSqlite::default(), 30);
}

#[test]
fn any_history_with_an_archive_is_that_of_the_model() {
    relaybox_conformance::model_check(&OnSqlite { archives: true }, 30);
}
