//! The bus as a relay has it: a client of its own with a queue, in front of a broker that all share.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use relaybox_core::{
    AggregateType, Envelope, Error, ErrorKind, Receipt, Record, Result, Retry, cloudevents,
    memory::{MemoryBus, StoredRecord},
};
use tokio::sync::{Notify, oneshot};

use super::{
    event::is_poison,
    weather::{Chance, Weather},
};
use crate::EventBus;

/// The broker, and what it refuses.
#[derive(Clone)]
pub(super) struct Broker {
    pub(super) topics: MemoryBus,
    rules: Arc<Mutex<Rules>>,
}

#[derive(Default)]
struct Rules {
    mended: bool,
    down: HashSet<AggregateType>,
}

impl Broker {
    pub(super) fn new() -> Self {
        Self { topics: MemoryBus::new(), rules: Arc::default() }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no panic while it is held")
    }

    /// Accepts poison from now on, or refuses it again.
    pub(super) fn mend(&self, mended: bool) {
        self.rules().mended = mended;
    }

    /// Takes the topic of an aggregate type away, or gives it back.
    pub(super) fn set_down(&self, aggregate_type: &AggregateType, down: bool) {
        if down {
            self.rules().down.insert(aggregate_type.clone());
        } else {
            self.rules().down.remove(aggregate_type);
        }
    }

    fn refusal(&self, envelope: &Envelope) -> Option<ErrorKind> {
        let rules = self.rules();
        if rules.down.contains(&envelope.aggregate_type) {
            return Some(ErrorKind::TopicUnavailable);
        }
        (is_poison(envelope) && !rules.mended).then_some(ErrorKind::TooLarge)
    }

    fn append(&self, record: &Record) {
        let mut headers = Vec::new();
        cloudevents::headers(&record.envelope, |name, value| {
            headers.push((name.into(), Bytes::copy_from_slice(value)));
        });
        let key = Bytes::copy_from_slice(record.envelope.key().as_str().as_bytes());
        let stored = StoredRecord::new(Some(key), Some(record.envelope.payload.clone()), headers);
        self.topics.append(&record.topic, stored);
    }
}

/// A producer: takes records at once, sends them in order, and is latched after a failure.
#[derive(Clone)]
pub(super) struct Client {
    broker: Broker,
    weather: Weather,
    chance: Chance,
    state: Arc<Mutex<State>>,
    handed_over: Arc<Notify>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Record, oneshot::Sender<Result<Receipt>>)>,
    latched: bool,
}

impl Client {
    pub(super) fn new(broker: Broker, weather: Weather, chance: Chance) -> Self {
        Self { broker, weather, chance, state: Arc::default(), handed_over: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    /// Sends what was handed over, for ever.
    pub(super) async fn send(self) {
        loop {
            if self.lock().queue.is_empty() {
                self.handed_over.notified().await;
                continue;
            }
            self.weather.pass(&self.chance).await;
            let before = self.weather.strikes(&self.chance);
            let after = self.weather.strikes(&self.chance);
            let mut state = self.lock();
            // It may have been dropped in the meantime.
            let Some((record, reply)) = state.queue.pop_front() else { continue };
            let result = if before {
                Err(Error::new(ErrorKind::Unavailable, "publish"))
            } else if let Some(kind) = self.broker.refusal(&record.envelope) {
                Err(Error::new(kind, "publish"))
            } else {
                self.broker.append(&record);
                let lost = Error::new(ErrorKind::Unavailable, "publish");
                if after {
                    Err(lost.with_retry(Retry::OutcomeUnknown))
                } else {
                    Ok(Receipt::unnumbered())
                }
            };
            if result.is_err() {
                state.latched = true;
                state.halt();
            }
            let _ = reply.send(result);
        }
    }

    /// Dies, with some of what it sent on the wire.
    pub(super) fn die(&self) {
        let mut state = self.lock();
        for _ in 0..self.chance.below(state.queue.len() + 1) {
            let Some((record, _)) = state.queue.pop_front() else { break };
            if self.broker.refusal(&record.envelope).is_some() {
                break;
            }
            self.broker.append(&record);
        }
        state.queue.clear();
    }
}

impl State {
    fn halt(&mut self) {
        for (_, reply) in self.queue.drain(..) {
            let _ = reply.send(Err(Error::new(ErrorKind::Halted, "publish")));
        }
    }
}

impl EventBus for Client {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        let mut results = Vec::with_capacity(records.len());
        let mut state = self.lock();
        for record in records {
            let (reply, result) = oneshot::channel();
            results.push(result);
            if state.latched {
                let _ = reply.send(Err(Error::new(ErrorKind::Halted, "publish")));
            } else {
                state.queue.push_back((record, reply));
            }
        }
        drop(state);
        self.handed_over.notify_one();
        futures::future::join_all(results)
            .map(|results| {
                let dropped = || Error::new(ErrorKind::Halted, "publish");
                results
                    .into_iter()
                    .map(|result| result.unwrap_or_else(|_| Err(dropped())))
                    .collect()
            })
            .boxed()
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        async {
            let work = async || {
                let mut state = self.lock();
                for (_, reply) in state.queue.drain(..) {
                    let halted = Error::new(ErrorKind::Halted, "publish");
                    let _ = reply.send(Err(halted.with_retry(Retry::OutcomeUnknown)));
                }
                state.latched = false;
                Ok(())
            };
            self.weather.call(&self.chance, "recover the bus", work).await
        }
        .boxed()
    }
}
