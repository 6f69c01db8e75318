//! What is put around a payload between the outbox and the bus.

use async_trait::async_trait;

use crate::{Envelope, Result, TopicName};

/// Changes a payload between the outbox and the bus: puts a schema registry's id before it, say.
///
/// A [`Relay`](crate::Relay) calls it for every event before it hands it over, in the task that reads, so
/// that it may wait for a server without holding up what is in flight.
///
/// # Contract
/// - On an error the envelope is as it was. The event is published with no other payload.
/// - The same event gives the same payload each time: it may be called again after a failure.
/// - An error about the event alone ([`Decode`](crate::ErrorKind::Decode),
///   [`Encode`](crate::ErrorKind::Encode), [`TooLarge`](crate::ErrorKind::TooLarge),
///   [`Rejected`](crate::ErrorKind::Rejected)) makes it a dead letter. Any other holds back its aggregate
///   type, with backoff and an alarm, until it passes: a registry that is down, or a schema that it
///   refuses, must not empty the outbox into the dead letters.
/// - Nothing is asked of a server for an event whose like went before: it is the hot path.
#[async_trait]
pub trait Framing: Send + Sync + 'static {
    /// Frames an event that goes to `topic`.
    ///
    /// # Errors
    /// As the contract says.
    ///
    /// # Cancel safety
    /// The future may be dropped; the event is framed anew then.
    async fn frame(&self, topic: &TopicName, envelope: &mut Envelope) -> Result<()>;
}
