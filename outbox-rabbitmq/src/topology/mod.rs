//! What must exist on the broker: exchange, queues, bindings.

mod queue;

use lapin::{
    Channel, ExchangeKind,
    options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{FieldTable, ShortString},
};
use relaybox_core::{Error, ErrorKind, Result, TopicName};

pub use self::queue::RabbitQueue;
use crate::{
    RabbitConfig,
    connection::{self, answered, channel, connect},
    error::PRECONDITION_FAILED,
};

const DECLARE: &str = "declare the topology";
const DELETE: &str = "delete the topology";

const DURABLE_EXCHANGE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: false,
    durable: true,
    auto_delete: false,
    internal: false,
    nowait: false,
};
const DURABLE_QUEUE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

/// The exchange that events are published to, and the queues of consumers.
///
/// ```no_run
/// use relaybox_rabbitmq::{RabbitConfig, RabbitQueue, RabbitTopology};
///
/// # async fn start() -> relaybox_core::Result<()> {
/// let config = RabbitConfig::from_url("amqp://guest:guest@localhost/%2f")?;
/// RabbitTopology::new()
///     .queue(RabbitQueue::new("notifications")?.bind("session.#").single_active_consumer())
///     .declare(&config)
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct RabbitTopology {
    exchange: TopicName,
    queues: Vec<RabbitQueue>,
}

impl RabbitTopology {
    /// The durable topic exchange `events`, without a queue.
    pub fn new() -> Self {
        Self { exchange: default_exchange(), queues: Vec::new() }
    }

    /// Names the exchange otherwise.
    pub fn exchange(mut self, name: TopicName) -> Self {
        self.exchange = name;
        self
    }

    /// Adds a queue, with its dead-letter exchange and queue and its waiting queues.
    pub fn queue(mut self, queue: RabbitQueue) -> Self {
        self.queues.push(queue);
        self
    }

    /// Declares what is missing, and changes nothing that is there: again and again does no harm.
    ///
    /// Needs the right to configure and write, and to read the exchange, and RabbitMQ 3.10 or newer for
    /// the waiting queues. A binding that was taken out of the code stays on the broker until somebody
    /// removes it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when an exchange or queue of a name exists with other settings; it says
    /// which and what to do. Otherwise the broker's.
    ///
    /// # Cancel safety
    /// What was declared stays.
    pub async fn declare(&self, config: &RabbitConfig) -> Result<()> {
        let connection = connect(DECLARE, config, "topology").await?;
        let channel = channel(DECLARE, &connection).await?;
        declare_exchange(&channel, &self.exchange, ExchangeKind::Topic).await?;
        for queue in &self.queues {
            self.declare_queue(&channel, queue).await?;
        }
        connection::close(DECLARE, &connection).await
    }

    /// Deletes the queues with all that is in them, and their dead-letter and waiting queues. The exchange,
    /// which others publish to, stays. What is not there is no error.
    ///
    /// For what lives as long as a test or a demo.
    ///
    /// # Errors
    /// The broker's.
    ///
    /// # Cancel safety
    /// What was deleted is gone.
    pub async fn delete(&self, config: &RabbitConfig) -> Result<()> {
        let connection = connect(DELETE, config, "topology").await?;
        let channel = channel(DELETE, &connection).await?;
        for queue in &self.queues {
            let dead_letters = queue.dead_letter_queue();
            let waiting = queue.retry_queues().map(|(name, _)| name);
            let all = waiting.chain([queue.name().to_string(), dead_letters.to_string()]);
            for name in all {
                let deleting = channel.queue_delete(name.into(), QueueDeleteOptions::default());
                answered(DELETE, deleting).await?;
            }
            let options = ExchangeDeleteOptions::default();
            let deleting = channel.exchange_delete(dead_letters.as_str().into(), options);
            answered(DELETE, deleting).await?;
        }
        connection::close(DELETE, &connection).await
    }

    async fn declare_queue(&self, channel: &Channel, queue: &RabbitQueue) -> Result<()> {
        let dead_letters = queue.dead_letter_queue();
        declare_exchange(channel, &dead_letters, ExchangeKind::Fanout).await?;
        declare_queue(channel, dead_letters.as_str(), queue.dead_letter_arguments()).await?;
        bind(channel, &dead_letters, &dead_letters, "").await?;
        declare_queue(channel, queue.name().as_str(), queue.arguments()).await?;
        for (name, arguments) in queue.retry_queues() {
            declare_queue(channel, &name, arguments).await?;
        }
        // Last: from now on events come, and may fail.
        for pattern in &queue.bindings {
            bind(channel, queue.name(), &self.exchange, pattern).await?;
        }
        Ok(())
    }
}

impl Default for RabbitTopology {
    fn default() -> Self {
        Self::new()
    }
}

/// `events`.
pub(crate) fn default_exchange() -> TopicName {
    TopicName::new("events").expect("letters are allowed")
}

async fn declare_exchange(channel: &Channel, name: &TopicName, kind: ExchangeKind) -> Result<()> {
    let declaring = channel.exchange_declare(
        name.as_str().into(),
        kind,
        DURABLE_EXCHANGE,
        FieldTable::default(),
    );
    answered(DECLARE, declaring).await.map_err(|error| {
        explain(
            error,
            format!(
                "the exchange {name} exists with other settings: delete it when nobody publishes \
                 to it, or use another name"
            ),
        )
    })
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<()> {
    let declaring = channel.queue_declare(name.into(), DURABLE_QUEUE, arguments);
    answered(DECLARE, declaring).await.map(drop).map_err(|error| {
        explain(
            error,
            format!(
                "the queue {name} exists with other settings, which can't be changed: let it run \
                 empty and delete it, or use another name"
            ),
        )
    })
}

async fn bind(
    channel: &Channel,
    queue: &TopicName,
    exchange: &TopicName,
    pattern: &str,
) -> Result<()> {
    let pattern = ShortString::try_new(pattern).map_err(|_| {
        Error::new(ErrorKind::Invalid, DECLARE).detail("a binding is longer than 255 bytes")
    })?;
    let binding = channel.queue_bind(
        queue.as_str().into(),
        exchange.as_str().into(),
        pattern,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    answered(DECLARE, binding).await
}

/// A declaration that differs from what is there is for a person to mend.
fn explain(error: Error, what: String) -> Error {
    use std::error::Error as _;
    let reply = error.source().and_then(|source| source.downcast_ref::<lapin::Error>());
    if reply.and_then(crate::error::code) != Some(PRECONDITION_FAILED) {
        return error;
    }
    let reply = reply.cloned();
    let explained = Error::new(ErrorKind::Invalid, DECLARE).detail(what);
    match reply {
        Some(reply) => explained.caused_by(reply),
        None => explained,
    }
}
