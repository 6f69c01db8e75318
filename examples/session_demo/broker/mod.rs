//! The broker: what the demo needs of one, whichever it is.

mod kafka;
mod rabbitmq;

use relaybox::{EventBus, EventSource, Result};

pub(crate) use self::{kafka::Kafka, rabbitmq::Rabbit};
use crate::scenario::{Delivered, RunSource, outage::OutageBus};

/// A broker with the topics or queues of session events, and this run's way to them.
pub(crate) trait Broker: Send + Sync {
    /// What publishes to it.
    type Bus: EventBus;
    /// What receives from it.
    type Source: EventSource;

    /// What the relay publishes to.
    fn bus(&self) -> Result<OutageBus<Self::Bus>>;

    /// What the consumer receives from.
    fn first_source(&self, delivered: Delivered) -> Result<RunSource<Self::Source>>;

    /// All session events once more, from the first one on.
    fn second_source(&self, delivered: Delivered) -> Result<RunSource<Self::Source>>;

    /// What its dead letters say where they were given up on.
    fn origin(&self) -> String;

    /// The dead letters, from the first one on.
    fn dead_letters(&self) -> Result<RunSource<Self::Source>>;

    /// Makes it unreachable: really, if it is ours, and else for the bus.
    fn cut(&self) -> Result<()>;

    /// Makes it reachable again.
    fn mend(&self) -> Result<()>;

    /// Removes what this run made there, if anything.
    async fn remove(&self) -> Result<()>;
}
