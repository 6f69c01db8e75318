//! The suite that every bus and every source must pass, on classic and on quorum queues.

use std::time::Duration;

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use relaybox_conformance::{
    BusCapabilities, BusFactory, SourceCapabilities, SourceFactory, async_trait, bus_promises,
    source_promises,
};
use relaybox_core::{ConsumerName, HeaderName, Receipt, TopicName, memory::StoredRecord};
use relaybox_rabbitmq::{RabbitBus, RabbitQueue, RabbitSource};

use crate::support::{Broker, Raw, server};

/// Above the limit that is set here.
const REFUSED: usize = 5_000;
const LIMIT: usize = 4_000;

/// An exchange of its own, with one queue that gets everything.
struct Published {
    broker: Broker,
    exchange: TopicName,
    queue: RabbitQueue,
}

struct Bus {
    quorum: bool,
}

#[async_trait]
impl BusFactory for Bus {
    type Broker = Published;
    type Bus = RabbitBus;

    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::new().unnumbered()
    }

    async fn create(&self) -> Option<Published> {
        let broker = Broker::new(server("RELAYBOX_RABBITMQ_URL")?);
        let mut queue = broker.queue().bind("#");
        if self.quorum {
            queue = queue.quorum();
        }
        let exchange = broker.declare(&queue).await;
        Some(Published { broker, exchange, queue })
    }

    fn bus(&self, published: &Published) -> RabbitBus {
        RabbitBus::builder(published.broker.config())
            .exchange(published.exchange.clone())
            .max_message_bytes(LIMIT)
            .build()
            .unwrap()
    }

    async fn topic(&self, _: &Published) -> TopicName {
        TopicName::new("conformance").unwrap()
    }

    async fn records(
        &self,
        published: &Published,
        topic: &TopicName,
    ) -> Vec<(Receipt, StoredRecord)> {
        let found = published.broker.look(published.queue.name().as_str()).await;
        found
            .iter()
            .map(|raw| {
                assert_eq!(raw.header("x-relaybox-topic").as_deref(), Some(topic.as_str()));
                (Receipt::unnumbered(), stored(raw))
            })
            .collect()
    }

    fn refused_payload(&self) -> Option<usize> {
        Some(REFUSED)
    }

    async fn destroy(&self, published: Published) {
        published.broker.clean().await;
    }
}

/// A queue whose one active consumer is the member that was there first.
struct Source {
    quorum: bool,
}

impl Source {
    fn queue(&self, name: &TopicName) -> RabbitQueue {
        let queue = RabbitQueue::new(name.to_string())
            .unwrap()
            .single_active_consumer()
            .retry_levels(Duration::from_millis(200), Duration::from_millis(1600))
            .unwrap();
        if self.quorum { queue.quorum() } else { queue }
    }
}

#[async_trait]
impl SourceFactory for Source {
    type Broker = Broker;
    type Source = RabbitSource;

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::queue()
    }

    async fn create(&self) -> Option<Broker> {
        Some(Broker::new(server("RELAYBOX_RABBITMQ_URL")?))
    }

    async fn topic(&self, broker: &Broker, _: &ConsumerName) -> TopicName {
        let name = broker.name();
        broker.declare(&self.queue(&name)).await;
        name
    }

    async fn source(&self, broker: &Broker, _: &ConsumerName, topic: &TopicName) -> RabbitSource {
        broker.source(&self.queue(topic))
    }

    async fn append(&self, broker: &Broker, topic: &TopicName, record: StoredRecord) {
        let mut headers = FieldTable::default();
        let text = |value: &Bytes| AMQPValue::LongString(value.to_vec().into());
        for (name, value) in &record.headers {
            headers.insert(ShortString::from(name.as_str()), text(value));
        }
        if let Some(key) = &record.key {
            headers.insert("x-relaybox-key".into(), text(key));
        }
        let properties = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
        broker.put(topic.as_str(), properties, &record.value.unwrap_or_default()).await;
    }

    async fn dead_letters(
        &self,
        broker: &Broker,
        _: &ConsumerName,
        topic: &TopicName,
    ) -> Vec<StoredRecord> {
        let letters = broker.look(self.queue(topic).dead_letter_queue().as_str()).await;
        letters.iter().map(stored).collect()
    }

    async fn destroy(&self, broker: Broker) {
        broker.clean().await;
    }
}

/// A message as a record: the attributes in the order in which every event has them, then the others by
/// name, a dead letter's last.
fn stored(raw: &Raw) -> StoredRecord {
    const FIRST: &str = "ce_id ce_type ce_source ce_time ce_specversion content-type ce_aggregatetype \
                         ce_aggregateid ce_eventversion ce_correlationid ce_causationid ce_userid \
                         traceparent tracestate";
    let table = raw.properties.headers().clone().unwrap_or_default();
    let bytes = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => Bytes::copy_from_slice(text.as_bytes()),
        other => panic!("a header is {other:?}"),
    };
    let key = table.inner().get("x-relaybox-key").map(bytes);
    let mut headers: Vec<_> = table
        .inner()
        .iter()
        .filter(|(name, _)| {
            !name.as_str().starts_with("x-relaybox-") && name.as_str() != "x-delivery-count"
        })
        .map(|(name, value)| (HeaderName::from(name.as_str()), bytes(value)))
        .collect();
    headers.sort_by_key(|(name, _)| {
        let first = FIRST.split_whitespace().position(|first| *name == first).unwrap_or(99);
        let letter = u8::from(name.starts_with("dlq-"));
        (letter, first, u8::from(*name != "dlq-original-topic"))
    });
    StoredRecord::new(key, Some(raw.body.clone().into()), headers)
}

mod bus_classic {
    use super::{Bus, bus_promises};

    bus_promises!(Bus { quorum: false });
}

mod bus_quorum {
    use super::{Bus, bus_promises};

    bus_promises!(Bus { quorum: true });
}

mod source_classic {
    use super::{Source, source_promises};

    source_promises!(Source { quorum: false });
}

mod source_quorum {
    use super::{Source, source_promises};

    source_promises!(Source { quorum: true });
}
