//! Migrations on SQLite.

use std::fmt;

use relaybox_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool, Transaction};

use super::{Migration, RUN, TABLES, complete, missing, script};
use crate::{Tables, error, sqlite::render};

const MIGRATIONS: [Migration; 5] = [
    Migration {
        version: 1,
        name: "create the tables",
        sql: include_str!("sqlite/0001_create_tables.sql"),
    },
    Migration {
        version: 2,
        name: "create the archive",
        sql: include_str!("sqlite/0002_create_archive.sql"),
    },
    Migration {
        version: 3,
        name: "count the starts of consumers",
        sql: include_str!("sqlite/0003_count_starts.sql"),
    },
    Migration {
        version: 4,
        name: "keep schemas",
        sql: include_str!("sqlite/0004_keep_schemas.sql"),
    },
    Migration {
        version: 5,
        name: "settle by a mark",
        sql: include_str!("sqlite/0005_settle_by_a_mark.sql"),
    },
];

const CREATE: &str = "CREATE TABLE IF NOT EXISTS {migrations} (
    version    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at INTEGER NOT NULL DEFAULT ({now})
) STRICT";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM {migrations}";
const NOTE: &str = "INSERT INTO {migrations} (version, name) VALUES (?1, ?2)";

/// Creates the tables, and brings them up to date.
///
/// ```
/// use relaybox_sqlx::{SqliteMigrator, Tables};
///
/// # async fn run(pool: sqlx::SqlitePool) -> Result<(), relaybox_core::Error> {
/// SqliteMigrator::new(pool, Tables::default()).run().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqliteMigrator {
    pool: SqlitePool,
    tables: Tables,
}

impl SqliteMigrator {
    /// Migrates the tables of these names. A schema in a name is that of an attached database.
    #[must_use]
    pub fn new(pool: SqlitePool, tables: Tables) -> Self {
        Self { pool, tables }
    }

    /// Applies what is missing, in one transaction; several processes may do so at once.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the outbox's tables are in different databases;
    /// [`ErrorKind::Schema`] when the database is newer than this version of the library, or a table
    /// is missing though its migration was applied; the database's own. Nothing is applied then.
    ///
    /// # Cancel safety
    /// Cancel safe: all or nothing is applied.
    pub async fn run(&self) -> Result<()> {
        let Tables { outbox_events, outbox_relay, outbox_dead_letters, .. } = &self.tables;
        if [outbox_relay, outbox_dead_letters].iter().any(|t| t.schema != outbox_events.schema) {
            return Err(Error::new(ErrorKind::Invalid, RUN).detail(
                "the tables of an outbox must be in one database: a transaction over several is not \
                 atomic with a write-ahead log",
            ));
        }
        let begin = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let mut tx = begin.map_err(error::database(RUN))?;
        self.execute(&mut tx, CREATE).await?;
        let version = sqlx::query_scalar(AssertSqlSafe(render(&self.tables, VERSION)))
            .fetch_one(&mut *tx)
            .await
            .map_err(error::database(RUN))?;
        for migration in missing(&MIGRATIONS, version)? {
            self.execute(&mut tx, migration.sql).await?;
            sqlx::query(AssertSqlSafe(render(&self.tables, NOTE)))
                .bind(migration.version)
                .bind(migration.name)
                .execute(&mut *tx)
                .await
                .map_err(error::database(RUN))?;
        }
        complete(&self.absent(&mut tx).await?)?;
        tx.commit().await.map_err(error::commit(RUN))
    }

    /// All migrations as one script, for those who run their own: it also notes that they were
    /// applied, so that [`run`](Self::run) finds nothing to do. Run it in a transaction.
    ///
    /// ```
    /// use relaybox_sqlx::{SqliteMigrator, Tables};
    /// assert!(SqliteMigrator::sql(&Tables::default()).contains("CREATE TABLE \"outbox_events\""));
    /// ```
    #[must_use]
    pub fn sql(tables: &Tables) -> String {
        render(tables, &script(CREATE, &MIGRATIONS))
    }

    /// Asks each table: an unqualified name may be that of a table in any attached database.
    async fn absent(&self, tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<String>> {
        let mut absent = Vec::new();
        for table in TABLES {
            match self.execute(tx, &format!("SELECT 1 FROM {table} LIMIT 0")).await {
                Err(error) if error.kind() == ErrorKind::Schema => {
                    absent.push(render(&self.tables, table));
                }
                result => result?,
            }
        }
        Ok(absent)
    }

    async fn execute(&self, tx: &mut Transaction<'static, Sqlite>, template: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(render(&self.tables, template)))
            .execute(&mut **tx)
            .await
            .map_err(error::database(RUN))
            .map(drop)
    }
}

impl fmt::Debug for SqliteMigrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteMigrator").field("tables", &self.tables).finish_non_exhaustive()
    }
}
