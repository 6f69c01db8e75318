//! Migrations on Postgres.

use std::fmt;

use relaybox_core::Result;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use super::{Migration, RUN, TABLES, complete, missing, script};
use crate::{Tables, error, template::render};

const MIGRATIONS: [Migration; 4] = [
    Migration {
        version: 1,
        name: "create the tables",
        sql: include_str!("postgres/0001_create_tables.sql"),
    },
    Migration {
        version: 2,
        name: "create the archive",
        sql: include_str!("postgres/0002_create_archive.sql"),
    },
    Migration {
        version: 3,
        name: "count the starts of consumers",
        sql: include_str!("postgres/0003_count_starts.sql"),
    },
    Migration {
        version: 4,
        name: "keep schemas",
        sql: include_str!("postgres/0004_keep_schemas.sql"),
    },
];

const EXISTS: &str = "SELECT to_regclass('{migrations}') IS NOT NULL";
const CREATE: &str = "CREATE TABLE IF NOT EXISTS {migrations} (
    version    bigint PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM {migrations}";
// CREATE TABLE IF NOT EXISTS fails when another one does the same at the same moment.
const LOCK: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('relaybox ' || '{migrations}', 0))";
/// From the catalog, which a role may read whatever its rights on the schemas.
const ABSENT: &str = "SELECT name FROM unnest($1::text[]) AS name, parse_ident(name) AS part \
     WHERE NOT EXISTS (SELECT FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace \
         WHERE relname = part[cardinality(part)] AND nspname = ANY(CASE cardinality(part) \
             WHEN 1 THEN current_schemas(true) ELSE part[1:1]::name[] END))";
const NOTE: &str = "INSERT INTO {migrations} (version, name) VALUES ($1, $2)";

/// Creates the tables, and brings them up to date.
///
/// ```no_run
/// use relaybox_sqlx::{PgMigrator, Tables};
///
/// # async fn run(pool: sqlx::PgPool) -> Result<(), relaybox_core::Error> {
/// PgMigrator::new(pool, Tables::default()).run().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PgMigrator {
    pool: PgPool,
    tables: Tables,
}

impl PgMigrator {
    /// Migrates the tables of these names. A schema in a name must exist.
    #[must_use]
    pub fn new(pool: PgPool, tables: Tables) -> Self {
        Self { pool, tables }
    }

    /// Applies what is missing, in one transaction; several processes may do so at once.
    ///
    /// A database that is up to date is only read: a service whose role may not create tables can
    /// call this at its start.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`](relaybox_core::ErrorKind::Schema) when the database is newer than this
    /// version of the library, when a table exists already, or when one is missing though its
    /// migration was applied; the database's own. Nothing is applied then.
    ///
    /// # Cancel safety
    /// Cancel safe: all or nothing is applied.
    pub async fn run(&self) -> Result<()> {
        // READ COMMITTED whatever the default is: who waited for the lock must see what was done.
        let begin = self.pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await;
        let mut tx = begin.map_err(error::database(RUN))?;
        if self.exists(&mut tx).await?
            && missing(&MIGRATIONS, self.version(&mut tx).await?)?.is_empty()
        {
            complete(&self.absent(&mut tx).await?)?;
            return tx.rollback().await.map_err(error::database(RUN));
        }
        for template in [LOCK, CREATE] {
            self.execute(&mut tx, template).await?;
        }
        for migration in missing(&MIGRATIONS, self.version(&mut tx).await?)? {
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
    /// use relaybox_sqlx::{PgMigrator, Tables};
    /// assert!(PgMigrator::sql(&Tables::default()).contains("CREATE TABLE \"outbox_events\""));
    /// ```
    #[must_use]
    pub fn sql(tables: &Tables) -> String {
        render(tables, &script(CREATE, &MIGRATIONS))
    }

    async fn exists(&self, tx: &mut Transaction<'static, Postgres>) -> Result<bool> {
        sqlx::query_scalar(AssertSqlSafe(render(&self.tables, EXISTS)))
            .fetch_one(&mut **tx)
            .await
            .map_err(error::database(RUN))
    }

    async fn version(&self, tx: &mut Transaction<'static, Postgres>) -> Result<i64> {
        sqlx::query_scalar(AssertSqlSafe(render(&self.tables, VERSION)))
            .fetch_one(&mut **tx)
            .await
            .map_err(error::database(RUN))
    }

    async fn absent(&self, tx: &mut Transaction<'static, Postgres>) -> Result<Vec<String>> {
        sqlx::query_scalar(ABSENT)
            .bind(TABLES.map(|table| render(&self.tables, table)))
            .fetch_all(&mut **tx)
            .await
            .map_err(error::database(RUN))
    }

    async fn execute(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        template: &'static str,
    ) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(render(&self.tables, template)))
            .execute(&mut **tx)
            .await
            .map_err(error::database(RUN))
            .map(drop)
    }
}

impl fmt::Debug for PgMigrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgMigrator").field("tables", &self.tables).finish_non_exhaustive()
    }
}
