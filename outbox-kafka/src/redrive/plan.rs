//! A redrive or a discard that is decided, and then done.

use std::{collections::BTreeMap, fmt};

use chrono::Utc;
use relaybox_core::{Offset, RedriveQuery, RedriveSummary, RedriveVerdict, Result};

use super::{
    KafkaRedrive, Record,
    letter::LetterState,
    mark::Fate,
    places::Places,
    postman::Postman,
    scan::{Scan, read},
};

/// Which dead letters would be sent back. Nothing was sent yet.
///
/// Its `Display` says in some lines what would be done.
#[derive(Debug)]
#[must_use = "nothing is sent until it runs"]
pub struct KafkaRedrivePlan {
    chosen: Chosen,
}

/// Which dead letters would be discarded. Nothing was written yet.
///
/// Its `Display` says in some lines what would be done.
#[derive(Debug)]
#[must_use = "nothing is discarded until it runs"]
pub struct KafkaDiscardPlan {
    chosen: Chosen,
}

/// Letters that a query chose.
#[derive(Debug)]
pub(super) struct Chosen {
    redrive: KafkaRedrive,
    query: RedriveQuery,
    summary: RedriveSummary,
    places: Places,
    /// How far it looked.
    ends: BTreeMap<i32, Offset>,
}

impl KafkaRedrivePlan {
    pub(super) fn new(chosen: Chosen) -> Self {
        Self { chosen }
    }

    /// What would be done, in numbers.
    #[must_use]
    pub fn summary(&self) -> &RedriveSummary {
        &self.chosen.summary
    }

    /// Sends the chosen letters back, notes it, and gives what was sent, in numbers.
    ///
    /// Letters that were put back or discarded since the plan was made are passed over unless the query
    /// forces, and counted as such; letters that the broker has deleted since are not there to be counted.
    /// Letters of a key keep their order.
    ///
    /// # Errors
    /// The broker's. What was sent before is noted, all but the last 500 letters: the next run sends
    /// those again, and their consumer knows them as repeats when it has handled them.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn run(self) -> Result<RedriveSummary> {
        self.chosen.settle(Fate::Redriven).await
    }
}

impl KafkaDiscardPlan {
    pub(super) fn new(chosen: Chosen) -> Self {
        Self { chosen }
    }

    /// What would be done, in numbers: `chosen` are those to discard.
    #[must_use]
    pub fn summary(&self) -> &RedriveSummary {
        &self.chosen.summary
    }

    /// Notes that the chosen letters are discarded, and gives what was, in numbers.
    ///
    /// Letters that were put back or discarded since the plan was made are passed over unless the query
    /// forces, and counted as such; letters that the broker has deleted since are not there to be counted.
    ///
    /// # Errors
    /// The broker's. What was discarded before stays so.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn run(self) -> Result<RedriveSummary> {
        self.chosen.settle(Fate::Discarded).await
    }
}

impl Chosen {
    pub(super) async fn choose(redrive: KafkaRedrive, query: RedriveQuery) -> Result<Self> {
        let now = Utc::now();
        let (mut places, mut summary) = (Places::default(), RedriveSummary::default());
        let mut scan = redrive.open().await?;
        for (number, range) in scan.partitions() {
            let marks = redrive.marks(&mut scan, number, range.clone()).await?;
            scan.go(number, range);
            while let Some(records) = read(&mut scan).await? {
                for record in records {
                    let offset = record.offset;
                    match Record::read(record, &redrive.topic) {
                        Record::Letter(_) if !redrive.is_about(number, offset) => {}
                        Record::Letter(letter) => {
                            let state = marks.state(number, offset);
                            let redriven = state == LetterState::Redriven;
                            let verdict = query.judge(&letter, redriven, now);
                            if verdict == RedriveVerdict::NotAsked {
                                continue;
                            }
                            if state == LetterState::Discarded && !query.force {
                                summary.discarded_before += 1;
                            } else if summary.count(&query, &letter, verdict) {
                                places.insert(number, offset);
                            }
                        }
                        Record::Mark => {}
                        Record::Foreign => summary.foreign += 1,
                    }
                }
            }
        }
        let ends = scan.partitions().into_iter().map(|(number, range)| (number, range.end));
        Ok(Self { ends: ends.collect(), redrive, query, summary, places })
    }

    /// Does with the letters what is to become of them, and notes it.
    async fn settle(mut self, fate: Fate) -> Result<RedriveSummary> {
        let mut done = RedriveSummary::default();
        if self.summary.chosen == 0 {
            return Ok(done);
        }
        let mut scan = self.redrive.open().await?;
        self.look_again(&mut scan, &mut done).await?;
        let mut postman = Postman::start(&self.redrive).await?;
        for (number, range) in self.places.ranges() {
            scan.go(number, range);
            while let Some(records) = read(&mut scan).await? {
                let chosen = records
                    .into_iter()
                    .filter(|record| self.places.contains(number, record.offset))
                    .filter_map(|record| match Record::read(record, &self.redrive.topic) {
                        Record::Letter(letter) => Some(*letter),
                        Record::Mark | Record::Foreign => None,
                    });
                let letters: Vec<_> = chosen.collect();
                if fate == Fate::Redriven {
                    postman.send(&letters).await?;
                }
                postman.note(number, fate, &letters).await?;
                for letter in &letters {
                    done.count(&self.query, letter, RedriveVerdict::Chosen);
                }
            }
        }
        Ok(done)
    }

    /// Takes off what was put back or discarded since the plan was made.
    async fn look_again(&mut self, scan: &mut Scan, done: &mut RedriveSummary) -> Result<()> {
        if self.query.force {
            return Ok(());
        }
        for (number, mut range) in scan.partitions() {
            range.start = range.start.max(self.ends.get(&number).copied().unwrap_or(0));
            let since = self.redrive.marks(scan, number, range).await?;
            done.redriven_before += self.places.take_away(number, &since.redriven);
            done.discarded_before += self.places.take_away(number, &since.discarded);
        }
        Ok(())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, summary: impl fmt::Display) -> fmt::Result {
        write!(f, "dead letters of {}: {summary}", self.redrive.topic)?;
        if let Some((first, last)) = self.summary.failed_between {
            let at = |time: chrono::DateTime<Utc>| {
                time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            };
            write!(f, "\n  given up on between {} and {}", at(first), at(last))?;
        }
        Ok(())
    }
}

impl fmt::Display for KafkaRedrivePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chosen.write(f, &self.chosen.summary)
    }
}

impl fmt::Display for KafkaDiscardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chosen.write(f, self.chosen.summary.of_discard())
    }
}
