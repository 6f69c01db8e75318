//! The session and its rules. No I/O: each change gives the event that tells of it.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use uuid::Uuid;

use super::{SessionCreated, SessionError, SessionRefreshed, SessionRevoked};

/// How many sessions that are not revoked a user may have.
pub(crate) const MAX_LIVE_SESSIONS: i64 = 5;
/// How long a device's name may be, in characters.
pub(crate) const MAX_DEVICE: usize = 100;

const LIFETIME: TimeDelta = TimeDelta::hours(8);

/// A user's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) revoked: bool,
    /// How often it was changed; 1 when it is created.
    pub(crate) version: i64,
}

impl Session {
    /// Begins a session.
    pub(crate) fn create(
        user_id: Uuid,
        device: String,
        now: DateTime<Utc>,
    ) -> Result<(Self, SessionCreated), SessionError> {
        let too_long = device.chars().count() > MAX_DEVICE;
        if device.trim().is_empty() || too_long || device.chars().any(char::is_control) {
            return Err(SessionError::InvalidDevice);
        }
        let session = Self {
            id: Uuid::now_v7(),
            user_id,
            expires_at: expiry(now),
            revoked: false,
            version: 1,
        };
        let created = SessionCreated {
            session_id: session.id,
            version: session.version,
            user_id,
            device,
            expires_at: session.expires_at,
        };
        Ok((session, created))
    }

    /// Prolongs it.
    pub(crate) fn refresh(&mut self, now: DateTime<Utc>) -> Result<SessionRefreshed, SessionError> {
        self.change()?;
        self.expires_at = expiry(now);
        Ok(SessionRefreshed {
            session_id: self.id,
            version: self.version,
            expires_at: self.expires_at,
        })
    }

    /// Ends it.
    pub(crate) fn revoke(&mut self) -> Result<SessionRevoked, SessionError> {
        self.change()?;
        self.revoked = true;
        Ok(SessionRevoked { session_id: self.id, version: self.version })
    }

    fn change(&mut self) -> Result<(), SessionError> {
        if self.revoked {
            return Err(SessionError::Revoked);
        }
        self.version += 1;
        Ok(())
    }
}

/// In microseconds, which is what the databases keep.
fn expiry(now: DateTime<Utc>) -> DateTime<Utc> {
    (now + LIFETIME).trunc_subsecs(6)
}
