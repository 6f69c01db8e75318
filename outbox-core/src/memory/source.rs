//! A consumer of the in-memory broker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    MemoryBus, StoredRecord,
    bus::{Broker, State},
};
use crate::{
    ConsumerName, Delivery, Error, ErrorKind, EventSource, Failure, Offset, Partition,
    PartitionStats, Received, Result, SourceStats, TopicName, TopicStats,
};

const MAX_BATCH: usize = 100;

/// Receives from a [`MemoryBus`] as a member of a group, from the group's last acknowledgements on.
///
/// A group has one member: a new source of the same group takes all partitions from the one before.
#[derive(Debug)]
pub struct MemorySource {
    broker: Arc<Broker>,
    group: ConsumerName,
    topics: Vec<TopicName>,
    generation: u64,
    /// Partitions with a batch out, with its last offset.
    out: Mutex<HashMap<(TopicName, usize), Offset>>,
}

impl MemorySource {
    /// Joins `group` and takes all partitions of `topics`.
    #[must_use]
    pub fn new(bus: &MemoryBus, group: ConsumerName, topics: Vec<TopicName>) -> Self {
        let generation = {
            let mut state = bus.broker.lock();
            let group = state.groups.entry(group.clone()).or_default();
            group.generation += 1;
            group.generation
        };
        bus.broker.changed.notify_waiters();
        let broker = Arc::clone(&bus.broker);
        Self { broker, group, topics, generation, out: Mutex::default() }
    }

    fn out(&self) -> MutexGuard<'_, HashMap<(TopicName, usize), Offset>> {
        self.out.lock().expect("no operation panics while it holds it")
    }

    /// What can be given now.
    fn next(&self, state: &State) -> Option<Received> {
        let mut out = self.out();
        if state.groups[&self.group].generation != self.generation {
            let (topic, number) = out.keys().next()?.clone();
            out.remove(&(topic.clone(), number));
            return Some(Received::Revoked(self.partition(topic, number)));
        }
        for topic in &self.topics {
            for number in State::partitions() {
                let place = (topic.clone(), number);
                if out.contains_key(&place) {
                    continue;
                }
                let from = state.groups[&self.group].committed.get(&place).copied().unwrap_or(0);
                let partition = self.partition(topic.clone(), number);
                let deliveries: Vec<_> = state
                    .read(topic, number, from, MAX_BATCH)
                    .map(|(offset, record)| delivery(partition.clone(), offset, record))
                    .collect();
                if let Some(last) = deliveries.last() {
                    out.insert(place, last.offset);
                    return Some(Received::Batch { partition, deliveries });
                }
            }
        }
        None
    }

    fn partition(&self, topic: TopicName, number: usize) -> Partition {
        let number = i32::try_from(number).expect("a small number");
        Partition::new(topic, number, self.generation)
    }
}

#[async_trait]
impl EventSource for MemorySource {
    async fn receive(&self) -> Result<Received> {
        loop {
            let changed = self.broker.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = self.next(&self.broker.lock());
            if let Some(received) = next {
                return Ok(received);
            }
            changed.await;
        }
    }

    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()> {
        let place = place(partition);
        {
            let mut state = self.broker.lock();
            let group = state.groups.get_mut(&self.group).expect("joined in `new`");
            if group.generation != self.generation {
                return Err(Error::new(ErrorKind::Revoked, "acknowledge deliveries"));
            }
            let next = usize::try_from(through + 1).unwrap_or(0);
            let committed = group.committed.entry(place.clone()).or_default();
            *committed = next.max(*committed);
        }
        self.out().retain(|known, last| *known != place || *last > through);
        self.broker.changed.notify_waiters();
        Ok(())
    }

    async fn release(&self, partition: &Partition) -> Result<()> {
        self.out().remove(&place(partition));
        self.broker.changed.notify_waiters();
        Ok(())
    }

    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()> {
        let topic = TopicName::new(format!("{}.dlq", delivery.partition.topic))?;
        let mut headers = delivery.headers.clone();
        let added = failure.headers(delivery).into_iter();
        headers.extend(added.map(|(name, value)| (name.into(), Bytes::from(value))));
        let record = StoredRecord::new(delivery.key.clone(), delivery.value.clone(), headers);
        self.broker.faults.step("write a dead letter", || {
            self.broker.lock().append(&topic, record);
            Ok(())
        })?;
        self.broker.changed.notify_waiters();
        Ok(())
    }

    async fn stats(&self) -> Result<SourceStats> {
        let state = self.broker.lock();
        let committed = &state.groups[&self.group].committed;
        let mut stats = SourceStats::default();
        for topic in &self.topics {
            for number in State::partitions() {
                let from = committed.get(&(topic.clone(), number)).copied().unwrap_or(0);
                let lag = state.read(topic, number, from, usize::MAX).count() as u64;
                let partition = self.partition(topic.clone(), number);
                stats.partitions.push(PartitionStats::new(
                    topic.clone(),
                    partition.number,
                    Some(lag),
                ));
            }
            let dead_letters = TopicName::new(format!("{topic}.dlq"))?;
            let count = |number| state.read(&dead_letters, number, 0, usize::MAX).count() as u64;
            let mut figures = TopicStats::new(topic.clone());
            figures.dead_letters = Some(State::partitions().map(count).sum());
            stats.topics.push(figures);
        }
        Ok(stats)
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn place(partition: &Partition) -> (TopicName, usize) {
    (partition.topic.clone(), usize::try_from(partition.number).unwrap_or(usize::MAX))
}

fn delivery(partition: Partition, offset: Offset, record: &StoredRecord) -> Delivery {
    let mut delivery = Delivery::new(partition, offset);
    delivery.key.clone_from(&record.key);
    delivery.value.clone_from(&record.value);
    delivery.headers.clone_from(&record.headers);
    delivery
}
