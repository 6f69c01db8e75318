//! The thread that keeps the membership while handlers are slow.
//!
//! It serves librdkafka's events, goes back to where a batch was released, and commits. Records don't
//! pass through it: `receive` takes them from librdkafka's own queues, whose bounds hold the broker
//! back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
};
use relaybox_core::{ErrorKind, Result, TopicName};

use super::{
    context::{Context, commit_now},
    shared::Shared,
};
use crate::error;

/// How often it looks when nothing wakes it, and how long acknowledgements are gathered.
const TICK: Duration = Duration::from_millis(100);
/// How long going back may take; it asks nobody but librdkafka's own threads.
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Poller {
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    next_commit: Instant,
}

impl Poller {
    pub(super) fn new(consumer: Arc<BaseConsumer<Context>>, shared: Arc<Shared>) -> Self {
        Self { consumer, shared, next_commit: Instant::now() }
    }

    /// Works until the source is closed.
    pub(super) fn run(mut self) {
        while !self.shared.lock().closing {
            self.serve();
            self.rewind();
            self.commit();
            self.shared.bell.wait(TICK);
        }
        let Self { consumer, shared, .. } = self;
        let committed = leave(consumer, &shared);
        shared.lock().closed = Some(committed);
        shared.news.notify_waiters();
    }

    /// Serves all events that wait.
    fn serve(&self) {
        let context = Arc::clone(self.consumer.client().context());
        loop {
            let calls = context.calls();
            match self.consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    if let Ok(topic) = TopicName::new(message.topic().to_owned()) {
                        let place = (topic, message.partition());
                        self.shared.lock().assignment.stray(&place, message.offset());
                    }
                }
                Some(Err(error)) => self.report(&context, error),
                None if context.calls() == calls => return,
                None => {}
            }
        }
    }

    fn report(&self, context: &Context, error: KafkaError) {
        if let KafkaError::PartitionEOF(_) = error {
            return;
        }
        let mut error = error::convert("receive from Kafka", error);
        if let Some(reason) = context.take_reason() {
            error = error.detail(reason);
        }
        if error.kind() == ErrorKind::Authentication {
            // The context has heard the reason. Without one the connection merely broke off.
            let Some(refusal) = context.monitor().refusal("receive from Kafka") else { return };
            error = refusal;
        }
        self.shared.report(error);
    }

    fn rewind(&self) {
        let rewinds = self.shared.lock().assignment.rewinds();
        for (place, generation, offset) in rewinds {
            let (topic, number) = (place.0.as_str(), place.1);
            match self.consumer.seek(topic, number, Offset::Offset(offset), SEEK_TIMEOUT) {
                Ok(()) => self.shared.lock().assignment.rewound(&place, generation, offset),
                Err(error) => {
                    tracing::warn!(%error, topic, number, "could not go back; trying again")
                }
            }
            self.shared.news.notify_waiters();
        }
    }

    fn commit(&mut self) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let paused = state.no_commit_before.is_some_and(|until| now < until);
        if now < self.next_commit || paused || !state.assignment.has_uncommitted() {
            return;
        }
        let offsets = state.assignment.take_uncommitted();
        drop(state);
        self.next_commit = now + TICK;
        if let Err(error) = self.consumer.commit(&offsets, CommitMode::Async) {
            tracing::warn!(%error, "could not commit offsets; trying again");
            self.shared.lock().commit_failed(&offsets);
        }
    }
}

/// Commits what was acknowledged, and leaves the group.
fn leave(consumer: Arc<BaseConsumer<Context>>, shared: &Shared) -> Result<()> {
    let offsets = {
        let mut state = shared.lock();
        let places = state.assignment.places();
        state.assignment.remove(&places)
    };
    let committed = commit_now(&consumer, &offsets);
    // The queues held the consumer, too, and are gone: this closes it.
    drop(consumer);
    committed
}
