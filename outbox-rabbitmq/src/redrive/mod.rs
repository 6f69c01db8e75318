//! Putting a consumer's dead letters back.

use std::{fmt, mem, time::Duration};

use chrono::Utc;
use futures::StreamExt;
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use relaybox_core::{
    ConsumerDeadLetter, Error, ErrorKind, Partition, RedriveQuery, RedriveSummary, Result,
    TopicName,
};

use crate::{
    RabbitConfig, RabbitQueue,
    connection::{self, answered, channel, close_channel, connect},
    error,
    message::{self, Message},
    publisher::Publisher,
    source::length,
};

const REDRIVE: &str = "redrive dead letters";
/// How much is sent before it is taken off the dead-letter queue. The broker passes on 32 acknowledgements
/// to a quorum queue and keeps the ones behind; those would be lost with the channel.
const CHUNK: usize = 30;
const CHUNK_BYTES: usize = 16 * 1024 * 1024;
/// How many letters a list has that doesn't say.
const LISTED: u64 = 1_000;
/// How many letters the broker may send ahead.
const PREFETCH: u16 = 1_000;
/// How long letters that stay may take to be back in their queue.
const RETURN: Duration = Duration::from_secs(5);
/// How long without a letter makes us look whether there are any left.
const SILENCE: Duration = Duration::from_millis(500);

/// Sends the dead letters of a queue back to it: to this queue only, not through the exchange, so that no
/// other consumer gets them again.
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
}

/// What a redrive would do; see [`RabbitRedrive::plan`].
#[derive(Debug)]
#[must_use = "a plan does nothing until it is run"]
pub struct RabbitRedrivePlan {
    redrive: RabbitRedrive,
    query: RedriveQuery,
    summary: RedriveSummary,
}

impl RabbitRedrive {
    /// For the dead letters of `queue`.
    #[must_use]
    pub fn new(config: RabbitConfig, queue: &RabbitQueue) -> Self {
        let (queue, dead_letters) = (queue.name().clone(), queue.dead_letter_queue());
        Self { config, queue, dead_letters }
    }

    /// Looks at the dead letters, the oldest first, and says what a run would do. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::TopicUnavailable`] when there is no dead-letter queue; otherwise the broker's.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn plan(&self, query: &RedriveQuery) -> Result<RabbitRedrivePlan> {
        let mut scan = Scan::begin(self).await?;
        let mut summary = RedriveSummary::default();
        while let Some(found) = scan.next().await? {
            found.count(query, &mut summary);
        }
        scan.end().await?;
        Ok(RabbitRedrivePlan { redrive: self.clone(), query: query.clone(), summary })
    }

    /// The dead letters that the query matches, the oldest first: as many as its limit says, 1,000 if it
    /// has none. Changes nothing.
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
            if found.count(&query, &mut summary) {
                letters.extend(found.letter);
            }
        }
        scan.end().await?;
        Ok(letters)
    }
}

impl RabbitRedrivePlan {
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
            if found.count(&query, &mut summary)
                && let Some(consumer) = found.letter.as_ref().map(|letter| &letter.consumer)
            {
                chunk.add(found.back(consumer, &redrive.queue), found.message.delivery_tag);
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
        for tag in tags {
            scan.take_off(tag).await?;
        }
        Ok(())
    }
}

/// One pass over a dead-letter queue. What is not taken off goes back to its place in the end.
struct Scan {
    connection: Connection,
    channel: Channel,
    /// By subscriptions rather than one by one: a quorum queue takes back a subscription's messages in
    /// their order, and single ones in any.
    consumer: Consumer,
    subscriptions: u32,
    /// What the latest subscription has and was not taken off.
    held: u16,
    queue: TopicName,
    dead_letters: TopicName,
    left: u64,
    /// As many as there were, without those that were taken off.
    stays: u64,
    seen: i64,
}

/// A message of the queue; `letter` is none when it is no dead letter of the queue's.
struct Found {
    letter: Option<ConsumerDeadLetter>,
    message: lapin::message::Delivery,
}

