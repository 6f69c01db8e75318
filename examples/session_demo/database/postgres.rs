//! Postgres: a database of its own for each run, on the server that the URL names.

use relaybox::{
    async_trait,
    postgres::{PgMigrator, PgOutbox, PgProcessedEvents, Tables},
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Database, Result};
use crate::error::DemoError;

#[derive(Clone)]
pub(crate) struct PostgresDatabase {
    pool: PgPool,
    /// Where `CREATE DATABASE` was called, and `DROP DATABASE` will be.
    server: PgConnectOptions,
    name: String,
}

impl PostgresDatabase {
    /// Makes the database of this run, with its tables.
    pub(crate) async fn create(url: &str, run: &str) -> std::result::Result<Self, DemoError> {
        let server: PgConnectOptions = url.parse()?;
        let server = server.disable_statement_logging();
        let name = format!("relaybox_demo_{run}");
        let mut connection = PgConnection::connect_with(&server).await?;
        // `run` is hexadecimal; a name can't be a parameter.
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await?;
        connection.close().await?;

        let pool = PgPoolOptions::new()
            .max_connections(20)
            .connect_with(server.clone().database(&name))
            .await?;
        let database = Self { pool, server, name };
        match database.create_tables().await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.remove().await?;
                Err(error)
            }
        }
    }

    /// Drops the database of this run, which nobody else has made or would know the name of.
    pub(crate) async fn remove(self) -> sqlx::Result<()> {
        self.pool.close().await;
        let mut connection = PgConnection::connect_with(&self.server).await?;
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        sqlx::raw_sql(drop).execute(&mut connection).await?;
        connection.close().await
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    async fn create_tables(&self) -> std::result::Result<(), DemoError> {
        PgMigrator::new(self.pool.clone(), Tables::default()).run().await?;
        sqlx::raw_sql(include_str!("postgres.sql")).execute(&self.pool).await?;
        Ok(())
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    type Tx = Transaction<'static, Postgres>;
    type Outbox = PgOutbox;
    type Inbox = PgProcessedEvents;

    fn outbox(&self) -> PgOutbox {
        PgOutbox::new(self.pool.clone())
    }

    fn inbox(&self) -> PgProcessedEvents {
        PgProcessedEvents::new(self.pool.clone())
    }

    async fn begin(&self) -> Result<Self::Tx> {
        Ok(self.pool.begin().await?)
    }

    async fn commit(tx: Self::Tx) -> Result<()> {
        Ok(tx.commit().await?)
    }

    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }
}
