//! From an outbox over Kafka to a consumer.

use std::future::Future;

use relaybox_core::{
    AggregateType, CancellationToken, DomainEvent, Envelope, EventHandler, HandlerError, Result,
    TopicMap, TopicName, async_trait,
    memory::{MemoryStore, MemoryTx},
};
use relaybox_kafka::{KafkaAdmin, KafkaConfig, TopicSpec, dead_letter_topic};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::within;

/// Sends the events of each aggregate type to a topic.
pub(crate) fn topics(routes: &[(&'static str, &TopicName)]) -> TopicMap {
    routes.iter().fold(TopicMap::new(), |map, (aggregate, topic)| {
        map.route(AggregateType::new(*aggregate).unwrap(), (*topic).clone())
    })
}

/// Makes topics and their dead-letter topics.
pub(crate) async fn make_topics(config: &KafkaConfig, topics: &[&TopicName]) {
    let specs: Vec<_> = topics
        .iter()
        .flat_map(|topic| [(*topic).clone(), dead_letter_topic(topic).unwrap()])
        .map(|topic| TopicSpec::new(topic, 1, 1))
        .collect();
    KafkaAdmin::new(config.clone()).unwrap().ensure_topics(&specs).await.unwrap();
}

/// A handler that notes each event, as JSON, in its transaction.
pub(crate) struct Noted;

#[async_trait]
impl<E> EventHandler<E, MemoryTx> for Noted
where
    E: DomainEvent + serde::Serialize + DeserializeOwned + Send + Sync + 'static,
{
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &E,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        tx.put(envelope.event_id.to_string(), serde_json::to_string(event)?);
        Ok(())
    }
}

/// What was noted, sorted.
pub(crate) fn notes(store: &MemoryStore) -> Vec<String> {
    let mut notes: Vec<_> = store.values().into_iter().map(|(_, note)| note).collect();
    notes.sort();
    notes
}

/// A relay or consumer at work.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.unwrap().unwrap();
    }
}

pub(crate) fn running<F>(start: impl FnOnce(CancellationToken) -> F) -> Running
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(start(shutdown.clone()));
    Running { shutdown, task }
}
