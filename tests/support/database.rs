//! A database of one's own on the real Postgres.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
};

use relaybox::{
    Envelope, Outbox,
    postgres::{PgMigrator, PgOutbox, PgProcessedEvents, Tables},
};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::{Changed, per_key};

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
        let database = Self::open(admin_url, &name).await;
        let pool = &database.pool;
        PgMigrator::new(pool.clone(), Tables::default()).run().await.unwrap();
        for table in [
            "CREATE TABLE things (id text PRIMARY KEY, n bigint NOT NULL)",
            "CREATE TABLE effects (at bigint GENERATED ALWAYS AS IDENTITY, event_id uuid NOT NULL, id text NOT NULL, n bigint NOT NULL)",
        ] {
            sqlx::query(table).execute(pool).await.unwrap();
        }
        database
    }

    /// One that is there already, on the server of this address.
    pub async fn open(admin_url: &str, name: &str) -> Self {
        let options = PgConnectOptions::from_str(admin_url).unwrap().database(name);
        let pool = PgPoolOptions::new().max_connections(20).connect_with(options).await.unwrap();
        Self { admin_url: admin_url.to_owned(), name: name.to_owned(), pool }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
        Self::try_change_in(tx, id).await.unwrap()
    }

    /// As [`change_in`](Self::change_in), where the server may be gone.
    ///
    /// # Errors
    /// The driver's own.
    pub async fn try_change_in(
        tx: &mut sqlx::Transaction<'_, sqlx::Postgres>,
        id: &str,
    ) -> sqlx::Result<Changed> {
        let row = sqlx::query(
            "INSERT INTO things (id, n) VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = things.n + 1 RETURNING n",
        )
        .bind(id)
        .fetch_one(&mut **tx)
        .await?;
        Ok(Changed { id: id.to_owned(), n: row.get(0) })
    }

    /// Changes a thing and says so, in the caller's transaction.
    pub async fn raise_in(&self, tx: &mut sqlx::Transaction<'_, sqlx::Postgres>, id: &str) {
        let changed = Self::change_in(tx, id).await;
        self.outbox().enqueue(tx, &changed).await.unwrap();
    }

    /// How often each thing was changed: as many events of it there must be.
    pub async fn changes(&self) -> HashMap<String, i64> {
        let rows = sqlx::query_as("SELECT id, n FROM things").fetch_all(&self.pool).await.unwrap();
        rows.into_iter().collect()
    }

    /// Checks that each change of a thing that is in the database was published, none that isn't,
    /// and each thing's in order, repeats aside.
    pub async fn assert_published(&self, envelopes: &[Envelope]) {
        let expected: BTreeMap<String, Vec<i64>> =
            self.changes().await.into_iter().map(|(id, n)| (id, (1..=n).collect())).collect();
        let published: BTreeMap<String, Vec<i64>> = per_key(envelopes).into_iter().collect();
        for (id, numbers) in &expected {
            assert_eq!(published.get(id), Some(numbers), "{id} as published, and as it should be");
        }
        assert_eq!(published.len(), expected.len(), "things of which nothing was committed");
    }

    /// As [`assert_published`](Self::assert_published), where the order may have suffered.
    pub async fn assert_none_lost(&self, envelopes: &[Envelope]) {
        let mut published = per_key(envelopes);
        for numbers in published.values_mut() {
            numbers.sort_unstable();
        }
        let expected: HashMap<String, Vec<i64>> =
            self.changes().await.into_iter().map(|(id, n)| (id, (1..=n).collect())).collect();
        assert_eq!(published, expected);
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
        let mut admin = PgConnection::connect(&self.admin_url).await.unwrap();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        sqlx::query(AssertSqlSafe(drop)).execute(&mut admin).await.unwrap();
    }
}
