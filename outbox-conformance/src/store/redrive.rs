//! Redriving: putting back what was given up on, in order.

use relaybox_core::{DeadLetterQuery, DeadLetterState, Origin, Settled};

use super::{Fixture, on_store};
use crate::{
    DeadLetterStore, StoreFactory,
    events::{dead, event, name, names, parked, published, refs},
    run::same,
    store::fixture::{ok, read, read_up_to},
};

/// A flag moves nothing: what is flagged leaves when it was published, not before.
pub async fn redriving_only_flags<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        let rows = store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        let all = DeadLetterQuery::all();
        same("one is flagged", &ok("redriving", store.store.redrive(&all).await), &1);
        let promised = [
            ("1".to_owned(), DeadLetterState::Redriving),
            ("2".to_owned(), DeadLetterState::Parked),
        ];
        same("a flag changes the state alone", &store.states().await[..], &promised);
        same("backlog, dead letters, parked", &store.counts().await, &(0, 1, 1));
        same("flagged once", &ok("redriving", store.store.redrive(&all).await), &0);
        let redriven = store.all().await;
        let places: Vec<_> =
            redriven.iter().map(|row| (row.event.event_id, row.event.origin)).collect();
        let promised: Vec<_> =
            rows.iter().map(|row| (row.event.event_id, Origin::DeadLetter)).collect();
        same("what is redriven comes from the dead letters", &places, &promised);
        same("a read moves nothing either", &store.counts().await, &(0, 1, 1));
    })
    .await;
}

/// Through several rounds: the dead, the parked, what came meanwhile, what comes last.
pub async fn redriven_events_come_in_the_original_order_and_before_new_ones<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        store.enqueue("a", &["3"]).await;
        store.enqueue("b", &["other"]).await;
        let mut reader = store.reader().await;
        let seen = names(&read(&mut reader).await);
        same("3 waits", &seen[..], &["3 parked", "other"].map(str::to_owned));

        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        reader.rewind();
        let rows = read(&mut reader).await;
        let promised = ["1", "2", "3 parked", "other"].map(str::to_owned);
        same("the original order, and 3 waits on", &names(&rows)[..], &promised);
        same("none is given twice", &names(&read(&mut reader).await)[..], &[]);
        let mut settlement = published(&[rows[0].event, rows[1].event, rows[3].event]);
        settlement.append(parked(&[rows[2].event]));
        let settled = store.settle(&lease, &settlement).await;
        same("all is found", &settled, &Settled::new(3, 1, 0));
        reader.forget(&refs(&rows));

        store.enqueue("a", &["4"]).await;
        let rows = read(&mut reader).await;
        let promise = "3, which waited behind them, goes before what is new";
        same(promise, &names(&rows)[..], &["3", "4 parked"].map(str::to_owned));
        let mut settlement = published(&[rows[0].event]);
        settlement.append(parked(&[rows[1].event]));
        store.settle(&lease, &settlement).await;
        reader.forget(&refs(&rows));
        let rows = read(&mut reader).await;
        same("then 4", &names(&rows)[..], &["4".to_owned()]);
        store.settle(&lease, &published(&refs(&rows))).await;
        reader.forget(&refs(&rows));
        store.enqueue("a", &["5"]).await;
        let rows = read(&mut reader).await;
        same("and the aggregate goes on", &names(&rows)[..], &["5".to_owned()]);
        same("from the outbox", &rows[0].event.origin, &Origin::Outbox);
    })
    .await;
}

/// New events wait until the last redriven one is settled, and not a moment longer.
pub async fn the_settlement_of_the_last_redriven_event_unparks_its_aggregate<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        store.enqueue("a", &["3"]).await;
        let rows = store.all().await;
        let promised = ["1", "2", "3 parked"].map(str::to_owned);
        same("flagged, and still before 3", &names(&rows)[..], &promised);
        store.settle(&lease, &published(&refs(&rows)[..1])).await;
        let rows = store.all().await;
        same("2 is left", &names(&rows)[..], &["2", "3 parked"].map(str::to_owned));
        store.settle(&lease, &published(&refs(&rows)[..1])).await;
        same("none is left", &names(&store.all().await)[..], &["3".to_owned()]);
    })
    .await;
}

