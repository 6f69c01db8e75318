//! The loop's transactions on Postgres.

use rdkafka::message::BorrowedMessage;
use sqlx::{PgConnection, PgPool};

use super::{Transact, decode, id, ids, new};
use crate::{
    event::Counted,
    handler::{AddUp, INSERT},
    library::{BATCH, NAME},
};

/// The same transactions and statements as the library's: the marks of a batch in one.
#[derive(Clone)]
pub(crate) struct InBatches {
    pub(crate) pool: PgPool,
    /// What is done about an event: a statement, unless it is to be added up.
    pub(crate) add_up: Option<AddUp>,
}

impl Transact for InBatches {
    const BATCH: usize = BATCH;

    async fn transact(&self, records: &[BorrowedMessage<'_>]) {
        const MARK: &str = "INSERT INTO processed_events (consumer, event_id) \
             SELECT $1, event_id FROM unnest($2::uuid[]) AS event_id \
             ON CONFLICT DO NOTHING RETURNING event_id";
        let mut tx = self.pool.begin().await.unwrap();
        let ids = ids(records);
        let mark = sqlx::query_scalar(MARK).bind(NAME).bind(&ids);
        let marked = mark.fetch_all(&mut *tx).await.unwrap();
        for event in new(records, &ids, marked) {
            match &self.add_up {
                None => insert(&mut tx, &event).await,
                Some(add_up) => add_up.add(&event),
            }
        }
        tx.commit().await.unwrap();
    }
}

/// The usual way: a transaction for each event.
#[derive(Clone)]
pub(crate) struct OneByOne(pub(crate) PgPool);

impl Transact for OneByOne {
    const BATCH: usize = 1;

    async fn transact(&self, records: &[BorrowedMessage<'_>]) {
        const MARK: &str = "INSERT INTO processed_events (consumer, event_id) VALUES ($1, $2) \
             ON CONFLICT DO NOTHING";
        for record in records {
            let mut tx = self.0.begin().await.unwrap();
            let mark = sqlx::query(MARK).bind(NAME).bind(id(record));
            if mark.execute(&mut *tx).await.unwrap().rows_affected() == 1 {
                insert(&mut tx, &decode(record)).await;
            }
            tx.commit().await.unwrap();
        }
    }
}

async fn insert(connection: &mut PgConnection, event: &Counted) {
    sqlx::query(INSERT).bind(event.id).bind(event.n).execute(connection).await.unwrap();
}
