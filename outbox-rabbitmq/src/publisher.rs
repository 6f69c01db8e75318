//! Publishing that waits: for dead letters, redelivery and redrives.

use std::time::Duration;

use lapin::{Channel, Confirmation, Connection, options::BasicPublishOptions};
use relaybox_core::{Error, ErrorKind, Result, Retry};
use tokio::sync::Mutex;

use crate::{
    RabbitConfig,
    connection::{confirming, connect},
    error,
    message::Message,
};

/// How long the broker may take to have it all.
const CONFIRM: Duration = Duration::from_secs(30);

/// Every message must find a queue, and be confirmed.
pub(crate) const MANDATORY: BasicPublishOptions =
    BasicPublishOptions { mandatory: true, immediate: false };

/// Publishes on a connection of its own, made when it is first needed: a broker that is short of memory
/// blocks connections that publish, and acknowledgements must go on.
pub(crate) struct Publisher {
    config: RabbitConfig,
    role: &'static str,
    open: Mutex<Option<Open>>,
}

struct Open {
    connection: Connection,
    channel: Channel,
}

impl Publisher {
    pub(crate) fn new(config: RabbitConfig, role: &'static str) -> Self {
        Self { config, role, open: Mutex::new(None) }
    }

    /// Publishes, and waits until the broker has all of it.
    ///
    /// # Errors
    /// The broker's: some of it may be there then.
    ///
    /// # Cancel safety
    /// Some of it may be there when the future is dropped.
    pub(crate) async fn publish(
        &self,
        operation: &'static str,
        messages: Vec<Message>,
    ) -> Result<()> {
        let mut slot = self.open.lock().await;
        // Out of its slot meanwhile: whoever gives up waiting takes the channel along, with what is
        // still to be confirmed on it.
        let open = match slot.take() {
            Some(open) if open.is_usable() => open,
            _ => {
                let connection = connect(operation, &self.config, self.role).await?;
                Open { channel: confirming(operation, &connection).await?, connection }
            }
        };
        match tokio::time::timeout(CONFIRM, send(operation, &open.channel, messages)).await {
            Ok(sent) => sent?,
            Err(_) => {
                return Err(Error::new(ErrorKind::Unavailable, operation)
                    .detail("the broker doesn't confirm")
                    .with_retry(Retry::OutcomeUnknown));
            }
        }
        *slot = Some(open);
        Ok(())
    }
}

impl Open {
    fn is_usable(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }
}

async fn send(operation: &'static str, channel: &Channel, messages: Vec<Message>) -> Result<()> {
    let convert = |error| error::convert(operation, error);
    let mut confirms = Vec::with_capacity(messages.len());
    for Message { exchange, routing_key, properties, body } in messages {
        let published =
            channel.basic_publish(exchange, routing_key, MANDATORY, &body, properties).await;
        confirms.push(published.map_err(convert)?);
    }
    let mut refused = None;
    for confirm in confirms {
        match confirm.await.map_err(convert)? {
            Confirmation::Ack(None) => {}
            // Which of several was returned can't be told here, and doesn't matter.
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                refused = Some(unroutable(operation));
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                refused.get_or_insert_with(|| nacked(operation));
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

/// No queue takes it.
pub(crate) fn unroutable(operation: &'static str) -> Error {
    Error::new(ErrorKind::TopicUnavailable, operation)
        .detail("no queue takes its routing key: declare the topology, or bind a queue")
}

/// A queue is there and doesn't take it.
pub(crate) fn nacked(operation: &'static str) -> Error {
    Error::new(ErrorKind::TopicUnavailable, operation)
        .detail("the broker refused to keep it: a queue is full, or its leader is away")
        .with_retry(Retry::OutcomeUnknown)
}
