//! A topic of one's own on the real Kafka.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
    message::{BorrowedMessage, Headers},
    topic_partition_list::TopicPartitionListElem,
};
use relaybox::{
    AggregateType, Envelope, EventId, TopicMap, TopicName, cloudevents,
    kafka::{KafkaAdmin, KafkaBus, KafkaConfig, TopicSpec},
};
use uuid::Uuid;

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(10);

/// A uniquely named topic with its dead-letter topic.
#[derive(Debug)]
pub struct Topic {
    brokers: String,
    partitions: i32,
    /// Its name.
    pub name: TopicName,
}

/// A record on a dead-letter topic.
#[derive(Debug)]
pub struct DeadRecord {
    /// The record key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The headers, the last of a name.
    pub headers: BTreeMap<String, String>,
}

impl Topic {
    /// Creates it, with settings of the broker's such as `max.message.bytes`.
    pub async fn create(brokers: &str, settings: &[(&str, &str)]) -> Self {
        let topic = Self::named(brokers, PARTITIONS);
        topic.make(settings).await;
        topic
    }

    /// Creates it with so many partitions.
    pub async fn wide(brokers: &str, partitions: i32) -> Self {
        let topic = Self::named(brokers, partitions);
        topic.make(&[]).await;
        topic
    }

    fn named(brokers: &str, partitions: i32) -> Self {
        let name = TopicName::new(format!("test-{}", Uuid::new_v4().simple())).unwrap();
        Self { brokers: brokers.to_owned(), partitions, name }
    }

    /// Makes it again after it was [deleted](Self::delete).
    pub async fn make(&self, settings: &[(&str, &str)]) {
        let mut spec = TopicSpec::new(self.name.clone(), self.partitions, 1);
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

    /// Sends things and accounts here.
    #[must_use]
    pub fn map(&self) -> TopicMap {
        TopicMap::new()
            .route(AggregateType::new("thing").unwrap(), self.name.clone())
            .route(AggregateType::new("account").unwrap(), self.name.clone())
    }

    /// Its dead-letter topic.
    #[must_use]
    pub fn dead_letters(&self) -> TopicName {
        TopicName::new(format!("{}.dlq", self.name)).unwrap()
    }

    /// All events on it now, partition by partition, in order.
    pub async fn envelopes(&self) -> Vec<Envelope> {
        self.read(self.name.clone(), self.partitions, envelope).await
    }

    /// Which event each record on it now carries, and its partition and offset.
    pub async fn places(&self) -> Vec<(EventId, i32, i64)> {
        let place = |message: &BorrowedMessage<'_>| {
            (envelope(message).event_id, message.partition(), message.offset())
        };
        self.read(self.name.clone(), self.partitions, place).await
    }

    /// All records on its dead-letter topic now.
    pub async fn dead_lettered(&self) -> Vec<DeadRecord> {
        let dead = |message: &BorrowedMessage<'_>| {
            let headers = message.headers().unwrap().iter();
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            DeadRecord {
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().unwrap_or_default().to_vec(),
                headers: headers
                    .map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default())))
                    .collect(),
            }
        };
        self.read(self.dead_letters(), 1, dead).await
    }

    /// How many records of each partition a group has not acknowledged yet.
    pub async fn lags(&self, group: &str) -> Vec<i64> {
        let (name, partitions) = (self.name.clone(), self.partitions);
        self.ask(group, move |consumer| {
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                match lags(consumer, name.as_str(), partitions) {
                    Ok(lags) => return lags,
                    // The coordinator may be about to move, or its broker to come up.
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        })
        .await
    }

    /// How many records a group has not acknowledged yet.
    pub async fn lag(&self, group: &str) -> i64 {
        self.lags(group).await.iter().sum()
    }

    /// The ids of a group's members. A member that was put out comes back with another.
    pub async fn members(&self, group: &str) -> BTreeSet<String> {
        let name = group.to_owned();
        self.ask(group, move |consumer| {
            let groups = consumer.fetch_group_list(Some(&name), PATIENCE).unwrap();
            let members = groups.groups().iter().flat_map(|group| group.members());
            members.map(|member| member.id().to_owned()).collect()
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        group: &str,
        question: impl FnOnce(&BaseConsumer) -> T + Send + 'static,
    ) -> T {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", group);
        config.set("enable.auto.commit", "false");
        let asked = move || question(&config.create().unwrap());
        tokio::task::spawn_blocking(asked).await.unwrap()
    }

    async fn read<T: Send + 'static>(
        &self,
        topic: TopicName,
        partitions: i32,
        each: impl Fn(&BorrowedMessage<'_>) -> T + Send + 'static,
    ) -> Vec<T> {
        let group = format!("reader-{}", Uuid::new_v4().simple());
        self.ask(&group, move |consumer| {
            read_to_the_end(consumer, topic.as_str(), partitions, each)
        })
        .await
    }
}

fn envelope(message: &BorrowedMessage<'_>) -> Envelope {
    let headers = message.headers().unwrap();
    let headers = headers.iter().map(|header| (header.key, header.value.unwrap_or_default()));
    let value = message.payload().unwrap().to_vec().into();
    cloudevents::parse(message.key(), headers, value).unwrap()
}

fn lags(consumer: &BaseConsumer, topic: &str, partitions: i32) -> KafkaResult<Vec<i64>> {
    let mut places = TopicPartitionList::new();
    places.add_partition_range(topic, 0, partitions - 1);
    let committed = consumer.committed_offsets(places, PATIENCE)?;
    let lag = |place: &TopicPartitionListElem<'_>| {
        place.error()?;
        let (low, high) = consumer.fetch_watermarks(topic, place.partition(), PATIENCE)?;
        Ok(high - place.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(low))
    };
    committed.elements().iter().map(lag).collect()
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

fn read_to_the_end<T>(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: i32,
    each: impl Fn(&BorrowedMessage<'_>) -> T,
) -> Vec<T> {
    let mut assignment = TopicPartitionList::new();
    let mut remaining = 0;
    for partition in 0..partitions {
        let (low, high) = watermarks(consumer, topic, partition);
        remaining += high - low;
        assignment.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut read = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while remaining > 0 {
        assert!(Instant::now() < deadline, "{remaining} records of {topic} did not come");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        read.push(each(&message.unwrap()));
        remaining -= 1;
    }
    read
}
