//! A topic of one's own, deleted however the row ends.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, OwnedMessage},
};
use relaybox::{
    AggregateType, TopicMap, TopicName,
    kafka::{EmbeddedCluster, KafkaAdmin, KafkaBus, KafkaConfig, TopicSpec},
};
use uuid::Uuid;

use super::{
    LINGER, PARTITIONS,
    client::GREETING,
    database::on_a_thread,
    event::{AGGREGATE, FIRST_KEY},
};

/// A uniquely named topic of twelve partitions.
pub(crate) struct Topic {
    brokers: String,
    name: TopicName,
    /// Its cluster, unless a real one keeps it.
    cluster: Option<EmbeddedCluster>,
}

impl Topic {
    /// Makes one on a real broker, whose durability settings it has.
    pub(crate) async fn create(brokers: &str) -> Self {
        let topic = Self { brokers: brokers.to_owned(), name: unique(), cluster: None };
        let spec = TopicSpec::new(topic.name.clone(), PARTITIONS, -1)
            // Its disk space is wanted soon after it is deleted.
            .set("file.delete.delay.ms", "1000");
        let admin = KafkaAdmin::new(KafkaConfig::new(brokers)).unwrap();
        admin.ensure_topics(&[spec]).await.unwrap();
        topic
    }

    /// Makes one on librdkafka's mock cluster of one broker.
    pub(crate) fn embedded() -> Self {
        let (cluster, name) = (EmbeddedCluster::start(1).unwrap(), unique());
        cluster.create_topic(&name, PARTITIONS).unwrap();
        Self { brokers: cluster.brokers(), name, cluster: Some(cluster) }
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Sends the events of the benchmark here.
    pub(crate) fn topics(&self) -> TopicMap {
        route(&self.name)
    }

    /// The library's client, connected.
    pub(crate) async fn bus(&self) -> KafkaBus {
        bus(&self.brokers).await
    }

    /// The record of the first event of a filled outbox, as text: key, headers, value.
    ///
    /// Both sides get the same events, so it is the same whoever sent it.
    pub(crate) fn first_record(&self) -> String {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "none")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(self.name(), partition, Offset::Beginning).unwrap();
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
        panic!("the first event is not in {}", self.name);
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if self.cluster.is_some() {
            return;
        }
        let (brokers, name) = (self.brokers.clone(), self.name.clone());
        let deleted = on_a_thread(async move {
            let admin: AdminClient<DefaultClientContext> =
                ClientConfig::new().set("bootstrap.servers", brokers).create()?;
            admin.delete_topics(&[name.as_str()], &AdminOptions::new()).await
        });
        if !matches!(deleted.as_ref().map(|results| results.as_deref()), Some(Ok([Ok(_)]))) {
            eprintln!("the topic {} stays: {deleted:?}", self.name);
        }
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

fn unique() -> TopicName {
    TopicName::new(format!("relaybox-bench-{}", Uuid::new_v4().simple())).unwrap()
}

fn text(message: &OwnedMessage) -> String {
    let text = |bytes: Option<&[u8]>| bytes.map(String::from_utf8_lossy).map(String::from);
    let headers = message.headers().into_iter().flat_map(|headers| {
        headers.iter().map(|header| format!("{}: {:?}", header.key, text(header.value)))
    });
    let headers: Vec<String> = headers.collect();
    format!("{:?} {headers:?} {:?}", text(message.key()), text(message.payload()))
}
