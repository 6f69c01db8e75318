//! A service's transaction.

use std::{sync::Arc, time::Instant};

use relaybox_conformance::async_trait;
use relaybox_core::{Envelope, EventId, OutboxWriter, Result};

use super::{
    FakeStore,
    database::{Row, Shared},
};

/// Takes positions as it writes; its rows are seen once it commits, and gone if it doesn't.
pub(crate) struct FakeTx {
    shared: Arc<Shared>,
    id: u64,
}

impl FakeTx {
    pub(super) fn begin(shared: Arc<Shared>) -> Self {
        let id = {
            let mut state = shared.lock();
            state.last_tx += 1;
            state.last_tx
        };
        Self { shared, id }
    }

    pub(super) fn commit(self) {
        self.shared.lock().open.remove(&self.id);
    }

    pub(super) fn move_below_all(&mut self, event: EventId) -> bool {
        let mut state = self.shared.lock();
        let Some(seq) = state
            .rows
            .iter()
            .find(|(_, row)| row.tx == self.id && row.envelope.event_id == event)
            .map(|(seq, _)| *seq)
        else {
            return false;
        };
        let lowest = state.rows.keys().next().copied().unwrap_or(0).min(0);
        let row = state.rows.remove(&seq).unwrap();
        state.rows.insert(lowest - 1_000, row);
        true
    }
}

/// Rolls back what was not committed.
impl Drop for FakeTx {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.open.remove(&self.id) {
            state.rows.retain(|_, row| row.tx != self.id);
        }
    }
}

#[async_trait]
impl OutboxWriter<FakeTx> for FakeStore {
    async fn write(&self, tx: &mut FakeTx, events: &[Envelope]) -> Result<()> {
        let mut state = tx.shared.lock();
        for envelope in events {
            state.last_seq += 1;
            let seq = state.last_seq;
            let (envelope, since) = (envelope.clone(), Instant::now());
            state.rows.insert(seq, Row { tx: tx.id, envelope, spoilt: false, since });
            state.open.insert(tx.id);
        }
        Ok(())
    }
}
