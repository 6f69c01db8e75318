//! A bus of a promise's own, and what is done with one again and again.

use std::collections::HashSet;

use relaybox_core::{ErrorKind, EventId, Receipt, Record, Result, TopicName, memory::StoredRecord};

use crate::{
    BusFactory, EventBus,
    events::event,
    run::{bounded, name_of, passed_over},
};

/// Why a promise of the latch is passed over: no record fails.
pub(crate) const NOTHING_REFUSED: &str = "the factory knows no payload that is refused";
/// Why a promise of the order is passed over.
pub(crate) const UNORDERED: &str = "the broker keeps no order";

/// One bus under test, with a topic.
pub(crate) struct Fixture<'a, F: BusFactory> {
    promise: &'static str,
    pub(crate) factory: &'a F,
    pub(crate) broker: F::Broker,
    pub(crate) bus: F::Bus,
    pub(crate) topic: TopicName,
}

/// Runs a promise on a bus of its own, which is removed even when the promise is broken.
pub(crate) async fn on_bus<F: BusFactory>(factory: &F, promise: impl AsyncFnOnce(&Fixture<'_, F>)) {
    let Some(broker) = factory.create().await else { return };
    let topic = factory.topic(&broker).await;
    let fixture =
        Fixture { promise: name_of(&promise), factory, bus: factory.bus(&broker), broker, topic };
    let result = bounded(promise(&fixture)).await;
    factory.destroy(fixture.broker).await;
    if let Err(broken) = result {
        std::panic::resume_unwind(broken);
    }
}

impl<F: BusFactory> Fixture<'_, F> {
    /// Says that the promise is not tested, and why.
    pub(crate) fn passed_over(&self, why: &str) {
        passed_over(self.promise, why);
    }

    /// An event of aggregate `key`, with its name as payload.
    pub(crate) fn record(&self, key: &str, name: &str) -> Record {
        Record::new(self.topic.clone(), event(key, name))
    }

    /// Numbers as names, of one key.
    pub(crate) fn numbers(&self, key: &str, numbers: std::ops::Range<usize>) -> Vec<Record> {
        numbers.map(|n| self.record(key, &n.to_string())).collect()
    }

    /// A record that this bus refuses for its size, where it refuses any.
    pub(crate) fn refused(&self, key: &str) -> Option<Record> {
        let bytes = self.factory.refused_payload()?;
        Some(self.record(key, &"x".repeat(bytes)))
    }

    pub(crate) async fn publish(&self, records: Vec<Record>) -> Vec<Result<Receipt>> {
        self.bus.publish(records).await
    }

    /// Publishes what nothing hinders.
    pub(crate) async fn publish_all(&self, records: Vec<Record>) -> Vec<Receipt> {
        self.publish(records)
            .await
            .into_iter()
            .map(|result| crate::store::ok("publishing", result))
            .collect()
    }

    pub(crate) async fn recover(&self) {
        crate::store::ok("recovering", self.bus.recover().await);
    }

    /// All that is on the topic.
    pub(crate) async fn records(&self) -> Vec<(Receipt, StoredRecord)> {
        self.factory.records(&self.broker, &self.topic).await
    }

    /// The names of a key's events, in the broker's order, each where it comes first.
    pub(crate) async fn names(&self, key: &str) -> Vec<String> {
        let mut seen: HashSet<EventId> = HashSet::new();
        let mut names = Vec::new();
        for (_, record) in self.records().await {
            let envelope = record.envelope();
            let name = crate::events::name(&envelope);
            let envelope = crate::store::ok("reading a record", envelope);
            if envelope.aggregate_id.as_str() == key && seen.insert(envelope.event_id) {
                names.push(name);
            }
        }
        names
    }
}

/// What became of records: `None` is acknowledged.
pub(crate) fn kinds(results: &[Result<Receipt>]) -> Vec<Option<ErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(relaybox_core::Error::kind)).collect()
}

/// Whether an error is the record's own fault.
pub(crate) fn is_refusal(kind: Option<ErrorKind>) -> bool {
    matches!(kind, Some(ErrorKind::Rejected | ErrorKind::TooLarge))
}
