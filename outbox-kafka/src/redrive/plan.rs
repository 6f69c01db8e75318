//! A redrive that is decided, and then done.

use std::{collections::BTreeMap, fmt};

use chrono::Utc;
use rdkafka::message::{Header, OwnedHeaders};
use relaybox_core::{
    ConsumerDeadLetter, Offset, RedriveQuery, RedriveSummary, RedriveVerdict, Result, TopicName,
};

use super::{
    KafkaRedrive, REDRIVE, Record, mark,
    places::Places,
    scan::{Scan, read},
};
use crate::{
    client::{Monitor, off_thread},
    dead_letter,
    producer::{Outgoing, Producer},
};

/// Which dead letters would be sent back. Nothing was sent yet.
///
/// Its `Display` says in some lines what would be done.
#[derive(Debug)]
#[must_use = "nothing is sent until it runs"]
pub struct KafkaRedrivePlan {
    redrive: KafkaRedrive,
    query: RedriveQuery,
    summary: RedriveSummary,
    chosen: Places,
    /// How far it looked.
    ends: BTreeMap<i32, Offset>,
}

impl KafkaRedrivePlan {
    pub(super) fn new(
        redrive: KafkaRedrive,
        query: RedriveQuery,
        summary: RedriveSummary,
        chosen: Places,
        ends: BTreeMap<i32, Offset>,
    ) -> Self {
        Self { redrive, query, summary, chosen, ends }
    }

    /// What would be done, in numbers.
    #[must_use]
    pub fn summary(&self) -> &RedriveSummary {
        &self.summary
    }

    /// Sends the chosen letters back, notes it, and gives what was sent, in numbers.
    ///
    /// Letters that were put back since the plan was made are passed over unless the query forces, and
    /// counted as such; letters that the broker has deleted since are not there to be counted. Letters of
    /// a key keep their order.
    ///
    /// # Errors
    /// The broker's. What was sent before is noted, all but the last 500 letters: the next run sends
    /// those again, and their consumer knows them as repeats when it has handled them.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn run(mut self) -> Result<RedriveSummary> {
        let mut sent = RedriveSummary::default();
        if self.summary.chosen == 0 {
            return Ok(sent);
        }
        let mut scan = self.redrive.open().await?;
        self.look_again(&mut scan, &mut sent).await?;
        let mut postman = Postman::start(&self.redrive).await?;
        for (number, range) in self.chosen.ranges() {
            scan.go(number, range);
            while let Some(records) = read(&mut scan).await? {
                let chosen = records
                    .into_iter()
                    .filter(|record| self.chosen.contains(number, record.offset))
                    .filter_map(|record| match Record::read(record, &self.redrive.topic) {
                        Record::Letter(letter) => Some(*letter),
                        Record::Mark | Record::Foreign => None,
                    });
                let letters: Vec<_> = chosen.collect();
                postman.send(number, &letters).await?;
                for letter in &letters {
                    sent.count(&self.query, letter, RedriveVerdict::Chosen);
                }
            }
        }
        Ok(sent)
    }

    /// Takes off what was put back since the plan was made.
    async fn look_again(&mut self, scan: &mut Scan, sent: &mut RedriveSummary) -> Result<()> {
        if self.query.force {
            return Ok(());
        }
        for (number, mut range) in scan.partitions() {
            range.start = range.start.max(self.ends.get(&number).copied().unwrap_or(0));
            let since = self.redrive.marked(scan, number, range).await?;
            sent.redriven_before += self.chosen.take_away(number, &since);
        }
        Ok(())
    }
}

impl fmt::Display for KafkaRedrivePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dead letters of {}: {}", self.redrive.topic, self.summary)?;
        if let Some((first, last)) = self.summary.failed_between {
            let at = |time: chrono::DateTime<Utc>| {
                time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            };
            write!(f, "\n  given up on between {} and {}", at(first), at(last))?;
        }
        Ok(())
    }
}

/// Sends letters back and notes it.
struct Postman {
    producer: Producer,
    origin: TopicName,
    dead_letters: TopicName,
}

impl Postman {
    async fn start(redrive: &KafkaRedrive) -> Result<Self> {
        let settings = dead_letter::settings(&redrive.config)?;
        let monitor = Monitor::new(&redrive.config);
        let producer =
            off_thread(REDRIVE, move || Producer::start(REDRIVE, &settings, monitor)).await?;
        let dead_letters = crate::dead_letter_topic(&redrive.topic)?;
        Ok(Self { producer, origin: redrive.topic.clone(), dead_letters })
    }

    /// Sends letters of one partition of the dead-letter topic, and notes it once the broker has them.
    async fn send(&mut self, number: i32, letters: &[ConsumerDeadLetter]) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let topic = self.origin.as_str();
        let records: Vec<_> = letters.iter().map(|letter| returned(letter, topic)).collect();
        deliver(&mut self.producer, records).await?;
        let offsets: Vec<_> = letters.iter().map(|letter| letter.delivery.offset).collect();
        let mark = Outgoing {
            topic: self.dead_letters.as_str(),
            partition: Some(number),
            key: None,
            value: None,
            headers: mark::headers(&offsets),
        };
        deliver(&mut self.producer, vec![mark]).await
    }
}

async fn deliver(producer: &mut Producer, records: Vec<Outgoing<'_>>) -> Result<()> {
    let results = producer.hand_over(records.into_iter());
    results.all().await.into_iter().try_for_each(|result| result.map(drop))
}

/// A letter as it was before it was given up on. Its key says which partition it belongs to.
fn returned<'a>(letter: &'a ConsumerDeadLetter, topic: &'a str) -> Outgoing<'a> {
    let mut headers = OwnedHeaders::new_with_capacity(letter.delivery.headers.len() + 1);
    for (key, value) in letter.redriven_headers() {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let (key, value) = (letter.delivery.key.as_deref(), letter.delivery.value.as_deref());
    Outgoing { topic, partition: None, key, value, headers }
}
