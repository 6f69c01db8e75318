//! The consumer, and its effects.

use std::time::Duration;

use async_trait::async_trait;
use relaybox_core::{
    CancellationToken, Consumer, ConsumerName, Envelope, EventHandler, HandlerError, RetryPolicy,
    memory::{Fault, MemorySource, MemoryStore, MemoryTx},
};
use tokio::task::JoinHandle;

use super::{
    bus::Broker,
    event::{Happened, topics},
    weather::{Chance, Weather},
};

/// Appends each event's id to its aggregate's list: an effect that shows repeats and order.
struct Append {
    weather: Weather,
    chance: Chance,
}

#[async_trait]
impl EventHandler<Happened, MemoryTx> for Append {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Happened,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        let key = effects_of(envelope.aggregate_type.as_str(), &event.aggregate);
        let list = tx.get(&key).unwrap_or_default();
        tx.put(&key, format!("{list}{},", envelope.event_id));
        self.weather.pass(&self.chance).await;
        if self.weather.strikes(&self.chance) {
            return Err(if self.chance.permille(100) {
                HandlerError::permanent("it never will")
            } else {
                HandlerError::retryable("not now")
            });
        }
        Ok(())
    }
}

/// The key of an aggregate's effects.
pub(super) fn effects_of(kind: &str, aggregate: &str) -> String {
    format!("{kind}/{aggregate}")
}

/// What a consumer is started with.
pub(super) struct Consumers {
    pub(super) inbox: MemoryStore,
    pub(super) broker: Broker,
    pub(super) weather: Weather,
    pub(super) chance: Chance,
}

/// One that runs.
pub(super) struct Consuming {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Consumers {
    pub(super) fn start(&self) -> Consuming {
        // Some of its next steps fail.
        for _ in 0..self.chance.below(4) {
            let nth = 1 + self.chance.below(60) as u64;
            let fault = if self.chance.permille(500) { Fault::Before } else { Fault::After };
            if !self.weather.is_calm() {
                self.inbox.faults().fail(nth, fault);
                self.broker.topics.faults().fail(1 + self.chance.below(3) as u64, fault);
            }
        }
        let group = ConsumerName::new("effects").expect("valid");
        let source = MemorySource::new(&self.broker.topics, group, topics());
        let millis = Duration::from_millis;
        let handler = Append { weather: self.weather.clone(), chance: self.chance.fork() };
        let consumer = Consumer::builder("effects", source, self.inbox.clone())
            .retry(RetryPolicy::default().base(millis(5)).cap(millis(50)).max_attempts(4))
            .seed(self.chance.with(|rng| rng.u64(..)))
            .on::<Happened, _>(handler)
            .build()
            .expect("its settings are valid");
        let shutdown = CancellationToken::new();
        let run = consumer.run(shutdown.clone());
        let task = tokio::spawn(async move { run.await.expect("only a person could mend it") });
        Consuming { shutdown, task }
    }
}

impl Consuming {
    pub(super) async fn kill(self) {
        self.task.abort();
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        if let Err(error) = self.task.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
