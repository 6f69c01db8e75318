//! A transaction on the in-memory database.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    MemoryStore,
    store::{MarkRow, Shared, Waiting},
};
use crate::{ConsumerName, Envelope, EventId, OutboxWriter, Result};

/// A transaction on a [`MemoryStore`]: what it writes is seen by others once it commits.
///
/// Positions are given out at once, as a database's sequence does: a transaction that commits late
/// has earlier ones, and a rollback leaves a gap.
#[must_use = "dropping it rolls it back"]
pub struct MemoryTx {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) marks: Vec<(ConsumerName, EventId)>,
    events: Vec<(i64, Envelope)>,
    values: Vec<(String, Option<String>)>,
}

impl MemoryTx {
    pub(super) fn begin(shared: Arc<Shared>) -> Self {
        let id = {
            let mut state = shared.lock();
            state.last_tx += 1;
            state.last_tx
        };
        Self { shared, id, marks: Vec::new(), events: Vec::new(), values: Vec::new() }
    }

    /// Sets a value.
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.values.push((key.into(), Some(value.into())));
    }

    /// Removes a value.
    pub fn remove(&mut self, key: impl Into<String>) {
        self.values.push((key.into(), None));
    }

    /// The value of a key, as this transaction sees it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let own = self.values.iter().rev().find(|(known, _)| known == key);
        own.map_or_else(|| self.shared.lock().values.get(key).cloned(), |(_, value)| value.clone())
    }

    /// Makes it all visible, at once.
    pub fn commit(mut self) {
        let mut state = self.shared.lock();
        let now = Instant::now();
        for (position, envelope) in self.events.drain(..) {
            state.events.insert(position, Waiting { envelope, since: now });
        }
        for mark in self.marks.drain(..) {
            state.marks.insert(mark, MarkRow::Committed(now));
        }
        for (key, value) in self.values.drain(..) {
            match value {
                Some(value) => drop(state.values.insert(key, value)),
                None => drop(state.values.remove(&key)),
            }
        }
        drop(state);
    }

    /// Undoes it all, as dropping does.
    pub fn rollback(self) {}
}

impl Drop for MemoryTx {
    fn drop(&mut self) {
        if !self.marks.is_empty() {
            let mut state = self.shared.lock();
            for mark in &self.marks {
                state.marks.remove(mark);
            }
        }
        self.shared.ended.notify_waiters();
    }
}

#[async_trait]
impl OutboxWriter<MemoryTx> for MemoryStore {
    async fn write(&self, tx: &mut MemoryTx, events: &[Envelope]) -> Result<()> {
        debug_assert!(Arc::ptr_eq(&self.shared, &tx.shared), "a transaction of this store");
        self.shared.faults.step("write to the outbox", || {
            let mut state = self.shared.lock();
            for envelope in events {
                state.last_position += 1;
                tx.events.push((state.last_position, envelope.clone()));
            }
            Ok(())
        })
    }
}

impl fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTx")
            .field("id", &self.id)
            .field("events", &self.events.len())
            .field("marks", &self.marks.len())
            .field("values", &self.values.len())
            .finish_non_exhaustive()
    }
}
