//! The in-memory source, with a bug in front of it.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use relaybox_conformance::{SourceFactory, async_trait};
use relaybox_core::{
    ConsumerName, Delivery, ErrorKind, EventSource, Failure, Offset, Partition, Received,
    Redelivery, Result, SourceStats, TopicName,
    memory::{MemoryBus, MemorySource, StoredRecord},
};

use tokio::task::AbortHandle;

use crate::bug::Bug;

/// Makes such sources with a bug, or without.
pub(crate) struct Receiving(pub(crate) Option<Bug>);

/// One member of a group; the bus delivers later what it is told to.
pub(crate) struct ReceivingSource {
    bug: Option<Bug>,
    bus: MemoryBus,
    inner: MemorySource,
    /// With a bug: what was received and is not given yet.
    buffer: Mutex<VecDeque<Received>>,
    received: AtomicU64,
    /// What waits for its time.
    later: Mutex<Vec<AbortHandle>>,
}

/// Headers of a delivery that was put off.
const ATTEMPTS: &str = "attempts";
const PLACE: &str = "place";

#[async_trait]
impl SourceFactory for Receiving {
    type Broker = MemoryBus;
    type Source = ReceivingSource;

    async fn create(&self) -> Option<MemoryBus> {
        Some(MemoryBus::new())
    }

    async fn topic(&self, _: &MemoryBus, _: &ConsumerName) -> TopicName {
        TopicName::new("thing-events.v1").unwrap()
    }

    async fn source(
        &self,
        bus: &MemoryBus,
        group: &ConsumerName,
        topic: &TopicName,
    ) -> ReceivingSource {
        ReceivingSource {
            bug: self.0,
            bus: bus.clone(),
            inner: MemorySource::new(bus, group.clone(), vec![topic.clone()]),
            buffer: Mutex::default(),
            received: AtomicU64::new(0),
            later: Mutex::default(),
        }
    }

    async fn append(&self, bus: &MemoryBus, topic: &TopicName, record: StoredRecord) {
        bus.append(topic, record);
    }

    async fn dead_letters(
        &self,
        bus: &MemoryBus,
        _: &ConsumerName,
        topic: &TopicName,
    ) -> Vec<StoredRecord> {
        bus.records(&dead_letter_topic(topic))
    }
}

fn dead_letter_topic(topic: &TopicName) -> TopicName {
    TopicName::new(format!("{topic}.dlq")).unwrap()
}

impl ReceivingSource {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Takes off what was noted when it was put off.
    fn take_notes(&self, mut delivery: Delivery) -> Delivery {
        if let Some(at) = delivery.headers.iter().position(|(name, _)| name == ATTEMPTS) {
            let notes = delivery.headers.split_off(at);
            let number = |at: usize| std::str::from_utf8(&notes[at].1).unwrap().parse::<i64>();
            delivery.attempts = u32::try_from(number(0).unwrap()).unwrap();
            delivery.place = number(1).unwrap();
        }
        if self.has(Bug::PlaceOfTheDelivery) {
            let number = self.received.fetch_add(1, Ordering::Relaxed);
            delivery.place = Offset::try_from(number).unwrap();
        }
        delivery
    }

    /// Halves a batch.
    fn halve(&self, received: Received) -> Received {
        let Received::Batch { partition, mut deliveries } = received else { return received };
        if deliveries.len() > 1 {
            let rest = deliveries.split_off(deliveries.len() / 2);
            let rest = Received::Batch { partition: partition.clone(), deliveries: rest };
            self.buffer.lock().unwrap().push_back(rest);
        }
        Received::Batch { partition, deliveries }
    }
}

#[async_trait]
impl EventSource for ReceivingSource {
    async fn receive(&self) -> Result<Received> {
        if self.has(Bug::SecondBatchBeforeTheFirstIsSettled) {
            let rest = self.buffer.lock().unwrap().pop_front();
            return match rest {
                Some(rest) => Ok(rest),
                None => Ok(self.halve(self.inner.receive().await?)),
            };
        }
        let received = self.inner.receive().await?;
        if self.has(Bug::ReceiveLosesWhatItIsDroppedWith) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(match received {
            Received::Batch { partition, deliveries } => {
                let deliveries = deliveries.into_iter().map(|delivery| self.take_notes(delivery));
                Received::Batch { partition, deliveries: deliveries.collect() }
            }
            Received::Revoked(partition) => Received::Revoked(partition),
        })
    }

    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()> {
        match self.inner.acknowledge(partition, through).await {
            Err(error)
                if error.kind() == ErrorKind::Revoked && self.has(Bug::LateAcknowledgement) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    async fn release(&self, partition: &Partition) -> Result<()> {
        if self.has(Bug::ReleaseAcknowledges) {
            let _ = self.inner.acknowledge(partition, 0).await;
        }
        self.inner.release(partition).await
    }

    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()> {
        let mut delivery = delivery.clone();
        if self.has(Bug::DeadLetterDropsAHeader) {
            delivery.headers.pop();
        }
        if self.has(Bug::DeadLetterIsLate) {
            let letter = StoredRecord::new(delivery.key, delivery.value, delivery.headers);
            let (bus, topic) = (self.bus.clone(), dead_letter_topic(&delivery.partition.topic));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                bus.append(&topic, letter);
            });
            return Ok(());
        }
        self.inner.dead_letter(&delivery, failure).await
    }

    fn redelivery(&self) -> Option<&dyn Redelivery> {
        Some(self)
    }

    async fn stats(&self) -> Result<SourceStats> {
        self.inner.stats().await
    }

    async fn close(&self) -> Result<()> {
        if self.has(Bug::RedeliveryInMemory) {
            self.later.lock().unwrap().iter().for_each(AbortHandle::abort);
        }
        self.inner.close().await
    }
}

#[async_trait]
impl Redelivery for ReceivingSource {
    async fn deliver_later(&self, delivery: &Delivery, _: &Failure, delay: Duration) -> Result<()> {
        let forgotten = self.has(Bug::RedeliveryForgetsAttempts);
        let attempts = if forgotten { 1 } else { delivery.attempts + 1 };
        let mut headers = delivery.headers.clone();
        headers.push((ATTEMPTS.into(), attempts.to_string().into()));
        headers.push((PLACE.into(), delivery.place.to_string().into()));
        let record = StoredRecord::new(delivery.key.clone(), delivery.value.clone(), headers);
        let (bus, topic) = (self.bus.clone(), delivery.partition.topic.clone());
        let delay = match self.bug {
            Some(Bug::RedeliveryAtOnce) => Duration::ZERO,
            // Its member will be gone by then, however late that is.
            Some(Bug::RedeliveryInMemory) => Duration::from_secs(3600),
            _ => delay,
        };
        let task = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            bus.append(&topic, record);
        });
        self.later.lock().unwrap().push(task.abort_handle());
        Ok(())
    }
}
