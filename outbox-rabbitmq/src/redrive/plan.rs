//! What a redrive or a discard would do, and then does.

use std::{fmt, mem};

use relaybox_core::{RedriveQuery, RedriveSummary, Result};

use super::{REDRIVE, RabbitRedrive, scan::Scan};
use crate::{message::Message, publisher::Publisher};

/// How much is sent before it is taken off the dead-letter queue. The broker passes on 32 acknowledgements
/// to a quorum queue and keeps the ones behind; those would be lost with the channel.
const CHUNK: usize = 30;
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// What a redrive would do; see [`RabbitRedrive::plan`].
///
/// Its `Display` says so in some lines.
#[derive(Debug)]
#[must_use = "a plan does nothing until it is run"]
pub struct RabbitRedrivePlan {
    redrive: RabbitRedrive,
    query: RedriveQuery,
    summary: RedriveSummary,
}

/// What a discard would do; see [`RabbitRedrive::plan_discard`].
///
/// Its `Display` says so in some lines.
#[derive(Debug)]
#[must_use = "a plan does nothing until it is run"]
pub struct RabbitDiscardPlan {
    redrive: RabbitRedrive,
    query: RedriveQuery,
    summary: RedriveSummary,
}

impl RabbitRedrivePlan {
    pub(super) async fn make(redrive: RabbitRedrive, query: RedriveQuery) -> Result<Self> {
        let summary = look(&redrive, &query).await?;
        Ok(Self { redrive, query, summary })
    }

    /// What was found.
    #[must_use]
    pub fn summary(&self) -> &RedriveSummary {
        &self.summary
    }

    /// Puts the letters back that the query chooses now, and gives what was done. Other letters may be in
    /// the queue than when the plan was made.
    ///
    /// # Errors
    /// The broker's. What was put back before stays put back.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn run(self) -> Result<RedriveSummary> {
        let Self { redrive, query, .. } = self;
        let mut scan = Scan::begin(&redrive).await?;
        let publisher = Publisher::new(redrive.config.clone(), "redrive");
        let (mut summary, mut chunk) = (RedriveSummary::default(), Chunk::default());
        while let Some(found) = scan.next().await? {
            if found.count(&redrive, &query, &mut summary)
                && let Some(message) = found.back(&redrive.queue)
            {
                chunk.add(message, found.tag());
            }
            if chunk.is_full() || scan.is_tight() {
                chunk.send(&publisher, &mut scan).await?;
            }
        }
        chunk.send(&publisher, &mut scan).await?;
        scan.end().await?;
        Ok(summary)
    }
}

impl RabbitDiscardPlan {
    pub(super) async fn make(redrive: RabbitRedrive, query: RedriveQuery) -> Result<Self> {
        let summary = look(&redrive, &query).await?;
        Ok(Self { redrive, query, summary })
    }

    /// What was found: `chosen` are those to discard.
    #[must_use]
    pub fn summary(&self) -> &RedriveSummary {
        &self.summary
    }

    /// Takes the letters off the dead-letter queue that the query chooses now, for good, and gives what
    /// was done. All others stay, in their order. Other letters may be in the queue than when the plan
    /// was made.
    ///
    /// A broker doesn't confirm acknowledgements: a letter of which one was lost with the connection is
    /// there again, and counted here nevertheless.
    ///
    /// # Errors
    /// The broker's. What was discarded before stays so.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn run(self) -> Result<RedriveSummary> {
        let Self { redrive, query, .. } = self;
        let mut scan = Scan::begin(&redrive).await?;
        let (mut summary, mut tags) = (RedriveSummary::default(), Vec::new());
        while let Some(found) = scan.next().await? {
            if found.count(&redrive, &query, &mut summary) {
                tags.push(found.tag());
            }
            if tags.len() >= CHUNK || scan.is_tight() {
                scan.take_off(mem::take(&mut tags)).await?;
                scan.settled().await?;
            }
        }
        scan.take_off(tags).await?;
        scan.settled().await?;
        scan.end().await?;
        Ok(summary)
    }
}

async fn look(redrive: &RabbitRedrive, query: &RedriveQuery) -> Result<RedriveSummary> {
    let mut scan = Scan::begin(redrive).await?;
    let mut summary = RedriveSummary::default();
    while let Some(found) = scan.next().await? {
        found.count(redrive, query, &mut summary);
    }
    scan.end().await?;
    Ok(summary)
}

/// Letters on their way back.
#[derive(Default)]
struct Chunk {
    messages: Vec<Message>,
    tags: Vec<u64>,
    bytes: usize,
}

impl Chunk {
    fn add(&mut self, message: Message, tag: u64) {
        self.bytes += message.body.len();
        self.messages.push(message);
        self.tags.push(tag);
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= CHUNK || self.bytes >= CHUNK_BYTES
    }

    async fn send(&mut self, publisher: &Publisher, scan: &mut Scan) -> Result<()> {
        let Self { messages, tags, .. } = mem::take(self);
        if messages.is_empty() {
            return Ok(());
        }
        publisher.publish(REDRIVE, messages).await?;
        scan.take_off(tags).await
    }
}

impl fmt::Display for RabbitRedrivePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.redrive, &self.summary, &self.summary)
    }
}

impl fmt::Display for RabbitDiscardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.redrive, &self.summary, self.summary.of_discard())
    }
}

fn write(
    f: &mut fmt::Formatter<'_>,
    redrive: &RabbitRedrive,
    summary: &RedriveSummary,
    shown: impl fmt::Display,
) -> fmt::Result {
    write!(f, "dead letters of {}: {shown}", redrive.queue)?;
    if let Some((first, last)) = summary.failed_between {
        let at = |time: chrono::DateTime<chrono::Utc>| {
            time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
        };
        write!(f, "\n  given up on between {} and {}", at(first), at(last))?;
    }
    Ok(())
}
