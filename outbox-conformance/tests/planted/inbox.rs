//! The in-memory inbox, with a bug in front of it.

use std::{
    collections::{HashMap, HashSet},
    error::Error as StdError,
    sync::{Arc, Mutex},
    time::Duration,
};

use relaybox_conformance::{InboxFactory, async_trait};
use relaybox_core::{
    ConsumerName, ErrorKind, EventId, Failure, GivenUpAt, Mark, Offset, Partition,
    ProcessedEventStore, Result, TopicName,
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
    /// What one process alone knows.
    own: MemoryStore,
    given_up: Arc<Mutex<Vec<GivenUpAt>>>,
    marked: Arc<Mutex<HashSet<(ConsumerName, EventId)>>>,
}

#[async_trait]
impl InboxFactory for Marking {
    type Database = MarkingInbox;
    type Inbox = MarkingInbox;
    type Tx = MemoryTx;

    async fn create(&self) -> Option<MarkingInbox> {
        Some(MarkingInbox {
            bug: self.0,
            inner: MemoryStore::new(),
            own: MemoryStore::new(),
            given_up: Arc::default(),
            marked: Arc::default(),
        })
    }

    fn inbox(&self, database: &MarkingInbox) -> MarkingInbox {
        MarkingInbox { own: MemoryStore::new(), ..database.clone() }
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
        let marked = events.iter().map(|event| (consumer.clone(), *event));
        self.marked.lock().unwrap().extend(marked);
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

    async fn known(&self, consumer: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>> {
        if self.has(Bug::KnownBeforeTheCommit) {
            let marked = self.marked.lock().unwrap();
            let known = |event: &EventId| marked.contains(&(consumer.clone(), *event));
            let mark = |event| if known(event) { Mark::Repeat } else { Mark::First };
            return Ok(events.iter().map(mark).collect());
        }
        self.inner.known(consumer, events).await
    }

    async fn started(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        let counted = if self.has(Bug::StartsInMemory) { &self.own } else { &self.inner };
        if self.has(Bug::StartsByAssignment) {
            let topic = format!("{}.{}", partition.topic, partition.generation);
            let partition = Partition::new(TopicName::new(topic).unwrap(), partition.number, 0);
            return counted.started(consumer, &partition, place).await;
        }
        counted.started(consumer, partition, place).await
    }

    async fn attempted(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        let place = if self.has(Bug::AttemptsWithoutPlace) { 0 } else { place };
        self.inner.attempted(consumer, partition, place).await
    }

    async fn survived(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<()> {
        self.inner.survived(consumer, partition, place).await
    }

    async fn stopped(&self, consumer: &ConsumerName, partition: &Partition) -> Result<()> {
        self.inner.stopped(consumer, partition).await
    }

    async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64> {
        let mut purged = self.inner.purge(consumer, age, limit).await?;
        if self.has(Bug::PurgeTakesAll) {
            let marked = self.marked.lock().unwrap().clone();
            for by in marked.iter().map(|(by, _)| by) {
                let left = limit - u32::try_from(purged).unwrap();
                purged += self.inner.purge(by, age, left).await?;
            }
        }
        Ok(purged)
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.inner.classify(error)
    }
}
