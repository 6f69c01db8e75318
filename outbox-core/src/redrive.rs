//! Which of a consumer's dead letters are put back, the same on every broker.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::{ConsumerName, Delivery, EventId, Offset, TopicName};

/// Which dead letters of a consumer to put back; an empty query matches all.
///
/// ```
/// use std::time::Duration;
/// use relaybox_core::{EventId, RedriveQuery};
///
/// let query = RedriveQuery::all()
///     .event_type("session.created")
///     .error_kind("timeout")
///     .marks_kept(Duration::from_secs(14 * 24 * 3600))
///     .limit(1000);
/// # let _ = query;
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RedriveQuery {
    /// Given up at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Given up before this time.
    pub until: Option<DateTime<Utc>>,
    /// Of this event name, of any version; or of name and version, as `ce_type` has it.
    pub event_type: Option<String>,
    /// Given up for this [kind](crate::ErrorKind::as_str) of error.
    pub error_kind: Option<String>,
    /// Whose error text contains this.
    pub error_contains: Option<String>,
    /// With this record key.
    pub key: Option<Bytes>,
    /// These events only, unless empty.
    pub event_ids: Vec<EventId>,
    /// Given up by this consumer.
    pub consumer: Option<ConsumerName>,
    /// At most so many.
    pub limit: Option<u64>,
    /// How long the consumer's marks are kept: what was given up on before is refused.
    pub marks_kept: Option<Duration>,
    /// Put back what would be refused, too: what is older than the marks, and what was put back before.
    pub force: bool,
}

impl RedriveQuery {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// What was given up on at this time or later.
    #[must_use]
    pub fn since(mut self, since: DateTime<Utc>) -> Self {
        self.since = Some(since);
        self
    }

    /// What was given up on before this time.
    #[must_use]
    pub fn until(mut self, until: DateTime<Utc>) -> Self {
        self.until = Some(until);
        self
    }

    /// Events of this name (`session.created`), or of this name and version (`session.created.v2`).
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// What was given up on for this [kind](crate::ErrorKind::as_str) of error.
    #[must_use]
    pub fn error_kind(mut self, kind: impl Into<String>) -> Self {
        self.error_kind = Some(kind.into());
        self
    }

    /// Whose error text contains this.
    #[must_use]
    pub fn error_contains(mut self, text: impl Into<String>) -> Self {
        self.error_contains = Some(text.into());
        self
    }

    /// Records with this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// This event, beside those named before.
    #[must_use]
    pub fn event(mut self, id: EventId) -> Self {
        self.event_ids.push(id);
        self
    }

    /// What this consumer gave up on.
    #[must_use]
    pub fn consumer(mut self, consumer: ConsumerName) -> Self {
        self.consumer = Some(consumer);
        self
    }

    /// At most `limit` of them, the first ones.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Refuses what was given up on longer ago than the consumer's marks are kept: nobody would know
    /// any more whether the event was handled meanwhile.
    #[must_use]
    pub fn marks_kept(mut self, age: Duration) -> Self {
        self.marks_kept = Some(age);
        self
    }

    /// Puts back what would be refused, too.
    #[must_use]
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// What becomes of a dead letter; `before` says that it was put back already. The limit is the
    /// caller's to count.
    #[must_use]
    pub fn judge(
        &self,
        letter: &ConsumerDeadLetter,
        before: bool,
        now: DateTime<Utc>,
    ) -> RedriveVerdict {
        if !self.matches(letter) {
            return RedriveVerdict::NotAsked;
        }
        if self.force {
            return RedriveVerdict::Chosen;
        }
        let age = (now - letter.failed_at).to_std().unwrap_or_default();
        match self.marks_kept {
            _ if before => RedriveVerdict::RedrivenBefore,
            Some(kept) if age > kept => RedriveVerdict::OlderThanMarks,
            _ => RedriveVerdict::Chosen,
        }
    }

    fn matches(&self, letter: &ConsumerDeadLetter) -> bool {
        let asked = |asked: bool, given: bool| !asked || given;
        let event_type = letter.event_type.as_deref().unwrap_or_default();
        asked(self.since.is_some(), self.since.is_some_and(|since| letter.failed_at >= since))
            && asked(self.until.is_some(), self.until.is_some_and(|until| letter.failed_at < until))
            && self.event_type.as_deref().is_none_or(|wanted| {
                event_type == wanted
                    || event_type.rsplit_once(".v").is_some_and(|(name, _)| name == wanted)
            })
            && self.error_kind.as_deref().is_none_or(|kind| kind == letter.error_kind)
            && self.error_contains.as_deref().is_none_or(|text| letter.error.contains(text))
            && self.key.as_ref().is_none_or(|key| letter.delivery.key.as_ref() == Some(key))
            && asked(
                !self.event_ids.is_empty(),
                letter.event_id.is_some_and(|id| self.event_ids.contains(&id)),
            )
            && self.consumer.as_ref().is_none_or(|name| name.as_str() == letter.consumer)
    }
}

/// What becomes of a dead letter in a redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedriveVerdict {
    /// It is put back.
    Chosen,
    /// The query is about others.
    NotAsked,
    /// It was put back before: refused unless forced.
    RedrivenBefore,
    /// It is older than the consumer's marks: refused unless forced.
    OlderThanMarks,
}

