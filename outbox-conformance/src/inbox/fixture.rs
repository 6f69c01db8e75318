//! An inbox of a promise's own, and what is done with one again and again.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use relaybox_core::{
    ConsumerName, ErrorKind, EventId, Failure, GivenUpAt, Mark, Offset, Partition, TopicName,
};

use crate::{
    InboxFactory, ProcessedEventStore,
    run::{bounded, name_of, passed_over},
    store::ok,
};

/// Longer than any transaction here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// One inbox under test.
pub(crate) struct Fixture<'a, F: InboxFactory> {
    promise: &'static str,
    pub(crate) factory: &'a F,
    pub(crate) database: F::Database,
    pub(crate) inbox: F::Inbox,
}

/// Runs a promise on an inbox of its own, which is removed even when the promise is broken.
pub(crate) async fn on_inbox<F: InboxFactory>(
    factory: &F,
    promise: impl AsyncFnOnce(&Fixture<'_, F>),
) {
    let Some(database) = factory.create().await else { return };
    let fixture =
        Fixture { promise: name_of(&promise), factory, inbox: factory.inbox(&database), database };
    let result = bounded(promise(&fixture)).await;
    factory.destroy(fixture.database).await;
    if let Err(broken) = result {
        std::panic::resume_unwind(broken);
    }
}

impl<F: InboxFactory> Fixture<'_, F> {
    /// Says that the promise is not tested, and why.
    pub(crate) fn passed_over(&self, why: &str) {
        passed_over(self.promise, why);
    }

    pub(crate) async fn begin(&self) -> F::Tx {
        ok("beginning a transaction", self.inbox.begin(LIMIT).await)
    }

    pub(crate) async fn mark(&self, tx: &mut F::Tx, events: &[EventId]) -> Vec<Mark> {
        ok("marking", self.inbox.mark(tx, &consumer(), events).await)
    }

    pub(crate) async fn commit(&self, tx: F::Tx) {
        ok("committing", self.inbox.commit(tx).await);
    }

    pub(crate) async fn rollback(&self, tx: F::Tx) {
        ok("rolling back", self.inbox.rollback(tx).await);
    }

    /// What a transaction that begins now is told about an event; it is rolled back.
    pub(crate) async fn look(&self, event: EventId) -> Mark {
        let mut tx = self.begin().await;
        let mark = self.mark(&mut tx, &[event]).await[0];
        self.rollback(tx).await;
        mark
    }

    pub(crate) async fn effects(&self) -> u64 {
        self.factory.effects(&self.database).await
    }

    pub(crate) async fn give_up(&self, number: i32, at: GivenUpAt) {
        ok("giving up", self.inbox.give_up(&partition(number), at, &failure(&consumer())).await);
    }

    pub(crate) async fn started(&self, number: i32, place: Offset) -> u32 {
        let started = self.inbox.started(&consumer(), &partition(number), place).await;
        ok("noting a start", started)
    }

    pub(crate) async fn attempted(&self, number: i32, place: Offset) -> u32 {
        let attempted = self.inbox.attempted(&consumer(), &partition(number), place).await;
        ok("noting an attempt", attempted)
    }

    pub(crate) async fn known(&self, events: &[EventId]) -> Vec<Mark> {
        ok("looking up marks", self.inbox.known(&consumer(), events).await)
    }

    /// What a consumer gave up on in a partition, by offset.
    pub(crate) async fn given_up(&self, number: i32, from: i64) -> Vec<GivenUpAt> {
        let known = self.inbox.given_up(&consumer(), &partition(number), from).await;
        let mut known = ok("looking up what was given up on", known);
        known.sort_unstable_by_key(|at| at.offset);
        known
    }
}

pub(crate) fn consumer() -> ConsumerName {
    ConsumerName::new("notifications").expect("valid")
}

pub(crate) fn other_consumer() -> ConsumerName {
    ConsumerName::new("billing").expect("valid")
}

/// A partition in an assignment of its own: nothing that is noted of a partition ends with one.
pub(crate) fn partition(number: i32) -> Partition {
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
    Partition::new(TopicName::new("thing-events.v1").expect("valid"), number, generation)
}

pub(crate) fn failure(consumer: &ConsumerName) -> Failure {
    let reason = "no such user".to_owned();
    Failure::new(consumer.clone(), ErrorKind::Rejected, reason, 3, chrono::Utc::now())
}
