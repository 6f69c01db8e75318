//! Topics: making them, with the settings they need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext,
    metadata::MetadataTopic,
    producer::Producer as _,
    types::RDKafkaErrorCode as Code,
};
use relaybox_core::{AggregateType, Error, ErrorKind, Result, TopicMap, TopicName};

use crate::{
    KafkaConfig,
    client::{self, Closing, Monitor, off_thread},
    dead_letter_topic, error,
    producer::Producer,
};

const ENSURE: &str = "make topics";
/// How often it looks whether a new topic is there.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The `max.message.bytes` of a dead-letter topic, 10 MiB. A letter is its record and up to some KiB
/// of headers, so with the topic's own limit (1,048,588 unless the broker says otherwise) it would
/// refuse the largest records. The rest is for topics that take larger ones.
const DEAD_LETTER_BYTES: &str = "10485760";

/// Makes topics.
///
/// ```no_run
/// use relaybox_core::{AggregateType, TopicMap};
/// use relaybox_kafka::{Ensured, KafkaAdmin, KafkaConfig, topic_specs};
///
/// # async fn seed() -> relaybox_core::Result<()> {
/// let admin = KafkaAdmin::new(KafkaConfig::new("localhost:9092"))?;
/// let specs = topic_specs(&TopicMap::new(), &[AggregateType::new("session")?], 12, 3)?;
/// for (topic, ensured) in admin.ensure_topics(&specs).await? {
///     if let Ensured::PartitionsDiffer { found } = ensured {
///         eprintln!("{topic} has {found} partitions; changing that would reorder keys");
///     }
/// }
/// # Ok(()) }
/// ```
pub struct KafkaAdmin {
    settings: ClientConfig,
    /// Asks for metadata. It says why it is refused; the client that makes topics doesn't.
    probe: Producer,
    timeout: Duration,
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many brokers have a copy; -1 leaves that to the cluster.
    pub replication: i32,
    /// Topic settings, for when it is made: `retention.ms`, `max.message.bytes`.
    pub settings: BTreeMap<String, String>,
}

/// How a topic was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ensured {
    /// It was not there, and is now.
    Created,
    /// It was there, with as many partitions. Its settings were not looked at.
    Existed,
    /// It was there, with another number of partitions. It was left so: more partitions would send
    /// keys elsewhere and break their order.
    PartitionsDiffer {
        /// How many it has.
        found: i32,
    },
}

impl TopicSpec {
    /// A topic with the cluster's settings.
    #[must_use]
    pub fn new(name: TopicName, partitions: i32, replication: i32) -> Self {
        Self { name, partitions, replication, settings: BTreeMap::new() }
    }

    /// Sets a topic setting.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Sets how long records are kept.
    #[must_use]
    pub fn retention(self, keep: Duration) -> Self {
        self.set("retention.ms", keep.as_millis().to_string())
    }
}

/// The topics of some aggregate types and their dead-letter topics, each once.
///
/// A dead-letter topic has as many partitions as its topic: a key's dead letters keep their order. It
/// takes records of up to 10 MiB (`max.message.bytes`); give it more when its topic takes nearly as
/// much.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the name of a dead-letter topic would be too long.
pub fn topic_specs(
    topics: &TopicMap,
    aggregate_types: &[AggregateType],
    partitions: i32,
    replication: i32,
) -> Result<Vec<TopicSpec>> {
    let names: BTreeSet<_> = aggregate_types.iter().map(|known| topics.topic(known)).collect();
    let mut specs = Vec::with_capacity(names.len() * 2);
    for name in names {
        let dead_letters = dead_letter_topic(&name)?;
        specs.push(TopicSpec::new(name, partitions, replication));
        let dead_letters = TopicSpec::new(dead_letters, partitions, replication);
        specs.push(dead_letters.set("max.message.bytes", DEAD_LETTER_BYTES));
    }
    Ok(specs)
}

