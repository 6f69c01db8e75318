//! RabbitMQ: a queue for the consumer, and one that gets everything a second time.

use relaybox::{
    Label, Result,
    rabbitmq::{RabbitBus, RabbitConfig, RabbitQueue, RabbitSource, RabbitTopology},
};

use super::Broker;
use crate::scenario::{
    Delivered, RunSource,
    outage::{OutageBus, Switch},
};

/// What is about sessions.
const PATTERN: &str = "session.#";

/// A server with queues of this run's own.
pub(crate) struct Rabbit {
    config: RabbitConfig,
    first: RabbitQueue,
    /// A queue has no beginning to go back to: what is to be read again is kept from the start.
    second: RabbitQueue,
    /// What this run's messages have as `ce_source`.
    run: Label,
    /// Between us and a server that is not ours to stop.
    switch: Switch,
}

impl Rabbit {
    /// Connects to the server, and makes the queues.
    pub(crate) async fn start(url: &str, run: Label) -> Result<Self> {
        let config = RabbitConfig::from_url(url)?;
        // One consumer at a time, and failures tried again in place: the order of each session.
        let queue = |name: String| {
            RabbitQueue::new(name)
                .map(|queue| queue.bind(PATTERN).single_active_consumer().retry_in_place())
        };
        let (first, second) = (queue(run.to_string())?, queue(format!("{run}.again"))?);
        topology(&first, &second).declare(&config).await?;
        Ok(Self { config, first, second, run, switch: Switch::default() })
    }

    fn source(&self, queue: RabbitQueue, delivered: Delivered) -> Result<RunSource<RabbitSource>> {
        let source = RabbitSource::new(self.config.clone(), queue)?;
        Ok(RunSource::new(source, self.run.clone(), delivered))
    }
}

impl Broker for Rabbit {
    type Bus = RabbitBus;
    type Source = RabbitSource;

    fn bus(&self) -> Result<OutageBus<RabbitBus>> {
        Ok(OutageBus::new(RabbitBus::new(self.config.clone())?, self.switch.clone()))
    }

    fn first_source(&self, delivered: Delivered) -> Result<RunSource<RabbitSource>> {
        self.source(self.first.clone(), delivered)
    }

    fn second_source(&self, delivered: Delivered) -> Result<RunSource<RabbitSource>> {
        self.source(self.second.clone(), delivered)
    }

    fn origin(&self) -> String {
        self.first.name().to_string()
    }

    fn dead_letters(&self) -> Result<RunSource<RabbitSource>> {
        let queue = RabbitQueue::new(self.first.dead_letter_queue().to_string())?;
        self.source(queue, Delivered::default())
    }

    fn cut(&self) -> Result<()> {
        self.switch.cut();
        Ok(())
    }

    fn mend(&self) -> Result<()> {
        self.switch.mend();
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        topology(&self.first, &self.second).delete(&self.config).await
    }
}

fn topology(first: &RabbitQueue, second: &RabbitQueue) -> RabbitTopology {
    RabbitTopology::new().queue(first.clone()).queue(second.clone())
}
