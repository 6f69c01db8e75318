//! Storing sessions. Both databases take the same statements.

use relaybox::async_trait;
use uuid::Uuid;

use super::Session;
use crate::database::{Database, PostgresDatabase, Result, SqliteDatabase};

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
