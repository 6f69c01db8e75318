//! Two ledgers that know nothing of each other: what the driver saw committed, and what the handlers
//! did. The checks compare them.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::TryStreamExt;
use mongodb::bson::{Document, Timestamp, doc};
use relaybox::{Envelope, EventHandler, EventId, HandlerError, async_trait, mongodb::MongoTx};
use uuid::Uuid;

use crate::{
    database::{
        Database, DatabaseError, MongoDatabase, PostgresDatabase, Result, SqliteDatabase,
        mongo::{collection_of, id, read_id},
    },
    session::{Change, SessionEvent},
};

/// The driver's ledger. An event is in it after its commit returned.
#[derive(Default)]
pub(crate) struct Committed {
    events: Mutex<BTreeMap<EventId, (Uuid, i64)>>,
    rolled_back: AtomicU64,
}

impl Committed {
    pub(crate) fn commit(&self, change: &Change) {
        let place = (change.session.id, change.session.version);
        self.lock().insert(change.event_id, place);
    }

    pub(crate) fn roll_back(&self) {
        self.rolled_back.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rolled_back(&self) -> u64 {
        self.rolled_back.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Each committed event, with its session and which change of it it was.
    pub(crate) fn events(&self) -> BTreeMap<EventId, (Uuid, i64)> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<EventId, (Uuid, i64)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line of the handlers' ledger.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Effect {
    pub(crate) event_id: Uuid,
    pub(crate) session_id: Uuid,
    pub(crate) version: i64,
}

/// The handlers' ledger.
#[async_trait]
pub(crate) trait Effects: Database {
    async fn append(tx: &mut Self::Tx, effect: &Effect) -> Result<()>;

    async fn count(&self) -> Result<u64>;

    /// All of them, in the order in which they were written.
    async fn effects(&self) -> Result<Vec<Effect>>;

    /// How many sessions the read model shows otherwise than they are, if it shows them.
    async fn stale_views(&self) -> Result<i64>;
}

/// The handler that writes it: one line for each event it handles.
pub(crate) struct Record<D>(PhantomData<fn() -> D>);

impl<D> Record<D> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<D: Effects, E: SessionEvent> EventHandler<E, D::Tx> for Record<D> {
    async fn handle(
        &self,
        tx: &mut D::Tx,
        event: &E,
        envelope: &Envelope,
    ) -> std::result::Result<(), HandlerError> {
        let effect = Effect {
            event_id: envelope.event_id.as_uuid(),
            session_id: event.session_id(),
            version: event.version(),
        };
        Ok(D::append(tx, &effect).await?)
    }
}

macro_rules! impl_effects {
    ($database:ty) => {
        #[async_trait]
        impl Effects for $database {
            async fn append(tx: &mut Self::Tx, effect: &Effect) -> Result<()> {
                sqlx::query(
                    "INSERT INTO effects (event_id, session_id, version) VALUES ($1, $2, $3)",
                )
                .bind(effect.event_id)
                .bind(effect.session_id)
                .bind(effect.version)
                .execute(&mut **tx)
                .await?;
                Ok(())
            }

            async fn count(&self) -> Result<u64> {
                let count: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM effects").fetch_one(self.pool()).await?;
                Ok(count.unsigned_abs())
            }

            async fn effects(&self) -> Result<Vec<Effect>> {
                let effects = "SELECT event_id, session_id, version FROM effects ORDER BY serial";
                Ok(sqlx::query_as(effects).fetch_all(self.pool()).await?)
            }

            async fn stale_views(&self) -> Result<i64> {
                let stale = sqlx::query_scalar(
                    "SELECT count(*) FROM session_views v LEFT JOIN sessions s ON s.id = v.id \
                     WHERE s.id IS NULL OR s.version <> v.version OR s.revoked <> v.revoked \
                     OR s.expires_at <> v.expires_at",
                );
                Ok(stale.fetch_one(self.pool()).await?)
            }
        }
    };
}

impl_effects!(PostgresDatabase);
impl_effects!(SqliteDatabase);

#[async_trait]
impl Effects for MongoDatabase {
    async fn append(tx: &mut MongoTx, effect: &Effect) -> Result<()> {
        let line = doc! {
            // Empty: the server fills in its own time, later for each.
            "written_at": Timestamp { time: 0, increment: 0 },
            "event_id": id(effect.event_id),
            "session_id": id(effect.session_id),
            "version": effect.version,
        };
        collection_of(tx, "effects").insert_one(line).session(&mut **tx).await?;
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        Ok(self.collection("effects").count_documents(doc! {}).await?)
    }

    async fn effects(&self) -> Result<Vec<Effect>> {
        let lines = self.collection("effects").find(doc! {}).sort(doc! { "written_at": 1 }).await?;
        let lines: Vec<Document> = lines.try_collect().await?;
        lines.iter().map(stored_effect).collect()
    }

    async fn stale_views(&self) -> Result<i64> {
        let differs = |field: &str| {
            let of_session = doc! { "$first": format!("$session.{field}") };
            doc! { "$ne": [of_session, format!("${field}")] }
        };
        let stale = doc! { "$or": [
            { "$eq": [{ "$size": "$session" }, 0] },
            differs("version"),
            differs("revoked"),
            differs("expires_at"),
        ] };
        let pipeline = [
            doc! { "$lookup": {
                "from": "sessions", "localField": "_id", "foreignField": "_id", "as": "session",
            } },
            doc! { "$match": { "$expr": stale } },
            doc! { "$count": "n" },
        ];
        let mut counts = self.collection("session_views").aggregate(pipeline).await?;
        let count = counts.try_next().await?;
        Ok(count.and_then(|count| count.get_i32("n").ok()).unwrap_or(0).into())
    }
}

fn stored_effect(line: &Document) -> Result<Effect> {
    let read = || {
        Some(Effect {
            event_id: read_id(line, "event_id")?,
            session_id: read_id(line, "session_id")?,
            version: line.get_i64("version").ok()?,
        })
    };
    read().ok_or(DatabaseError::Malformed)
}
