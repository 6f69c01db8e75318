//! How far one side has come, and when.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use relaybox::{
    Delivery, Error, EventSource, Failure, Offset, Partition, Received, Redelivery, SourceStats,
    async_trait,
};
use tokio::sync::watch;

type Result<T> = std::result::Result<T, Error>;

/// How long nothing may happen before the row fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is acknowledged of a topic, whose partitions begin at offset 0 and have no gaps; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<State>);

#[derive(Default)]
struct State {
    /// When the first record was there.
    begun: OnceLock<Instant>,
    /// The next offset of each partition.
    positions: Mutex<BTreeMap<i32, Offset>>,
    acknowledged: watch::Sender<u64>,
}

impl Progress {
    /// Says that there is a record.
    pub(crate) fn begin(&self) {
        self.0.begun.get_or_init(Instant::now);
    }

    /// Says that a partition is done up to and with an offset.
    pub(crate) fn acknowledge(&self, partition: i32, through: Offset) {
        let mut positions = self.0.positions.lock().unwrap();
        let position = positions.entry(partition).or_default();
        *position = (through + 1).max(*position);
        self.0.acknowledged.send_replace(positions.values().sum::<Offset>().cast_unsigned());
    }

    /// The next offset of each partition.
    pub(crate) fn positions(&self) -> BTreeMap<i32, Offset> {
        self.0.positions.lock().unwrap().clone()
    }

    /// Waits until so many records are acknowledged; gives the seconds since the first was there.
    pub(crate) async fn done(&self, records: u64) -> f64 {
        let mut acknowledged = self.0.acknowledged.subscribe();
        while *acknowledged.borrow_and_update() < records {
            let changed = tokio::time::timeout(PATIENCE, acknowledged.changed()).await;
            let seen = *acknowledged.borrow();
            assert!(changed.is_ok(), "nothing happens after {seen} of {records} records");
        }
        self.0.begun.get().unwrap().elapsed().as_secs_f64()
    }
}

/// A source that says how far it has come.
pub(crate) struct Observed<S> {
    pub(crate) inner: S,
    pub(crate) progress: Progress,
}

#[async_trait]
impl<S: EventSource> EventSource for Observed<S> {
    async fn receive(&self) -> Result<Received> {
        let received = self.inner.receive().await;
        self.progress.begin();
        received
    }

    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()> {
        self.inner.acknowledge(partition, through).await?;
        self.progress.acknowledge(partition.number, through);
        Ok(())
    }

    async fn release(&self, partition: &Partition) -> Result<()> {
        self.inner.release(partition).await
    }

    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()> {
        panic!("{delivery:?} is given up on: {failure:?}")
    }

    fn redelivery(&self) -> Option<&dyn Redelivery> {
        self.inner.redelivery()
    }

    async fn stats(&self) -> Result<SourceStats> {
        self.inner.stats().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
