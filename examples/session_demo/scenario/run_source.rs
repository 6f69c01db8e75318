//! A source that shows this run's records only, and counts them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use relaybox::{
    Delivery, ErrorKind, EventSource, Failure, Label, Offset, Partition, Received, Redelivery,
    Result, SourceStats, async_trait,
};

/// A source without the records of earlier runs, which a real topic still has.
///
/// A service handles whatever is in its topic. This demo has an empty database each time, and its
/// ledgers know nothing of earlier runs.
pub(crate) struct RunSource<S> {
    source: S,
    /// What the records of this run have as `ce_source`.
    run: Label,
    delivered: Delivered,
    /// The batches that are out.
    batches: Mutex<HashMap<Partition, Batch>>,
}

struct Batch {
    /// What of it was shown and is not done.
    shown: Vec<Offset>,
    /// The last there was.
    last: Offset,
}

impl Batch {
    /// Counts what is done; gives what that means for the whole batch.
    fn acknowledge(&mut self, through: Offset, delivered: &Delivered) -> Offset {
        let before = self.shown.len();
        self.shown.retain(|offset| *offset > through);
        delivered.0.fetch_add((before - self.shown.len()) as u64, Ordering::Relaxed);
        // What follows the last that was shown is not for the consumer to know of.
        if self.shown.is_empty() { self.last } else { through }
    }
}

/// How many records of this run the consumers are done with, repeats included.
///
/// What a consumer was given and gave back untouched, because it was stopped, does not count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivered(Arc<AtomicU64>);

impl Delivered {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S: EventSource> RunSource<S> {
    pub(crate) fn new(source: S, run: Label, delivered: Delivered) -> Self {
        Self { source, run, delivered, batches: Mutex::default() }
    }

    fn is_ours(&self, delivery: &Delivery) -> bool {
        let mut headers = delivery.headers();
        headers.any(|(name, value)| name == "ce_source" && value == self.run.as_str().as_bytes())
    }

    fn batches(&self) -> MutexGuard<'_, HashMap<Partition, Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<S: EventSource> EventSource for RunSource<S> {
    async fn receive(&self) -> Result<Received> {
        loop {
            let (partition, mut deliveries) = match self.source.receive().await? {
                Received::Batch { partition, deliveries } => (partition, deliveries),
                revoked @ Received::Revoked(_) => return Ok(revoked),
            };
            let Some(last) = deliveries.last().map(|delivery| delivery.offset) else { continue };
            deliveries.retain(|delivery| self.is_ours(delivery));
            if !deliveries.is_empty() {
                let shown = deliveries.iter().map(|delivery| delivery.offset).collect();
                self.batches().insert(partition.clone(), Batch { shown, last });
                return Ok(Received::Batch { partition, deliveries });
            }
            match self.source.acknowledge(&partition, last).await {
                // Taken away meanwhile: somebody else passes over it.
                Err(error) if error.kind() != ErrorKind::Revoked => return Err(error),
                _ => {}
            }
        }
    }

    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()> {
        let through = match self.batches().get_mut(partition) {
            Some(batch) => batch.acknowledge(through, &self.delivered),
            None => through,
        };
        self.source.acknowledge(partition, through).await
    }

    async fn release(&self, partition: &Partition) -> Result<()> {
        self.batches().remove(partition);
        self.source.release(partition).await
    }

    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()> {
        self.source.dead_letter(delivery, failure).await
    }

    fn redelivery(&self) -> Option<&dyn Redelivery> {
        self.source.redelivery()
    }

    async fn stats(&self) -> Result<SourceStats> {
        self.source.stats().await
    }

    async fn close(&self) -> Result<()> {
        self.source.close().await
    }
}
