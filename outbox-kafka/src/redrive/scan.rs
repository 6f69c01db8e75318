//! Reading a dead-letter topic, a partition after the other.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset as At, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use relaybox_core::{Delivery, Error, ErrorKind, Offset, Partition, Result, TopicName};

use super::REDRIVE;
use crate::{
    KafkaConfig,
    client::{Closing, Monitor, metadata, off_thread},
    dead_letter_topic, error,
    source::record,
};

const TIMEOUT: Duration = Duration::from_secs(30);
/// How much is read at once, and so how much is sent before it is noted.
const CHUNK: usize = 500;
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// A reader of a dead-letter topic, as far as it went when it was opened.
pub(super) struct Scan {
    consumer: Closing<BaseConsumer<Monitor>>,
    topic: TopicName,
    partitions: BTreeMap<i32, Range<Offset>>,
    /// What is to be read yet, and of which partition.
    left: Option<(i32, Range<Offset>)>,
    /// Whether the consumer is there already.
    begun: bool,
}

/// The next records of the part that [`Scan::go`] named; `None` at its end.
///
/// # Cancel safety
/// Not cancel safe: what was read is lost.
pub(super) async fn read(scan: &mut Scan) -> Result<Option<Vec<Delivery>>> {
    let Some(part) = scan.left.take() else { return Ok(None) };
    let (consumer, topic, begun) = (scan.consumer.share(), scan.topic.clone(), scan.begun);
    let (records, left) =
        off_thread(REDRIVE, move || read_part(consumer.get(), &topic, part, begun)).await?;
    (scan.left, scan.begun) = (left, true);
    Ok(Some(records))
}

impl Scan {
    /// Blocks.
    pub(super) fn open(config: &KafkaConfig, origin: &TopicName) -> Result<Self> {
        let convert = |error| error::convert(REDRIVE, error);
        let topic = dead_letter_topic(origin)?;
        let mut settings = config.consumer()?;
        settings
            // It is never joined, but librdkafka assigns nothing without one.
            .set("group.id", format!("relaybox-redrive.{origin}"))
            // What was to be read next may have expired meanwhile.
            .set("auto.offset.reset", "earliest")
            // The end of a compacted or transactional partition may be no record.
            .set("enable.partition.eof", "true")
            // The next partition must not wait for one that has no more.
            .set("fetch.wait.max.ms", "20");
        let consumer: BaseConsumer<Monitor> =
            settings.create_with_context(Monitor::new(config)).map_err(convert)?;
        let consumer = Closing::new(consumer);
        let client = consumer.get();
        let deadline = Instant::now() + TIMEOUT;
        let cluster = metadata(REDRIVE, client.client(), client.context(), deadline)?;
        let found = cluster.topics().iter().find(|found| found.name() == topic.as_str());
        let numbers = found.map(|found| found.partitions()).unwrap_or_default();
        if numbers.is_empty() {
            return Err(Error::new(ErrorKind::TopicUnavailable, REDRIVE)
                .detail(format!("there is no topic {topic}")));
        }
        let mut partitions = BTreeMap::new();
        for number in numbers.iter().map(|partition| partition.id()) {
            let (low, high) =
                client.fetch_watermarks(topic.as_str(), number, TIMEOUT).map_err(convert)?;
            partitions.insert(number, low..high);
        }
        Ok(Self { consumer, topic, partitions, left: None, begun: false })
    }

    /// The partitions, each with the part that had records when it was opened.
    pub(super) fn partitions(&self) -> Vec<(i32, Range<Offset>)> {
        self.partitions.iter().map(|(number, range)| (*number, range.clone())).collect()
    }

    /// Names what [`read`] gives next.
    pub(super) fn go(&mut self, number: i32, range: Range<Offset>) {
        self.left = (!range.is_empty()).then_some((number, range));
        self.begun = false;
    }
}

type Part = (i32, Range<Offset>);

/// Reads a chunk; gives what is left, too.
fn read_part(
    consumer: &BaseConsumer<Monitor>,
    topic: &TopicName,
    (number, range): Part,
    begun: bool,
) -> Result<(Vec<Delivery>, Option<Part>)> {
    let convert = |error| error::convert(REDRIVE, error);
    if !begun {
        let mut assignment = TopicPartitionList::new();
        let from = At::Offset(range.start);
        assignment.add_partition_offset(topic.as_str(), number, from).map_err(convert)?;
        consumer.assign(&assignment).map_err(convert)?;
    }
    let (mut records, mut bytes, mut next) = (Vec::new(), 0, range.start);
    let mut deadline = Instant::now() + TIMEOUT;
    while records.len() < CHUNK && bytes < CHUNK_BYTES && next < range.end {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                next = message.offset() + 1;
                if next <= range.end {
                    let partition = Partition::new(topic.clone(), number, 0);
                    let (record, size) = record::delivery(partition, &message);
                    records.push(record);
                    bytes += size;
                }
                deadline = Instant::now() + TIMEOUT;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => next = range.end,
            Some(Err(error)) => {
                let error = convert(error);
                // Librdkafka connects again.
                if error.kind() != ErrorKind::Unavailable || Instant::now() >= deadline {
                    return Err(error);
                }
            }
            None if Instant::now() >= deadline => {
                return Err(
                    Error::new(ErrorKind::Timeout, REDRIVE).detail("the broker gives no records")
                );
            }
            None => {}
        }
    }
    let left = (next < range.end).then_some((number, next..range.end));
    Ok((records, left))
}
