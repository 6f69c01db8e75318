//! Putting a consumer's dead letters back.

mod mark;
mod places;
mod plan;
mod scan;

use std::ops::Range;

use chrono::Utc;
use relaybox_core::{
    ConsumerDeadLetter, Delivery, Offset, RedriveQuery, RedriveSummary, RedriveVerdict, Result,
    TopicName,
};

pub use self::plan::KafkaRedrivePlan;
use self::{
    places::Places,
    scan::{Scan, read},
};
use crate::{KafkaConfig, client::off_thread};

const REDRIVE: &str = "redrive dead letters";
/// How many letters a list has when the query doesn't say, and how many bytes at most.
const LISTED: u64 = 100;
const LISTED_BYTES: usize = 16 * 1024 * 1024;

/// Sends dead letters of a topic back to where they came from, and lists them.
///
/// [`plan`](Self::plan) looks which letters a [`RedriveQuery`] is about and sends nothing;
/// [`KafkaRedrivePlan::run`] does it.
///
/// Key, value and headers are the original ones, so the event keeps its id and its partition; what was
/// added when it was given up on is taken off again, and `redrive-consumer` names the consumer that
/// gave it up: other [`Consumer`](relaybox_core::Consumer)s pass it over. The event was given up on,
/// not handled, so it has no mark and is handled afresh. It comes behind what its aggregate did since:
/// order has a repeat there, as with any dead letter of a consumer. When it fails again, it is a new
/// letter.
///
/// A consumer that is not built on this library knows nothing of `redrive-consumer` and sees the event
/// once more.
///
/// # What was put back already
/// Each run notes what it sent in the dead-letter topic itself: behind the letters, in their partition,
/// as records with no key and no value whose header `dlq-redriven-offsets` lists them. A group's offset
/// couldn't say which of a partition's letters a query chose, and expires with the group; a record
/// needs no right that a consumer hasn't, no topic of its own, and is kept as long as its letters are.
/// Whoever reads the topic passes these records over, as the library does. A compacted dead-letter
/// topic refuses records without a key, so don't compact it.
///
/// The note is written after the broker has the letters: a run that dies in between leaves letters that
/// the next run sends again. The inbox of their consumer knows them as repeats. So it is with two runs at
/// the same time.
///
/// # Cost
/// A plan reads the whole dead-letter topic twice, and keeps one bit a record, so that a topic of
/// millions takes seconds and some hundred KiB. A run reads from its first letter to its last.
///
/// ```no_run
/// use std::time::Duration;
/// use relaybox_core::{RedriveQuery, TopicName};
/// use relaybox_kafka::{KafkaConfig, KafkaRedrive};
///
/// # async fn mended() -> relaybox_core::Result<()> {
/// let config = KafkaConfig::new("localhost:9092");
/// let redrive = KafkaRedrive::new(config, TopicName::new("session-events.v1")?);
/// let query = RedriveQuery::all()
///     .error_kind("timeout")
///     .marks_kept(Duration::from_secs(14 * 24 * 3600));
/// let plan = redrive.plan(&query).await?;
/// println!("{plan}");
/// let sent = plan.run().await?;
/// println!("{} sent back", sent.chosen);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct KafkaRedrive {
    config: KafkaConfig,
    topic: TopicName,
}

/// A letter in a dead-letter topic.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KafkaDeadLetter {
    /// The letter. Its `delivery` says where in the dead-letter topic it is.
    pub letter: ConsumerDeadLetter,
    /// Whether it was put back.
    pub redriven: bool,
}

impl KafkaRedrive {
    /// For the dead letters of `topic`, which are in `{topic}.dlq`.
    #[must_use]
    pub fn new(config: KafkaConfig, topic: TopicName) -> Self {
        Self { config, topic }
    }