impl Scan {
    async fn begin(redrive: &RabbitRedrive) -> Result<Self> {
        let connection = connect(REDRIVE, &redrive.config, "redrive").await?;
        let dead_letters = redrive.dead_letters.clone();
        let left = length(&connection, &dead_letters).await?.ok_or_else(|| {
            Error::new(ErrorKind::TopicUnavailable, REDRIVE)
                .detail(format!("there is no queue {dead_letters}, or we may not look at it"))
        })?;
        let channel = channel(REDRIVE, &connection).await?;
        let limit = channel.basic_qos(PREFETCH, BasicQosOptions::default());
        answered(REDRIVE, limit).await?;
        let consumer = subscribe(&channel, &dead_letters, 0).await?;
        Ok(Self {
            connection,
            channel,
            consumer,
            subscriptions: 1,
            held: 0,
            queue: redrive.queue.clone(),
            dead_letters,
            left,
            stays: left,
            seen: 0,
        })
    }

    async fn next(&mut self) -> Result<Option<Found>> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.is_tight() {
            // All of them stay: the broker sends more only to another one.
            self.consumer =
                subscribe(&self.channel, &self.dead_letters, self.subscriptions).await?;
            self.subscriptions += 1;
            self.held = 0;
        }
        let message = loop {
            match tokio::time::timeout(SILENCE, self.consumer.next()).await {
                Ok(Some(Ok(message))) => break message,
                Ok(Some(Err(error))) => return Err(error::convert(REDRIVE, error)),
                Ok(None) => {
                    return Err(Error::new(ErrorKind::TopicUnavailable, REDRIVE)
                        .detail("the broker ended the subscription: was the queue deleted?"));
                }
                // Another run may have what we counted.
                Err(_) if length(&self.connection, &self.dead_letters).await? == Some(0) => {
                    return Ok(None);
                }
                Err(_) => {}
            }
        };
        self.left -= 1;
        self.seen += 1;
        self.held += 1;
        let delivery = message::read(
            Partition::new(self.dead_letters.clone(), 0, 0),
            self.seen,
            &message.properties,
            message.data.clone().into(),
        );
        let letter = ConsumerDeadLetter::read(delivery).filter(|l| l.origin == self.queue);
        Ok(Some(Found { letter, message }))
    }

    /// Whether the broker sends nothing more until something was taken off.
    fn is_tight(&self) -> bool {
        self.held == PREFETCH
    }

    async fn take_off(&mut self, tag: u64) -> Result<()> {
        self.held -= 1;
        self.stays -= 1;
        answered(REDRIVE, self.channel.basic_ack(tag, BasicAckOptions::default())).await
    }

    /// Leaves, and waits until what stays is back: whoever looks next is to see it, in its order. Others
    /// may take letters meanwhile, so not for ever.
    async fn end(self) -> Result<()> {
        close_channel(REDRIVE, &self.channel).await?;
        let back = async {
            while length(&self.connection, &self.dead_letters).await? < Some(self.stays) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(RETURN, back).await.unwrap_or(Ok(()))?;
        connection::close(REDRIVE, &self.connection).await
    }
}

/// The names sort in the order of the subscriptions, and so does what a quorum queue takes back of up to
/// 32 of them.
async fn subscribe(channel: &Channel, queue: &TopicName, number: u32) -> Result<Consumer> {
    let consuming = channel.basic_consume(
        queue.as_str().into(),
        format!("redrive-{number:010}").into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    answered(REDRIVE, consuming).await
}

impl Found {
    fn count(&self, query: &RedriveQuery, summary: &mut RedriveSummary) -> bool {
        let Some(letter) = &self.letter else {
            summary.foreign += 1;
            return false;
        };
        summary.count(query, letter, query.judge(letter, false, Utc::now()))
    }

    fn back(&self, consumer: &str, queue: &TopicName) -> Message {
        let body = self.message.data.clone().into();
        message::of_redriven(&self.message.properties, body, consumer, queue)
    }
}

impl fmt::Debug for RabbitRedrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitRedrive").field("queue", &self.queue).finish_non_exhaustive()
    }
}
