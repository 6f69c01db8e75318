//! A topic of one's own on the real Kafka.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use relaybox::{
    AggregateType, Envelope, TopicMap, TopicName, cloudevents,
    kafka::{KafkaAdmin, KafkaBus, KafkaConfig, TopicSpec},
};
use uuid::Uuid;

const PARTITIONS: i32 = 3;

/// A uniquely named topic with its dead-letter topic.
#[derive(Debug)]
pub struct Topic {
    brokers: String,
    /// Its name.
    pub name: TopicName,
}

impl Topic {
    /// Creates it, with settings of the broker's such as `max.message.bytes`.
    pub async fn create(brokers: &str, settings: &[(&str, &str)]) -> Self {
        let name = TopicName::new(format!("test-{}", Uuid::new_v4().simple())).unwrap();
        let topic = Self { brokers: brokers.to_owned(), name };
        topic.make(settings).await;
        topic
    }

    /// Makes it again after it was [deleted](Self::delete).
    pub async fn make(&self, settings: &[(&str, &str)]) {
        let mut spec = TopicSpec::new(self.name.clone(), PARTITIONS, 1);
        for (key, value) in settings {
            spec = spec.set(*key, *value);
        }
        let dead = TopicSpec::new(self.dead_letters(), 1, 1);
        KafkaAdmin::new(self.config()).unwrap().ensure_topics(&[spec, dead]).await.unwrap();
    }

    /// Takes it away, with what is on it.
    pub async fn delete(&self) {
        let mut config = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> =
            config.set("bootstrap.servers", &self.brokers).create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let deleted = admin.delete_topics(&[self.name.as_str()], &options).await.unwrap();
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    }

    /// Its broker's address.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// How to reach its broker.
    pub fn config(&self) -> KafkaConfig {
        KafkaConfig::new(self.brokers.clone())
    }

    /// A bus to its broker.
    #[must_use]
    pub fn bus(&self) -> KafkaBus {
        KafkaBus::new(self.config()).unwrap()
    }

    /// Sends things here.
    #[must_use]
    pub fn map(&self) -> TopicMap {
        TopicMap::new().route(AggregateType::new("thing").unwrap(), self.name.clone())
    }

    /// Its dead-letter topic.
    #[must_use]
    pub fn dead_letters(&self) -> TopicName {
        TopicName::new(format!("{}.dlq", self.name)).unwrap()
    }

    /// All events on it now, partition by partition, in order.
    pub async fn envelopes(&self) -> Vec<Envelope> {
        let (brokers, name) = (self.brokers.clone(), self.name.clone());
        tokio::task::spawn_blocking(move || read_to_the_end(&brokers, name.as_str())).await.unwrap()
    }
}

fn read_to_the_end(brokers: &str, topic: &str) -> Vec<Envelope> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("reader-{}", Uuid::new_v4().simple()))
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut remaining = 0;
    for partition in 0..PARTITIONS {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).unwrap();
        remaining += high - low;
        assignment.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut envelopes = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while remaining > 0 {
        assert!(Instant::now() < deadline, "{remaining} records of {topic} did not come");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let headers = message.headers().unwrap();
        let headers = headers.iter().map(|header| (header.key, header.value.unwrap_or_default()));
        let value = message.payload().unwrap().to_vec().into();
        envelopes.push(cloudevents::parse(message.key(), headers, value).unwrap());
        remaining -= 1;
    }
    envelopes
}