    /// Looks which letters would be sent back. Sends nothing, and writes nothing.
    ///
    /// The limit takes the first ones by partition and offset.
    ///
    /// # Errors
    /// [`ErrorKind::TopicUnavailable`](relaybox_core::ErrorKind::TopicUnavailable) when there is no
    /// dead-letter topic; the broker's.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn plan(&self, query: &RedriveQuery) -> Result<KafkaRedrivePlan> {
        let now = Utc::now();
        let (mut chosen, mut summary) = (Places::default(), RedriveSummary::default());
        let mut scan = self.open().await?;
        for (number, range) in scan.partitions() {
            let marked = self.marked(&mut scan, number, range.clone()).await?;
            scan.go(number, range);
            while let Some(records) = read(&mut scan).await? {
                for record in records {
                    let offset = record.offset;
                    match Record::read(record, &self.topic) {
                        Record::Letter(letter) => {
                            let before = marked.contains(number, offset);
                            let verdict = query.judge(&letter, before, now);
                            if summary.count(query, &letter, verdict) {
                                chosen.insert(number, offset);
                            }
                        }
                        Record::Mark => {}
                        Record::Foreign => summary.foreign += 1,
                    }
                }
            }
        }
        let ends = scan.partitions().into_iter().map(|(number, range)| (number, range.end));
        Ok(KafkaRedrivePlan::new(self.clone(), query.clone(), summary, chosen, ends.collect()))
    }

    /// The letters that the query is about, whether they were put back or not, by partition and offset,
    /// from behind `after` on. At most the query's limit, or 100, and 16 MiB.
    ///
    /// To see more, give the place of the last one as `after`.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn list(
        &self,
        query: &RedriveQuery,
        after: Option<(i32, Offset)>,
    ) -> Result<Vec<KafkaDeadLetter>> {
        // What would be refused is listed, too.
        let matching = query.clone().force();
        let (now, limit) = (Utc::now(), query.limit.unwrap_or(LISTED));
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut scan = self.open().await?;
        for (number, mut range) in scan.partitions() {
            match after {
                Some((partition, _)) if number < partition => continue,
                Some((partition, offset)) if number == partition => {
                    range.start = range.start.max(offset + 1);
                }
                _ => {}
            }
            let marked = self.marked(&mut scan, number, range.clone()).await?;
            scan.go(number, range);
            while let Some(records) = read(&mut scan).await? {
                for record in records {
                    let (offset, size) =
                        (record.offset, record.value.as_ref().map_or(0, |v| v.len()));
                    let Record::Letter(letter) = Record::read(record, &self.topic) else {
                        continue;
                    };
                    if matching.judge(&letter, false, now) != RedriveVerdict::Chosen {
                        continue;
                    }
                    if found.len() as u64 >= limit || (bytes > 0 && bytes + size > LISTED_BYTES) {
                        return Ok(found);
                    }
                    bytes += size;
                    let redriven = marked.contains(number, offset);
                    found.push(KafkaDeadLetter { letter: *letter, redriven });
                }
            }
        }
        Ok(found)
    }

    async fn open(&self) -> Result<Scan> {
        let (config, topic) = (self.config.clone(), self.topic.clone());
        off_thread(REDRIVE, move || Scan::open(&config, &topic)).await
    }

    /// What was put back, by the marks in this part of a partition.
    async fn marked(&self, scan: &mut Scan, number: i32, range: Range<Offset>) -> Result<Places> {
        let mut marked = Places::default();
        scan.go(number, range);
        while let Some(records) = read(scan).await? {
            let ranges = records.iter().filter_map(mark::read).flatten();
            ranges.flatten().for_each(|offset| marked.insert(number, offset));
        }
        Ok(marked)
    }
}

/// What a record of a dead-letter topic is.
enum Record {
    Letter(Box<ConsumerDeadLetter>),
    Mark,
    /// Neither, or a letter of another topic.
    Foreign,
}

impl Record {
    fn read(record: Delivery, origin: &TopicName) -> Self {
        if mark::read(&record).is_some() {
            return Self::Mark;
        }
        match ConsumerDeadLetter::read(record) {
            Some(letter) if letter.origin == *origin => Self::Letter(Box::new(letter)),
            _ => Self::Foreign,
        }
    }
}
