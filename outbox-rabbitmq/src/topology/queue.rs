//! A queue that a consumer reads, with what belongs to it.

use std::{borrow::Cow, time::Duration};

use lapin::types::{AMQPValue, FieldTable, ShortString};
use relaybox_core::{Error, ErrorKind, Result, TopicName};

/// Queue names have at most 255 bytes in AMQP; this leaves room for the suffixes.
const MAX_NAME: usize = 200;
/// So many waiting queues are enough for a day in doubling steps of a second.
const MAX_LEVELS: usize = 20;

/// A consumer's queue: what is bound to it, how it is kept, and where its failures go.
///
/// With the queue `notifications` belong, all of them durable:
///
/// | name | what |
/// |---|---|
/// | `notifications` | the queue |
/// | `notifications.dlq` | an exchange (fanout) and a queue: what was given up on |
/// | `notifications.retry.1000`, `….2000`, … | quorum queues, in which a failed delivery waits so many milliseconds |
///
/// ```
/// use std::time::Duration;
/// use relaybox_rabbitmq::RabbitQueue;
///
/// let queue = RabbitQueue::new("notifications")?
///     .bind("session.#")
///     .quorum()
///     .single_active_consumer()
///     .retry_levels(Duration::from_millis(500), Duration::from_secs(60))?;
/// assert_eq!(queue.dead_letter_queue().as_str(), "notifications.dlq");
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct RabbitQueue {
    name: TopicName,
    pub(super) bindings: Vec<String>,
    quorum: bool,
    single_active_consumer: bool,
    message_ttl: Option<Duration>,
    levels: Vec<Duration>,
}

