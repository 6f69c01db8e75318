//! A store and a bus that say what they see.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use relaybox::{
    Acquired, Error, EventBus, Lease, OutboxReader, OutboxStats, OutboxStore, Receipt, Record,
    RelayId, Settled, Settlement, async_trait,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::load::now_micros;

type Result<T> = std::result::Result<T, Error>;

/// What was seen so far.
#[derive(Clone)]
pub(crate) struct Seen {
    since: Instant,
    leased: watch::Sender<bool>,
    settled: watch::Sender<u64>,
    timeline: Arc<Mutex<Vec<(u64, f64)>>>,
    acknowledged: Arc<Mutex<Vec<(Uuid, i64)>>>,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            leased: watch::Sender::new(false),
            settled: watch::Sender::new(0),
            timeline: Arc::default(),
            acknowledged: Arc::default(),
        }
    }

    /// Waits until the relay holds the lease.
    pub(crate) async fn leased(&self) {
        self.leased.subscribe().wait_for(|leased| *leased).await.unwrap();
    }

    /// Waits until so many events were published and settled.
    pub(crate) async fn settled(&self, events: u64) {
        self.settled.subscribe().wait_for(|settled| *settled >= events).await.unwrap();
    }

    /// How many were settled at which second, from the beginning.
    pub(crate) fn timeline(&self) -> Vec<(u64, f64)> {
        self.timeline.lock().unwrap().clone()
    }

    /// The events acknowledged since the last call, and when, in microseconds of the epoch.
    pub(crate) fn take_acknowledged(&self) -> Vec<(Uuid, i64)> {
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }
}

/// Says what was settled.
pub(crate) struct ObservedStore<S> {
    pub(crate) inner: S,
    pub(crate) seen: Seen,
}

#[async_trait]
impl<S: OutboxStore> OutboxStore for ObservedStore<S> {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        let acquired = self.inner.acquire(relay, ttl).await;
        if matches!(acquired, Ok(Acquired::Held(_))) {
            self.seen.leased.send_replace(true);
        }
        acquired
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.inner.release(lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        self.inner.reader().await
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        let settled = self.inner.settle(lease, settlement).await?;
        let Seen { since, timeline, settled: count, .. } = &self.seen;
        assert_eq!((settled.dead, settled.parked), (0, 0), "the broker refuses nothing here");
        count.send_modify(|count| *count += settled.published);
        timeline.lock().unwrap().push((*count.borrow(), since.elapsed().as_secs_f64()));
        Ok(settled)
    }

    async fn stats(&self) -> Result<OutboxStats> {
        self.inner.stats().await
    }
}

/// Says when what was acknowledged.
///
/// Each record is handed over by itself, in order: of several that are handed over together it is only
/// known when the last of them was acknowledged.
pub(crate) struct ObservedBus<B> {
    pub(crate) inner: B,
    pub(crate) seen: Seen,
}

impl<B: EventBus> EventBus for ObservedBus<B> {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        let each = records.into_iter().map(|record| {
            let id = record.envelope.event_id.as_uuid();
            let (results, seen) = (self.inner.publish(vec![record]), self.seen.clone());
            async move {
                let results = results.await;
                if results.iter().all(Result::is_ok) {
                    seen.acknowledged.lock().unwrap().push((id, now_micros()));
                }
                results
            }
        });
        let each = join_all(each.collect::<Vec<_>>());
        each.map(|results| results.into_iter().flatten().collect()).boxed()
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.recover()
    }
}
