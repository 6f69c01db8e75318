//! What is done about an event, by either side.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use relaybox::{Envelope, EventHandler, HandlerError, async_trait};
use sqlx::{Postgres, Sqlite, Transaction};

use crate::event::{Counted, sum};

/// The statement of [`Insert`], the same on both databases.
pub(crate) const INSERT: &str = "INSERT INTO effects (thing, n) VALUES ($1, $2)";

/// Inserts a row for each event.
pub(crate) struct Insert;

#[async_trait]
impl EventHandler<Counted, Transaction<'static, Postgres>> for Insert {
    async fn handle(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        event: &Counted,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        sqlx::query(INSERT).bind(event.id).bind(event.n).execute(&mut **tx).await?;
        Ok(())
    }
}

#[async_trait]
impl EventHandler<Counted, Transaction<'static, Sqlite>> for Insert {
    async fn handle(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        event: &Counted,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        sqlx::query(INSERT).bind(event.id).bind(event.n).execute(&mut **tx).await?;
        Ok(())
    }
}

/// Has no statement of its own: adds the events up in memory.
#[derive(Clone, Default)]
pub(crate) struct AddUp(Arc<(AtomicU64, AtomicI64)>);

impl AddUp {
    pub(crate) fn add(&self, event: &Counted) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        self.0.1.fetch_add(event.n, Ordering::Relaxed);
    }

    /// Each of so many events was added once.
    pub(crate) fn check(&self, events: u64) {
        let added = (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed));
        assert_eq!(added, (events, sum(events)), "each event is handled once");
    }
}

#[async_trait]
impl<Tx: Send + 'static> EventHandler<Counted, Tx> for AddUp {
    async fn handle(&self, _: &mut Tx, event: &Counted, _: &Envelope) -> Result<(), HandlerError> {
        self.add(event);
        Ok(())
    }
}
