//! The loop's transactions on SQLite.

use rdkafka::message::BorrowedMessage;
use sqlx::SqlitePool;

use super::{Transact, ids, new};
use crate::{
    handler::INSERT,
    library::{BATCH, NAME},
};

/// The same transactions and statements as the library's: the marks of a batch in one.
#[derive(Clone)]
pub(crate) struct InSqlite(pub(crate) SqlitePool);

impl Transact for InSqlite {
    const BATCH: usize = BATCH;

    async fn transact(&self, records: &[BorrowedMessage<'_>]) {
        const MARK: &str = "INSERT INTO processed_events (consumer, event_id) \
             SELECT ?1, unhex(value) FROM json_each(?2) WHERE true \
             ON CONFLICT DO NOTHING RETURNING event_id";
        let mut tx = self.0.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let ids = ids(records);
        let hex: Vec<_> = ids.iter().map(|id| id.simple().to_string()).collect();
        let mark = sqlx::query_scalar(MARK).bind(NAME).bind(serde_json::to_string(&hex).unwrap());
        let marked = mark.fetch_all(&mut *tx).await.unwrap();
        for event in new(records, &ids, marked) {
            let insert = sqlx::query(INSERT).bind(event.id).bind(event.n);
            insert.execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
}
