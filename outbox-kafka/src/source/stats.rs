//! How much waits, how much was given up on, and how long records are kept.

use std::{
    collections::BTreeMap,
    sync::Weak,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset as At,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    consumer::{BaseConsumer, Consumer},
};
use relaybox_core::{Error, ErrorKind, PartitionStats, Result, SourceStats, TopicName, TopicStats};
use tokio::sync::Mutex;

use super::{
    StartAt,
    assignment::{Place, Waiting},
    context::Context,
    offsets::Question,
    shared::Shared,
};
use crate::{
    KafkaConfig,
    client::{Closing, Monitor, off_thread},
    dead_letter_topic, error,
};

const STATS: &str = "ask for a source's figures";
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The same for topics' retention, which not every broker tells.
const RETENTION_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a topic's retention is taken as known: asking needs a connection of its own.
const RETENTION_KNOWN: Duration = Duration::from_secs(600);
/// How soon it is asked again when there was no answer.
const RETENTION_UNKNOWN: Duration = Duration::from_secs(60);

/// Asks the brokers, one call at a time, and never on the caller's thread.
pub(super) struct Stats {
    config: KafkaConfig,
    topics: Vec<TopicName>,
    start_at: StartAt,
    consumer: Weak<BaseConsumer<Context>>,
    retention: Mutex<Retention>,
}

/// What the brokers said last of each topic's retention.
#[derive(Default)]
struct Retention {
    known: BTreeMap<TopicName, Duration>,
    ask_again: Option<Instant>,
}

impl Stats {
    pub(super) fn new(
        config: KafkaConfig,
        topics: Vec<TopicName>,
        start_at: StartAt,
        consumer: Weak<BaseConsumer<Context>>,
    ) -> Self {
        Self { config, topics, start_at, consumer, retention: Mutex::default() }
    }

    /// # Cancel safety
    /// Cancel safe; a question under way ends by itself within its time.
    pub(super) async fn ask(&self, shared: &Shared) -> Result<SourceStats> {
        // Held while asking: callers that gave up waiting must not pile up threads.
        let mut retention = self.retention.lock().await;
        let deadline = Instant::now() + TIMEOUT;
        let waiting = shared.lock().assignment.waiting();
        let (topics, start_at, consumer) =
            (self.topics.clone(), self.start_at, Weak::clone(&self.consumer));
        let asked = off_thread(STATS, move || {
            let consumer = consumer.upgrade().ok_or_else(|| {
                Error::new(ErrorKind::Invalid, STATS).detail("the source is closed")
            })?;
            let question = Question::new(STATS, &consumer, deadline);
            let partitions = question.lag(waiting, start_at)?;
            let topics = topics.into_iter().map(|topic| question.dead_letters(topic));
            Ok(SourceStats::new(partitions, topics.collect::<Result<_>>()?))
        });
        let mut stats = asked.await?;
        if retention.ask_again.is_none_or(|at| Instant::now() >= at) {
            let pause = match self.ask_retention().await {
                Ok(known) => {
                    retention.known = known;
                    RETENTION_KNOWN
                }
                Err(error) => {
                    tracing::debug!(%error, "the brokers don't say how long they keep records");
                    RETENTION_UNKNOWN
                }
            };
            retention.ask_again = Some(Instant::now() + pause);
        }
        for topic in &mut stats.topics {
            topic.retention = retention.known.get(&topic.topic).copied();
        }
        Ok(stats)
    }

    /// How long each topic keeps a record; without those that keep them for ever, or that this client
    /// may not ask about.
    async fn ask_retention(&self) -> Result<BTreeMap<TopicName, Duration>> {
        let (settings, monitor) = (self.config.client()?, Monitor::new(&self.config));
        let client = off_thread(STATS, move || {
            settings
                .create_with_context::<_, AdminClient<Monitor>>(monitor)
                .map(Closing::new)
                .map_err(|error| error::convert(STATS, error))
        })
        .await?;
        let options = AdminOptions::new().request_timeout(Some(RETENTION_TIMEOUT));
        let asked: Vec<_> =
            self.topics.iter().map(|topic| ResourceSpecifier::Topic(topic.as_str())).collect();
        let answers = client.get().describe_configs(&asked, &options).await;
        let answers = answers.map_err(|error| error::convert(STATS, error))?;
        let mut known = BTreeMap::new();
        for (topic, answer) in self.topics.iter().zip(answers) {
            let Ok(settings) = answer else { continue };
            let value = |name| settings.get(name).and_then(|entry| entry.value.as_deref());
            // A compacted topic keeps the last record of a key for ever, unless it deletes as well.
            let deletes = value("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
            let millis = value("retention.ms").and_then(|millis| millis.parse::<u64>().ok());
            if let (true, Some(millis)) = (deletes, millis) {
                known.insert(topic.clone(), Duration::from_millis(millis));
            }
        }
        Ok(known)
    }
}

/// Blocks.
impl Question<'_> {
    fn lag(
        &self,
        waiting: Vec<(Place, Waiting)>,
        start_at: StartAt,
    ) -> Result<Vec<PartitionStats>> {
        let places: Vec<_> = waiting.iter().map(|(place, _)| place.clone()).collect();
        let ends = self.at(&places, At::End)?;
        // Where nothing was given out yet, the group's offset tells, or else the rule of where to begin.
        let fresh: Vec<_> = waiting
            .iter()
            .filter(|(_, waiting)| *waiting == Waiting::Unknown)
            .map(|(place, _)| place.clone())
            .collect();
        let mut begins = self.committed(&fresh)?;
        if start_at == StartAt::Earliest {
            let missing: Vec<_> = fresh
                .into_iter()
                .filter(|place| begins.get(place).is_none_or(|begin| begin.is_none()))
                .collect();
            begins.extend(self.at(&missing, At::Beginning)?);
        }
        let stats = waiting.into_iter().map(|(place, waiting)| {
            let from = match waiting {
                Waiting::From(offset) => Some(offset),
                Waiting::Unknown => begins.get(&place).copied().flatten(),
            };
            let end = ends.get(&place).copied().flatten();
            let lag = end.zip(from).map(|(end, from)| u64::try_from(end - from).unwrap_or(0));
            PartitionStats::new(place.0, place.1, lag)
        });
        Ok(stats.collect())
    }

    fn dead_letters(&self, topic: TopicName) -> Result<TopicStats> {
        let dead_letters = dead_letter_topic(&topic)?;
        let mut stats = TopicStats::new(topic);
        let metadata = self
            .consumer
            .fetch_metadata(Some(dead_letters.as_str()), self.left())
            .map_err(|error| error::convert(STATS, error))?;
        let found = metadata.topics().iter().find(|found| found.name() == dead_letters.as_str());
        let places: Vec<_> = found
            .filter(|found| found.error().is_none())
            .into_iter()
            .flat_map(|found| found.partitions())
            .map(|partition| (dead_letters.clone(), partition.id()))
            .collect();
        if places.is_empty() {
            return Ok(stats);
        }
        let (begins, ends) = (self.at(&places, At::Beginning)?, self.at(&places, At::End)?);
        let count = |place: &Place| {
            let records = (*ends.get(place)?)? - (*begins.get(place)?)?;
            u64::try_from(records).ok()
        };
        stats.dead_letters = places.iter().map(count).sum();
        Ok(stats)
    }
}