impl KafkaAdmin {
    /// Makes a client. Connects in the background.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a setting or a certificate file can't be used, or when TLS or
    /// SCRAM is asked for without the feature `tls`.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        let monitor = Monitor::new(&config);
        let probe = Producer::start(ENSURE, &config.producer()?, monitor)?;
        Ok(Self { settings: config.client()?, probe, timeout: Duration::from_secs(30) })
    }

    /// Sets how long [`ensure_topics`](Self::ensure_topics) may take; 30 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the topics that are missing, and waits until all of them can be written to.
    ///
    /// What is there is never changed: calling again is safe.
    ///
    /// # Errors
    /// The first topic's that can't be made ([`ErrorKind::TopicUnavailable`] when that is not
    /// allowed, [`ErrorKind::Invalid`] when a number or a setting is not);
    /// [`ErrorKind::Authentication`] and [`ErrorKind::Unavailable`] as in
    /// [`KafkaBus::check`](crate::KafkaBus::check).
    ///
    /// # Cancel safety
    /// When the future is dropped, some topics may have been made. Call again.
    pub async fn ensure_topics(&self, specs: &[TopicSpec]) -> Result<Vec<(TopicName, Ensured)>> {
        let deadline = Instant::now() + self.timeout;
        let mut found = self.topics(deadline).await?;
        let missing: Vec<_> =
            specs.iter().filter(|spec| !found.contains_key(spec.name.as_str())).collect();
        self.create(&missing, deadline).await?;
        while let Some(spec) = specs.iter().find(|spec| !is_usable(&found, spec)) {
            if Instant::now() >= deadline {
                return Err(Error::new(ErrorKind::TopicUnavailable, ENSURE)
                    .detail(format!("a partition of {} has no leader yet", spec.name)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            found = self.topics(deadline).await?;
        }
        let ensured = specs.iter().map(|spec| {
            let partitions = found[spec.name.as_str()].len();
            let ensured = match i32::try_from(partitions) {
                Ok(count) if count != spec.partitions => Ensured::PartitionsDiffer { found: count },
                _ if missing.iter().any(|missing| missing.name == spec.name) => Ensured::Created,
                _ => Ensured::Existed,
            };
            (spec.name.clone(), ensured)
        });
        Ok(ensured.collect())
    }

    async fn create(&self, missing: &[&TopicSpec], deadline: Instant) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let (settings, monitor) = (self.settings.clone(), self.probe.monitor().clone());
        // Lives for one request only: rdkafka reads nothing of what librdkafka queues up for it.
        let client = off_thread(ENSURE, move || {
            AdminClient::from_config_and_context(&settings, monitor)
                .map(Closing::new)
                .map_err(|error| error::convert(ENSURE, error))
        })
        .await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let options = AdminOptions::new().request_timeout(Some(left)).operation_timeout(Some(left));
        let topics: Vec<_> = missing.iter().map(|spec| new_topic(spec)).collect();
        let created = client.get().create_topics(&topics, &options).await;
        let results = created.map_err(|error| error::convert(ENSURE, error))?;
        for result in results {
            match result {
                // Somebody else was faster.
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(error::from_code(ENSURE, code)
                        .detail(format!("the cluster refuses the topic {name}: {code}")));
                }
            }
        }
        Ok(())
    }

    /// All topics, each with the leaders of its partitions.
    async fn topics(&self, deadline: Instant) -> Result<BTreeMap<String, Vec<i32>>> {
        let monitor = self.probe.monitor().clone();
        let probe = self.probe.client().ok_or_else(|| Error::new(ErrorKind::Halted, ENSURE))?;
        off_thread(ENSURE, move || {
            // All of them: asking for one by name might make it.
            let metadata = client::metadata(ENSURE, probe.client(), &monitor, deadline)?;
            let topic = |topic: &MetadataTopic| {
                (topic.name().to_owned(), topic.partitions().iter().map(|p| p.leader()).collect())
            };
            Ok(metadata.topics().iter().map(topic).collect())
        })
        .await
    }
}

impl fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaAdmin").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn is_usable(found: &BTreeMap<String, Vec<i32>>, spec: &TopicSpec) -> bool {
    let leaders = found.get(spec.name.as_str());
    leaders.is_some_and(|leaders| !leaders.is_empty() && leaders.iter().all(|leader| *leader >= 0))
}

fn new_topic(spec: &TopicSpec) -> NewTopic<'_> {
    let replication = TopicReplication::Fixed(spec.replication);
    let topic = NewTopic::new(spec.name.as_str(), spec.partitions, replication);
    spec.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_seeded_once_with_its_dead_letters() {
        let aggregate = |name: &'static str| AggregateType::new(name).unwrap();
        let billing = TopicName::new("billing.v2").unwrap();
        let map = TopicMap::new()
            .route(aggregate("invoice"), billing.clone())
            .route(aggregate("payment"), billing);
        let types = [aggregate("session"), aggregate("invoice"), aggregate("payment")];
        let specs = topic_specs(&map, &types, 6, 3).unwrap();
        let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let expected =
            ["billing.v2", "billing.v2.dlq", "session-events.v1", "session-events.v1.dlq"];
        assert_eq!(names, expected);
        assert!(specs.iter().all(|spec| (spec.partitions, spec.replication) == (6, 3)));
        for spec in specs {
            let limit = spec.settings.get("max.message.bytes").map(|bytes| bytes.parse::<u64>());
            match spec.name.as_str().ends_with(".dlq") {
                true => assert!(limit.unwrap().unwrap() >= 1_048_588 + 64 * 1024),
                false => assert_eq!(limit, None),
            }
        }
    }
}
