//! One partition, as long as an assignment lasts: what is known of it, and its batches.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Shared, pace::Pace, progress::Progress, strand::Strand};
use crate::{
    Delivery, Error, EventSource, GiveUp, GivenUpAt, Offset, Partition, ProcessedEventStore,
    Result, error_chain,
};

/// How often a consumer may begin at the same place before it goes on carefully.
const UNCLEAN_STARTS: u32 = 2;
/// For how many deliveries it is careful. It commits offsets meanwhile: a process that dies beyond
/// them begins at another place.
const CAREFUL_DELIVERIES: usize = 1000;
/// How long noting an orderly stop may take: whoever waits for the partition waits for that, too.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Tells a lane to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// Finish the transaction under way, begin no other.
    pub(super) soft: CancellationToken,
    /// Drop the transaction under way.
    pub(super) hard: CancellationToken,
}

/// A partition as its assignment lasts.
pub(super) struct Lane<S, P: ProcessedEventStore> {
    pub(super) partition: Partition,
    pub(super) shared: Arc<Shared<S, P>>,
    pub(super) pace: Pace,
    /// What earlier consumers left; asked once.
    past: Option<Past>,
}

/// What earlier consumers of a partition left.
struct Past {
    /// What was given up on and may be delivered again, by place.
    given_up: Mutex<HashMap<Offset, GivenUpAt>>,
    /// For how many deliveries each attempt is noted before it is made, because whoever was here before
    /// died, and more than once.
    careful: AtomicUsize,
}

/// Why a batch was not finished.
pub(super) enum Abandoned {
    Stopped,
    Final(Error),
}

impl Abandoned {
    fn is_final(&self) -> bool {
        matches!(self, Self::Final(_))
    }
}

impl<S: EventSource, P: ProcessedEventStore> Lane<S, P> {
    pub(super) fn new(shared: Arc<Shared<S, P>>, partition: Partition) -> Self {
        let pace = Pace::new(shared.settings.max_batch);
        Self { partition, shared, pace, past: None }
    }

    /// Handles a batch and acknowledges it, or as much of it as was done when it was stopped.
    ///
    /// # Errors
    /// What only a person can mend.
    pub(super) async fn handle(&mut self, deliveries: Vec<Delivery>, stop: &Stop) -> Result<()> {
        let ended = tokio::select! {
            biased;
            () = stop.hard.cancelled() => Err(Abandoned::Stopped),
            ended = self.work(&deliveries, stop) => ended,
        };
        let Err(why) = ended else { return Ok(()) };
        self.leave().await;
        match why {
            Abandoned::Stopped => Ok(()),
            Abandoned::Final(error) => Err(error),
        }
    }

    async fn work(&mut self, deliveries: &[Delivery], stop: &Stop) -> Result<(), Abandoned> {
        let Some(first) = deliveries.first() else { return Ok(()) };
        if self.past.is_none() {
            self.past = Some(self.look_back(first, stop).await?);
        }
        let (lane, progress) = (&*self, &Progress::new(deliveries.len()));
        let strands = if lane.is_careful() { 1 } else { lane.shared.settings.concurrency };
        let mut shares = vec![Vec::new(); strands];
        for (index, delivery) in deliveries.iter().enumerate() {
            shares[share(delivery, strands)].push((index, delivery));
        }
        let shares = shares.into_iter().filter(|share| !share.is_empty());
        let strands = shares.map(async |share| {
            let ended = Strand::new(lane, deliveries, progress, stop).handle(share).await;
            if ended.is_err() {
                // The others finish what they are at.
                stop.soft.cancel();
            }
            ended
        });
        let ended = join_all(strands).await;
        // What only a person can mend is not to be hidden by a mere stop.
        let worst = ended.into_iter().filter_map(Result::err).max_by_key(Abandoned::is_final);
        worst.map_or(Ok(()), Err)
    }

