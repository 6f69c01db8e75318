//! An archiving store of a promise's own.

use std::time::Duration;

use relaybox_core::{
    ArchiveQuery, ArchiveStore, ArchivedEvent, EventRef, Lease, OutboxRow, Published, Receipt,
    Settlement,
};

use crate::{
    StoreFactory,
    events::{name, published, refs, topic},
    run::{name_of, passed_over},
    store::{Fixture, ok, on_store},
};

/// A store under test, and its archive.
pub(crate) struct Archived<'a, 'f, F: StoreFactory> {
    pub(crate) store: &'a Fixture<'f, F>,
    archive: Box<dyn ArchiveStore>,
}

/// Runs a promise on a store of its own that archives, if it can.
pub(crate) async fn on_archive<F: StoreFactory>(
    factory: &F,
    promise: impl AsyncFnOnce(&Archived<'_, '_, F>),
) {
    let name = name_of(&promise);
    on_store(factory, async |store: &Fixture<'_, F>| {
        let Some(archive) = factory.archive(&store.database) else {
            return passed_over(name, "the factory names no archive");
        };
        promise(&Archived { store, archive }).await;
    })
    .await;
}

impl<F: StoreFactory> Archived<'_, '_, F> {
    pub(crate) async fn find(&self, query: &ArchiveQuery) -> Vec<ArchivedEvent> {
        ok("looking into the archive", self.archive.archived(query).await)
    }

    /// The names of all that is in it, the latest first.
    pub(crate) async fn names(&self) -> Vec<String> {
        names(&self.find(&ArchiveQuery::latest()).await)
    }

    pub(crate) async fn purge(&self, age: Duration, limit: u32) -> u64 {
        ok("purging the archive", self.archive.purge_archive(age, limit).await)
    }

    /// Commits an event of an aggregate, and settles it as published.
    pub(crate) async fn publish(&self, lease: &Lease, aggregate: &str, name: &str) -> OutboxRow {
        self.store.enqueue(aggregate, &[name]).await;
        let mut rows = self.store.all().await;
        self.store.settle(lease, &published(&refs(&rows))).await;
        rows.remove(0)
    }

    /// Publishes so many of them, each later than the one before by the store's clock, and lets them be
    /// of any age.
    pub(crate) async fn publish_all(&self, lease: &Lease, aggregate: &str, names: &[&str]) {
        for name in names {
            self.publish(lease, aggregate, name).await;
            tokio::time::sleep(self.blur()).await;
        }
    }

    /// Longer than the store's clock may take for one moment.
    pub(crate) fn blur(&self) -> Duration {
        self.store.factory.capabilities().clock_resolution * 2
    }
}

pub(crate) fn names(archived: &[ArchivedEvent]) -> Vec<String> {
    archived.iter().map(|event| name(&event.envelope)).collect()
}

/// One event, published at a place.
pub(crate) fn published_at(event: EventRef, receipt: Receipt) -> Settlement {
    let mut settlement = Settlement::default();
    settlement.published.push(Published::new(event, topic(), receipt));
    settlement
}
