//! Clusters, topics, records, and a reader that shares no code with the source.

use std::{
    env,
    future::Future,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use relaybox_core::{
    AggregateId, AggregateType, ConsumerName, Delivery, Envelope, EventBus, EventId, EventSource,
    EventType, Partition, Received, Record, TopicName,
};
use relaybox_kafka::{EmbeddedCluster, KafkaAdmin, KafkaBus, KafkaConfig, KafkaSource, TopicSpec};

/// Longer than anything takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The value of a variable that `scripts/services up kafka` sets.
pub(crate) fn server(variable: &str) -> Option<String> {
    match env::var(variable) {
        Ok(value) => Some(value),
        Err(_) if env::var_os("CI").is_some() => panic!("{variable} is not set, and this is CI"),
        Err(_) => {
            eprintln!("SKIPPED: {variable} is not set");
            None
        }
    }
}

/// A cluster to test on.
pub(crate) enum Cluster {
    Embedded(EmbeddedCluster),
    Broker(String),
}

impl Cluster {
    pub(crate) fn embedded() -> Self {
        Self::Embedded(EmbeddedCluster::start(1).unwrap())
    }

    pub(crate) fn broker() -> Option<Self> {
        server("RELAYBOX_KAFKA_BROKERS").map(Self::Broker)
    }

    pub(crate) fn config(&self) -> KafkaConfig {
        match self {
            // The mock's rebalances last as long as a session may.
            Self::Embedded(cluster) => KafkaConfig::new(cluster.brokers())
                .set("session.timeout.ms", "3000")
                .and_then(|config| config.set("heartbeat.interval.ms", "300"))
                .unwrap(),
            Self::Broker(brokers) => KafkaConfig::new(brokers),
        }
    }

    pub(crate) fn brokers(&self) -> String {
        match self {
            Self::Embedded(cluster) => cluster.brokers(),
            Self::Broker(brokers) => brokers.clone(),
        }
    }

    pub(crate) fn bus(&self) -> KafkaBus {
        KafkaBus::new(self.config()).unwrap()
    }

    /// A bus that waits for whatever else comes: what is published at once is one batch, however long
    /// the hand-over takes.
    pub(crate) fn patient_bus(&self) -> KafkaBus {
        KafkaBus::new(self.config().linger(Duration::from_millis(300))).unwrap()
    }

    /// Makes a topic that nobody else has.
    pub(crate) async fn topic(&self, partitions: i32) -> TopicName {
        let topic = unique_topic();
        self.make(&topic, partitions, &[]).await;
        topic
    }

    pub(crate) async fn make(&self, topic: &TopicName, partitions: i32, settings: &[(&str, &str)]) {
        match self {
            Self::Embedded(cluster) => cluster.create_topic(topic, partitions).unwrap(),
            Self::Broker(_) => {
                let spec = TopicSpec::new(topic.clone(), partitions, 1);
                let spec =
                    settings.iter().fold(spec, |spec, (name, value)| spec.set(*name, *value));
                let admin = KafkaAdmin::new(self.config()).unwrap();
                admin.ensure_topics(&[spec]).await.unwrap();
            }
        }
    }

    /// Everything on a topic, by partition and offset.
    pub(crate) async fn read(&self, topic: &TopicName) -> Vec<Raw> {
        let topic = topic.clone();
        let address = self.brokers();
        tokio::task::spawn_blocking(move || read_all(&address, topic.as_str())).await.unwrap()
    }
}

/// Runs a test on the mock and on a broker.
macro_rules! on_both {
    ($(#[$meta:meta])* $name:ident, $body:expr) => {
        $(#[$meta])*
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                within(($body)(Cluster::embedded())).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn broker() {
                if let Some(cluster) = Cluster::broker() {
                    within(($body)(cluster)).await;
                }
            }
        }
    };
}
pub(crate) use on_both;

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

pub(crate) fn unique_topic() -> TopicName {
    TopicName::new(format!("t-{}", EventId::new())).unwrap()
}

pub(crate) fn unique_group() -> ConsumerName {
    ConsumerName::new(format!("g-{}", EventId::new())).unwrap()
}

/// An event of aggregate `key`.
pub(crate) fn record(topic: &TopicName, key: &str, payload: impl Into<bytes::Bytes>) -> Record {
    let envelope = Envelope::new(
        EventType::new("thing.happened", 1).unwrap(),
        AggregateType::new("thing").unwrap(),
        AggregateId::new(key.to_owned()).unwrap(),
        payload,
    );
    Record::new(topic.clone(), envelope)
}

/// Publishes the numbers `from..to` as payloads of one key.
pub(crate) async fn publish_numbers(
    bus: &KafkaBus,
    topic: &TopicName,
    key: &str,
    from: u32,
    to: u32,
) {
    let records = (from..to).map(|n| record(topic, key, n.to_string())).collect();
    for result in bus.publish(records).await {
        result.unwrap();
    }
}

/// Publishes the numbers below `to`, each with a key of its own: none waits for the first of its key, so
/// they come in one batch.
pub(crate) async fn publish_together(cluster: &Cluster, topic: &TopicName, to: u32) {
    let records = (0..to).map(|n| record(topic, &format!("k{n}"), n.to_string())).collect();
    for result in cluster.patient_bus().publish(records).await {
        result.unwrap();
    }
}

/// The next batch; a revocation is a failure.
pub(crate) async fn batch(source: &KafkaSource) -> (Partition, Vec<Delivery>) {
    match within(source.receive()).await.unwrap() {
        Received::Batch { partition, deliveries } => (partition, deliveries),
        Received::Revoked(partition) => panic!("{partition} was revoked"),
    }
}

pub(crate) fn values(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries
        .iter()
        .map(|delivery| String::from_utf8_lossy(delivery.value.as_ref().unwrap()).parse().unwrap())
        .collect()
}

/// A record as it is on the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Raw {
    pub(crate) fn number(&self) -> u32 {
        String::from_utf8_lossy(self.value.as_ref().unwrap()).parse().unwrap()
    }
}

pub(crate) fn client(brokers: &str) -> rdkafka::ClientConfig {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// The first and the next offset of a partition. The leader of a topic that is new may not know it yet.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match consumer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok(found) => return found,
            Err(error) => assert!(Instant::now() < deadline, "{topic}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn read_all(brokers: &str, topic: &str) -> Vec<Raw> {
    let mut config = client(brokers);
    config.set("group.id", "reader").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut left = 0;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = watermarks(&consumer, topic, partition.id());
        left += high - low;
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut records = Vec::new();
    while i64::try_from(records.len()).unwrap() < left {
        let message = consumer.poll(PATIENCE).expect("the records are there").unwrap();
        let headers: Vec<_> =
            message.headers().map(|headers| headers.iter().collect()).unwrap_or_default();
        records.push(Raw {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .into_iter()
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        });
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}