/// Whoever selects an event selects its predecessors in the aggregate, and not its successors.
pub async fn redriving_an_event_redrives_its_predecessors<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3", "4"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        let mut settlement = dead(&[rows[0], rows[2]]);
        settlement.append(parked(&[rows[1], rows[3]]));
        store.settle(&lease, &settlement).await;
        store.one_dead_rest_parked(&lease, "b", &["x"]).await;

        // 2 is parked behind 1 and before 3.
        let two = DeadLetterQuery::event(rows[1].event_id);
        same("1 is flagged", &ok("redriving", store.store.redrive(&two).await), &1);
        let mut reader = store.reader().await;
        let redriven = read(&mut reader).await;
        let promise = "an event is redriven with its predecessors, and no other";
        same(promise, &names(&redriven)[..], &["1", "2"].map(str::to_owned));
        store.settle(&lease, &published(&refs(&redriven))).await;
        reader.forget(&refs(&redriven));
        same("3 and 4 wait on", &names(&read(&mut reader).await)[..], &[]);
        let four = DeadLetterQuery::event(rows[3].event_id);
        same("3 is flagged", &ok("redriving", store.store.redrive(&four).await), &1);
        let redriven = names(&store.all().await);
        same(promise, &redriven[..], &["3", "4"].map(str::to_owned));
    })
    .await;
}

/// With two dead letters in a row, the later one selected: the earlier one comes first all the same.
pub async fn redriving_the_later_of_two_dead_letters_takes_the_earlier_one_along<
    F: StoreFactory,
>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        store.settle(&lease, &dead(&rows)).await;
        let two = DeadLetterQuery::event(rows[1].event_id);
        same("1 and 2 are flagged", &ok("redriving", store.store.redrive(&two).await), &2);
        let seen = names(&store.all().await);
        same("both, in order", &seen[..], &["1", "2"].map(str::to_owned));
    })
    .await;
}

/// Given up on again: dead again, its attempts added up, and nothing passes it.
pub async fn a_redriven_event_that_fails_again_waits_for_a_person<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        let rows = refs(&store.all().await);
        let settled = store.settle(&lease, &crate::events::first_dead_rest_parked(&rows)).await;
        same("both are found", &settled, &Settled::new(0, 1, 1));
        same("neither is given", &names(&store.all().await)[..], &[]);
        let promised =
            [("1".to_owned(), DeadLetterState::Dead), ("2".to_owned(), DeadLetterState::Parked)];
        same("dead again, and parked again", &store.states().await[..], &promised);
        let letters = ok("listing", store.store.dead_letters(&DeadLetterQuery::all()).await);
        same("the attempts add up", &letters[0].attempts, &6);
        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        let seen = names(&store.all().await);
        same("and may be redriven again", &seen[..], &["1", "2"].map(str::to_owned));
    })
    .await;
}

/// What is redriven is in flight like anything else, and comes again after a crash.
pub async fn a_redriven_event_is_given_again_after_a_crash_and_not_before<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["1", "2", "3"]).await;
        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        let mut reader = store.reader().await;
        let first = read_up_to(&mut reader, 2).await;
        same("by pages", &names(&first)[..], &["1", "2"].map(str::to_owned));
        same("once", &names(&read(&mut reader).await)[..], &["3".to_owned()]);
        drop(reader);
        let promised = ["1", "2", "3"].map(str::to_owned);
        let promise = "after a crash, whatever was not settled is redriven again";
        let rows = store.all().await;
        same(promise, &names(&rows)[..], &promised);
        store.settle(&lease, &published(&refs(&rows)[..1])).await;
        same(promise, &names(&store.all().await)[..], &promised[1..]);
    })
    .await;
}

/// A limit is of what isn't flagged yet, so that doing it again gets on.
pub async fn redriving_a_few_at_a_time_gets_through_all<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        for aggregate in ["a", "b", "c"] {
            store.one_dead_rest_parked(&lease, aggregate, &["1", "2"]).await;
        }
        let one = DeadLetterQuery::all().limit(1);
        let mut flagged = Vec::new();
        for _ in 0..4 {
            flagged.push(ok("redriving", store.store.redrive(&one).await));
        }
        same("one at a time, until none is left", &flagged[..], &[1, 1, 1, 0]);
    })
    .await;
}

/// Events of the aggregate that commit while it is being redriven stay behind, whatever the pages.
pub async fn events_that_come_during_a_redrive_keep_the_order<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["0", "1", "2"]).await;
        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        let mut reader = store.reader().await;
        let mut seen = Vec::new();
        let mut next = 3;
        // A relay that publishes what it may, parks what it must, and settles at once.
        for round in 0..60 {
            if next < 12 {
                store.enqueue_all(&[event("a", &next.to_string())]).await;
                next += 1;
            }
            let rows = read_up_to(&mut reader, 1 + round % 3).await;
            let mut settlement = relaybox_core::Settlement::default();
            for row in &rows {
                if row.parked {
                    settlement.append(parked(&[row.event]));
                } else {
                    settlement.append(published(&[row.event]));
                    seen.push(name(&row.envelope));
                }
            }
            store.settle(&lease, &settlement).await;
            reader.forget(&refs(&rows));
        }
        let promised: Vec<_> = (0..12).map(|n| n.to_string()).collect();
        same("the order of the aggregate", &seen, &promised);
        same("nothing is left", &store.counts().await, &(0, 0, 0));
    })
    .await;
}
