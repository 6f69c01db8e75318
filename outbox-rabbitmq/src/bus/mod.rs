//! Publishing.

mod task;
mod window;

use std::{fmt, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use lapin::{ExchangeKind, options::ExchangeDeclareOptions, types::FieldTable};
use relaybox_core::{Error, ErrorKind, EventBus, Receipt, Record, Result, TopicName};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use self::task::{Command, Task};
use crate::{
    RabbitConfig,
    connection::{self, answered, connect},
    topology::default_exchange,
};

const PUBLISH: &str = "publish to RabbitMQ";
const CHECK: &str = "reach RabbitMQ";

/// Publishes to a durable topic exchange, with publisher confirms.
///
/// A record's routing key is `{aggregate type}.{event type}`, such as `session.session.created.v1`. Its
/// message is persistent and mandatory, with the event's id as message id, its type, its time, its
/// content type, its service (`ce_source`) as app id, and the CloudEvents headers. RabbitMQ has no
/// topics and no keys: [`Record::topic`] goes along as the header `x-relaybox-topic` and decides nothing,
/// the record key as `x-relaybox-key`, from which [`RabbitSource`](crate::RabbitSource) restores it.
///
/// **Order.** Of a record key one record is with the broker at a time, and the next follows its confirm;
/// different keys are pipelined. So each queue gets a key's records in the order of the calls, without a
/// gap, whatever fails in between; repeats are possible.
///
/// **Failure.** A record for which no queue is bound comes back and fails as
/// [`ErrorKind::TopicUnavailable`]; so does one that a queue refuses because it is full, and all of
/// them while the exchange is missing or closed to us. A relay keeps such events, holds back what is
/// addressed to their topic, tells its `on_error`, and tries again.
///
/// It connects when the first record comes. After a failure [`recover`](EventBus::recover) connects anew;
/// a relay calls it with backoff. Dropping the bus drops what is in flight.
///
/// ```no_run
/// use relaybox_core::{
///     AggregateId, AggregateType, Envelope, EventBus, EventType, Record, TopicName,
/// };
/// use relaybox_rabbitmq::{RabbitBus, RabbitConfig};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> relaybox_core::Result<()> {
/// let bus = RabbitBus::new(RabbitConfig::from_url("amqp://guest:guest@localhost/%2f")?)?;
/// let envelope = Envelope::new(
///     EventType::new("session.created", 1)?,
///     AggregateType::new("session")?,
///     AggregateId::new("s-1")?,
///     &b"{}"[..],
/// );
/// let topic = TopicName::new("session-events.v1")?;
/// let results = bus.publish(vec![Record::new(topic, envelope)]).await;
/// assert!(results[0].is_ok());
/// # Ok(()) }
/// ```
pub struct RabbitBus {
    config: RabbitConfig,
    exchange: TopicName,
    commands: mpsc::UnboundedSender<Command>,
}

/// Limits of a bus.
#[derive(Debug, Clone)]
struct Settings {
    in_flight: usize,
    queue_records: usize,
    queue_bytes: usize,
    max_message_bytes: usize,
    confirm_timeout: Duration,
}

impl RabbitBus {
    /// Makes a bus to the exchange `events`, with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// As [`RabbitBusBuilder::build`].
    pub fn new(config: RabbitConfig) -> Result<Self> {
        Self::builder(config).build()
    }

    /// The exchange `events`; 1,000 unconfirmed records; 100,000 records or 256 MiB in all; payloads of
    /// at most 16 MiB; 30 s for a confirm.
    pub fn builder(config: RabbitConfig) -> RabbitBusBuilder {
        RabbitBusBuilder {
            config,
            exchange: default_exchange(),
            settings: Settings {
                in_flight: 1_000,
                queue_records: 100_000,
                queue_bytes: 256 * 1024 * 1024,
                max_message_bytes: 16 * 1024 * 1024,
                confirm_timeout: Duration::from_secs(30),
            },
        }
    }

    /// Connects once more, beside the bus's own connection, and looks for the exchange: proves that the
    /// broker can be reached, lets us in, and is prepared.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] when user, password, virtual host or certificate are refused;
    /// [`ErrorKind::TopicUnavailable`] when there is no such exchange; [`ErrorKind::Unavailable`] when
    /// the broker can't be reached.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn check(&self) -> Result<()> {
        let connection = connect(CHECK, &self.config, "check").await?;
        let channel = connection::channel(CHECK, &connection).await?;
        let looking = channel.exchange_declare(
            self.exchange.as_str().into(),
            ExchangeKind::Topic,
            ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() },
            FieldTable::default(),
        );
        answered(CHECK, looking).await?;
        connection::close(CHECK, &connection).await
    }
}

/// Builds a [`RabbitBus`].
#[derive(Debug)]
#[must_use]
pub struct RabbitBusBuilder {
    config: RabbitConfig,
    exchange: TopicName,
    settings: Settings,
}

impl RabbitBusBuilder {
    /// Names the exchange.
    pub fn exchange(mut self, name: TopicName) -> Self {
        self.exchange = name;
        self
    }

    /// Sets how many records may be with the broker unconfirmed, of different keys.
    pub fn in_flight(mut self, records: usize) -> Self {
        self.settings.in_flight = records.max(1);
        self
    }

    /// Sets how much the bus holds that is not confirmed. A record beyond is refused with
    /// [`ErrorKind::Unavailable`]: keep what the relay has in flight below it.
    pub fn queue(mut self, records: usize, bytes: usize) -> Self {
        (self.settings.queue_records, self.settings.queue_bytes) = (records, bytes);
        self
    }

    /// Sets how large a payload may be, in bytes. A larger one fails with [`ErrorKind::TooLarge`]
    /// without being sent. The broker's own limit is `max_message_size`, 128 MiB in its version 3.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_message_bytes = bytes;
        self
    }

    /// Sets after how long without any confirm what is in flight counts as failed, outcome unknown. A
    /// broker that is short of memory or disk is silent that way.
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.settings.confirm_timeout = timeout;
        self
    }

    /// Makes the bus, and its task in the current tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a setting can't be used, TLS is asked for without the feature `tls`,
    /// or there is no tokio runtime.
    pub fn build(self) -> Result<RabbitBus> {
        let Self { config, exchange, settings } = self;
        config.uri()?;
        let runtime = Handle::try_current().map_err(|source| {
            Error::new(ErrorKind::Invalid, "make a bus")
                .detail("call it inside a tokio runtime")
                .caused_by(source)
        })?;
        let (commands, received) = mpsc::unbounded_channel();
        runtime.spawn(Task::new(config.clone(), exchange.clone(), settings).run(received));
        Ok(RabbitBus { config, exchange, commands })
    }
}

impl EventBus for RabbitBus {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        if records.is_empty() {
            return futures::future::ready(Vec::new()).boxed();
        }
        let count = records.len();
        let (reply, results) = oneshot::channel();
        // A task that is gone answers by dropping the reply.
        let _ = self.commands.send(Command::Publish(records, reply));
        async move {
            let gone = || Error::new(ErrorKind::Halted, PUBLISH).detail("the bus is gone");
            results.await.unwrap_or_else(|_| (0..count).map(|_| Err(gone())).collect())
        }
        .boxed()
    }

    /// # Cancel safety
    /// Cancel safe: the bus recovers all the same when the future is dropped.
    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        let (reply, recovered) = oneshot::channel();
        let _ = self.commands.send(Command::Recover(reply));
        async move {
            recovered.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable, PUBLISH)
                    .detail("the runtime that the bus was made in is gone"))
            })
        }
        .boxed()
    }
}

impl fmt::Debug for RabbitBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitBus").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
