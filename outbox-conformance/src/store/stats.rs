//! Stats: what operators and their alarms rely on.

use std::time::Duration;

use relaybox_core::DeadLetterQuery;

use super::{Fixture, on_store};
use crate::{
    DeadLetterStore, OutboxStore, StoreFactory,
    events::{event, first_dead_rest_parked, published, refs},
    run::same,
    store::fixture::{TTL, ok},
};

/// Backlog, dead letters and parked events, after everything that changes them.
pub async fn stats_are_exact<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        same("an empty outbox", &store.counts().await, &(0, 0, 0));
        let mut tx = store.begin().await;
        store.write(&mut tx, &[event("a", "1"), event("a", "2"), event("b", "3")]).await;
        same("nothing is committed", &store.counts().await, &(0, 0, 0));
        store.commit(tx).await;
        same("three are committed", &store.counts().await, &(3, 0, 0));
        let mut tx = store.begin().await;
        store.write(&mut tx, &[event("a", "never")]).await;
        store.rollback(tx).await;
        same("one was rolled back", &store.counts().await, &(3, 0, 0));

        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        same("reading changes nothing", &store.counts().await, &(3, 0, 0));
        store.settle(&lease, &published(&rows[2..])).await;
        same("one was published", &store.counts().await, &(2, 0, 0));
        store.settle(&lease, &first_dead_rest_parked(&rows[..2])).await;
        same("one is dead, one parked", &store.counts().await, &(0, 1, 1));
        same("neither is on its way", &store.stats().await.redriving, &0);
        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        same("a flag changes nothing", &store.counts().await, &(0, 1, 1));
        same("both are on their way", &store.stats().await.redriving, &2);
        let rows = refs(&store.all().await);
        store.settle(&lease, &published(&rows[..1])).await;
        same("the dead one was published", &store.counts().await, &(0, 0, 1));
        same("the parked one still is", &store.stats().await.redriving, &1);
        store.settle(&lease, &published(&rows[1..])).await;
        same("nothing is left", &store.counts().await, &(0, 0, 0));
        same("nor on its way", &store.stats().await.redriving, &0);
    })
    .await;
}

/// How long the oldest unsettled event has waited; nothing when none does.
pub async fn the_oldest_age_is_that_of_the_oldest_unsettled_event<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        same("nothing waits", &store.stats().await.oldest_age, &None);
        store.enqueue("a", &["1"]).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        store.enqueue("a", &["2"]).await;
        let age = store.stats().await.oldest_age;
        assert!(
            age.is_some_and(|age| age >= Duration::from_millis(250) && age < TTL),
            "the oldest has waited for 300 ms\n  seen: {age:?}"
        );
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        store.settle(&lease, &published(&rows[..1])).await;
        let younger = store.stats().await.oldest_age;
        // By the store's clock, which need not be this one; but 300 ms are between them.
        assert!(younger.is_some_and(|age| age < TTL), "the other one waits\n  seen: {younger:?}");
        store.settle(&lease, &published(&rows[1..])).await;
        same("nothing waits", &store.stats().await.oldest_age, &None);
    })
    .await;
}

/// Who works, and until when; nobody when the lease is free or its time over.
pub async fn the_holder_is_named_as_long_as_its_lease_lasts<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        same("nobody", &store.stats().await.holder, &None);
        let lease = store.acquire().await;
        let holder = store.stats().await.holder;
        same("the holder", &holder.as_ref().map(|(relay, _)| relay), &Some(&lease.relay));
        ok("renewing", store.store.renew(&lease, Duration::from_millis(1)).await);
        crate::run::in_the_end("an expired lease is nobody's", async || {
            store.stats().await.holder.is_none()
        })
        .await;
        let next = store.take_over().await;
        let holder = store.stats().await.holder.map(|(relay, _)| relay);
        same("the next holder", &holder.as_ref(), &Some(&next.relay));
        ok("releasing", store.store.release(&next).await);
        same("nobody", &store.stats().await.holder, &None);
    })
    .await;
}
