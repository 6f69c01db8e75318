//! The in-memory inbox, with a bug in front of it.

use std::{
    collections::HashMap,
    error::Error as StdError,
    sync::{Arc, Mutex},
    time::Duration,
};

use relaybox_conformance::{InboxFactory, async_trait};
use relaybox_core::{
    ConsumerName, ErrorKind, EventId, Failure, GivenUpAt, Mark, Offset, Partition,
    ProcessedEventStore, Result,
    memory::{MemoryStore, MemoryTx},
};

use crate::bug::Bug;

/// Makes such inboxes with a bug, or without.
pub(crate) struct Marking(pub(crate) Option<Bug>);

/// The inbox; clones share it.
#[derive(Clone)]
pub(crate) struct MarkingInbox {
    bug: Option<Bug>,
    inner: MemoryStore,
    given_up: Arc<Mutex<Vec<GivenUpAt>>>,
}

#[async_trait]
impl InboxFactory for Marking {
    type Database = MarkingInbox;
    type Inbox = MarkingInbox;
    type Tx = MemoryTx;

    async fn create(&self) -> Option<MarkingInbox> {
        Some(MarkingInbox { bug: self.0, inner: MemoryStore::new(), given_up: Arc::default() })
    }

    fn inbox(&self, database: &MarkingInbox) -> MarkingInbox {
        database.clone()
    }

    async fn add_effect(&self, tx: &mut MemoryTx) {
        tx.put(EventId::new().to_string(), "effect");
    }

    async fn effects(&self, database: &MarkingInbox) -> u64 {
        database.inner.values().len() as u64
    }
}

impl MarkingInbox {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

#[async_trait]
impl ProcessedEventStore for MarkingInbox {
    type Tx = MemoryTx;

    async fn begin(&self, limit: Duration) -> Result<MemoryTx> {
        ProcessedEventStore::begin(&self.inner, limit).await
    }

    async fn mark(
        &self,
        tx: &mut MemoryTx,
        consumer: &ConsumerName,
        events: &[EventId],
    ) -> Result<Vec<Mark>> {
        if self.has(Bug::MarksWithoutTheTransaction) {
            let mut own = self.inner.begin();
            let marks = self.inner.mark(&mut own, consumer, events).await;
            own.commit();
            return marks;
        }
        if self.has(Bug::OneMarkForAllConsumers) {
            return self.inner.mark(tx, &ConsumerName::new("all").unwrap(), events).await;
        }
        let marks = self.inner.mark(tx, consumer, events).await?;
        if self.has(Bug::RepeatInsideABatchIsFirst) {
            // As `INSERT … ON CONFLICT DO NOTHING RETURNING` says it.
            let mut returned = HashMap::new();
            for (event, mark) in events.iter().zip(&marks) {
                returned.entry(event).or_insert(*mark);
            }
            return Ok(events.iter().map(|event| returned[event]).collect());
        }
        Ok(marks)
    }

    async fn commit(&self, tx: MemoryTx) -> Result<()> {
        self.inner.commit(tx).await
    }

    async fn rollback(&self, tx: MemoryTx) -> Result<()> {
        self.inner.rollback(tx).await
    }

    async fn given_up(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        from: Offset,
    ) -> Result<Vec<GivenUpAt>> {
        if self.has(Bug::GivenUpEverywhere) {
            return Ok(self.given_up.lock().unwrap().clone());
        }
        self.inner.given_up(consumer, partition, from).await
    }

    async fn give_up(&self, partition: &Partition, at: GivenUpAt, failure: &Failure) -> Result<()> {
        self.given_up.lock().unwrap().push(at);
        self.inner.give_up(partition, at, failure).await
    }

    async fn purge(&self, age: Duration, limit: u32) -> Result<u64> {
        self.inner.purge(age, limit).await
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.inner.classify(error)
    }
}
