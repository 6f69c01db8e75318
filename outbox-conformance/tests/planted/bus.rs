//! A bus in memory that takes its time: records wait in the client before they are on the topic.

use std::{
    collections::{BTreeMap, HashSet, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use relaybox_conformance::{BusFactory, async_trait};
use relaybox_core::{
    Error, ErrorKind, EventBus, EventId, Receipt, Record, Result, Retry, TopicName, cloudevents,
    memory::StoredRecord,
};
use tokio::sync::oneshot;

use crate::bug::Bug;

const PARTITIONS: u64 = 4;
const REFUSED: usize = 5_000;

/// Makes such buses with a bug, or without.
pub(crate) struct Slow(pub(crate) Option<Bug>);

/// The bus; clones share it, and its topics.
#[derive(Clone)]
pub(crate) struct SlowBus {
    bug: Option<Bug>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<TopicName, Vec<Vec<StoredRecord>>>,
    queue: VecDeque<(Record, oneshot::Sender<Result<Receipt>>)>,
    latched: bool,
    /// With the bug: whoever was beside a record that was refused.
    neighbours: HashSet<EventId>,
}

#[async_trait]
impl BusFactory for Slow {
    type Broker = SlowBus;
    type Bus = SlowBus;

    async fn create(&self) -> Option<SlowBus> {
        Some(SlowBus { bug: self.0, state: Arc::default() })
    }

    fn bus(&self, broker: &SlowBus) -> SlowBus {
        broker.clone()
    }

    async fn topic(&self, _: &SlowBus) -> TopicName {
        TopicName::new("thing-events.v1").unwrap()
    }

    async fn records(&self, broker: &SlowBus, topic: &TopicName) -> Vec<(Receipt, StoredRecord)> {
        let state = broker.state.lock().unwrap();
        let partitions = state.topics.get(topic).into_iter().flatten().enumerate();
        partitions
            .flat_map(|(partition, records)| {
                records.iter().enumerate().map(move |(offset, record)| {
                    let place = (partition.try_into().unwrap(), offset.try_into().unwrap());
                    (Receipt::at(place.0, place.1), record.clone())
                })
            })
            .collect()
    }

    fn refused_payload(&self) -> Option<usize> {
        Some(REFUSED)
    }
}

impl EventBus for SlowBus {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        if self.bug == Some(Bug::HandsOverWhenPolled) {
            let bus = self.clone();
            return async move { bus.hand_over(records).await }.boxed();
        }
        self.hand_over(records)
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        let mut state = self.state.lock().unwrap();
        state.latched = false;
        for (_, reply) in state.queue.drain(..) {
            let _ = reply.send(Err(halted().with_retry(Retry::OutcomeUnknown)));
        }
        futures::future::ready(Ok(())).boxed()
    }
}

impl SlowBus {
    fn hand_over(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        let mut replies = Vec::with_capacity(records.len());
        {
            let mut state = self.state.lock().unwrap();
            if records.iter().any(|record| record.envelope.payload.len() >= REFUSED) {
                state.neighbours.extend(records.iter().map(|record| record.envelope.event_id));
            }
            for record in records {
                let (reply, result) = oneshot::channel();
                if state.latched {
                    let _ = reply.send(Err(halted()));
                    replies.push(result);
                } else if self.bug == Some(Bug::AcknowledgesTooEarly) {
                    let (early, result) = oneshot::channel();
                    let _ = early.send(Ok(Receipt::at(0, 0)));
                    replies.push(result);
                    state.queue.push_back((record, reply));
                } else {
                    replies.push(result);
                    state.queue.push_back((record, reply));
                }
            }
        }
        tokio::spawn(self.clone().send());
        let misaligned = self.bug == Some(Bug::ReceiptsMisaligned);
        async move {
            let mut results = Vec::with_capacity(replies.len());
            for reply in replies {
                results.push(reply.await.unwrap_or_else(|_| Err(halted())));
            }
            if misaligned {
                results.reverse();
            }
            results
        }
        .boxed()
    }

    /// Sends what waits, one by one.
    async fn send(self) {
        if self.bug == Some(Bug::AcknowledgesTooEarly) {
            // Long enough for somebody to count on what isn't there yet.
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        loop {
            tokio::task::yield_now().await;
            let mut state = self.state.lock().unwrap();
            let Some((record, reply)) = state.queue.pop_front() else { return };
            let innocent = self.bug == Some(Bug::InnocentNeighboursRefused)
                && state.neighbours.contains(&record.envelope.event_id);
            if record.envelope.payload.len() < REFUSED && !innocent {
                let _ = reply.send(Ok(state.append(&record)));
                continue;
            }
            let _ = reply.send(Err(Error::new(ErrorKind::TooLarge, "publish")));
            if self.bug == Some(Bug::GaplessOff) {
                continue;
            }
            state.latched = self.bug != Some(Bug::LatchForgotten);
            for (_, reply) in state.queue.drain(..) {
                let _ = reply.send(Err(halted()));
            }
        }
    }
}

impl State {
    fn append(&mut self, record: &Record) -> Receipt {
        let mut headers = Vec::new();
        cloudevents::headers(&record.envelope, |name, value| {
            headers.push((name.into(), Bytes::copy_from_slice(value)));
        });
        let key = Bytes::copy_from_slice(record.envelope.key().as_str().as_bytes());
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let partition = usize::try_from(hasher.finish() % PARTITIONS).unwrap();
        let partitions = self.topics.entry(record.topic.clone()).or_default();
        partitions.resize(usize::try_from(PARTITIONS).unwrap(), Vec::new());
        let payload = record.envelope.payload.clone();
        partitions[partition].push(StoredRecord::new(Some(key), Some(payload), headers));
        let offset = partitions[partition].len() - 1;
        Receipt::at(partition.try_into().unwrap(), offset.try_into().unwrap())
    }
}

fn halted() -> Error {
    Error::new(ErrorKind::Halted, "publish")
}
