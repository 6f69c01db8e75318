//! Looking at a dead-letter queue, and taking off what is done.

use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use relaybox_core::{
    ConsumerDeadLetter, Error, ErrorKind, Offset, Partition, RedriveQuery, RedriveSummary, Result,
    TopicName,
};

use super::{REDRIVE, RabbitRedrive};
use crate::{
    connection::{self, answered, channel, close_channel, connect},
    error,
    message::{self, Message},
    source::length,
};

/// How many letters the broker may send ahead.
const PREFETCH: u16 = 1_000;
/// How long letters that stay may take to be back in their queue.
const RETURN: Duration = Duration::from_secs(5);
/// How long without a letter makes us look whether there are any left.
const SILENCE: Duration = Duration::from_millis(500);

/// One pass over a dead-letter queue. What is not taken off goes back to its place in the end.
pub(super) struct Scan {
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
pub(super) struct Found {
    pub(super) letter: Option<ConsumerDeadLetter>,
    /// Tells it from others of the queue, each time it is looked at.
    pub(super) place: Offset,
    message: lapin::message::Delivery,
}

impl Scan {
    pub(super) async fn begin(redrive: &RabbitRedrive) -> Result<Self> {
        let connection = connect(REDRIVE, &redrive.config, "redrive").await?;
        let dead_letters = redrive.dead_letters.clone();
        let left = length(&connection, &dead_letters).await?.ok_or_else(|| missing(redrive))?;
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

    pub(super) async fn next(&mut self) -> Result<Option<Found>> {
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
        // The broker says that the queue is empty when all of it is on its way to us, so what it says
        // counts only if nothing has come after that, either.
        let mut was_empty = false;
        let message = loop {
            match tokio::time::timeout(SILENCE, self.consumer.next()).await {
                Ok(Some(Ok(message))) => break message,
                Ok(Some(Err(error))) => return Err(error::convert(REDRIVE, error)),
                Ok(None) => {
                    return Err(Error::new(ErrorKind::TopicUnavailable, REDRIVE)
                        .detail("the broker ended the subscription: was the queue deleted?"));
                }
                // Another run may have what we counted.
                Err(_) if was_empty => return Ok(None),
                Err(_) => {
                    was_empty = length(&self.connection, &self.dead_letters).await? == Some(0);
                }
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
        let place = delivery.place;
        let letter = ConsumerDeadLetter::read(delivery).filter(|l| l.origin == self.queue);
        Ok(Some(Found { letter, place, message }))
    }

    /// Whether the broker sends nothing more until something was taken off.
    pub(super) fn is_tight(&self) -> bool {
        self.held == PREFETCH
    }

    /// Takes letters off the queue.
    pub(super) async fn take_off(&mut self, tags: Vec<u64>) -> Result<()> {
        for tag in tags {
            self.held -= 1;
            self.stays -= 1;
            answered(REDRIVE, self.channel.basic_ack(tag, BasicAckOptions::default())).await?;
        }
        Ok(())
    }

    /// Waits until the queue has got the acknowledgements that were sent: it answers on the channel, and
    /// so behind them.
    pub(super) async fn settled(&self) -> Result<()> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.dead_letters.as_str().into();
        let asked = self.channel.queue_declare(queue, passive, FieldTable::default());
        answered(REDRIVE, asked).await.map(drop)
    }

    /// Leaves, and waits until what stays is back: whoever looks next is to see it, in its order. Others
    /// may take letters meanwhile, so not for ever.
    pub(super) async fn end(self) -> Result<()> {
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

/// How many messages are ready in a dead-letter queue.
pub(super) async fn count(redrive: &RabbitRedrive) -> Result<u64> {
    let connection = connect(REDRIVE, &redrive.config, "redrive").await?;
    let found = length(&connection, &redrive.dead_letters).await?;
    connection::close(REDRIVE, &connection).await?;
    found.ok_or_else(|| missing(redrive))
}

fn missing(redrive: &RabbitRedrive) -> Error {
    let queue = &redrive.dead_letters;
    Error::new(ErrorKind::TopicUnavailable, REDRIVE)
        .detail(format!("there is no queue {queue}, or we may not look at it"))
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
    /// Counts it, and says whether the query chooses it.
    pub(super) fn count(
        &self,
        redrive: &RabbitRedrive,
        query: &RedriveQuery,
        summary: &mut RedriveSummary,
    ) -> bool {
        match &self.letter {
            None => summary.foreign += 1,
            Some(_) if !redrive.is_about(self.place) => {}
            Some(letter) => {
                return summary.count(query, letter, query.judge(letter, false, Utc::now()));
            }
        }
        false
    }

    pub(super) fn tag(&self) -> u64 {
        self.message.delivery_tag
    }

    /// As it goes back to its queue; `None` when it is no dead letter of the queue's.
    pub(super) fn back(&self, queue: &TopicName) -> Option<Message> {
        let body = self.message.data.clone().into();
        let consumer = &self.letter.as_ref()?.consumer;
        Some(message::of_redriven(&self.message.properties, body, consumer, queue))
    }
}
