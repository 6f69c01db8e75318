//! The records of a topic: what sends them there, and the first of them.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, OwnedMessage},
};
use relaybox::{
    AggregateType, TopicMap, TopicName,
    kafka::{KafkaBus, KafkaConfig},
};

use crate::{
    client::{GREETING, LINGER},
    event::{AGGREGATE, FIRST_KEY},
    support::{PARTITIONS, topic::Topic},
};

impl Topic {
    /// Sends the events of the benchmark here.
    pub(crate) fn topics(&self) -> TopicMap {
        route(self.name())
    }

    /// The library's client, connected.
    pub(crate) async fn bus(&self) -> KafkaBus {
        bus(self.brokers()).await
    }

    /// The record of the first event of a filled outbox, as text: key, headers, value.
    ///
    /// Both sides get the same events, so it is the same whoever sent it.
    pub(crate) fn first_record(&self) -> String {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .set("group.id", "none")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions
                .add_partition_offset(self.name().as_str(), partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&partitions).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.unwrap();
            if message.key() == Some(FIRST_KEY) {
                return text(&message.detach());
            }
        }
        panic!("the first event is not in {}", self.name());
    }
}

/// Sends the events of the benchmark to a topic.
pub(crate) fn route(topic: &TopicName) -> TopicMap {
    TopicMap::new().route(AggregateType::new(AGGREGATE).unwrap(), topic.clone())
}

/// The library's client, connected.
pub(crate) async fn bus(brokers: &str) -> KafkaBus {
    let bus = KafkaBus::new(KafkaConfig::new(brokers).linger(LINGER)).unwrap();
    bus.check(Duration::from_secs(10)).await.unwrap();
    tokio::time::sleep(GREETING).await;
    bus
}

fn text(message: &OwnedMessage) -> String {
    let text = |bytes: Option<&[u8]>| bytes.map(String::from_utf8_lossy).map(String::from);
    let headers = message.headers().into_iter().flat_map(|headers| {
        headers.iter().map(|header| format!("{}: {:?}", header.key, text(header.value)))
    });
    let headers: Vec<String> = headers.collect();
    format!("{:?} {headers:?} {:?}", text(message.key()), text(message.payload()))
}
