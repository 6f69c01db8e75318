//! Finding: where did it go, and when?

use relaybox_core::ArchiveQuery;

use super::{Archived, fixture::names, on_archive};
use crate::{
    StoreFactory,
    events::{aggregate_id, thing},
    run::same,
};

/// By the time of their publication, and no more than were asked for.
pub async fn the_latest_come_first<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let lease = archive.store.acquire().await;
        archive.publish_all(&lease, "a", &["1", "2", "3", "4"]).await;
        same(
            "the latest first",
            &archive.names().await[..],
            &["4", "3", "2", "1"].map(str::to_owned),
        );
        let two = names(&archive.find(&ArchiveQuery::latest().limit(2)).await);
        same("the latest two", &two[..], &["4", "3"].map(str::to_owned));
        let none = names(&archive.find(&ArchiveQuery::latest().limit(0)).await);
        same("none, if none are asked for", &none[..], &[]);
    })
    .await;
}

/// By its id, by its aggregate, by the time of its publication; and by all of them together.
pub async fn an_event_is_found_by_id_by_aggregate_and_by_time<F: StoreFactory>(factory: &F) {
    on_archive(factory, async |archive: &Archived<'_, '_, F>| {
        let lease = archive.store.acquire().await;
        archive.publish_all(&lease, "a", &["1"]).await;
        let second = archive.publish(&lease, "b", "2").await.event.event_id;
        tokio::time::sleep(archive.blur()).await;
        archive.publish_all(&lease, "a", &["3"]).await;
        let find = async |query: ArchiveQuery| names(&archive.find(&query).await);

        let by_id = find(ArchiveQuery::event(second)).await;
        same("by id", &by_id[..], &["2".to_owned()]);
        let of_a = ArchiveQuery::aggregate(thing(), aggregate_id("a"));
        same("by aggregate", &find(of_a.clone()).await[..], &["3", "1"].map(str::to_owned));
        let nobody = ArchiveQuery::aggregate(thing(), aggregate_id("nobody"));
        same("of another aggregate", &find(nobody).await[..], &[]);

        let published_at = archive.find(&ArchiveQuery::event(second)).await[0].published_at;
        let (mut from, mut before) = (ArchiveQuery::latest(), ArchiveQuery::latest());
        from.published_from = Some(published_at);
        before.published_before = Some(published_at);
        same(
            "from a time on, that time included",
            &find(from).await[..],
            &["3", "2"].map(str::to_owned),
        );
        same("before a time", &find(before).await[..], &["1".to_owned()]);
        let mut both = of_a;
        both.published_from = Some(published_at);
        same("of an aggregate, from a time on", &find(both.clone()).await[..], &["3".to_owned()]);
        both.event_ids = vec![second];
        same("all conditions count", &find(both).await[..], &[]);
    })
    .await;
}
