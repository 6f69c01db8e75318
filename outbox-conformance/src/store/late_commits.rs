//! Transactions that commit late, or never: positions are taken when an event is written, and become
//! visible in any order.
//!
//! A store with a [single writer](crate::StoreCapabilities::single_writer) knows none of this, and
//! keeps these promises by itself.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Fixture, on_store};
use crate::{
    OutboxStore, StoreFactory,
    events::{event, name, names, published, refs},
    run::{in_the_end, same, soon},
    store::fixture::{ok, read, read_up_to},
};

/// An event whose transaction stays open holds back nothing else, and is given once it commits.
pub async fn a_late_commit_is_given_later_and_holds_back_nothing<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        if store.factory.capabilities().single_writer {
            return store.passed_over("one transaction writes at a time");
        }
        let mut reader = store.reader().await;
        let lease = store.acquire().await;
        let mut late = store.begin().await;
        store.write(&mut late, &[event("late", "late")]).await;
        for n in ["1", "2", "3"] {
            store.enqueue("a", &[n]).await;
            let rows = read(&mut reader).await;
            let promise = "an open transaction holds back nothing but its own events";
            same(promise, &names(&rows)[..], &[n.to_owned()]);
            store.settle(&lease, &published(&refs(&rows))).await;
            reader.forget(&refs(&rows));
        }
        store.commit(late).await;
        let mut seen = Vec::new();
        soon("an event that was committed late is given by a later read", async || {
            seen.extend(names(&read(&mut reader).await));
            !seen.is_empty()
        })
        .await;
        same("and no other", &seen[..], &["late".to_owned()]);
        same("it is given once", &names(&read(&mut reader).await)[..], &[]);
    })
    .await;
}

/// The same, where a page is full before, at, or after the place of the open transaction's event.
pub async fn a_gap_on_a_full_page_is_filled_when_its_transaction_commits<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        if store.factory.capabilities().single_writer {
            return store.passed_over("one transaction writes at a time");
        }
        for page in 1..=5 {
            let mut reader = store.reader().await;
            let lease = store.take_over().await;
            store.enqueue("before", &["1", "2"]).await;
            let mut late = store.begin().await;
            store.write(&mut late, &[event("late", "late")]).await;
            store.enqueue("between", &["3"]).await;
            store.write(&mut late, &[event("late", "later")]).await;
            store.enqueue("after", &["4", "5", "6", "7"]).await;

            let mut seen = Vec::new();
            loop {
                let rows = read_up_to(&mut reader, page).await;
                if rows.is_empty() {
                    break;
                }
                store.settle(&lease, &published(&refs(&rows))).await;
                reader.forget(&refs(&rows));
                seen.extend(names(&rows));
            }
            let promised: Vec<_> = (1..=7).map(|n| n.to_string()).collect();
            same("full pages give everything that is committed", &seen, &promised);

            store.commit(late).await;
            let mut seen = Vec::new();
            let promise = format!("what full pages of {page} went past is given once it commits");
            soon(&promise, async || {
                let rows = read_up_to(&mut reader, page).await;
                store.settle(&lease, &published(&refs(&rows))).await;
                reader.forget(&refs(&rows));
                seen.extend(names(&rows));
                seen.len() >= 2
            })
            .await;
            same("in order", &seen[..], &["late".to_owned(), "later".to_owned()]);
            ok("releasing the lease", store.store.release(&lease).await);
        }
    })
    .await;
}

/// Positions that were taken and rolled back are missing for ever, and nobody waits for them.
pub async fn a_rolled_back_gap_holds_back_nothing<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let mut reader = store.reader().await;
        for n in 0..10 {
            let mut tx = store.begin().await;
            let events: Vec<_> = (0..40).map(|_| event("never", "rolled back")).collect();
            store.write(&mut tx, &events).await;
            if store.factory.capabilities().single_writer {
                store.rollback(tx).await;
                store.enqueue("a", &[&n.to_string()]).await;
            } else {
                store.enqueue("a", &[&n.to_string()]).await;
                let rows = read(&mut reader).await;
                same("nobody waits for a rollback", &names(&rows)[..], &[n.to_string()]);
                store.rollback(tx).await;
                store.enqueue("a", &[&n.to_string()]).await;
            }
            let rows = read(&mut reader).await;
            same("nobody waits for what was rolled back", &names(&rows)[..], &[n.to_string()]);
        }
        same("what was rolled back is never given", &names(&read(&mut reader).await)[..], &[]);
    })
    .await;
}

/// Several transactions open at once, committing in another order than they wrote in: each event is
/// given once, whatever the size of the pages.
pub async fn transactions_that_commit_in_any_order_lose_nothing_and_repeat_nothing<
    F: StoreFactory,
