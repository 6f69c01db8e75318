//! Moving: an event waits or is archived, never both or neither.

use std::time::Duration;

use relaybox_core::{ArchiveQuery, DeadLetterQuery, Receipt, Successors};

use super::{Archived, fixture::published_at, on_archive};
use crate::{
    DeadLetterStore, OutboxStore, StoreFactory,
    events::{dead, event, parked, published, refs, topic},
    run::same,
    store::ok,
};

/// Which event, to which topic, to which place in it, and when; with the event as it was written.
pub async fn what_is_published_is_archived_with_its_place_and_its_times<F: StoreFactory>(
    factory: &F,
) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        store.enqueue("a", &["1", "2", "3"]).await;
        let lease = store.acquire().await;
        let rows = store.all().await;
        let receipts = [Receipt::at(7, 1 << 40), Receipt::at(0, 0), Receipt::unnumbered()];
        let mut settlement = published(&[]);
        for (row, receipt) in rows.iter().zip(receipts) {
            settlement.append(published_at(row.event, receipt));
        }
        store.settle(&lease, &settlement).await;

        let mut archived = archive.find(&ArchiveQuery::latest()).await;
        archived.sort_by_key(|event| event.position);
        same("each is archived once", &archived.len(), &rows.len());
        for ((row, receipt), found) in rows.iter().zip(receipts).zip(&archived) {
            let seen = (found.position, found.event_id, &found.topic, found.receipt);
            let promised = (row.event.position, row.event.event_id, &topic(), receipt);
            same("position, event, topic and place in it", &seen, &promised);
            let (written, kept) = (row.envelope.as_ref().ok(), found.envelope.as_ref().ok());
            assert!(kept.is_some(), "an event that was published can be read\n  seen: {found:?}");
            same("the event comes back whole", &kept, &written);
            assert!(
                found.enqueued_at <= found.published_at,
                "it was published after it was enqueued\n  seen: {} and {}",
                found.enqueued_at,
                found.published_at
            );
        }
        same("and waits no more", &store.counts().await, &(0, 0, 0));
    })
    .await;
}

/// Neither that of its writing nor that of an event that was settled before or after it.
pub async fn what_is_archived_has_the_time_of_its_settlement<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        store.enqueue("a", &["1"]).await;
        store.enqueue("a", &["2"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        for row in &rows {
            tokio::time::sleep(archive.blur()).await;
            store.settle(&lease, &published(&[*row])).await;
        }
        let mut archived = archive.find(&ArchiveQuery::latest()).await;
        archived.sort_by_key(|event| event.position);
        same("each is archived once", &archived.len(), &rows.len());
        let [first, second] = [0, 1].map(|at| (archived[at].enqueued_at, archived[at].published_at));
        let enqueued = first.0.max(second.0);
        assert!(
            enqueued < first.1 && first.1 < second.1,
            "both are enqueued, then the first is published, then the second\n      seen: enqueued at \
             {} and {}, published at {} and {}",
            first.0,
            second.0,
            first.1,
            second.1
        );
    })
    .await;
}

/// What waits, was given up on or parked was not published; nobody has it.
pub async fn nothing_else_is_archived<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        store.enqueue("a", &["published", "dead", "parked", "waiting"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        let mut settlement = published(&rows[..1]);
        settlement.append(dead(&rows[1..2]));
        settlement.append(parked(&rows[2..3]));
        store.settle(&lease, &settlement).await;
        let promise = "what was published is archived, and nothing else";
        same(promise, &archive.names().await[..], &["published".to_owned()]);
        let all = DeadLetterQuery::all();
        ok("discarding", store.store.discard(&all, Successors::Discard).await);
        same("nor is what is discarded", &archive.names().await[..], &["published".to_owned()]);
    })
    .await;
}

/// A dead letter that is redriven and published, and what was parked behind it.
pub async fn a_redriven_event_is_archived_once_it_is_published<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        same("a flag archives nothing", &archive.names().await[..], &[]);
        let rows = store.all().await;
        store.settle(&lease, &published_at(rows[0].event, Receipt::at(2, 5))).await;
        store.settle(&lease, &published_at(rows[1].event, Receipt::at(2, 6))).await;
        let mut archived = archive.find(&ArchiveQuery::latest()).await;
        archived.sort_by_key(|event| event.position);
        let places: Vec<_> = archived.iter().map(|event| (event.position, event.receipt)).collect();
        let promised = [
            (rows[0].event.position, Receipt::at(2, 5)),
            (rows[1].event.position, Receipt::at(2, 6)),
        ];
        same("both, in their places", &places[..], &promised);
    })
    .await;
}

/// After a lost reply the relay settles again.
pub async fn settling_again_archives_nothing_twice<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        store.enqueue("a", &["1", "2"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        store.settle(&lease, &published(&rows[..1])).await;
        for _ in 0..2 {
            store.settle(&lease, &published(&rows)).await;
            let mut names = archive.names().await;
            names.sort();
            same("each is archived once", &names[..], &["1", "2"].map(str::to_owned));
        }
    })
    .await;
}

/// What a relay says after another took over changes nothing, the archive included.
pub async fn a_late_settlement_archives_nothing<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        store.enqueue("a", &["1"]).await;
        let (lost, lease) = store.lost_lease().await;
        let rows = refs(&store.all().await);
        let late = store.store.settle(&lost, &published(&rows)).await;
        assert!(late.is_err(), "a settlement under a lost lease fails\n  seen: {late:?}");
        same("it archived nothing", &archive.names().await[..], &[]);
        store.settle(&lease, &published(&rows)).await;
        same("the holder's does", &archive.names().await[..], &["1".to_owned()]);
    })
    .await;
}

/// Broken off at any moment, a settlement has moved an event or left it where it was.
pub async fn an_event_waits_or_is_archived_never_both_or_neither<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let store = archive.store;
        let lease = store.acquire().await;
        let mut before = 0;
        for round in 0..20 {
            store.enqueue_all(&[event("a", "1"), event("b", "2"), event("c", "3")]).await;
            let settlement = published(&refs(&store.all().await));
            let limit = Duration::from_micros(round * 150);
            let _ = tokio::time::timeout(limit, store.store.settle(&lease, &settlement)).await;
            // The settlement may end between two looks: all of them waited, or all are archived.
            let waiting = store.counts().await.0;
            let archived = archive.names().await.len() - before;
            let later = store.counts().await.0;
            assert!(
                (waiting == 3 || archived == 3) && (archived == 0 || later == 0),
                "an event waits or is archived\n  seen: {waiting} waiting, then {archived} archived, then {later} waiting"
            );
            store.settle(&lease, &settlement).await;
            before += 3;
            same("in the end all are archived", &archive.names().await.len(), &before);
        }
    })
    .await;
}
