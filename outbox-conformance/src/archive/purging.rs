//! Purging: the archive doesn't grow without end, and loses nothing unasked.

use std::time::{Duration, Instant};

use relaybox_core::{ArchiveQuery, DeadLetterQuery, OutboxRow, Successors};

use super::{Archived, on_archive};
use crate::{
    DeadLetterStore, OutboxStore, StoreFactory,
    events::{published, refs},
    run::same,
    store::{TTL, ok},
};

/// A purge takes no more than its limit, and of what is old enough the oldest.
pub async fn a_purge_is_bounded_and_takes_the_oldest<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let lease = archive.store.acquire().await;
        archive.publish_all(&lease, "a", &["1", "2", "3", "4", "5"]).await;
        same("no more than the limit", &archive.purge(Duration::ZERO, 2).await, &2);
        same("the oldest", &archive.names().await[..], &["5", "4", "3"].map(str::to_owned));
        same("fewer are all there were", &archive.purge(Duration::ZERO, 4).await, &3);
        same("nothing is left", &archive.names().await[..], &[]);
        same("nor purged twice", &archive.purge(Duration::ZERO, 4).await, &0);
    })
    .await;
}

/// What was published later than that stays.
pub async fn a_purge_spares_the_young<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let lease = archive.store.acquire().await;
        loop {
            archive.publish(&lease, "a", "old").await;
            let old = Instant::now();
            same("an hour is not over", &archive.purge(Duration::from_secs(3600), 10).await, &0);
            tokio::time::sleep(Duration::from_millis(400) + archive.blur()).await;
            let young = Instant::now();
            archive.publish(&lease, "a", "young").await;
            let age = old.elapsed() - archive.blur();
            let purged = archive.purge(age, 10).await;
            // If all that took too long, the young one had become old enough.
            if young.elapsed() < age {
                same("one is old enough", &purged, &1);
                same("the young one stays", &archive.names().await[..], &["young".to_owned()]);
                return;
            }
            tokio::time::sleep(archive.blur()).await;
            archive.purge(Duration::ZERO, 10).await;
        }
    })
    .await;
}

/// An archive is not the outbox: what waits has all the time it needs.
pub async fn a_purge_leaves_what_waits<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        store.enqueue("b", &["3", "4", "5"]).await;
        let before = store.counts().await;
        same("nothing was published", &archive.purge(Duration::ZERO, 100).await, &0);
        same("backlog, dead letters, parked", &store.counts().await, &before);
    })
    .await;
}

/// Neither reading nor measuring, no coming and going of relays, and no operator.
pub async fn nothing_but_a_purge_removes_what_is_archived<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        let lease = store.acquire().await;
        let mut rows: Vec<OutboxRow> = Vec::new();
        for (aggregate, name) in [("a", "1"), ("a", "2"), ("b", "3")] {
            rows.push(archive.publish(&lease, aggregate, name).await);
        }
        let look = async || {
            let found = archive.find(&ArchiveQuery::latest()).await;
            let mut found: Vec<_> =
                found.iter().map(|event| (event.position, event.published_at)).collect();
            found.sort_unstable();
            found
        };
        let promised = look().await;
        same("each is archived", &promised.len(), &rows.len());
        let unchanged = async |after: &str| {
            same(&format!("the archive after {after}"), &look().await, &promised);
        };

        store.all().await;
        store.stats().await;
        unchanged("reading and measuring").await;
        store.settle(&lease, &published(&refs(&rows))).await;
        unchanged("settling again").await;
        ok("renewing", store.store.renew(&lease, TTL).await);
        ok("releasing", store.store.release(&lease).await);
        store.acquire_for(Duration::from_millis(1)).await;
        let lease = store.take_over().await;
        unchanged("leases that came and went").await;

        store.one_dead_rest_parked(&lease, "a", &["4", "5"]).await;
        unchanged("giving up").await;
        let all = DeadLetterQuery::all();
        ok("listing", store.store.dead_letters(&all).await);
        ok("redriving", store.store.redrive(&all).await);
        store.all().await;
        unchanged("redriving").await;
        ok("discarding", store.store.discard(&all, Successors::Discard).await);
        let archived = DeadLetterQuery::event(rows[0].event.event_id);
        ok("discarding", store.store.discard(&archived, Successors::Discard).await);
        unchanged("discarding").await;

        same("a purge", &archive.purge(Duration::from_secs(3600), 100).await, &0);
        unchanged("a purge of what is older").await;
        tokio::time::sleep(archive.blur()).await;
        same("a purge of all", &archive.purge(Duration::ZERO, 100).await, &3);
        same("removes them", &look().await, &Vec::new());
    })
    .await;
}