>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        if store.factory.capabilities().single_writer {
            return store.passed_over("one transaction writes at a time");
        }
        let mut random = fastrand::Rng::with_seed(7);
        let mut reader = store.reader().await;
        let mut open: Vec<(F::Tx, Vec<String>)> = Vec::new();
        let (mut promised, mut seen) = (Vec::new(), Vec::new());
        for n in 0..120 {
            if open.len() < 3 && random.bool() {
                open.push((store.begin().await, Vec::new()));
            }
            if open.is_empty() {
                continue;
            }
            let at = random.usize(..open.len());
            let (tx, written) = &mut open[at];
            let name = n.to_string();
            // An aggregate of its own: only such are committed in any order.
            store.write(tx, &[event(&format!("a{n}"), &name)]).await;
            written.push(name);
            if random.u8(..3) == 0 {
                let (tx, written) = open.swap_remove(at);
                if random.u8(..4) == 0 {
                    store.rollback(tx).await;
                } else {
                    store.commit(tx).await;
                    promised.extend(written);
                }
            }
            seen.extend(names(&read_up_to(&mut reader, random.usize(1..5)).await));
        }
        for (tx, written) in open {
            store.commit(tx).await;
            promised.extend(written);
        }
        soon("every committed event is given", async || {
            seen.extend(names(&read(&mut reader).await));
            seen.len() >= promised.len()
        })
        .await;
        seen.sort();
        promised.sort();
        same("each committed event is given once, and no other", &seen, &promised);
    })
    .await;
}

/// Four chains of transactions, each beginning after the one before it committed, while a reader reads
/// on and on: an event and its successor never swap, even where one read sees both appear.
pub async fn an_event_and_its_successor_never_swap_while_they_commit_during_a_read<
    F: StoreFactory,
>(
    factory: &F,
) {
    const CHAINS: usize = 4;
    const LENGTH: usize = 60;
    const PATIENCE: Duration = Duration::from_secs(15);
    on_store(factory, async |store: &Fixture<'_, F>| {
        let writer = async |chain: usize| {
            let mut random = fastrand::Rng::with_seed(chain as u64);
            for n in 0..LENGTH {
                let mut tx = store.begin().await;
                store.write(&mut tx, &[event(&format!("a{chain}"), &n.to_string())]).await;
                for _ in 0..random.u8(..6) {
                    tokio::task::yield_now().await;
                }
                store.commit(tx).await;
            }
        };
        let mut seen: HashMap<String, Vec<usize>> = HashMap::new();
        let reading = async {
            let mut reader = store.reader().await;
            let mut left = CHAINS * LENGTH;
            let mut last = Instant::now();
            while left > 0 {
                let rows = read_up_to(&mut reader, 50).await;
                left -= rows.len();
                if !rows.is_empty() {
                    last = Instant::now();
                }
                let promise = "every event is given, if late";
                assert!(last.elapsed() < PATIENCE, "{promise}\n  seen: {left} were not");
                for row in &rows {
                    let envelope = row.envelope.as_ref().expect("what was written is an event");
                    let n = name(&row.envelope).parse().expect("a number was written");
                    seen.entry(envelope.aggregate_id.to_string()).or_default().push(n);
                }
                if rows.is_empty() {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        };
        let writers = futures::future::join_all((0..CHAINS).map(writer));
        tokio::join!(writers, reading);
        let promised: Vec<_> = (0..LENGTH).collect();
        for (aggregate, numbers) in &seen {
            let promise = format!("the events of {aggregate} come in the order of their commits");
            same(&promise, numbers, &promised);
        }
    })
    .await;
}

/// A position below all that were read, which no gap announced: late is allowed, lost is not.
///
/// A restored row, a cached sequence, a number taken by hand. Not tested unless the factory can
/// [make one](StoreFactory::move_below_all). A reader that remembers how far it came counts it as
/// [overlooked](relaybox_core::OutboxReader::overlooked), so that somebody looks for the reason.
pub async fn an_event_below_all_positions_is_given_in_the_end<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2"]).await;
        let mut reader = store.reader().await;
        let lease = store.acquire().await;
        let rows = read(&mut reader).await;
        store.settle(&lease, &published(&refs(&rows))).await;
        reader.forget(&refs(&rows));
        // More than once: what it may wait for below the first one has ended by then.
        for _ in 0..5 {
            same("nothing is left", &names(&read(&mut reader).await)[..], &[]);
        }
        same("nothing was overlooked", &reader.overlooked(), &0);

        let mut tx = store.begin().await;
        let below = event("b", "below");
        store.write(&mut tx, std::slice::from_ref(&below)).await;
        if !store.factory.move_below_all(&mut tx, below.event_id).await {
            store.rollback(tx).await;
            return store.passed_over("the factory moves no event below all others");
        }
        store.commit(tx).await;
        same("a new reader is given it", &names(&store.all().await)[..], &["below".to_owned()]);
        in_the_end("a reader that was past it is given it", async || {
            !read(&mut reader).await.is_empty()
        })
        .await;
        // A reader that remembers nothing overlooks nothing.
        let overlooked = u64::from(store.factory.capabilities().counts_overlooked);
        same("so many were overlooked", &reader.overlooked(), &overlooked);
        same("it is given once", &names(&read(&mut reader).await)[..], &[]);
        same("it was overlooked once", &reader.overlooked(), &0);
    })
    .await;
}
