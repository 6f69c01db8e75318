//! A consumer's dead letters: listing them, putting them back, discarding them.

mod letter;
mod mark;
mod places;
mod plan;
mod postman;
mod scan;

use std::{collections::BTreeSet, ops::Range};

use chrono::Utc;
use relaybox_core::{
    ConsumerDeadLetter, Delivery, Offset, RedriveQuery, RedriveVerdict, Result, TopicName,
};

pub use self::{
    letter::{KafkaDeadLetter, LetterCounts, LetterState},
    plan::{KafkaDiscardPlan, KafkaRedrivePlan},
};
use self::{
    mark::Marks,
    plan::Chosen,
    scan::{Scan, read},
};
use crate::{KafkaConfig, client::off_thread};

const REDRIVE: &str = "redrive dead letters";
/// How many letters a list has when the query doesn't say, and how many bytes at most.
const LISTED: u64 = 100;
const LISTED_BYTES: usize = 16 * 1024 * 1024;

/// Sends dead letters of a topic back to where they came from, discards them, and lists them.
///
/// [`plan`](Self::plan) looks which letters a [`RedriveQuery`] is about and sends nothing;
/// [`KafkaRedrivePlan::run`] does it. [`plan_discard`](Self::plan_discard) and [`KafkaDiscardPlan::run`]
/// do so for letters that nobody wants back.
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
/// # What became of a letter
/// Each run notes what it sent or discarded in the dead-letter topic itself: behind the letters, in their
/// partition, as records with no key and no value whose header `dlq-redriven-offsets` or
/// `dlq-discarded-offsets` lists them; of two notes about a letter the later one counts. A group's offset
/// couldn't say which of a partition's letters a query chose, and expires with the group; a record
/// needs no right that a consumer hasn't, no topic of its own, and is kept as long as its letters are.
/// Whoever reads the topic passes these records over, as the library does. A compacted dead-letter
/// topic refuses records without a key, so don't compact it.
///
/// A discarded letter stays where it is until the topic's retention removes it, and can be put back
/// until then, by force. Nothing is deleted.
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
    /// Only these letters, unless empty.
    only: BTreeSet<(i32, Offset)>,
}

impl KafkaRedrive {
    /// For the dead letters of `topic`, which are in `{topic}.dlq`.
    #[must_use]
    pub fn new(config: KafkaConfig, topic: TopicName) -> Self {
        Self { config, topic, only: BTreeSet::new() }
    }

    /// Is about the letter at this place in the dead-letter topic only, and others that are named so: for
    /// letters that no query can tell from others, such as those that have no readable event id.
    #[must_use]
    pub fn at(mut self, partition: i32, offset: Offset) -> Self {
        self.only.insert((partition, offset));
        self
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
        let chosen = Chosen::choose(self.clone(), query.clone()).await?;
        Ok(KafkaRedrivePlan::new(chosen))
    }

