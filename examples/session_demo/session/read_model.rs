//! What `GET /sessions/{id}` shows: a table that only the handlers write.

use chrono::{DateTime, Utc};
use mongodb::bson::{Document, doc};
use relaybox::{async_trait, mongodb::MongoTx};
use serde::Serialize;
use uuid::Uuid;

use super::{SessionCreated, SessionRefreshed, SessionRevoked};
use crate::database::{
    Database, DatabaseError, MongoDatabase, PostgresDatabase, Result, SqliteDatabase,
    mongo::{collection_of, id, read_id},
};

/// A session as people see it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub(crate) struct SessionView {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) browser: String,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) refreshes: i64,
    pub(crate) revoked: bool,
    pub(crate) version: i64,
}

/// Reads and writes the views. The writes are part of a handler's transaction.
#[async_trait]
pub(crate) trait ReadModel: Database {
    async fn view(&self, id: Uuid) -> Result<Option<SessionView>>;

    async fn created(tx: &mut Self::Tx, event: &SessionCreated, browser: &str) -> Result<()>;

    /// Changes nothing when the session's creation was given up on: there is no view then.
    async fn refreshed(tx: &mut Self::Tx, event: &SessionRefreshed) -> Result<()>;

    /// Changes nothing when the session's creation was given up on.
    async fn revoked(tx: &mut Self::Tx, event: &SessionRevoked) -> Result<()>;
}

macro_rules! impl_read_model {
    ($database:ty) => {
        #[async_trait]
        impl ReadModel for $database {
            async fn view(&self, id: Uuid) -> Result<Option<SessionView>> {
                let view = sqlx::query_as("SELECT * FROM session_views WHERE id = $1");
                Ok(view.bind(id).fetch_optional(self.pool()).await?)
            }

            async fn created(
                tx: &mut Self::Tx,
                event: &SessionCreated,
                browser: &str,
            ) -> Result<()> {
                sqlx::query(
                    "INSERT INTO session_views \
                     (id, user_id, browser, expires_at, refreshes, revoked, version) \
                     VALUES ($1, $2, $3, $4, 0, FALSE, $5)",
                )
                .bind(event.session_id)
                .bind(event.user_id)
                .bind(browser)
                .bind(event.expires_at)
                .bind(event.version)
                .execute(&mut **tx)
                .await?;
                Ok(())
            }

            async fn refreshed(tx: &mut Self::Tx, event: &SessionRefreshed) -> Result<()> {
                sqlx::query(
                    "UPDATE session_views \
                     SET expires_at = $1, refreshes = refreshes + 1, version = $2 WHERE id = $3",
                )
                .bind(event.expires_at)
                .bind(event.version)
                .bind(event.session_id)
                .execute(&mut **tx)
                .await?;
                Ok(())
            }

            async fn revoked(tx: &mut Self::Tx, event: &SessionRevoked) -> Result<()> {
                sqlx::query("UPDATE session_views SET revoked = TRUE, version = $1 WHERE id = $2")
                    .bind(event.version)
                    .bind(event.session_id)
                    .execute(&mut **tx)
                    .await?;
                Ok(())
            }
        }
    };
}

impl_read_model!(PostgresDatabase);
impl_read_model!(SqliteDatabase);

#[async_trait]
impl ReadModel for MongoDatabase {
    async fn view(&self, session: Uuid) -> Result<Option<SessionView>> {
        let stored = self.collection("session_views").find_one(doc! { "_id": id(session) }).await?;
        stored.map(|stored| stored_view(session, &stored)).transpose()
    }

    async fn created(tx: &mut MongoTx, event: &SessionCreated, browser: &str) -> Result<()> {
        let view = doc! {
            "_id": id(event.session_id),
            "user_id": id(event.user_id),
            "browser": browser,
            "expires_at": event.expires_at.timestamp_micros(),
            "refreshes": 0_i64,
            "revoked": false,
            "version": event.version,
        };
        collection_of(tx, "session_views").insert_one(view).session(&mut **tx).await?;
        Ok(())
    }

    async fn refreshed(tx: &mut MongoTx, event: &SessionRefreshed) -> Result<()> {
        let refreshed = doc! {
            "$set": {
                "expires_at": event.expires_at.timestamp_micros(),
                "version": event.version,
            },
            "$inc": { "refreshes": 1_i64 },
        };
        let view = doc! { "_id": id(event.session_id) };
        let views = collection_of(tx, "session_views");
        views.update_one(view, refreshed).session(&mut **tx).await?;
        Ok(())
    }

    async fn revoked(tx: &mut MongoTx, event: &SessionRevoked) -> Result<()> {
        let revoked = doc! { "$set": { "revoked": true, "version": event.version } };
        let view = doc! { "_id": id(event.session_id) };
        let views = collection_of(tx, "session_views");
        views.update_one(view, revoked).session(&mut **tx).await?;
        Ok(())
    }
}

fn stored_view(id: Uuid, stored: &Document) -> Result<SessionView> {
    let read = || {
        Some(SessionView {
            id,
            user_id: read_id(stored, "user_id")?,
            browser: stored.get_str("browser").ok()?.to_owned(),
            expires_at: DateTime::from_timestamp_micros(stored.get_i64("expires_at").ok()?)?,
            refreshes: stored.get_i64("refreshes").ok()?,
            revoked: stored.get_bool("revoked").ok()?,
            version: stored.get_i64("version").ok()?,
        })
    };
    read().ok_or(DatabaseError::Malformed)
}
