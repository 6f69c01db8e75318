//! Putting a consumer's dead letters back.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    message::{Header, OwnedHeaders},
};
use relaybox_core::{Delivery, Error, ErrorKind, Partition, Result, TopicName};

use crate::{
    KafkaConfig,
    client::{Monitor, metadata, off_thread},
    dead_letter, dead_letter_topic, error,
    producer::{Outgoing, Producer},
    source::record,
};

const REDRIVE: &str = "redrive dead letters";
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much is sent before it is noted.
const CHUNK: usize = 200;
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// Sends the dead letters of a topic back to where they came from, each once.
///
/// Key, value and headers are the original ones, so the event keeps its id; what was added when it was
/// given up on is taken off again, and `redrive-consumer` names the consumer that gave it up: other
/// [`Consumer`](relaybox_core::Consumer)s pass it over. The event was given up on, not handled, so it
/// has no mark and is handled afresh. It comes behind what its aggregate did since: order has a repeat
/// there, as with any dead letter of a consumer.
///
/// A consumer that is not built on this library knows nothing of `redrive-consumer` and sees the event
/// once more.
///
/// ```no_run
/// use relaybox_core::TopicName;
/// use relaybox_kafka::{KafkaConfig, KafkaRedrive};
///
/// # async fn mended() -> relaybox_core::Result<()> {
/// let config = KafkaConfig::new("localhost:9092");
/// let redriven = KafkaRedrive::new(config, TopicName::new("session-events.v1")?).run().await?;
/// println!("{} sent back, {} are no dead letters of ours", redriven.sent, redriven.passed_over);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct KafkaRedrive {
    config: KafkaConfig,
    topic: TopicName,
}

/// What a redrive did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Redriven {
    /// Dead letters that were sent back.
    pub sent: u64,
    /// Records of the dead-letter topic that don't say that they came from the topic.
    pub passed_over: u64,
}

impl KafkaRedrive {
    /// For the dead letters of `topic`, which are in `{topic}.dlq`.
    #[must_use]
    pub fn new(config: KafkaConfig, topic: TopicName) -> Self {
        Self { config, topic }
    }

    /// Sends back what is in the dead-letter topic now and was not sent back before.
    ///
    /// How far it came is kept by the broker, as the offsets of the group `relaybox-redrive.{topic}`,
    /// and moves on only after the broker has what was sent. One run at a time: two at once send the
    /// same dead letters.
    ///
    /// # Errors
    /// The broker's. What was sent and not noted is sent again by the next run, and known as a repeat
    /// by consumers that have handled it.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn run(&self) -> Result<Redriven> {
        let (config, topic) = (self.config.clone(), self.topic.clone());
        let mut reader = off_thread(REDRIVE, move || Reader::open(&config, &topic)).await?;
        let settings = dead_letter::settings(&self.config)?;
        let monitor = Monitor::new(&self.config);
        let mut producer =
            off_thread(REDRIVE, move || Producer::start(REDRIVE, &settings, monitor)).await?;
        let mut redriven = Redriven::default();
        loop {
            let (returned, letters) = off_thread(REDRIVE, move || {
                let letters = reader.read()?;
                Ok((reader, letters))
            })
            .await?;
            reader = returned;
            if letters.is_empty() {
                return Ok(redriven);
            }
            let records: Vec<_> =
                letters.iter().filter_map(|letter| returned_record(letter, &self.topic)).collect();
            redriven.passed_over += (letters.len() - records.len()) as u64;
            redriven.sent += records.len() as u64;
            let results = producer.hand_over(records.into_iter());
            for result in results.all().await {
                result?;
            }
            reader = off_thread(REDRIVE, move || {
                reader.commit(&letters)?;
                Ok(reader)
            })
            .await?;
        }
    }
}

/// A dead letter as it was before it was given up on; `None` when it doesn't say that it came from
/// `origin`.
fn returned_record<'a>(letter: &'a Delivery, origin: &'a TopicName) -> Option<Outgoing<'a>> {
    // Ours stand behind the record's own, of which some may be called the same.
    let start = letter.headers.iter().rposition(|(name, _)| name == "dlq-original-topic")?;
    let (own, added) = letter.headers.split_at(start);
    let (_, topic) = added.first()?;
    if topic.as_ref() != origin.as_str().as_bytes() {
        return None;
    }
    // Whoever copied the letter may have put something behind.
    let kept = added.iter().filter(|(name, _)| !name.starts_with("dlq-"));
    let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len());
    for (key, value) in own.iter().chain(kept).filter(|(name, _)| name != "redrive-consumer") {
        headers = headers.insert(Header { key, value: Some(value.as_ref()) });
    }
    if let Some((_, consumer)) = added.iter().find(|(name, _)| name == "dlq-consumer") {
        headers =
            headers.insert(Header { key: "redrive-consumer", value: Some(consumer.as_ref()) });
    }
    let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
    Some(Outgoing { topic: origin.as_str(), key, value, headers })
}