    /// Asks what was given up on here, and how often a consumer began here.
    async fn look_back(&self, first: &Delivery, stop: &Stop) -> Result<Past, Abandoned> {
        let (name, inbox) = (&self.shared.settings.name, &self.shared.inbox);
        // Places that are no offsets are in no order.
        let from = if first.place == first.offset { first.place } else { Offset::MIN };
        let mut patience = self.shared.patience();
        let given_up = loop {
            match inbox.given_up(name, &self.partition, from).await {
                Ok(known) => break known.into_iter().map(|at| (at.offset, at)).collect(),
                Err(error) => patience.pause(&self.shared, error, stop).await?,
            }
        };
        let starts = loop {
            match inbox.started(name, &self.partition, first.place).await {
                Ok(starts) => break starts,
                Err(error) => patience.pause(&self.shared, error, stop).await?,
            }
        };
        let careful = if starts > UNCLEAN_STARTS { CAREFUL_DELIVERIES } else { 0 };
        if careful > 0 {
            warn!(
                consumer = %name,
                partition = %self.partition,
                offset = first.offset,
                starts,
                "whoever handled this partition died here before; handling it record by record"
            );
        }
        Ok(Past { given_up: Mutex::new(given_up), careful: AtomicUsize::new(careful) })
    }

    /// Whether each attempt is to be noted before it is made.
    pub(super) fn is_careful(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.careful.load(Ordering::Relaxed) > 0)
    }

    /// How far giving up on a delivery had come before.
    pub(super) fn given_up_before(&self, delivery: &Delivery) -> Option<GiveUp> {
        let known = self.past.as_ref()?.lock().get(&delivery.place).copied()?;
        (known.fingerprint == delivery.fingerprint()).then_some(known.progress)
    }

    /// Remembers what was given up on, until it is acknowledged.
    pub(super) fn remember(&self, at: GivenUpAt) {
        if let Some(past) = &self.past {
            past.lock().insert(at.offset, at);
        }
    }

    /// Acknowledges all that everything before is done with, too.
    pub(super) async fn done(
        &self,
        deliveries: &[Delivery],
        progress: &Progress,
        indexes: impl IntoIterator<Item = usize> + Send,
    ) -> Result<(), Abandoned> {
        let done = &deliveries[progress.done(indexes)];
        let Some(through) = done.last().map(|last| last.offset) else { return Ok(()) };
        if let Err(error) = self.shared.source.acknowledge(&self.partition, through).await {
            // It will be delivered again, and known as a repeat.
            debug!(partition = %self.partition, error = error_chain(&error), "not acknowledged");
            return Err(Abandoned::Stopped);
        }
        if let Some(past) = &self.past {
            past.acknowledged(done);
        }
        Ok(())
    }

    /// Gives the partition's batch back, and notes that this was no crash.
    async fn leave(&self) {
        self.note_stop().await;
        release(&self.shared, &self.partition).await;
    }

    /// Notes that whoever is next on this partition doesn't follow a crash.
    pub(super) async fn note_stop(&self) {
        if self.past.is_none() {
            return;
        }
        let (name, inbox) = (&self.shared.settings.name, &self.shared.inbox);
        match tokio::time::timeout(STOP_PATIENCE, inbox.stopped(name, &self.partition)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                debug!(partition = %self.partition, error = error_chain(&error), "stop not noted");
            }
            Err(_) => debug!(partition = %self.partition, "stop not noted in time"),
        }
    }
}

impl Past {
    fn lock(&self) -> MutexGuard<'_, HashMap<Offset, GivenUpAt>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledged(&self, deliveries: &[Delivery]) {
        let mut given_up = self.lock();
        if !given_up.is_empty() {
            for delivery in deliveries {
                given_up.remove(&delivery.place);
            }
        }
        let left = self.careful.load(Ordering::Relaxed);
        self.careful.store(left.saturating_sub(deliveries.len()), Ordering::Relaxed);
    }
}

/// Which of so many strands a delivery belongs to: deliveries of a key to the same one.
fn share(delivery: &Delivery, strands: usize) -> usize {
    if strands == 1 {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    match &delivery.key {
        Some(key) => key.hash(&mut hasher),
        None => delivery.offset.hash(&mut hasher),
    }
    // Less than `strands`, so it fits.
    usize::try_from(hasher.finish() % strands as u64).unwrap_or_default()
}

/// Gives a partition's batch back; the broker delivers the rest of it again.
pub(super) async fn release<S: EventSource, P: ProcessedEventStore>(
    shared: &Shared<S, P>,
    partition: &Partition,
) {
    if let Err(error) = shared.source.release(partition).await {
        debug!(%partition, error = error_chain(&error), "not released");
    }
}
