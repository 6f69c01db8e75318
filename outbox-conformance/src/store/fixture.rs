//! A store of a promise's own, and what is done with one again and again.

use std::time::Duration;

use relaybox_core::{
    Acquired, DeadLetterQuery, DeadLetterState, Envelope, Lease, OutboxReader, OutboxRow,
    OutboxStats, ReadRequest, Result, Settled, Settlement,
};

use crate::{
    DeadLetterStore, OutboxStore, OutboxWriter, StoreFactory,
    events::{event, first_dead_rest_parked, name, refs, relay},
    run::{bounded, name_of, passed_over, same},
};

/// Longer than any promise takes.
pub(crate) const TTL: Duration = Duration::from_secs(600);

pub(crate) type Reader = Box<dyn OutboxReader>;

/// One store under test.
pub(crate) struct Fixture<'a, F: StoreFactory> {
    promise: &'static str,
    pub(crate) factory: &'a F,
    pub(crate) database: F::Database,
    pub(crate) store: F::Store,
}

/// Runs a promise on a store of its own, which is removed even when the promise is broken.
pub(crate) async fn on_store<F: StoreFactory>(
    factory: &F,
    promise: impl AsyncFnOnce(&Fixture<'_, F>),
) {
    let Some(database) = factory.create().await else { return };
    let fixture =
        Fixture { promise: name_of(&promise), factory, store: factory.store(&database), database };
    let result = bounded(promise(&fixture)).await;
    factory.destroy(fixture.database).await;
    if let Err(broken) = result {
        std::panic::resume_unwind(broken);
    }
}

impl<F: StoreFactory> Fixture<'_, F> {
    /// Says that the promise is not tested, and why.
    pub(crate) fn passed_over(&self, why: &str) {
        passed_over(self.promise, why);
    }

    pub(crate) async fn begin(&self) -> F::Tx {
        self.factory.begin(&self.database).await
    }

    pub(crate) async fn commit(&self, tx: F::Tx) {
        self.factory.commit(tx).await;
    }

    pub(crate) async fn rollback(&self, tx: F::Tx) {
        self.factory.rollback(tx).await;
    }

    pub(crate) async fn write(&self, tx: &mut F::Tx, events: &[Envelope]) {
        ok("writing events", self.store.write(tx, events).await);
    }

    /// Commits events of one aggregate, given by name, in one transaction.
    pub(crate) async fn enqueue(&self, aggregate: &str, names: &[&str]) {
        let events: Vec<_> = names.iter().map(|name| event(aggregate, name)).collect();
        self.enqueue_all(&events).await;
    }

    pub(crate) async fn enqueue_all(&self, events: &[Envelope]) {
        let mut tx = self.begin().await;
        self.write(&mut tx, events).await;
        self.commit(tx).await;
    }

    pub(crate) async fn reader(&self) -> Reader {
        ok("opening a reader", self.store.reader().await)
    }

    /// What a reader that starts now is given.
    pub(crate) async fn all(&self) -> Vec<OutboxRow> {
        read(&mut self.reader().await).await
    }

    /// Takes a lease that is free.
    pub(crate) async fn acquire(&self) -> Lease {
        self.acquire_for(TTL).await
    }

    pub(crate) async fn acquire_for(&self, ttl: Duration) -> Lease {
        match ok("acquiring the lease", self.store.acquire(&relay(), ttl).await) {
            Acquired::Held(lease) => lease,
            Acquired::Elsewhere { holder, .. } => {
                panic!("a lease that is free is given\n      seen: it is {holder}'s")
            }
        }
    }

    /// Takes a lease that was let run out, as soon as the store's clock says so.
    pub(crate) async fn take_over(&self) -> Lease {
        let id = relay();
        loop {
            match ok("acquiring the lease", self.store.acquire(&id, TTL).await) {
                Acquired::Held(lease) => return lease,
                Acquired::Elsewhere { .. } => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// A lease that another relay has taken over since, and that one's.
    pub(crate) async fn lost_lease(&self) -> (Lease, Lease) {
        let lost = self.acquire_for(Duration::from_millis(1)).await;
        (lost, self.take_over().await)
    }

    pub(crate) async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Settled {
        ok("settling under the lease", self.store.settle(lease, settlement).await)
    }

    pub(crate) async fn stats(&self) -> OutboxStats {
        ok("measuring the outbox", self.store.stats().await)
    }

    /// Backlog, dead letters, parked.
    pub(crate) async fn counts(&self) -> (u64, u64, u64) {
        let stats = self.stats().await;
        (stats.backlog, stats.dead_letters, stats.parked)
    }

    /// Commits events of one aggregate, gives up on the first and parks the others, under `lease`.
    pub(crate) async fn one_dead_rest_parked(
        &self,
        lease: &Lease,
        aggregate: &str,
        names: &[&str],
    ) -> Vec<OutboxRow> {
        self.enqueue(aggregate, names).await;
        let mut rows = self.all().await;
        rows.retain(|row| {
            let envelope = row.envelope.as_ref().ok();
            envelope.is_some_and(|envelope| envelope.aggregate_id.as_str() == aggregate)
        });
        let settled = self.settle(lease, &first_dead_rest_parked(&refs(&rows))).await;
        let promise = "giving up on one event and parking those behind it finds all of them";
        same(promise, &settled, &Settled::new(0, names.len() as u64 - 1, 1));
        rows
    }

    /// The names of the dead letters and the parked, with their states.
    pub(crate) async fn states(&self) -> Vec<(String, DeadLetterState)> {
        let letters = self.store.dead_letters(&DeadLetterQuery::all()).await;
        ok("listing dead letters", letters)
            .iter()
            .map(|letter| (name(&letter.envelope), letter.state))
            .collect()
    }
}

pub(crate) async fn read(reader: &mut Reader) -> Vec<OutboxRow> {
    read_up_to(reader, 10_000).await
}

pub(crate) async fn read_up_to(reader: &mut Reader, limit: usize) -> Vec<OutboxRow> {
    ok("reading the outbox", reader.read(&ReadRequest::new(limit)).await)
}

/// The result of what nothing hinders.
#[track_caller]
pub(crate) fn ok<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| {
        let seen = relaybox_core::error_chain(&error);
        panic!("{what} has nothing in its way\n      seen: {seen}")
    })
}
