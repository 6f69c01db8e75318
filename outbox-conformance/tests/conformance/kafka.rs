//! Kafka: on librdkafka's mock cluster, and on a real broker, whose own limit refuses records, too.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Header, Headers, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use relaybox_conformance::{BusFactory, SourceFactory, async_trait, bus_promises, source_promises};
use relaybox_core::{ConsumerName, EventId, Receipt, TopicName, memory::StoredRecord};
use relaybox_kafka::{
    EmbeddedCluster, KafkaAdmin, KafkaBus, KafkaConfig, KafkaSource, TopicSpec, dead_letter_topic,
};

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// Above the limit that is set here, of the client or of the topic.
const REFUSED: usize = 5_000;
const LIMIT: &str = "4000";

/// A bus to librdkafka's mock cluster, each time a new one; the client refuses what is too large.
struct Embedded;

#[async_trait]
impl BusFactory for Embedded {
    type Broker = EmbeddedCluster;
    type Bus = KafkaBus;

    async fn create(&self) -> Option<EmbeddedCluster> {
        Some(EmbeddedCluster::start(1).unwrap())
    }

    fn bus(&self, cluster: &EmbeddedCluster) -> KafkaBus {
        let config = KafkaConfig::new(cluster.brokers()).set("message.max.bytes", LIMIT);
        KafkaBus::new(config.unwrap()).unwrap()
    }

    async fn topic(&self, cluster: &EmbeddedCluster) -> TopicName {
        let topic = unique_topic();
        cluster.create_topic(&topic, PARTITIONS).unwrap();
        topic
    }

    async fn records(
        &self,
        cluster: &EmbeddedCluster,
        topic: &TopicName,
    ) -> Vec<(Receipt, StoredRecord)> {
        read(cluster.brokers(), topic.clone()).await
    }

    fn refused_payload(&self) -> Option<usize> {
        Some(REFUSED)
    }
}

/// A bus to a real broker; who refuses what is too large?
enum Real {
    /// The client, before anything is sent.
    Client,
    /// The broker, by the topic's limit of a batch.
    Broker,
}

#[async_trait]
impl BusFactory for Real {
    type Broker = String;
    type Bus = KafkaBus;

    async fn create(&self) -> Option<String> {
        crate::server("RELAYBOX_KAFKA_BROKERS")
    }

    fn bus(&self, brokers: &String) -> KafkaBus {
        let config = KafkaConfig::new(brokers.clone());
        let config = match self {
            Self::Client => config.set("message.max.bytes", LIMIT),
            // Compressed it might fit; and a batch of innocents should.
            Self::Broker => {
                config.set("compression.type", "none").and_then(|c| c.set("batch.size", "3000"))
            }
        };
        KafkaBus::new(config.unwrap()).unwrap()
    }

    async fn topic(&self, brokers: &String) -> TopicName {
        let topic = unique_topic();
        let mut spec = TopicSpec::new(topic.clone(), PARTITIONS, 1);
        if matches!(self, Self::Broker) {
            spec = spec.set("max.message.bytes", LIMIT);
        }
        let admin = KafkaAdmin::new(KafkaConfig::new(brokers.clone())).unwrap();
        admin.ensure_topics(&[spec]).await.unwrap();
        topic
    }

    async fn records(&self, brokers: &String, topic: &TopicName) -> Vec<(Receipt, StoredRecord)> {
        read(brokers.clone(), topic.clone()).await
    }

    fn refused_payload(&self) -> Option<usize> {
        Some(REFUSED)
    }
}

/// Members of a group: on librdkafka's mock cluster, or on a real broker.
enum Group {
    Embedded,
    Real,
}

/// A cluster, and a stranger who writes to it.
struct Cluster {
    brokers: String,
    embedded: Option<EmbeddedCluster>,
    producer: FutureProducer,
}

#[async_trait]
impl SourceFactory for Group {
    type Broker = Cluster;
    type Source = KafkaSource;

