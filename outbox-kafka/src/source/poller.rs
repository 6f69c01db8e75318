//! The thread that keeps the membership while handlers are slow.
//!
//! It serves librdkafka's events, goes back to where a batch was released, and has offsets committed. Records don't
//! pass through it: `receive` takes them from librdkafka's own queues, whose bounds hold the broker
//! back.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use rdkafka::{
    Message, Offset,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use relaybox_core::{ErrorKind, Result, TopicName};

use super::{
    assignment::Place,
    committer::Committer,
    context::{Context, commit_now},
    offsets::Question,
    shared::Shared,
};
use crate::error;

/// How often it looks when nothing wakes it, and how long acknowledgements are gathered.
const TICK: Duration = Duration::from_millis(100);
/// How long going back may take; it asks nobody but librdkafka's own threads.
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long finding out where to begin may take, and how long it rests after a failure.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How long closing tries to commit while the group rebalances. Leaving may take the rest of what `close`
/// waits: librdkafka gives it 5 s (`rd_kafka_LeaveGroupRequest`), and takes them when it waits to join at
/// that moment, for a broker reads a connection's next request when it has answered the one before.
const LAST_COMMIT: Duration = Duration::from_millis(2500);
/// How long closing waits for a question about figures that is under way.
const LAST_QUESTION: Duration = Duration::from_secs(6);

pub(super) struct Poller {
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    committer: Committer,
    next_commit: Instant,
    /// Where a group begins that has no offset; `None`: librdkafka knows.
    start_time: Option<DateTime<Utc>>,
    next_look: Instant,
}

impl Poller {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        shared: Arc<Shared>,
        committer: Committer,
        start_time: Option<DateTime<Utc>>,
    ) -> Self {
        let now = Instant::now();
        Self { consumer, shared, committer, next_commit: now, start_time, next_look: now }
    }

    /// Works until the source is closed.
    pub(super) fn run(mut self) {
        while !self.shared.lock().closing {
            self.serve();
            if let Some(time) = self.start_time {
                self.place(time);
            }
            self.rewind();
            self.commit();
            self.shared.bell.wait(TICK);
        }
        let Self { consumer, shared, committer, .. } = self;
        drop(committer);
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

    /// Finds out where partitions begin that were assigned since. Not while they are assigned: the
    /// whole group would wait.
    fn place(&mut self, time: DateTime<Utc>) {
        if Instant::now() < self.next_look {
            return;
        }
        let unplaced = self.shared.lock().assignment.unplaced();
        if unplaced.is_empty() {
            return;
        }
        let places: Vec<_> = unplaced.iter().map(|(place, _)| place.clone()).collect();
        match begins(&self.consumer, &places, time) {
            Ok(begins) => {
                if begins.len() < places.len() {
                    self.next_look = Instant::now() + LOOK_PAUSE;
                }
                let mut state = self.shared.lock();
                for (place, generation) in unplaced {
                    if let Some(begin) = begins.get(&place) {
                        state.assignment.place(&place, generation, *begin);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not find out where to begin; trying again");
                self.next_look = Instant::now() + LOOK_PAUSE;
            }
        }
        self.shared.news.notify_waiters();
    }

    fn rewind(&self) {
        let rewinds = self.shared.lock().assignment.rewinds();
        for (place, generation, offset) in rewinds {
            let (topic, number) = (place.0.as_str(), place.1);
            match self.consumer.seek(topic, number, Offset::Offset(offset), SEEK_TIMEOUT) {
                Ok(()) => self.shared.lock().assignment.rewound(&place, generation, offset),
                // It doesn't fetch yet.
                Err(KafkaError::Seek(reason)) if reason == Code::State.to_string() => {}
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
        let waits = now < self.next_commit || paused || self.committer.is_busy();
        if waits || !state.assignment.has_uncommitted() {
            return;
        }
        let offsets = state.assignment.take_uncommitted();
        drop(state);
        self.next_commit = now + TICK;
        self.committer.commit(offsets);
    }
}

/// Where partitions begin; `None` where the group has been already. Those that no answer came for are
/// missing.
fn begins(
    consumer: &BaseConsumer<Context>,
    places: &[Place],
    time: DateTime<Utc>,
) -> Result<BTreeMap<Place, Option<relaybox_core::Offset>>> {
    let question =
        Question::new("find the time to begin at", consumer, Instant::now() + LOOK_TIMEOUT);
    let mut begins = BTreeMap::new();
    let mut fresh = Vec::new();
    for (place, committed) in question.committed(places)? {
        match committed {
            Some(_) => drop(begins.insert(place, None)),
            None => fresh.push(place),
        }
    }
    // The ends first: a record that comes between the questions is found by its time, or is behind
    // the end that we know.
    let ends = question.at(&fresh, Offset::End)?;
    for (place, found) in question.at(&fresh, Offset::Offset(time.timestamp_millis().max(0)))? {
        let end = ends.get(&place).copied().flatten();
        if let Some(begin) = found.or(end) {
            begins.insert(place, Some(begin));
        }
    }
    Ok(begins)
}

/// Commits what was acknowledged, and leaves the group.
fn leave(consumer: Arc<BaseConsumer<Context>>, shared: &Shared) -> Result<()> {
    let offsets = {
        let mut state = shared.lock();
        let places = state.assignment.places();
        state.assignment.remove(&places)
    };
    let committed = commit_now(&consumer, &offsets, LAST_COMMIT);
    // Somebody may ask it for figures at this moment, or a commit be under way; whoever is last closes it.
    let deadline = Instant::now() + LAST_QUESTION;
    while Arc::strong_count(&consumer) > 1 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    // The queues held the consumer, too, and are gone: this closes it.
    drop(consumer);
    committed
}
