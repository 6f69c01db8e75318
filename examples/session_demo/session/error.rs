//! Why a session was not changed.

use super::aggregate::{MAX_DEVICE, MAX_LIVE_SESSIONS};
use crate::database::DatabaseError;

/// Why a session was not changed; whatever was written before is rolled back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(
        "the device must have 1 to {MAX_DEVICE} characters, not all blank and no control characters"
    )]
    InvalidDevice,
    #[error("there is no such session")]
    NotFound,
    #[error("the session is revoked")]
    Revoked,
    #[error("the session was changed by somebody else at the same moment")]
    Conflict,
    #[error("a user may have {MAX_LIVE_SESSIONS} live sessions")]
    TooManySessions,
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the event could not be written")]
    Outbox(#[from] relaybox::Error),
}
