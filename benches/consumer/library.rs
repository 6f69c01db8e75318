//! The library's side: a consumer, as a user sets it up.

use relaybox::{
    CancellationToken, Consumer, ConsumerName, EventHandler, EventSource, ProcessedEventStore,
    TopicName,
    kafka::{KafkaConfig, KafkaSource},
};
use uuid::Uuid;

use crate::{
    event::Counted,
    progress::{Observed, Progress},
};

/// Of the events that share a transaction at most, on both sides.
pub(crate) const BATCH: usize = 500;
/// Under this name events are marked, by both sides.
pub(crate) const NAME: &str = "bench";

/// Handles so many events of a topic; gives the seconds from the first record until all are acknowledged.
pub(crate) async fn consume<P, H>(
    source: impl EventSource,
    inbox: P,
    handler: H,
    events: u64,
) -> f64
where
    P: ProcessedEventStore,
    H: EventHandler<Counted, P::Tx>,
{
    let (progress, shutdown) = (Progress::default(), CancellationToken::new());
    let consumer = consumer(source, inbox, handler, &progress);
    let mut consumer = tokio::spawn(consumer.run(shutdown.clone()));
    let took = tokio::select! {
        took = progress.done(events) => took,
        ended = &mut consumer => panic!("the consumer ended: {ended:?}"),
    };
    shutdown.cancel();
    consumer.await.unwrap().unwrap();
    took
}

/// A consumer that tells how far it is.
pub(crate) fn consumer<S, P, H>(
    source: S,
    inbox: P,
    handler: H,
    progress: &Progress,
) -> Consumer<Observed<S>, P>
where
    S: EventSource,
    P: ProcessedEventStore,
    H: EventHandler<Counted, P::Tx>,
{
    let source = Observed { inner: source, progress: progress.clone() };
    Consumer::builder(NAME, source, inbox)
        .max_batch(BATCH)
        .on::<Counted, _>(handler)
        .build()
        .unwrap()
}

/// A group that has read nothing yet.
pub(crate) fn new_group() -> ConsumerName {
    ConsumerName::new(format!("bench-{}", Uuid::new_v4().simple())).unwrap()
}

/// Reads a topic from its beginning as a member of a group.
pub(crate) fn source(brokers: &str, topic: &TopicName, group: ConsumerName) -> KafkaSource {
    KafkaSource::builder(KafkaConfig::new(brokers), group, vec![topic.clone()])
        .max_batch(BATCH)
        .build()
        .unwrap()
}
