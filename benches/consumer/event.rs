//! The event of the benchmark, and topics that are full of it.

use std::iter;

use futures::{StreamExt, stream};
use relaybox::{
    DomainEvent, EventBus, Outbox, Record, TopicName,
    kafka::{KafkaBus, KafkaConfig},
    memory::MemoryStore,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::support::{PAYLOAD, topic::Topic};

/// The header of its records that says what it is.
pub(crate) const TYPE: &str = "thing.counted.v1";
/// So many things take turns.
const THINGS: u64 = 10_000;
/// How many records are published at once, and how often that may be under way.
const CHUNK: u64 = 500;
const CHUNKS: usize = 20;

/// A thing was counted: as JSON, exactly [`PAYLOAD`] bytes.
#[derive(Debug, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "thing", name = "thing.counted", version = 1)]
pub(crate) struct Counted {
    #[event(aggregate_id)]
    pub(crate) id: Uuid,
    /// From 0, each once.
    pub(crate) n: i64,
    text: String,
}

impl Counted {
    fn new(number: u64) -> Self {
        let (id, n) = (Uuid::from_u128((number % THINGS).into()), number.cast_signed());
        let around = format!(r#"{{"id":"{id}","n":{n},"text":""}}"#).len();
        Self { id, n, text: "0123456789abcdef".chars().cycle().take(PAYLOAD - around).collect() }
    }
}

/// What the numbers of so many events add up to.
pub(crate) fn sum(events: u64) -> i64 {
    (0..events.cast_signed()).sum()
}

impl Topic {
    /// Sends so many events here, through the library's own producer.
    pub(crate) async fn fill(&self, events: u64) {
        let bus = KafkaBus::new(KafkaConfig::new(self.brokers())).unwrap();
        fill(&bus, self.name(), events).await;
    }
}

/// Publishes so many events.
pub(crate) async fn fill(bus: &impl EventBus, topic: &TopicName, events: u64) {
    let outbox = Outbox::builder(MemoryStore::new()).source("bench").unwrap().build();
    let chunks =
        iter::successors(Some(0), |from| Some(from + CHUNK)).take_while(|from| *from < events);
    let published = chunks.map(|from| {
        let events = (from..events.min(from + CHUNK)).map(Counted::new);
        let records = events
            .map(|event| Record::new(topic.clone(), outbox.envelope(&event).unwrap()))
            .collect();
        bus.publish(records)
    });
    let mut published = stream::iter(published).buffered(CHUNKS);
    while let Some(results) = published.next().await {
        assert!(results.iter().all(Result::is_ok), "all are acknowledged");
    }
}
