//! A database of one's own on the real Postgres.

use std::str::FromStr;

use relaybox::{
    Outbox,
    postgres::{PgMigrator, PgOutbox, PgProcessedEvents, Tables},
};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::Changed;

/// A uniquely named database with the library's tables and two of a business.
#[derive(Debug)]
pub struct Database {
    admin_url: String,
    name: String,
    /// Connections to it.
    pub pool: PgPool,
}

impl Database {
    /// Creates it.
    pub async fn create(admin_url: &str) -> Self {
        let name = format!("relaybox_test_{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(admin_url).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut admin)
            .await
            .unwrap();
        let options = PgConnectOptions::from_str(admin_url).unwrap().database(&name);
        let pool = PgPoolOptions::new().max_connections(20).connect_with(options).await.unwrap();
        PgMigrator::new(pool.clone(), Tables::default()).run().await.unwrap();
        for table in [
            "CREATE TABLE things (id text PRIMARY KEY, n bigint NOT NULL)",
            "CREATE TABLE effects (at bigint GENERATED ALWAYS AS IDENTITY, event_id uuid NOT NULL, id text NOT NULL, n bigint NOT NULL)",
        ] {
            sqlx::query(table).execute(&pool).await.unwrap();
        }
        Self { admin_url: admin_url.to_owned(), name, pool }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        let (server, _) = self.admin_url.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    /// The relay's side.
    #[must_use]
    pub fn store(&self) -> PgOutbox {
        PgOutbox::new(self.pool.clone())
    }

    /// The writer's side.
    #[must_use]
    pub fn outbox(&self) -> Outbox<PgOutbox> {
        Outbox::new(self.store())
    }

    /// The consumer's side.
    #[must_use]
    pub fn inbox(&self) -> PgProcessedEvents {
        PgProcessedEvents::new(self.pool.clone())
    }

    /// Changes a thing and says so, in one transaction that takes the thing's row lock first.
    pub async fn change(&self, id: &str) -> Changed {
        let mut tx = self.pool.begin().await.unwrap();
        let changed = Self::change_in(&mut tx, id).await;
        self.outbox().enqueue(&mut tx, &changed).await.unwrap();
        tx.commit().await.unwrap();
        changed
    }

    /// Changes a thing in the caller's transaction; gives the event that is still to be enqueued.
    pub async fn change_in(tx: &mut sqlx::Transaction<'_, sqlx::Postgres>, id: &str) -> Changed {
        let row = sqlx::query(
            "INSERT INTO things (id, n) VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = things.n + 1 RETURNING n",
        )
        .bind(id)
        .fetch_one(&mut **tx)
        .await
        .unwrap();
        Changed { id: id.to_owned(), n: row.get(0) }
    }

    /// The first column of the first row of a query without parameters.
    pub async fn number(&self, query: &'static str) -> i64 {
        sqlx::query(query).fetch_one(&self.pool).await.unwrap().get(0)
    }

    /// How many events wait to be published.
    pub async fn backlog(&self) -> i64 {
        self.number("SELECT count(*) FROM outbox_events").await
    }

    /// Drops it, whoever is connected.
    pub async fn drop(self) {
        self.pool.close().await;
        let mut admin = PgConnection::connect(&self.admin_url).await.unwrap();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        sqlx::query(AssertSqlSafe(drop)).execute(&mut admin).await.unwrap();
    }
}