    async fn create(&self) -> Option<Cluster> {
        let (brokers, embedded) = match self {
            Self::Embedded => {
                let cluster = EmbeddedCluster::start(1).unwrap();
                (cluster.brokers(), Some(cluster))
            }
            Self::Real => (crate::server("RELAYBOX_KAFKA_BROKERS")?, None),
        };
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("linger.ms", "0")
            .create()
            .unwrap();
        Some(Cluster { brokers, embedded, producer })
    }

    async fn topic(&self, cluster: &Cluster, _: &ConsumerName) -> TopicName {
        let topic = unique_topic();
        let dead_letters = dead_letter_topic(&topic).unwrap();
        if let Some(embedded) = &cluster.embedded {
            embedded.create_topic(&topic, PARTITIONS).unwrap();
            embedded.create_topic(&dead_letters, PARTITIONS).unwrap();
        } else {
            let specs =
                [topic.clone(), dead_letters].map(|name| TopicSpec::new(name, PARTITIONS, 1));
            let admin = KafkaAdmin::new(KafkaConfig::new(cluster.brokers.clone())).unwrap();
            admin.ensure_topics(&specs).await.unwrap();
        }
        topic
    }

    async fn source(
        &self,
        cluster: &Cluster,
        group: &ConsumerName,
        topic: &TopicName,
    ) -> KafkaSource {
        let mut config = KafkaConfig::new(cluster.brokers.clone());
        if cluster.embedded.is_some() {
            // The mock lets a later member in when a session could have ended.
            config = config.set("session.timeout.ms", "6000").unwrap();
        }
        KafkaSource::new(config, group.clone(), vec![topic.clone()]).unwrap()
    }

    async fn append(&self, cluster: &Cluster, topic: &TopicName, record: StoredRecord) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(&value[..]) });
        }
        let mut message = FutureRecord::<[u8], [u8]>::to(topic.as_str()).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        cluster.producer.send(message, PATIENCE).await.map_err(|(error, _)| error).unwrap();
    }

    async fn dead_letters(
        &self,
        cluster: &Cluster,
        _: &ConsumerName,
        topic: &TopicName,
    ) -> Vec<StoredRecord> {
        let letters = read(cluster.brokers.clone(), dead_letter_topic(topic).unwrap()).await;
        letters.into_iter().map(|(_, letter)| letter).collect()
    }
}

fn unique_topic() -> TopicName {
    TopicName::new(format!("conformance-{}", EventId::new())).unwrap()
}

/// Everything on a topic, by a reader that shares no code with the library.
async fn read(brokers: String, topic: TopicName) -> Vec<(Receipt, StoredRecord)> {
    tokio::task::spawn_blocking(move || read_now(&brokers, topic.as_str())).await.unwrap()
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

fn read_now(brokers: &str, topic: &str) -> Vec<(Receipt, StoredRecord)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut left = 0;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let (low, high) = watermarks(&consumer, topic, partition);
        left += high - low;
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut records = Vec::new();
    while i64::try_from(records.len()).unwrap() < left {
        let message = consumer.poll(PATIENCE).expect("the records are there").unwrap();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let headers = headers.map(|header| {
            (header.key.into(), Bytes::copy_from_slice(header.value.unwrap_or_default()))
        });
        let record = StoredRecord::new(
            message.key().map(Bytes::copy_from_slice),
            message.payload().map(Bytes::copy_from_slice),
            headers.collect(),
        );
        records.push((Receipt::at(message.partition(), message.offset()), record));
    }
    records.sort_by_key(|(place, _)| (place.partition, place.offset));
    records
}

mod embedded {
    use super::{Embedded, bus_promises};

    bus_promises!(Embedded);
}

mod embedded_source {
    use super::{Group, source_promises};

    source_promises!(Group::Embedded);
}

mod real_source {
    use super::{Group, source_promises};

    source_promises!(Group::Real);
}

mod real {
    use super::{Real, bus_promises};

    bus_promises!(Real::Client);
}

mod real_refusing {
    use super::{Real, bus_promises};

    bus_promises!(Real::Broker);
}
