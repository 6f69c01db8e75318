//! Storing sessions. Both SQL databases take the same statements.

use chrono::DateTime;
use mongodb::bson::{Document, doc};
use relaybox::{async_trait, mongodb::MongoTx};
use uuid::Uuid;

use super::Session;
use crate::database::{
    Database, DatabaseError, MongoDatabase, PostgresDatabase, Result, SqliteDatabase,
    mongo::{collection_of, id, read_id},
};

/// Reads and writes sessions in the caller's transaction.
#[async_trait]
pub(crate) trait SessionRepository: Database {
    async fn insert(tx: &mut Self::Tx, session: &Session) -> Result<()>;

    async fn find(tx: &mut Self::Tx, id: Uuid) -> Result<Option<Session>>;

    /// Writes a change; `false` when somebody else changed it since it was read.
    ///
    /// It also takes the row's lock until the transaction ends: events that are enqueued after it
    /// are in the order of the versions.
    async fn update(tx: &mut Self::Tx, session: &Session) -> Result<bool>;

    /// How many of a user's sessions are not revoked.
    async fn live_sessions(tx: &mut Self::Tx, user_id: Uuid) -> Result<i64>;
}

macro_rules! impl_repository {
    ($database:ty) => {
        #[async_trait]
        impl SessionRepository for $database {
            async fn insert(tx: &mut Self::Tx, session: &Session) -> Result<()> {
                sqlx::query(
                    "INSERT INTO sessions (id, user_id, expires_at, revoked, version) \
                     VALUES ($1, $2, $3, $4, $5)",
                )
                .bind(session.id)
                .bind(session.user_id)
                .bind(session.expires_at)
                .bind(session.revoked)
                .bind(session.version)
                .execute(&mut **tx)
                .await?;
                Ok(())
            }

            async fn find(tx: &mut Self::Tx, id: Uuid) -> Result<Option<Session>> {
                let row = sqlx::query_as(
                    "SELECT user_id, expires_at, revoked, version FROM sessions WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&mut **tx)
                .await?;
                Ok(row.map(|(user_id, expires_at, revoked, version)| Session {
                    id,
                    user_id,
                    expires_at,
                    revoked,
                    version,
                }))
            }

            async fn update(tx: &mut Self::Tx, session: &Session) -> Result<bool> {
                let updated = sqlx::query(
                    "UPDATE sessions SET expires_at = $1, revoked = $2, version = $3 \
                     WHERE id = $4 AND version = $3 - 1",
                )
                .bind(session.expires_at)
                .bind(session.revoked)
                .bind(session.version)
                .bind(session.id)
                .execute(&mut **tx)
                .await?;
                Ok(updated.rows_affected() == 1)
            }

            async fn live_sessions(tx: &mut Self::Tx, user_id: Uuid) -> Result<i64> {
                let live = sqlx::query_scalar(
                    "SELECT count(*) FROM sessions WHERE user_id = $1 AND NOT revoked",
                );
                Ok(live.bind(user_id).fetch_one(&mut **tx).await?)
            }
        }
    };
}

impl_repository!(PostgresDatabase);
impl_repository!(SqliteDatabase);

#[async_trait]
impl SessionRepository for MongoDatabase {
    async fn insert(tx: &mut MongoTx, session: &Session) -> Result<()> {
        let stored = doc! {
            "_id": id(session.id),
            "user_id": id(session.user_id),
            "expires_at": session.expires_at.timestamp_micros(),
            "revoked": session.revoked,
            "version": session.version,
        };
        collection_of(tx, "sessions").insert_one(stored).session(&mut **tx).await?;
        Ok(())
    }

    async fn find(tx: &mut MongoTx, session: Uuid) -> Result<Option<Session>> {
        let sessions = collection_of(tx, "sessions");
        let stored = sessions.find_one(doc! { "_id": id(session) }).session(&mut **tx).await?;
        stored.map(|stored| stored_session(session, &stored)).transpose()
    }

    /// In MongoDB nobody waits for a row's lock: of two transactions that change the same session, the later
    /// one fails at once. That is the same as a version that is gone.
    async fn update(tx: &mut MongoTx, session: &Session) -> Result<bool> {
        let before = doc! { "_id": id(session.id), "version": session.version - 1 };
        let after = doc! { "$set": {
            "expires_at": session.expires_at.timestamp_micros(),
            "revoked": session.revoked,
            "version": session.version,
        } };
        let updated =
            collection_of(tx, "sessions").update_one(before, after).session(&mut **tx).await;
        match updated {
            Ok(updated) => Ok(updated.matched_count == 1),
            // The transaction is over; the service drops it.
            Err(error) if is_write_conflict(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn live_sessions(tx: &mut MongoTx, user_id: Uuid) -> Result<i64> {
        let live = doc! { "user_id": id(user_id), "revoked": false };
        let live = collection_of(tx, "sessions").count_documents(live).session(&mut **tx).await?;
        Ok(i64::try_from(live).unwrap_or(i64::MAX))
    }
}

fn stored_session(id: Uuid, stored: &Document) -> Result<Session> {
    let read = || {
        Some(Session {
            id,
            user_id: read_id(stored, "user_id")?,
            expires_at: DateTime::from_timestamp_micros(stored.get_i64("expires_at").ok()?)?,
            revoked: stored.get_bool("revoked").ok()?,
            version: stored.get_i64("version").ok()?,
        })
    };
    read().ok_or(DatabaseError::Malformed)
}

fn is_write_conflict(error: &mongodb::error::Error) -> bool {
    const WRITE_CONFLICT: i32 = 112;
    match &*error.kind {
        mongodb::error::ErrorKind::Command(error) => error.code == WRITE_CONFLICT,
        _ => false,
    }
}
