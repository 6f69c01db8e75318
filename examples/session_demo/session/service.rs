//! The use cases: each is one transaction that changes a session and tells of it.

use chrono::Utc;
use relaybox::{EventId, Outbox, WakeUp};
use uuid::Uuid;

use super::{
    Session, SessionCodec, SessionError, SessionEvent, SessionRepository,
    aggregate::MAX_LIVE_SESSIONS,
};

/// Changes sessions. Cheap to clone.
pub(crate) struct Sessions<D: SessionRepository> {
    database: D,
    outbox: Outbox<D::Outbox, SessionCodec>,
    wake_up: WakeUp,
}

/// A committed change.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) session: Session,
    pub(crate) event_id: EventId,
}

impl<D: SessionRepository> Sessions<D> {
    pub(crate) fn new(
        database: D,
        outbox: Outbox<D::Outbox, SessionCodec>,
        wake_up: WakeUp,
    ) -> Self {
        Self { database, outbox, wake_up }
    }

    /// Begins a session for a user.
    pub(crate) async fn create(
        &self,
        user_id: Uuid,
        device: String,
    ) -> Result<Change, SessionError> {
        let (session, created) = Session::create(user_id, device, Utc::now())?;
        let mut tx = self.database.begin().await?;
        D::insert(&mut tx, &session).await?;
        let event_id = self.outbox.enqueue(&mut tx, &created).await?;
        // The event is enqueued already: it goes with the transaction, which `?` drops.
        if D::live_sessions(&mut tx, user_id).await? > MAX_LIVE_SESSIONS {
            return Err(SessionError::TooManySessions);
        }
        D::commit(tx).await?;
        self.wake_up.wake();
        Ok(Change { session, event_id })
    }

    /// Prolongs a session.
    pub(crate) async fn refresh(&self, id: Uuid) -> Result<Change, SessionError> {
        self.change(id, |session| session.refresh(Utc::now())).await
    }

    /// Ends a session.
    pub(crate) async fn revoke(&self, id: Uuid) -> Result<Change, SessionError> {
        self.change(id, Session::revoke).await
    }

    async fn change<E: SessionEvent>(
        &self,
        id: Uuid,
        change: impl FnOnce(&mut Session) -> Result<E, SessionError> + Send,
    ) -> Result<Change, SessionError> {
        let mut tx = self.database.begin().await?;
        let mut session = D::find(&mut tx, id).await?.ok_or(SessionError::NotFound)?;
        let event = change(&mut session)?;
        if !D::update(&mut tx, &session).await? {
            return Err(SessionError::Conflict);
        }
        // After the update, which holds the row's lock: so events are in the order of the versions.
        let event_id = self.outbox.enqueue(&mut tx, &event).await?;
        D::commit(tx).await?;
        self.wake_up.wake();
        Ok(Change { session, event_id })
    }
}

impl<D: SessionRepository> Clone for Sessions<D> {
    fn clone(&self) -> Self {
        Self {
            database: self.database.clone(),
            outbox: self.outbox.clone(),
            wake_up: self.wake_up.clone(),
        }
    }
}
