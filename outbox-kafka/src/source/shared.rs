//! What the source's callers, its poller and librdkafka's callbacks share.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::TopicPartitionList;
use relaybox_core::{Error, Result};
use tokio::sync::Notify;

use super::assignment::Assignment;

/// How long commits rest after one failed.
const COMMIT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told when a batch was acknowledged or released: a rebalance may wait for it.
    settled: Condvar,
    /// Told when `receive` or `close` should look again.
    pub(super) news: Notify,
    pub(super) bell: Bell,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) assignment: Assignment,
    pub(super) closing: bool,
    /// The poller is gone; with how the last commit went, until somebody took that.
    pub(super) closed: Option<Result<()>>,
    pub(super) no_commit_before: Option<Instant>,
}

impl Shared {
    pub(super) fn new(assignment: Assignment) -> Self {
        let state = State { assignment, ..State::default() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a batch is settled, or for so long.
    pub(super) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        timeout: Duration,
    ) -> MutexGuard<'a, State> {
        self.settled.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn settled(&self) {
        self.settled.notify_all();
        self.bell.ring();
        self.news.notify_waiters();
    }

    pub(super) fn report(&self, error: Error) {
        self.lock().assignment.report(error);
        self.news.notify_waiters();
    }

    pub(super) fn begin_close(&self) {
        self.lock().closing = true;
        self.settled();
    }
}

impl State {
    pub(super) fn commit_failed(&mut self, offsets: &TopicPartitionList) {
        self.assignment.commit_failed(offsets);
        self.no_commit_before = Some(Instant::now() + COMMIT_PAUSE);
    }
}

/// Wakes the poller.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    /// May be called under any lock: it takes but its own, and briefly.
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Waits until it rings, or for so long.
    pub(super) fn wait(&self, timeout: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .changed
            .wait_timeout_while(rung, timeout, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}
