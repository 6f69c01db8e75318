//! SQLite.

use std::{path::Path, str::FromStr, sync::Arc, time::Duration};

use relaybox::{
    Error, ErrorKind, Result as CoreResult, async_trait,
    sqlite::{SqliteMigrator, SqliteOutbox, SqliteProcessedEvents},
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{CONNECT, Migrator, Open, Store, bad_url};
use crate::{
    config::{StoreKind, StoreSection},
    error::CliError,
};

pub(super) fn open(section: &StoreSection, url: &str, how: Open) -> Result<Store, CliError> {
    let tables = section.tables()?;
    let options = SqliteConnectOptions::from_str(url).map_err(|_| bad_url("sqlite:FILE"))?;
    let file = options.get_filename().to_owned();
    if how != Open::Create && !file.exists() && !is_in_memory(&file) {
        return Err(Error::new(ErrorKind::Unavailable, "open the database")
            .detail("there is no such file; `relaybox migrate` makes it")
            .into());
    }
    // A database that is there keeps its journal, which it remembers itself.
    let options = match file.exists() {
        true => options,
        false => {
            options.create_if_missing(how == Open::Create).journal_mode(SqliteJournalMode::Wal)
        }
    };
    let options = options
        // Or a power cut may undo an event that was published.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new().acquire_timeout(CONNECT).connect_lazy_with(options);
    let outbox = SqliteOutbox::with_tables(pool.clone(), tables.clone());
    Ok(Store {
        kind: StoreKind::Sqlite,
        outbox: Arc::new(if section.archive { outbox.archive_published() } else { outbox }),
        marks: Arc::new(SqliteProcessedEvents::with_tables(pool.clone(), tables.clone())),
        migrator: Arc::new(SqliteMigrator::new(pool, tables)),
    })
}

/// sqlx names databases in memory so.
fn is_in_memory(file: &Path) -> bool {
    file.to_string_lossy().starts_with("file:sqlx-in-memory")
}

#[async_trait]
impl Migrator for SqliteMigrator {
    async fn run(&self) -> CoreResult<()> {
        SqliteMigrator::run(self).await
    }
}
