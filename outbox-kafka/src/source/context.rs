//! librdkafka's callbacks: assignments, commits, errors.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use relaybox_core::{Result, TopicName};

use super::{assignment::Place, shared::Shared};
use crate::{client::Monitor, error};

/// How long a commit is tried before partitions are given up while the group rebalances, and how often.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
const COMMIT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the callbacks; all but the logs come on the poller's thread.
pub(super) struct Context {
    shared: Arc<Shared>,
    monitor: Monitor,
    /// How long a partition waits for its batch before it is given up.
    handover: Duration,
    consumer: OnceLock<Weak<BaseConsumer<Context>>>,
    /// The last error in words; the poll that follows gives its code.
    reason: Mutex<Option<String>>,
    /// How often anything was called: a poll that gave no message may have done something.
    calls: AtomicU64,
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>, monitor: Monitor, handover: Duration) -> Self {
        let (consumer, calls) = (OnceLock::new(), AtomicU64::new(0));
        Self { shared, monitor, handover, consumer, reason: Mutex::default(), calls }
    }

    /// Tells whose callbacks these are. Before the first subscription.
    pub(super) fn introduce(&self, consumer: &Arc<BaseConsumer<Context>>) {
        // An error says that it is known already.
        drop(self.consumer.set(Arc::downgrade(consumer)));
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    pub(super) fn take_reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn assign(&self, list: &TopicPartitionList) {
        // None while the consumer closes: what is assigned then is revoked at once.
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return };
        self.monitor.accepted();
        for place in places(list) {
            let Some(mut queue) = consumer.split_partition_queue(place.0.as_str(), place.1) else {
                continue;
            };
            let ready = Arc::new(AtomicBool::new(true));
            let (flag, shared) = (Arc::clone(&ready), Arc::downgrade(&self.shared));
            // Runs under a lock of librdkafka's, so it takes none of ours.
            queue.set_nonempty_callback(move || {
                flag.store(true, Ordering::Release);
                if let Some(shared) = shared.upgrade() {
                    shared.news.notify_waiters();
                }
            });
            self.shared.lock().assignment.add(place, queue, ready);
        }
        self.shared.news.notify_waiters();
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let places = places(list);
        // Lost: others may have them already, so there is nothing to wait for or to commit.
        let lost = consumer.assignment_lost();
        let deadline = Instant::now() + self.handover;
        let mut state = self.shared.lock();
        state.assignment.begin_leaving(&places);
        self.shared.news.notify_waiters();
        while !lost && !state.closing && state.assignment.any_out(&places) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(
                    "gave up partitions whose batch was neither acknowledged nor released"
                );
                break;
            }
            state = self.shared.wait(state, left);
        }
        let offsets = state.assignment.remove(&places);
        drop(state);
        if lost {
            tracing::warn!(partitions = places.len(), "partitions were lost to the group");
        } else if let Err(error) = commit_now(consumer, &offsets, COMMIT_PATIENCE) {
            tracing::warn!(%error, "could not commit before giving up partitions");
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.called();
        self.monitor.forward(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.called();
        self.monitor.note(&error, reason);
        let reason = self.monitor.readable(reason);
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.called();
        match rebalance {
            Rebalance::Assign(list) => self.assign(list),
            Rebalance::Revoke(list) => self.revoke(consumer, list),
            Rebalance::Error(error) => {
                let error = error::convert("join the group", error.clone());
                self.shared.report(error);
            }
        }
    }
}

/// Commits, and waits for the broker's answer.
///
/// While the group is on its way to another assignment the broker takes no offsets, but it will: it is tried
/// again for so long.
pub(super) fn commit_now(
    consumer: &BaseConsumer<Context>,
    offsets: &TopicPartitionList,
    patience: Duration,
) -> Result<()> {
    if offsets.count() == 0 {
        return Ok(());
    }
    let deadline = Instant::now() + patience;
    loop {
        let Err(error) = consumer.commit(offsets, CommitMode::Sync) else { return Ok(()) };
        let rebalancing = matches!(
            error.rdkafka_error_code(),
            Some(Code::RebalanceInProgress | Code::IllegalGeneration)
        );
        // Not once others may have the partitions: their offsets must stay.
        if !rebalancing || consumer.assignment_lost() || Instant::now() >= deadline {
            return Err(error::convert("commit offsets", error));
        }
        thread::sleep(COMMIT_PAUSE);
    }
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    // The group gives what was subscribed to, and those names are valid.
    list.elements()
        .iter()
        .filter_map(|element| {
            Some((TopicName::new(element.topic().to_owned()).ok()?, element.partition()))
        })
        .collect()
}