impl RabbitQueue {
    /// A durable classic queue, bound to nothing, with retry levels from 1 s to 256 s.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the name is empty, longer than 200 bytes, or has others than
    /// letters, digits, `.`, `_` and `-`.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Result<Self> {
        let name = TopicName::new(name)?;
        if name.as_str().len() > MAX_NAME {
            return Err(Error::new(ErrorKind::Invalid, "name a queue")
                .detail(format!("it is longer than {MAX_NAME} bytes")));
        }
        Ok(Self {
            name,
            bindings: Vec::new(),
            quorum: false,
            single_active_consumer: false,
            message_ttl: None,
            levels: levels(Duration::from_secs(1), Duration::from_secs(256)),
        })
    }

    /// Binds it to the events whose routing key, `{aggregate type}.{event type}`, matches: `session.#`
    /// for all of an aggregate type, `#` for all, `session.session.created.*` for all versions of one.
    pub fn bind(mut self, pattern: impl Into<String>) -> Self {
        self.bindings.push(pattern.into());
        self
    }

    /// Keeps it, and its dead letters, replicated, on several nodes where the broker has them.
    pub fn quorum(mut self) -> Self {
        self.quorum = true;
        self
    }

    /// Lets one consumer have the queue at a time, the next one only when it is gone: that is what order
    /// while receiving needs.
    pub fn single_active_consumer(mut self) -> Self {
        self.single_active_consumer = true;
        self
    }

    /// Has the broker move what nobody took for so long to the dead-letter queue.
    ///
    /// Marks of a consumer must be kept for longer.
    pub fn message_ttl(mut self, ttl: Duration) -> Self {
        self.message_ttl = Some(ttl);
        self
    }

    /// Sets how long failed deliveries wait: `base`, twice that, and so on up to `cap`. A delay in
    /// between takes the next longer one, a delay beyond takes the last.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when `base` is below a millisecond, `cap` is below `base`, or there would
    /// be more than 20 levels.
    pub fn retry_levels(mut self, base: Duration, cap: Duration) -> Result<Self> {
        let found = levels(base, cap);
        if base < Duration::from_millis(1) || found.is_empty() || found.len() > MAX_LEVELS {
            return Err(Error::new(ErrorKind::Invalid, "set the retry levels").detail(format!(
                "they are to double from at least 1 ms to a cap, in at most {MAX_LEVELS} levels"
            )));
        }
        self.levels = found;
        Ok(self)
    }

    /// Has the consumer try again in place instead, which holds back the queue and keeps its order:
    /// with waiting queues, later events overtake the one that waits.
    pub fn retry_in_place(mut self) -> Self {
        self.levels.clear();
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// The name of the exchange and the queue of its dead letters.
    #[must_use]
    pub fn dead_letter_queue(&self) -> TopicName {
        TopicName::new(format!("{}.dlq", self.name))
            .expect("a queue's name leaves room for the suffix, whose characters are allowed")
    }

    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.message_ttl
    }

    pub(crate) fn retries_later(&self) -> bool {
        !self.levels.is_empty()
    }

    /// The waiting queue for a delay.
    pub(crate) fn retry_queue(&self, delay: Duration) -> Option<String> {
        let level = self.levels.iter().find(|level| **level >= delay).or(self.levels.last())?;
        Some(self.retry_queue_name(*level))
    }

    fn retry_queue_name(&self, level: Duration) -> String {
        format!("{}.retry.{}", self.name, level.as_millis())
    }

    pub(super) fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        // So that what the broker itself gives up on is kept, too.
        let dead_letters = self.dead_letter_queue();
        set(&mut arguments, "x-dead-letter-exchange", text(dead_letters.as_str()));
        set(&mut arguments, "x-dead-letter-routing-key", text(self.name.as_str()));
        set(&mut arguments, "x-queue-type", self.queue_type());
        if self.single_active_consumer {
            set(&mut arguments, "x-single-active-consumer", AMQPValue::Boolean(true));
        }
        if let Some(ttl) = self.message_ttl {
            set(&mut arguments, "x-message-ttl", milliseconds(ttl));
        }
        arguments
    }

    pub(super) fn dead_letter_arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        set(&mut arguments, "x-queue-type", self.queue_type());
        if self.quorum {
            // Since RabbitMQ 4.0 a quorum queue drops what was given back 20 times, and who only looks at
            // letters gives them back.
            set(&mut arguments, "x-delivery-limit", AMQPValue::LongLongInt(i32::MAX.into()));
        }
        arguments
    }

    /// The waiting queues and their arguments.
    ///
    /// Quorum queues, whatever the queue itself is: only they move an expired message on with a confirm,
    /// so that a broker that dies at that moment doesn't lose it.
    pub(super) fn retry_queues(&self) -> impl Iterator<Item = (String, FieldTable)> {
        self.levels.iter().map(|level| {
            let mut arguments = FieldTable::default();
            set(&mut arguments, "x-queue-type", text("quorum"));
            set(&mut arguments, "x-message-ttl", milliseconds(*level));
            set(&mut arguments, "x-dead-letter-exchange", text(""));
            set(&mut arguments, "x-dead-letter-routing-key", text(self.name.as_str()));
            set(&mut arguments, "x-dead-letter-strategy", text("at-least-once"));
            set(&mut arguments, "x-overflow", text("reject-publish"));
            (self.retry_queue_name(*level), arguments)
        })
    }

    fn queue_type(&self) -> AMQPValue {
        text(if self.quorum { "quorum" } else { "classic" })
    }
}

fn levels(base: Duration, cap: Duration) -> Vec<Duration> {
    std::iter::successors(Some(base), |level| level.checked_mul(2))
        .take_while(|level| *level <= cap)
        .take(MAX_LEVELS + 1)
        .collect()
}

fn set(arguments: &mut FieldTable, name: &'static str, value: AMQPValue) {
    arguments.insert(ShortString::from(name), value);
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn milliseconds(duration: Duration) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_takes_the_next_longer_level_and_the_last_beyond() {
        let queue = RabbitQueue::new("q")
            .unwrap()
            .retry_levels(Duration::from_millis(100), Duration::from_millis(500))
            .unwrap();
        let found = |ms| queue.retry_queue(Duration::from_millis(ms)).unwrap();
        assert_eq!(
            [found(0), found(100), found(101), found(400), found(9_999)],
            ["q.retry.100", "q.retry.100", "q.retry.200", "q.retry.400", "q.retry.400"]
        );
        assert_eq!(queue.retry_in_place().retry_queue(Duration::ZERO), None);
    }

    #[test]
    fn levels_that_make_no_sense_are_refused() {
        let seconds = Duration::from_secs;
        for (base, cap) in
            [(Duration::ZERO, seconds(1)), (seconds(2), seconds(1)), (seconds(1), seconds(1 << 30))]
        {
            let refused = RabbitQueue::new("q").unwrap().retry_levels(base, cap).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid);
        }
    }
}
