//! Bugs between a relay and its store or bus: the simulation must find each.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use relaybox_conformance::{async_trait, simulation::Simulation};
use relaybox_core::{
    Acquired, Error, ErrorKind, EventBus, EventId, EventRef, Lease, OutboxReader, OutboxRow,
    OutboxStats, OutboxStore, ReadRequest, Receipt, Record, RelayId, Result, Settled, Settlement,
};

use crate::bug::Bug;

/// As many seeds as it may take to find a bug.
const SEEDS: u64 = 400;

/// The simulation finds a bug, with words that name the guarantee.
fn found(bug: Bug, guarantee: &str) {
    let simulation = match bug {
        Bug::AcknowledgesTooEarly | Bug::InnocentNeighboursRefused | Bug::GaplessOff => {
            Simulation::new().wrap_bus(move |inner| Arc::new(Between::new(inner, bug)))
        }
        _ => Simulation::new().wrap_store(move |inner| Arc::new(Between::new(inner, bug))),
    };
    let mut others = Vec::new();
    for broken in (0..SEEDS).filter_map(|seed| simulation.run(seed).err()) {
        if broken.what.contains(guarantee) {
            return;
        }
        others.push(broken.what);
    }
    panic!("{bug:?} is planted, and no seed finds that it breaks {guarantee:?}, but: {others:?}");
}

#[test]
fn settling_before_the_broker_has_it_loses_events() {
    found(Bug::AcknowledgesTooEarly, "nothing is lost");
}

#[test]
fn settling_as_it_reads_loses_events() {
    found(Bug::SettleBeforePublish, "nothing is lost");
}

#[test]
fn dead_lettering_innocent_neighbours_is_found() {
    found(Bug::InnocentNeighboursRefused, "only poison is given up on");
}

#[test]
fn going_on_behind_a_refused_record_inverts_an_aggregate() {
    found(Bug::GaplessOff, "in the order of their commits");
}

#[test]
fn forgetting_what_is_parked_inverts_an_aggregate() {
    found(Bug::ParkForgottenOnTakeover, "in the order of their commits");
}

#[test]
fn reading_by_a_plain_cursor_loses_events() {
    found(Bug::PlainCursor, "a backlog drains");
}

/// A store or a bus with a bug.
struct Between<T: ?Sized> {
    inner: Arc<T>,
    bug: Bug,
    lease: Arc<Mutex<Option<Lease>>>,
    neighbours: Arc<Mutex<HashSet<EventId>>>,
}

impl<T: ?Sized> Between<T> {
    fn new(inner: Arc<T>, bug: Bug) -> Self {
        Self { inner, bug, lease: Arc::default(), neighbours: Arc::default() }
    }
}

impl EventBus for Between<dyn EventBus> {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        let ids: Vec<_> = records.iter().map(|record| record.envelope.event_id).collect();
        match self.bug {
            Bug::AcknowledgesTooEarly => {
                drop(self.inner.publish(records));
                let results = ids.iter().map(|_| Ok(Receipt::unnumbered())).collect();
                futures::future::ready(results).boxed()
            }
            Bug::GaplessOff => {
                // Each goes its own way; a failure holds up nobody.
                let inner = Arc::clone(&self.inner);
                async move {
                    let mut results = Vec::new();
                    for record in records {
                        let result = inner.publish(vec![record]).await.remove(0);
                        if result.is_err() {
                            let _ = inner.recover().await;
                        }
                        results.push(result);
                    }
                    results
                }
                .boxed()
            }
            _ => {
                let neighbours = Arc::clone(&self.neighbours);
                let refused = |id: &EventId| neighbours.lock().unwrap().contains(id);
                if let [id] = &ids[..]
                    && refused(id)
                {
                    let error = Error::new(ErrorKind::TooLarge, "publish");
                    return futures::future::ready(vec![Err(error)]).boxed();
                }
                let published = self.inner.publish(records);
                async move {
                    let results = published.await;
                    let is_refusal = |result: &Result<Receipt>| {
                        result.as_ref().is_err_and(|error| error.kind() == ErrorKind::TooLarge)
                    };
                    if results.iter().any(is_refusal) {
                        let beside = ids.iter().zip(&results);
                        let beside = beside.filter(|(_, result)| !is_refusal(result));
                        neighbours.lock().unwrap().extend(beside.map(|(id, _)| *id));
                    }
                    results
                }
                .boxed()
            }
        }
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.recover()
    }
}

#[async_trait]
impl OutboxStore for Between<dyn OutboxStore> {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        let acquired = self.inner.acquire(relay, ttl).await?;
        if let Acquired::Held(lease) = &acquired {
            *self.lease.lock().unwrap() = Some(lease.clone());
        }
        Ok(acquired)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.inner.release(lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        let inner = self.inner.reader().await?;
        let (store, bug) = (Arc::clone(&self.inner), self.bug);
        let lease = self.lease.lock().unwrap().clone();
        Ok(Box::new(ReaderBetween { inner, store, bug, lease, last: i64::MIN }))
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        self.inner.settle(lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        self.inner.stats().await
    }
}

struct ReaderBetween {
    inner: Box<dyn OutboxReader>,
    store: Arc<dyn OutboxStore>,
    bug: Bug,
    lease: Option<Lease>,
    last: i64,
}

#[async_trait]
impl OutboxReader for ReaderBetween {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        let mut rows = self.inner.read(request).await?;
        match self.bug {
            Bug::ParkForgottenOnTakeover => {
                rows.iter_mut().for_each(|row| row.parked = false);
            }
            Bug::PlainCursor => {
                rows.retain(|row| row.event.position > self.last);
                self.last = rows.last().map_or(self.last, |row| row.event.position);
            }
            _ => {
                let lease = self.lease.clone().unwrap();
                let topic = relaybox_core::TopicName::new("settled-at-once").unwrap();
                let mut settlement = Settlement::default();
                settlement.published.extend(rows.iter().map(|row| {
                    let receipt = Receipt::unnumbered();
                    relaybox_core::Published::new(row.event, topic.clone(), receipt)
                }));
                self.store.settle(&lease, &settlement).await?;
            }
        }
        Ok(rows)
    }

    fn forget(&mut self, settled: &[EventRef]) {
        self.inner.forget(settled);
    }

    fn rewind(&mut self) {
        self.inner.rewind();
    }
}