/// What a redrive would do, or did, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedriveSummary {
    /// Dead letters that are put back.
    pub chosen: u64,
    /// Those that the query matches beyond its limit.
    pub beyond_limit: u64,
    /// Those that were put back before, and are not again.
    pub redriven_before: u64,
    /// Those that were discarded before, and stay so.
    pub discarded_before: u64,
    /// Those that are older than the marks, and are not put back.
    pub older_than_marks: u64,
    /// Records that are no dead letters of this origin.
    pub foreign: u64,
    /// The chosen ones by event type; `""` for those that have none.
    pub by_event_type: BTreeMap<String, u64>,
    /// The chosen ones by kind of error.
    pub by_error_kind: BTreeMap<String, u64>,
    /// When the first and the last of the chosen ones were given up on.
    pub failed_between: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl RedriveSummary {
    /// Counts a dead letter, and says whether it is put back. Brokers' redrives call this.
    pub fn count(
        &mut self,
        query: &RedriveQuery,
        letter: &ConsumerDeadLetter,
        verdict: RedriveVerdict,
    ) -> bool {
        match verdict {
            RedriveVerdict::NotAsked => {}
            RedriveVerdict::RedrivenBefore => self.redriven_before += 1,
            RedriveVerdict::OlderThanMarks => self.older_than_marks += 1,
            RedriveVerdict::Chosen if query.limit.is_some_and(|limit| self.chosen >= limit) => {
                self.beyond_limit += 1;
            }
            RedriveVerdict::Chosen => {
                self.chosen += 1;
                let event_type = letter.event_type.clone().unwrap_or_default();
                *self.by_event_type.entry(event_type).or_default() += 1;
                *self.by_error_kind.entry(letter.error_kind.clone()).or_default() += 1;
                let at = letter.failed_at;
                let (first, last) = self.failed_between.unwrap_or((at, at));
                self.failed_between = Some((first.min(at), last.max(at)));
                return true;
            }
        }
        false
    }

    /// What it says of letters that are to be discarded instead of put back.
    pub fn of_discard(&self) -> impl fmt::Display {
        fmt::from_fn(|f| self.write(f, "discard"))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        write!(f, "{} to {what}", self.chosen)?;
        let others = [
            (self.beyond_limit, "beyond the limit"),
            (self.redriven_before, "put back before"),
            (self.discarded_before, "discarded before"),
            (self.older_than_marks, "older than the marks"),
            (self.foreign, "of another origin"),
        ];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        for (event_type, count) in &self.by_event_type {
            write!(
                f,
                "\n  {count} × {}",
                if event_type.is_empty() { "(no event)" } else { event_type }
            )?;
        }
        for (kind, count) in &self.by_error_kind {
            write!(f, "\n  {count} × error {kind}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RedriveSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "put back")
    }
}

/// A record of a dead-letter topic or queue, taken apart.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerDeadLetter {
    /// The record as it was before it was given up on: key, value and headers byte for byte. Its
    /// partition and offset are those in the dead-letter topic.
    pub delivery: Delivery,
    /// Where it was given up on.
    pub origin: TopicName,
    /// The partition there.
    pub partition: i32,
    /// The offset there.
    pub offset: Offset,
    /// When it was given up on.
    pub failed_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: u32,
    /// The [kind](crate::ErrorKind::as_str) of the error; free text, for a later version may know more.
    pub error_kind: String,
    /// The error in words.
    pub error: String,
    /// The consumer that gave it up.
    pub consumer: String,
    /// Which event, as far as it could be read.
    pub event_id: Option<EventId>,
    /// Its `ce_type`, as far as it could be read.
    pub event_type: Option<String>,
}

impl ConsumerDeadLetter {
    /// Takes a record of a dead-letter topic or queue apart; `None` when it is no dead letter of ours.
    ///
    /// What others put behind our headers stays with the record.
    #[must_use]
    pub fn read(mut letter: Delivery) -> Option<Self> {
        // Ours stand behind the record's own, of which some may be called the same.
        let start = letter.headers.iter().rposition(|(name, _)| name == "dlq-original-topic")?;
        let (ours, others): (Vec<_>, Vec<_>) = letter
            .headers
            .split_off(start)
            .into_iter()
            .partition(|(name, _)| name.starts_with("dlq-"));
        letter.headers.extend(others);
        let text = |wanted: &str| {
            let (_, value) = ours.iter().find(|(name, _)| name == wanted)?;
            std::str::from_utf8(value).ok()
        };
        let own = |wanted: &str| {
            let (_, value) = letter.headers.iter().find(|(name, _)| name == wanted)?;
            std::str::from_utf8(value).ok()
        };
        Some(Self {
            origin: TopicName::new(text("dlq-original-topic")?.to_owned()).ok()?,
            partition: text("dlq-original-partition")?.parse().ok()?,
            offset: text("dlq-original-offset")?.parse().ok()?,
            failed_at: DateTime::parse_from_rfc3339(text("dlq-failed-at")?)
                .ok()?
                .with_timezone(&Utc),
            attempts: text("dlq-attempts").and_then(|count| count.parse().ok()).unwrap_or(0),
            error_kind: text("dlq-error-kind").unwrap_or("other").to_owned(),
            error: text("dlq-error").unwrap_or_default().to_owned(),
            consumer: text("dlq-consumer")?.to_owned(),
            event_id: own("ce_id").and_then(|id| id.parse().ok()),
            event_type: own("ce_type").map(str::to_owned),
            delivery: letter,
        })
    }

    /// The headers with which it is put back: its own, and the name of the consumer that gave it up,
    /// so that our other consumers pass it over.
    pub fn redriven_headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.delivery
            .headers()
            .filter(|(name, _)| *name != REDRIVE_CONSUMER)
            .chain([(REDRIVE_CONSUMER, self.consumer.as_bytes())])
    }
}

/// The header that names the consumer for which a dead letter was put back.
pub(crate) const REDRIVE_CONSUMER: &str = "redrive-consumer";
