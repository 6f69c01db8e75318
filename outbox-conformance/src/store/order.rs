//! The order of events.

use super::{Fixture, on_store};
use crate::{
    StoreFactory,
    events::{event, names, published, refs},
    run::same,
    store::fixture::{read, read_up_to},
};

/// Lowest position first, over all aggregates.
pub async fn events_come_lowest_position_first<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        for n in 0..30 {
            store.enqueue(&format!("a{}", n % 4), &[&n.to_string()]).await;
        }
        let rows = store.all().await;
        let positions: Vec<_> = rows.iter().map(|row| row.event.position).collect();
        assert!(
            positions.windows(2).all(|pair| pair[0] < pair[1]),
            "events come lowest position first\n  promised: growing positions\n      seen: {positions:?}"
        );
        let promised: Vec<_> = (0..30).map(|n| n.to_string()).collect();
        same("what is committed later has a later position", &names(&rows), &promised);
    })
    .await;
}

/// One transaction after the other, as an aggregate's writers come.
pub async fn events_of_an_aggregate_come_in_the_order_of_their_commits<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let mut reader = store.reader().await;
        let lease = store.acquire().await;
        let mut seen = Vec::new();
        for n in 0..20 {
            store.enqueue("a", &[&format!("{n} first"), &format!("{n} second")]).await;
            if n % 3 == 0 {
                let rows = read_up_to(&mut reader, 3).await;
                store.settle(&lease, &published(&refs(&rows))).await;
                reader.forget(&refs(&rows));
                seen.extend(names(&rows));
            }
        }
        seen.extend(names(&read(&mut reader).await));
        let promised: Vec<_> =
            (0..20).flat_map(|n| [format!("{n} first"), format!("{n} second")]).collect();
        same("an aggregate's events come in the order of their commits", &seen, &promised);
    })
    .await;
}

/// A transaction that began first, took a number of its own, and enqueued for an aggregate after
/// another one's commit comes after that one: the order is that of the rows, not of the transactions.
pub async fn a_transaction_that_began_early_and_wrote_late_comes_late<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        if store.factory.capabilities().single_writer {
            return store.passed_over("one transaction writes at a time");
        }
        let mut early = store.begin().await;
        store.write(&mut early, &[event("other", "x")]).await;
        store.enqueue("a", &["1"]).await;
        store.write(&mut early, &[event("a", "2")]).await;
        store.commit(early).await;
        let mut seen = names(&store.all().await);
        seen.retain(|name| name != "x");
        let promised = ["1".to_owned(), "2".to_owned()];
        same("an aggregate's events come in the order of their commits", &seen[..], &promised);
    })
    .await;
}
