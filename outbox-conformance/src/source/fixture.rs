//! A group of a promise's own, and what is done with its members again and again.

use std::time::Duration;

use bytes::Bytes;
use relaybox_core::{
    ConsumerName, Delivery, ErrorKind, EventId, Failure, Offset, Partition, Received, TopicName,
    memory::StoredRecord,
};
use tokio::time::{Instant, timeout};

use crate::{
    EventSource, SourceFactory,
    run::{bounded, name_of, passed_over},
    store::ok,
};

/// Longer than any broker takes to let a member in and give it what waits.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long is watched that nothing comes. A source that breaks this promise does so at once.
const SILENCE: Duration = Duration::from_millis(300);

/// A group under test, with a topic.
pub(crate) struct Fixture<'a, F: SourceFactory> {
    promise: &'static str,
    pub(crate) factory: &'a F,
    pub(crate) broker: F::Broker,
    pub(crate) group: ConsumerName,
    pub(crate) topic: TopicName,
}

/// Deliveries of one partition.
pub(crate) struct Batch {
    pub(crate) partition: Partition,
    pub(crate) deliveries: Vec<Delivery>,
}

/// Runs a promise on a group of its own, which is removed even when the promise is broken.
pub(crate) async fn on_source<F: SourceFactory>(
    factory: &F,
    promise: impl AsyncFnOnce(&Fixture<'_, F>),
) {
    let Some(broker) = factory.create().await else { return };
    let group = ConsumerName::new(format!("conformance-{}", EventId::new())).expect("valid");
    let topic = factory.topic(&broker, &group).await;
    let fixture = Fixture { promise: name_of(&promise), factory, broker, group, topic };
    let result = bounded(promise(&fixture)).await;
    factory.destroy(fixture.broker).await;
    if let Err(broken) = result {
        std::panic::resume_unwind(broken);
    }
}

impl<F: SourceFactory> Fixture<'_, F> {
    /// Says that the promise is not tested, and why.
    pub(crate) fn passed_over(&self, why: &str) {
        passed_over(self.promise, why);
    }

    /// A member more.
    pub(crate) async fn join(&self) -> F::Source {
        self.factory.source(&self.broker, &self.group, &self.topic).await
    }

    /// Writes numbers, as values of one key.
    pub(crate) async fn append(&self, key: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.write(record(key, &number.to_string())).await;
        }
    }

    pub(crate) async fn write(&self, record: StoredRecord) {
        self.factory.append(&self.broker, &self.topic, record).await;
    }

    /// What was given up on, as records of the dead-letter topic.
    pub(crate) async fn dead_letters(&self) -> Vec<StoredRecord> {
        self.factory.dead_letters(&self.broker, &self.group, &self.topic).await
    }

    /// Names in the order in which they came, as far as that is promised for what comes again.
    pub(crate) fn again(&self, mut names: Vec<String>) -> Vec<String> {
        if !self.factory.capabilities().ordered_when_released {
            names.sort();
        }
        names
    }

    pub(crate) fn failure(&self) -> Failure {
        let reason = "no such user".to_owned();
        Failure::new(self.group.clone(), ErrorKind::Rejected, reason, 3, chrono::Utc::now())
    }
}

impl Batch {
    pub(crate) fn names(&self) -> Vec<String> {
        self.deliveries.iter().map(name).collect()
    }

    pub(crate) fn last(&self) -> Offset {
        self.deliveries.last().expect("a batch has a delivery").offset
    }

    /// Whether it is of this partition, under whatever assignment.
    pub(crate) fn is_of(&self, partition: &Partition) -> bool {
        (&self.partition.topic, self.partition.number) == (&partition.topic, partition.number)
    }
}

/// The next thing that a source gives. It may fail in between, as the contract allows.
pub(crate) async fn next(source: &impl EventSource) -> Received {
    let deadline = Instant::now() + PATIENCE;
    let mut failed = None;
    loop {
        match tokio::time::timeout_at(deadline, source.receive()).await {
            Ok(Ok(received)) => return received,
            Ok(Err(error)) => failed = Some(error),
            Err(_) => panic!(
                "what waits is given\n      seen: nothing within {PATIENCE:?}; last error: {failed:?}"
            ),
        }
    }
}

/// The next batch, when no other member can have taken a partition away.
pub(crate) async fn take(source: &impl EventSource) -> Batch {
    match next(source).await {
        Received::Batch { partition, deliveries } => {
            assert!(!deliveries.is_empty(), "a batch has at least one delivery\n      seen: none");
            Batch { partition, deliveries }
        }
        Received::Revoked(partition) => {
            panic!("nobody else is in the group\n      seen: {partition} was revoked")
        }
    }
}

/// A batch of several deliveries: all were written before, but may not have come together.
pub(crate) async fn take_several(source: &impl EventSource) -> Batch {
    loop {
        let batch = take(source).await;
        if batch.deliveries.len() > 1 {
            return batch;
        }
        ok("releasing", source.release(&batch.partition).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Takes and acknowledges batches until there were so many deliveries.
pub(crate) async fn drain(source: &impl EventSource, count: usize) -> Vec<Delivery> {
    let mut drained = Vec::new();
    while drained.len() < count {
        let batch = take(source).await;
        ok("acknowledging", source.acknowledge(&batch.partition, batch.last()).await);
        drained.extend(batch.deliveries);
    }
    drained
}

/// Watches for a while that a source gives nothing.
pub(crate) async fn nothing_comes(promise: &str, source: &impl EventSource) {
    if let Ok(Ok(Received::Batch { deliveries, .. })) = timeout(SILENCE, source.receive()).await {
        let seen: Vec<_> = deliveries.iter().map(name).collect();
        panic!("{promise}\n  promised: nothing comes\n      seen: {seen:?}");
    }
}

pub(crate) async fn close(source: impl EventSource) {
    ok("closing", source.close().await);
}

/// A record with a name for its value.
pub(crate) fn record(key: &str, name: &str) -> StoredRecord {
    let header = ("name".into(), Bytes::copy_from_slice(name.as_bytes()));
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), header.1.clone());
    StoredRecord::new(Some(key), Some(value), vec![header])
}

/// What a delivery has that is the user's.
pub(crate) fn content(delivery: &Delivery) -> StoredRecord {
    let Delivery { key, value, headers, .. } = delivery.clone();
    StoredRecord::new(key, value, headers)
}

pub(crate) fn name(delivery: &Delivery) -> String {
    String::from_utf8_lossy(delivery.value.as_deref().unwrap_or_default()).into_owned()
}

pub(crate) fn names(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(name).collect()
}

/// Numbers as names.
pub(crate) fn numbers(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}