/// Reads a dead-letter topic from where the last run came to, up to where it ends now. Blocks.
struct Reader {
    consumer: Closing,
    /// Where reading ends: what comes behind, perhaps because it was given up on again, is for the
    /// next run.
    ends: BTreeMap<i32, i64>,
    /// Partitions with something left to read.
    open: BTreeSet<i32>,
    topic: TopicName,
}

impl Reader {
    fn open(config: &KafkaConfig, origin: &TopicName) -> Result<Self> {
        let convert = |error| error::convert(REDRIVE, error);
        let topic = dead_letter_topic(origin)?;
        let mut settings = config.consumer()?;
        settings
            .set("group.id", format!("relaybox-redrive.{origin}"))
            // What was to be read next may have expired meanwhile.
            .set("auto.offset.reset", "earliest")
            // The end of a compacted or transactional partition may be no record.
            .set("enable.partition.eof", "true");
        let monitor = Monitor::new(config);
        let consumer: BaseConsumer<Monitor> =
            settings.create_with_context(monitor).map_err(convert)?;
        let deadline = Instant::now() + TIMEOUT;
        let cluster = metadata(REDRIVE, consumer.client(), consumer.context(), deadline)?;
        let found = cluster.topics().iter().find(|found| found.name() == topic.as_str());
        let partitions = found.map(|found| found.partitions()).unwrap_or_default();
        if partitions.is_empty() {
            return Err(Error::new(ErrorKind::TopicUnavailable, REDRIVE)
                .detail(format!("there is no topic {topic}")));
        }
        let mut places = TopicPartitionList::new();
        for partition in partitions {
            places.add_partition(topic.as_str(), partition.id());
        }
        let committed = consumer.committed_offsets(places, TIMEOUT).map_err(convert)?;
        let (mut assignment, mut ends) = (TopicPartitionList::new(), BTreeMap::new());
        for place in committed.elements() {
            let number = place.partition();
            let (low, high) =
                consumer.fetch_watermarks(topic.as_str(), number, TIMEOUT).map_err(convert)?;
            let from = match place.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            if from < high {
                let from = Offset::Offset(from);
                assignment.add_partition_offset(topic.as_str(), number, from).map_err(convert)?;
                ends.insert(number, high);
            }
        }
        consumer.assign(&assignment).map_err(convert)?;
        let open = ends.keys().copied().collect();
        Ok(Self { consumer: Closing(Some(consumer)), ends, open, topic })
    }

    /// The next records; none at the end.
    fn read(&mut self) -> Result<Vec<Delivery>> {
        let Some(consumer) = &self.consumer.0 else { return Ok(Vec::new()) };
        let (mut letters, mut bytes) = (Vec::new(), 0);
        let mut deadline = Instant::now() + TIMEOUT;
        while !self.open.is_empty() && letters.len() < CHUNK && bytes < CHUNK_BYTES {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let (number, offset) = (message.partition(), message.offset());
                    let end = self.ends.get(&number).copied().unwrap_or_default();
                    if offset < end {
                        let partition = Partition::new(self.topic.clone(), number, 0);
                        let (letter, size) = record::delivery(partition, &message);
                        letters.push(letter);
                        bytes += size;
                    }
                    if offset + 1 >= end {
                        self.open.remove(&number);
                    }
                    deadline = Instant::now() + TIMEOUT;
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    self.open.remove(&number);
                }
                Some(Err(error)) => {
                    let error = error::convert(REDRIVE, error);
                    // Librdkafka connects again.
                    if error.kind() != ErrorKind::Unavailable || Instant::now() >= deadline {
                        return Err(error);
                    }
                }
                None if Instant::now() >= deadline => {
                    return Err(Error::new(ErrorKind::Timeout, REDRIVE)
                        .detail("the broker gives no records"));
                }
                None => {}
            }
        }
        Ok(letters)
    }

    fn commit(&self, letters: &[Delivery]) -> Result<()> {
        let Some(consumer) = &self.consumer.0 else { return Ok(()) };
        let mut next = BTreeMap::new();
        for letter in letters {
            next.insert(letter.partition.number, letter.offset + 1);
        }
        let mut offsets = TopicPartitionList::new();
        for (number, offset) in next {
            offsets
                .add_partition_offset(self.topic.as_str(), number, Offset::Offset(offset))
                .map_err(|error| error::convert(REDRIVE, error))?;
        }
        consumer.commit(&offsets, CommitMode::Sync).map_err(|error| error::convert(REDRIVE, error))
    }
}

/// Closes its consumer elsewhere: that waits for the broker, and a run may end on an async thread.
struct Closing(Option<BaseConsumer<Monitor>>);

impl Drop for Closing {
    fn drop(&mut self) {
        // If there is no thread to spare, it waits here.
        if let Some(consumer) = self.0.take() {
            drop(thread::Builder::new().spawn(move || drop(consumer)));
        }
    }
}
