//! Settling: recording what became of events.

use std::time::Duration;

use relaybox_core::{EventId, EventRef, Origin, Settled};

use super::{Fixture, on_store};
use crate::{
    DeadLetterStore, OutboxStore, StoreFactory,
    events::{dead, event, names, parked, published, refs},
    run::same,
    store::fixture::{ok, read},
};

/// Removed, moved behind a dead letter, moved to the dead letters; and the counts say so.
pub async fn a_settlement_says_what_it_found_and_moves_it<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3", "4", "5"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        let mut settlement = published(&rows[..1]);
        settlement.append(dead(&rows[1..2]));
        settlement.append(parked(&rows[2..4]));
        let settled = store.settle(&lease, &settlement).await;
        same("the counts of a settlement", &settled, &Settled::new(1, 2, 1));
        same("backlog, dead letters, parked", &store.counts().await, &(1, 1, 2));
        let left = names(&store.all().await);
        same("what is settled is given no more", &left[..], &["5 parked".to_owned()]);
        let kept: Vec<_> = store.states().await.into_iter().map(|(name, _)| name).collect();
        same("what was not published is kept", &kept, &["2", "3", "4"].map(str::to_owned).to_vec());
    })
    .await;
}

/// After a lost reply the relay settles again: nothing changes, and the count is lower.
pub async fn settling_again_changes_nothing_and_the_count_tells<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3", "4"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        let mut settlement = published(&rows[..1]);
        settlement.append(dead(&rows[1..2]));
        settlement.append(parked(&rows[2..]));
        same("the first time", &store.settle(&lease, &settlement).await, &Settled::new(1, 2, 1));
        let states = store.states().await;
        for _ in 0..2 {
            let again = store.settle(&lease, &settlement).await;
            same("settling again finds nothing", &again, &Settled::default());
            same("settling again changes nothing", &store.counts().await, &(0, 1, 2));
            same("settling again changes no state", &store.states().await, &states);
        }
        // Some of it, beside something new.
        store.enqueue("b", &["5"]).await;
        let mut rows = [&rows[..1], &refs(&store.all().await)[..]].concat();
        rows.push(EventRef::new(rows[1].position + 1_000, EventId::new(), Origin::Outbox));
        let settled = store.settle(&lease, &published(&rows)).await;
        same("the count is of what was found", &settled, &Settled::new(1, 0, 0));
    })
    .await;
}

/// A dead letter that was redriven and published is gone; settling it again finds nothing.
pub async fn settling_a_redriven_event_again_changes_nothing<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        let rows = store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        let first = relaybox_core::DeadLetterQuery::event(rows[0].event.event_id);
        ok("redriving", store.store.redrive(&first).await);
        let rows = refs(&store.all().await);
        same("both are redriven", &rows.len(), &2);
        let settlement = published(&rows);
        same("the first time", &store.settle(&lease, &settlement).await, &Settled::new(2, 0, 0));
        same("the second time", &store.settle(&lease, &settlement).await, &Settled::default());
        same("nothing is left", &store.counts().await, &(0, 0, 0));
    })
    .await;
}

/// A number that was set back may be another event's by now: nobody has published that one.
pub async fn a_settlement_of_another_event_finds_nothing_in_its_place<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        let others: Vec<_> = rows
            .iter()
            .map(|row| EventRef::new(row.position, EventId::new(), row.origin))
            .collect();
        for settlement in
            [published(&others), published(&others[1..2]), dead(&others), parked(&others)]
        {
            let settled = store.settle(&lease, &settlement).await;
            same("events that are not there", &settled, &Settled::default());
            same("those that are wait", &store.counts().await, &(3, 0, 0));
        }
        let settled = store.settle(&lease, &published(&rows)).await;
        same("they are settled by their own ids", &settled, &Settled::new(3, 0, 0));
    })
    .await;
}

/// A settlement that is broken off in the middle happened as a whole or not at all.
pub async fn a_settlement_is_all_or_none<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        for round in 0..20 {
            store.enqueue_all(&[event("a", "1"), event("b", "2"), event("c", "3")]).await;
            let rows = refs(&store.all().await);
            let mut settlement = published(&rows[..1]);
            settlement.append(dead(&rows[1..2]));
            settlement.append(parked(&rows[2..]));
            let limit = Duration::from_micros(round * 150);
            let _ = tokio::time::timeout(limit, store.store.settle(&lease, &settlement)).await;
            let seen = store.counts().await;
            assert!(
                seen == (3, 0, 0) || seen == (0, 1, 1),
                "a settlement is all or none\n  promised: (3, 0, 0) or (0, 1, 1)\n      seen: {seen:?}"
            );
            // It may still be on its way; settling again waits for it, and completes it.
            store.settle(&lease, &settlement).await;
            same("and is completed", &store.counts().await, &(0, 1, 1));
            let all = relaybox_core::DeadLetterQuery::all();
            let release = relaybox_core::Successors::Release;
            ok("discarding", store.store.discard(&all, release).await);
        }
    })
    .await;
}

/// Reading, forgetting, leases that come and go, redriving, measuring: none of them removes anything.
pub async fn nothing_leaves_but_by_a_settlement_or_a_discard<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        store.enqueue("b", &["3", "4"]).await;
        let mut reader = store.reader().await;
        let rows = refs(&read(&mut reader).await);
        reader.forget(&rows);
        drop(reader);
        ok("releasing", store.store.release(&lease).await);
        let all = relaybox_core::DeadLetterQuery::all();
        ok("redriving", store.store.redrive(&all).await);
        ok("listing", store.store.dead_letters(&all).await);
        let lease = store.acquire().await;
        store.settle(&lease, &published(&[])).await;
        let rows = store.all().await;
        let promised = ["1", "2", "3", "4"].map(str::to_owned);
        same("nothing left by itself", &names(&rows)[..], &promised);
        same("nor is it counted so", &store.counts().await.0, &2);
        let settled = store.settle(&lease, &published(&refs(&rows))).await;
        same("a settlement removes it", &settled, &Settled::new(4, 0, 0));
        same("all of it", &store.counts().await, &(0, 0, 0));
    })
    .await;
}

/// As many at once as a relay may have pending.
pub async fn a_large_settlement_is_one<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let events: Vec<_> =
            (0..3_000).map(|n| event(&format!("a{}", n % 50), &n.to_string())).collect();
        store.enqueue_all(&events).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        let mut settlement = published(&rows[..2_000]);
        settlement.append(parked(&rows[2_000..]));
        let settled = store.settle(&lease, &settlement).await;
        same("all of it is found", &settled, &Settled::new(2_000, 1_000, 0));
        same("backlog, dead letters, parked", &store.counts().await, &(0, 0, 1_000));
    })
    .await;
}
