//! Postgres, each promise in a schema of its own.

use std::str::FromStr;

use relaybox_conformance::{
    InboxCapabilities, InboxFactory, StoreCapabilities, StoreFactory, archive_promises,
    async_trait, inbox_promises, store_promises,
};
use relaybox_core::{ArchiveStore, EventId};
use relaybox_sqlx::{PgMigrator, PgOutbox, PgProcessedEvents, Tables};
use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

#[derive(Default)]
pub(crate) struct OnPostgres {
    /// It keeps what was published.
    archives: bool,
}

/// A uniquely named schema. A database of its own costs a checkpoint, and there are a hundred promises.
pub(crate) struct Fresh {
    pool: PgPool,
    schema: String,
}

impl Fresh {
    async fn create() -> Option<Self> {
        let url = crate::server("RELAYBOX_POSTGRES_URL")?;
        let schema = format!("relaybox_conformance_{}", uuid::Uuid::new_v4().simple());
        let options =
            PgConnectOptions::from_str(&url).unwrap().options([("search_path", schema.as_str())]);
        let pool = PgPoolOptions::new().max_connections(12).connect_with(options).await.unwrap();
        let fresh = Self { pool, schema };
        fresh.execute(format!("CREATE SCHEMA {}", fresh.schema)).await;
        PgMigrator::new(fresh.pool.clone(), Tables::default()).run().await.unwrap();
        fresh.execute("CREATE TABLE effects (n integer)".to_owned()).await;
        Some(fresh)
    }

    async fn execute(&self, sql: String) {
        sqlx::query(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    async fn drop(self) {
        self.execute(format!("DROP SCHEMA {} CASCADE", self.schema)).await;
        self.pool.close().await;
    }
}

#[async_trait]
impl StoreFactory for OnPostgres {
    type Database = Fresh;
    type Store = PgOutbox;
    type Tx = Transaction<'static, Postgres>;

    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities::new().counts_overlooked()
    }

    async fn create(&self) -> Option<Fresh> {
        Fresh::create().await
    }

    fn store(&self, database: &Fresh) -> PgOutbox {
        let store = PgOutbox::new(database.pool.clone());
        if self.archives { store.archive_published() } else { store }
    }

    fn archive(&self, database: &Fresh) -> Option<Box<dyn ArchiveStore>> {
        self.archives.then(|| Box::new(self.store(database)) as _)
    }

    async fn begin(&self, database: &Fresh) -> Self::Tx {
        database.pool.begin().await.unwrap()
    }

    async fn commit(&self, tx: Self::Tx) {
        tx.commit().await.unwrap();
    }

    async fn rollback(&self, tx: Self::Tx) {
        tx.rollback().await.unwrap();
    }

    async fn spoil(&self, database: &Fresh, event: EventId) -> bool {
        let sql = "UPDATE outbox_events SET event_name = 'Not A Name' WHERE event_id = $1";
        let spoilt = sqlx::query(sql).bind(event.as_uuid()).execute(&database.pool).await.unwrap();
        spoilt.rows_affected() == 1
    }

    async fn move_below_all(&self, tx: &mut Self::Tx, event: EventId) -> bool {
        for sql in [
            "CREATE TEMPORARY TABLE moved ON COMMIT DROP AS \
             SELECT * FROM outbox_events WHERE event_id = $1",
            "DELETE FROM outbox_events WHERE event_id = $1",
        ] {
            sqlx::query(sql).bind(event.as_uuid()).execute(&mut **tx).await.unwrap();
        }
        for sql in [
            "UPDATE moved SET seq = -1000",
            "INSERT INTO outbox_events OVERRIDING SYSTEM VALUE SELECT * FROM moved",
        ] {
            sqlx::query(sql).execute(&mut **tx).await.unwrap();
        }
        true
    }

    async fn destroy(&self, database: Fresh) {
        database.drop().await;
    }
}

#[async_trait]
impl InboxFactory for OnPostgres {
    type Database = Fresh;
    type Inbox = PgProcessedEvents;
    type Tx = Transaction<'static, Postgres>;

    fn capabilities(&self) -> InboxCapabilities {
        InboxCapabilities::new().ends_idle_transactions()
    }

    async fn create(&self) -> Option<Fresh> {
        Fresh::create().await
    }

    fn inbox(&self, database: &Fresh) -> PgProcessedEvents {
        PgProcessedEvents::new(database.pool.clone())
    }

    async fn add_effect(&self, tx: &mut Self::Tx) {
        sqlx::query("INSERT INTO effects VALUES (1)").execute(&mut **tx).await.unwrap();
    }

    async fn effects(&self, database: &Fresh) -> u64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM effects");
        let count: i64 = count.fetch_one(&database.pool).await.unwrap();
        count.try_into().unwrap()
    }

    async fn destroy(&self, database: Fresh) {
        database.drop().await;
    }
}

mod store {
    use super::{OnPostgres, store_promises};

    store_promises!(OnPostgres::default());
}

mod archive {
    use super::{OnPostgres, archive_promises};

    archive_promises!(OnPostgres { archives: true });
}

mod inbox {
    use super::{OnPostgres, inbox_promises};

    inbox_promises!(OnPostgres::default());
}

#[test]
fn any_history_is_that_of_the_model() {
    relaybox_conformance::model_check(&OnPostgres::default(), 15);
}

#[test]
fn any_history_with_an_archive_is_that_of_the_model() {
    relaybox_conformance::model_check(&OnPostgres { archives: true }, 15);
}
