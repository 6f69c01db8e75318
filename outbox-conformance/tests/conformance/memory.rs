//! The in-memory parts.

use futures::FutureExt;
use relaybox_conformance::{
    BusFactory, InboxFactory, SourceFactory, StoreFactory, archive_promises, async_trait,
    bus_promises, inbox_promises, source_promises, store_promises,
};
use relaybox_core::{
    ArchiveStore, ConsumerName, EventId, EventSource, Receipt, Received, TopicName,
    memory::{MemoryBus, MemorySource, MemoryStore, MemoryTx, StoredRecord},
};

#[derive(Default)]
pub(crate) struct Memory {
    /// It keeps what was published.
    archives: bool,
}

#[async_trait]
impl StoreFactory for Memory {
    type Database = MemoryStore;
    type Store = MemoryStore;
    type Tx = MemoryTx;

    async fn create(&self) -> Option<MemoryStore> {
        let store = MemoryStore::new();
        Some(if self.archives { store.archive_published() } else { store })
    }

    fn store(&self, database: &MemoryStore) -> MemoryStore {
        database.clone()
    }

    fn archive(&self, database: &MemoryStore) -> Option<Box<dyn ArchiveStore>> {
        self.archives.then(|| Box::new(database.clone()) as _)
    }

    async fn begin(&self, database: &MemoryStore) -> MemoryTx {
        database.begin()
    }

    async fn commit(&self, tx: MemoryTx) {
        tx.commit();
    }

    async fn rollback(&self, tx: MemoryTx) {
        tx.rollback();
    }
}

#[async_trait]
impl InboxFactory for Memory {
    type Database = MemoryStore;
    type Inbox = MemoryStore;
    type Tx = MemoryTx;

    async fn create(&self) -> Option<MemoryStore> {
        Some(MemoryStore::new())
    }

    fn inbox(&self, database: &MemoryStore) -> MemoryStore {
        database.clone()
    }

    async fn add_effect(&self, tx: &mut MemoryTx) {
        tx.put(EventId::new().to_string(), "effect");
    }

    async fn effects(&self, database: &MemoryStore) -> u64 {
        database.values().len() as u64
    }
}

const REFUSED: usize = 5_000;

#[async_trait]
impl BusFactory for Memory {
    type Broker = MemoryBus;
    type Bus = MemoryBus;

    async fn create(&self) -> Option<MemoryBus> {
        let bus = MemoryBus::new();
        bus.set_max_payload(REFUSED - 1);
        Some(bus)
    }

    fn bus(&self, broker: &MemoryBus) -> MemoryBus {
        broker.clone()
    }

    async fn topic(&self, _: &MemoryBus) -> TopicName {
        TopicName::new("thing-events.v1").unwrap()
    }

    async fn records(&self, bus: &MemoryBus, topic: &TopicName) -> Vec<(Receipt, StoredRecord)> {
        records(bus, topic).await
    }

    fn refused_payload(&self) -> Option<usize> {
        Some(REFUSED)
    }
}

#[async_trait]
impl SourceFactory for Memory {
    type Broker = MemoryBus;
    type Source = MemorySource;

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
    ) -> MemorySource {
        MemorySource::new(bus, group.clone(), vec![topic.clone()])
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
        bus.records(&TopicName::new(format!("{topic}.dlq")).unwrap())
    }
}

/// All of a topic, as a consumer of a new group gets it.
pub(crate) async fn records(bus: &MemoryBus, topic: &TopicName) -> Vec<(Receipt, StoredRecord)> {
    let group = ConsumerName::new(format!("reader-{}", EventId::new())).unwrap();
    let source = MemorySource::new(bus, group, vec![topic.clone()]);
    let mut records = Vec::new();
    while let Some(received) = source.receive().now_or_never() {
        let Received::Batch { partition, deliveries } = received.unwrap() else {
            panic!("nobody else is in the group")
        };
        source.acknowledge(&partition, deliveries.last().unwrap().offset).await.unwrap();
        records.extend(deliveries.into_iter().map(|delivery| {
            let place = Receipt::at(partition.number, delivery.offset);
            (place, StoredRecord::new(delivery.key, delivery.value, delivery.headers))
        }));
    }
    records
}

mod store {
    use super::{Memory, store_promises};

    store_promises!(Memory::default());
}

mod archive {
    use super::{Memory, archive_promises};

    archive_promises!(Memory { archives: true });
}

mod bus {
    use super::{Memory, bus_promises};

    bus_promises!(Memory::default());
}

mod source {
    use super::{Memory, source_promises};

    source_promises!(Memory::default());
}

mod inbox {
    use super::{Memory, inbox_promises};

    inbox_promises!(Memory::default());
}

#[test]
fn any_history_is_that_of_the_model() {
    relaybox_conformance::model_check(&Memory::default(), 1_000);
}

#[test]
fn any_history_with_an_archive_is_that_of_the_model() {
    relaybox_conformance::model_check(&Memory { archives: true }, 1_000);
}
