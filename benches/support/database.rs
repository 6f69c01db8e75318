//! A database of one's own on the real Postgres, dropped however the row ends.

use std::str::FromStr;

use relaybox::postgres::{PgMigrator, Tables};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

/// A uniquely named database with the library's tables and one of a business.
pub(crate) struct Database {
    server: String,
    name: String,
    /// A few connections.
    pub(crate) pool: PgPool,
}

impl Database {
    pub(crate) async fn create(server: &str) -> Self {
        let name = format!("relaybox_bench_{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(server).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
        let connect = PgConnectOptions::from_str(server).unwrap().database(&name);
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(connect);
        // From here on it is dropped.
        let database = Self { server: server.to_owned(), name, pool };
        PgMigrator::new(database.pool.clone(), Tables::default()).run().await.unwrap();
        database.execute("CREATE TABLE things (id uuid PRIMARY KEY, n bigint NOT NULL)").await;
        database
    }

    /// The server's address, and the name of the database there.
    pub(crate) fn address(&self) -> (&str, &str) {
        (&self.server, &self.name)
    }

    /// More connections to it.
    pub(crate) async fn connections(&self, count: u32) -> PgPool {
        let pool = PgPoolOptions::new().min_connections(count).max_connections(count);
        pool.connect_with(connect(&self.server, &self.name)).await.unwrap()
    }

    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.pool).await.unwrap();
    }

    /// The only column of the only row of a query.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let server = self.server.clone();
        let dropped = on_a_thread(async move {
            let mut admin = PgConnection::connect(&server).await?;
            sqlx::query(AssertSqlSafe(drop)).execute(&mut admin).await
        });
        if let Some(Err(error)) = dropped {
            eprintln!("the database {} stays: {error}", self.name);
        }
    }
}

/// How to connect to a database of a server.
pub(crate) fn connect(server: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::from_str(server).unwrap().database(database)
}

/// Has the kernel write what the last round left, so that the next one doesn't pay for it.
pub(crate) fn sync() {
    assert!(std::process::Command::new("sync").status().unwrap().success());
}

/// Waits for a future in a destructor, where nothing can be awaited.
pub(crate) fn on_a_thread<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(work)
    });
    thread.join().ok()
}
