//! What happens to a session. The payload is the struct's JSON; name and version travel beside it.

use chrono::{DateTime, Utc};
use relaybox::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Somebody logged in.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "session", name = "session.created", version = 1)]
pub(crate) struct SessionCreated {
    #[event(aggregate_id)]
    pub(crate) session_id: Uuid,
    pub(crate) version: i64,
    pub(crate) user_id: Uuid,
    /// What it was created on, `browser/version`.
    pub(crate) device: String,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The user came back before the session expired.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "session", name = "session.refreshed", version = 1)]
pub(crate) struct SessionRefreshed {
    #[event(aggregate_id)]
    pub(crate) session_id: Uuid,
    pub(crate) version: i64,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The session was ended before it expired.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "session", name = "session.revoked", version = 1)]
pub(crate) struct SessionRevoked {
    #[event(aggregate_id)]
    pub(crate) session_id: Uuid,
    pub(crate) version: i64,
}

/// What all of them say: which session, and which change of it this is, from 1.
pub(crate) trait SessionEvent: DomainEvent + Serialize + Send + Sync + 'static {
    fn session_id(&self) -> Uuid;
    fn version(&self) -> i64;
}

macro_rules! session_events {
    ($($event:ty),*) => {$(
        impl SessionEvent for $event {
            fn session_id(&self) -> Uuid {
                self.session_id
            }

            fn version(&self) -> i64 {
                self.version
            }
        }
    )*};
}

session_events!(SessionCreated, SessionRefreshed, SessionRevoked);