    /// Looks which letters would be discarded. Writes nothing.
    ///
    /// As [`plan`](Self::plan), but however old they are: how long marks are kept is no matter here. What
    /// was put back or discarded before is passed over unless the query forces.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn plan_discard(&self, query: &RedriveQuery) -> Result<KafkaDiscardPlan> {
        let mut query = query.clone();
        query.marks_kept = None;
        Ok(KafkaDiscardPlan::new(Chosen::choose(self.clone(), query).await?))
    }

    /// The letters that the query is about, whatever became of them, by partition and offset, from
    /// behind `after` on. At most the query's limit, or 100, and 16 MiB.
    ///
    /// To see more, give the place of the last one as `after`. All letters of an event, of which there
    /// are several when it failed again: [`RedriveQuery::event`].
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
        self.list_some(query, |_| true, after).await
    }

    /// The letters that the query is about and that are in this state; otherwise as
    /// [`list`](Self::list).
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn list_in(
        &self,
        state: LetterState,
        query: &RedriveQuery,
        after: Option<(i32, Offset)>,
    ) -> Result<Vec<KafkaDeadLetter>> {
        self.list_some(query, |found| found == state, after).await
    }

    /// The letter at a place in the dead-letter topic; `None` when there is none, or none any more.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn letter(&self, partition: i32, offset: Offset) -> Result<Option<KafkaDeadLetter>> {
        let mut scan = self.open().await?;
        let found = scan.partitions().into_iter().find(|(number, _)| *number == partition);
        let Some((_, range)) = found.filter(|(_, range)| range.contains(&offset)) else {
            return Ok(None);
        };
        let mut letter = None;
        scan.go(partition, offset..offset + 1);
        while let Some(records) = read(&mut scan).await? {
            for record in records.into_iter().filter(|record| record.offset == offset) {
                if let Record::Letter(found) = Record::read(record, &self.topic) {
                    letter = Some(*found);
                }
            }
        }
        let Some(letter) = letter else { return Ok(None) };
        // A mark stands behind its letters.
        let marks = self.marks(&mut scan, partition, offset + 1..range.end).await?;
        Ok(Some(KafkaDeadLetter::new(letter, marks.state(partition, offset))))
    }

    /// How many letters there are, by what became of them. Reads the whole dead-letter topic twice.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn counts(&self) -> Result<LetterCounts> {
        let mut counts = LetterCounts::default();
        let mut scan = self.open().await?;
        for (number, range) in scan.partitions() {
            let marks = self.marks(&mut scan, number, range.clone()).await?;
            scan.go(number, range);
            while let Some(records) = read(&mut scan).await? {
                for record in records {
                    let offset = record.offset;
                    match Record::read(record, &self.topic) {
                        Record::Letter(letter) => {
                            counts.count(&letter, marks.state(number, offset));
                        }
                        Record::Mark => {}
                        Record::Foreign => counts.foreign += 1,
                    }
                }
            }
        }
        Ok(counts)
    }

    async fn list_some(
        &self,
        query: &RedriveQuery,
        is_wanted: impl Fn(LetterState) -> bool,
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
            let marks = self.marks(&mut scan, number, range.clone()).await?;
            scan.go(number, range);
            while let Some(records) = read(&mut scan).await? {
                for record in records {
                    let (offset, size) =
                        (record.offset, record.value.as_ref().map_or(0, |v| v.len()));
                    let state = marks.state(number, offset);
                    let Record::Letter(letter) = Record::read(record, &self.topic) else {
                        continue;
                    };
                    if !is_wanted(state)
                        || !self.is_about(number, offset)
                        || matching.judge(&letter, false, now) != RedriveVerdict::Chosen
                    {
                        continue;
                    }
                    if found.len() as u64 >= limit || (bytes > 0 && bytes + size > LISTED_BYTES) {
                        return Ok(found);
                    }
                    bytes += size;
                    found.push(KafkaDeadLetter::new(*letter, state));
                }
            }
        }
        Ok(found)
    }

    async fn open(&self) -> Result<Scan> {
        let (config, topic) = (self.config.clone(), self.topic.clone());
        off_thread(REDRIVE, move || Scan::open(&config, &topic)).await
    }

    /// What the marks in this part of a partition say.
    async fn marks(&self, scan: &mut Scan, number: i32, range: Range<Offset>) -> Result<Marks> {
        let mut marks = Marks::default();
        scan.go(number, range);
        while let Some(records) = read(scan).await? {
            records.iter().for_each(|record| marks.note(record));
        }
        Ok(marks)
    }

    fn is_about(&self, number: i32, offset: Offset) -> bool {
        self.only.is_empty() || self.only.contains(&(number, offset))
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
        if mark::is_mark(&record) {
            return Self::Mark;
        }
        match ConsumerDeadLetter::read(record) {
            Some(letter) if letter.origin == *origin => Self::Letter(Box::new(letter)),
            _ => Self::Foreign,
        }
    }
}
