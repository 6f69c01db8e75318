//! A consumer's dead letters: listing them, putting them back, discarding them.

mod plan;
mod scan;

use std::{collections::BTreeSet, fmt};

#[cfg(doc)]
use relaybox_core::ErrorKind;
use relaybox_core::{ConsumerDeadLetter, Offset, RedriveQuery, RedriveSummary, Result, TopicName};

pub use self::plan::{RabbitDiscardPlan, RabbitRedrivePlan};
use self::scan::Scan;
use crate::{RabbitConfig, RabbitQueue};

const REDRIVE: &str = "redrive dead letters";
/// How many letters a list has that doesn't say.
const LISTED: u64 = 1_000;

/// Lists the dead letters of a queue, discards them, or sends them back to it: to this queue only, not
/// through the exchange, so that no other consumer gets them again.
///
/// Key, value and headers are the original ones, so the event keeps its id; what was added when it was
/// given up on is taken off again. `redrive-consumer` names the consumer that gave it up, and
/// `redrive-id`, new each time, tells the record from the one that was given up on. The event was given up
/// on, not handled, so it has no mark and is handled afresh, with its retries. It comes behind what its
/// aggregate did since: order has a repeat there, as with any dead letter of a consumer.
///
/// A letter is taken off the dead-letter queue after the broker has confirmed that it is back in its
/// queue. So none is lost, and none is put back twice unless a run breaks off in between, or the broker
/// loses the acknowledgement, which it never confirms: it is in both then, and the consumer knows the
/// second as a repeat. Nothing but the queue itself remembers what was put back, so
/// [`RedriveSummary::redriven_before`] is always 0.
///
/// A [discarded](Self::plan_discard) letter is gone, for a queue keeps nothing that was taken off; letters
/// that are not chosen are never taken off, so that no crash costs one.
///
/// Letters that are not chosen stay where they are; of more than 32,000 of them, a quorum queue may lose
/// the order. While a plan or a run looks at them, nobody else sees them; two runs at once share what is
/// there. A run ends after as many letters as were in the queue when it began, and has at most 1,030 of
/// them in memory.
///
/// ```no_run
/// use relaybox_core::RedriveQuery;
/// use relaybox_rabbitmq::{RabbitConfig, RabbitQueue, RabbitRedrive};
///
/// # async fn mended() -> relaybox_core::Result<()> {
/// let config = RabbitConfig::from_url("amqp://guest:guest@localhost/%2f")?;
/// let redrive = RabbitRedrive::new(config, &RabbitQueue::new("notifications")?);
/// let plan = redrive.plan(&RedriveQuery::all().error_kind("timeout").limit(1_000)).await?;
/// println!("{}", plan.summary());
/// let done = plan.run().await?;
/// println!("{} put back", done.chosen);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RabbitRedrive {
    config: RabbitConfig,
    queue: TopicName,
    dead_letters: TopicName,
    /// Only these letters, unless empty.
    only: BTreeSet<Offset>,
}

impl RabbitRedrive {
    /// For the dead letters of `queue`.
    #[must_use]
    pub fn new(config: RabbitConfig, queue: &RabbitQueue) -> Self {
        let (queue, dead_letters) = (queue.name().clone(), queue.dead_letter_queue());
        Self { config, queue, dead_letters, only: BTreeSet::new() }
    }

    /// Is about the letter with this `delivery.place` only, and others that are named so: for letters that
    /// no query can tell from others, such as those that have no readable event id. The place is a number
    /// made of the letter, the same whenever it is listed.
    #[must_use]
    pub fn at(mut self, place: Offset) -> Self {
        self.only.insert(place);
        self
    }

    /// Looks at the dead letters, the oldest first, and says what a run would do. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::TopicUnavailable`] when there is no dead-letter queue; otherwise the broker's.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn plan(&self, query: &RedriveQuery) -> Result<RabbitRedrivePlan> {
        RabbitRedrivePlan::make(self.clone(), query.clone()).await
    }

    /// Looks at the dead letters, the oldest first, and says what a discard would do. Changes nothing.
    ///
    /// As [`plan`](Self::plan), but however old they are: how long marks are kept is no matter here.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn plan_discard(&self, query: &RedriveQuery) -> Result<RabbitDiscardPlan> {
        let mut query = query.clone();
        query.marks_kept = None;
        RabbitDiscardPlan::make(self.clone(), query).await
    }

    /// The dead letters that the query matches, the oldest first: as many as its limit says, 1,000 if it
    /// has none. Changes nothing.
    ///
    /// Each is as it was when it was given up on, with its payload; `delivery.place` is the number that
    /// [`at`](Self::at) and [`letter`](Self::letter) take.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn list(&self, query: &RedriveQuery) -> Result<Vec<ConsumerDeadLetter>> {
        let query = query.clone().limit(query.limit.unwrap_or(LISTED)).force();
        let mut scan = Scan::begin(self).await?;
        let (mut summary, mut letters) = (RedriveSummary::default(), Vec::new());
        while Some(summary.chosen) < query.limit
            && let Some(found) = scan.next().await?
        {
            if found.count(self, &query, &mut summary) {
                letters.extend(found.letter);
            }
        }
        scan.end().await?;
        Ok(letters)
    }

    /// The letter with this `delivery.place`; `None` when it isn't there, or not any more. Changes nothing.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn letter(&self, place: Offset) -> Result<Option<ConsumerDeadLetter>> {
        let query = RedriveQuery::all().limit(1);
        let mut only = self.clone();
        only.only = [place].into();
        Ok(only.list(&query).await?.pop())
    }

    /// How many messages are in the dead-letter queue. Those that somebody is looking at don't count, and
    /// those of another origin do.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn count(&self) -> Result<u64> {
        scan::count(self).await
    }

    fn is_about(&self, place: Offset) -> bool {
        self.only.is_empty() || self.only.contains(&place)
    }
}

impl fmt::Debug for RabbitRedrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitRedrive").field("queue", &self.queue).finish_non_exhaustive()
    }
}
