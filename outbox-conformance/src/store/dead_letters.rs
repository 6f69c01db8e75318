//! Dead letters, and the events parked behind them.

use std::time::Duration;

use relaybox_core::{DeadLetterQuery, DeadLetterState, EventId, Settled};

use super::{Fixture, on_store};
use crate::{
    DeadLetterStore, OutboxStore, StoreFactory,
    events::{
        aggregate_id, event, event_of, first_dead_rest_parked, names, parked, published, refs,
        thing,
    },
    run::same,
    store::fixture::{ok, read, read_up_to},
};

/// What was given up on is kept whole, with the reason, the attempts and the time.
pub async fn a_dead_letter_holds_the_event_the_reason_and_the_attempts<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let before = chrono::Utc::now();
        let mut whole = event("a", "1");
        whole.metadata.headers.insert("tenant", "acme").expect("valid");
        store.enqueue_all(&[whole.clone(), event("a", "2")]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        store.settle(&lease, &first_dead_rest_parked(&rows)).await;
        let letters = ok("listing", store.store.dead_letters(&DeadLetterQuery::all()).await);
        same("both are listed", &letters.len(), &2);
        let [dead, waiting] = &letters[..] else { unreachable!("two") };
        same("its identity", &dead.event_id, &rows[0].event_id);
        same("its place in the order", &dead.position, &rows[0].position);
        same("its state", &dead.state, &DeadLetterState::Dead);
        same("why it was given up on", &dead.reason.as_deref(), &Some("refused"));
        same("how often it was tried", &dead.attempts, &3);
        same("the event, whole", &dead.envelope.as_ref().ok(), &Some(&whole));
        let age = (dead.failed_at - before).abs();
        let failed_at = dead.failed_at;
        let is_now = age < chrono::TimeDelta::minutes(10);
        assert!(is_now, "when it failed\n  promised: about {before}\n      seen: {failed_at}");
        same("what waits behind it", &waiting.state, &DeadLetterState::Parked);
        same("no reason was given for it", &waiting.reason, &None);
        same("its identity", &waiting.event_id, &rows[1].event_id);
    })
    .await;
}

/// The aggregate's later events come as parked, to be moved behind it; all others go on.
pub async fn a_dead_letter_parks_its_own_aggregate_only<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        let mut old = store.reader().await;
        store.one_dead_rest_parked(&lease, "a", &["1"]).await;
        let other_type = relaybox_core::AggregateType::new("other").expect("valid");
        store
            .enqueue_all(&[event("b", "2"), event("a", "3"), event_of(other_type, "a", "4")])
            .await;
        let promised = ["2", "3 parked", "4"].map(str::to_owned);
        let promise = "a dead letter parks its own aggregate, and no other one";
        same(promise, &names(&store.all().await)[..], &promised);
        same(promise, &names(&read(&mut old).await)[..], &promised);
    })
    .await;
}

/// The store knows what is parked, not the reader: a takeover or a crash forgets nothing.
pub async fn a_parked_aggregate_stays_so_after_a_takeover<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let first = store.acquire().await;
        store.one_dead_rest_parked(&first, "a", &["1", "2"]).await;
        ok("releasing", store.store.release(&first).await);
        store.enqueue("a", &["3"]).await;
        let second = store.acquire().await;
        let mut reader = store.reader().await;
        let rows = read(&mut reader).await;
        let promise = "a relay that takes over knows what is parked";
        same(promise, &names(&rows)[..], &["3 parked".to_owned()]);
        let settled = store.settle(&second, &parked(&refs(&rows))).await;
        same("and parks what comes", &settled, &Settled::new(0, 1, 0));
        reader.forget(&refs(&rows));
        store.enqueue("a", &["4"]).await;
        same(promise, &names(&read(&mut reader).await)[..], &["4 parked".to_owned()]);
        same(promise, &names(&store.all().await)[..], &["4 parked".to_owned()]);
    })
    .await;
}

/// Dead and parked letters wait for a person; no reader is given them.
pub async fn what_is_given_up_on_is_not_given_again_unasked<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        let mut reader = store.reader().await;
        store.one_dead_rest_parked(&lease, "a", &["1", "2", "3"]).await;
        same("nothing is given", &names(&read(&mut reader).await)[..], &[]);
        reader.rewind();
        same("nor after a rewind", &names(&read(&mut reader).await)[..], &[]);
        same("nor to a new reader", &names(&store.all().await)[..], &[]);
        let kept = store.states().await.len();
        same("and all of it is kept", &kept, &3);
    })
    .await;
}

/// An event that was given as parked, and is still on its way behind the dead letters, parks its
/// successors, even if the dead letters before it are published in the meantime.
pub async fn an_event_is_parked_while_its_predecessor_is_still_being_parked<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        store.one_dead_rest_parked(&lease, "a", &["1"]).await;
        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        store.enqueue("a", &["2"]).await;
        let mut reader = store.reader().await;
        let rows = read(&mut reader).await;
        same("2 waits behind 1", &names(&rows)[..], &["1", "2 parked"].map(str::to_owned));

        // The dead letter is settled alone; 2 is on its way behind it when 3 is read.
        store.settle(&lease, &published(&refs(&rows)[..1])).await;
        reader.forget(&refs(&rows)[..1]);
        store.enqueue("a", &["3"]).await;
        let later = read_up_to(&mut reader, 10).await;
        let promise = "3 waits behind 2, which is still being parked";
        same(promise, &names(&later)[..], &["3 parked".to_owned()]);

        let waiting = [refs(&rows)[1], refs(&later)[0]];
        store.settle(&lease, &parked(&waiting)).await;
        reader.forget(&waiting);
        let rows = read(&mut reader).await;
        let promise = "with no dead letter before them, both are given, in order";
        same(promise, &names(&rows)[..], &["2", "3"].map(str::to_owned));
        store.settle(&lease, &published(&refs(&rows))).await;
        reader.forget(&refs(&rows));
        store.enqueue("a", &["4"]).await;
        same("and the aggregate goes on", &names(&read(&mut reader).await)[..], &["4".to_owned()]);
    })
    .await;
}

/// By id, type, aggregate, age and number; in the original order within each aggregate.
pub async fn dead_letters_are_found_by_query_in_the_original_order<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        let other = relaybox_core::AggregateType::new("other").expect("valid");
        for aggregate in ["b", "a"] {
            store.one_dead_rest_parked(&lease, aggregate, &["1", "2", "3"]).await;
        }
        store.enqueue_all(&[event_of(other.clone(), "a", "x")]).await;
        let rows = refs(&store.all().await);
        store.settle(&lease, &crate::events::dead(&rows)).await;

        let find =
            async |query: DeadLetterQuery| ok("listing", store.store.dead_letters(&query).await);
        same("an empty query finds all", &find(DeadLetterQuery::all()).await.len(), &7);
        same("a limit", &find(DeadLetterQuery::all().limit(3)).await.len(), &3);
        let one = find(DeadLetterQuery::event(rows[0].event_id)).await;
        same("one event", &(one.len(), one[0].event_id), &(1, rows[0].event_id));
        same("no event", &find(DeadLetterQuery::event(EventId::new())).await.len(), &0);

        let mut query = DeadLetterQuery::all();
        query.aggregate_type = Some(other);
        same("a type", &find(query).await.len(), &1);
        let mut query = DeadLetterQuery::all();
        query.aggregate_id = Some(aggregate_id("a"));
        same("an id of any type", &find(query.clone()).await.len(), &4);
        query.aggregate_type = Some(thing());
        let letters = find(query.clone()).await;
        let seen: Vec<_> = letters.iter().map(|l| crate::events::name(&l.envelope)).collect();
        same("an aggregate, in order", &seen[..], &["1", "2", "3"].map(str::to_owned));
        query.older_than = Some(Duration::ZERO);
        same("what failed before now", &find(query.clone()).await.len(), &3);
        query.older_than = Some(Duration::from_secs(3_600));
        same("what failed an hour ago", &find(query.clone()).await.len(), &0);
        query.older_than = Some(Duration::MAX);
        same("what failed before time began", &find(query).await.len(), &0);
    })
    .await;
}

/// A row that is no event can be given up on and parked like any other, with what is in it.
///
/// Not tested unless the factory can [spoil](StoreFactory::spoil) one.
pub async fn a_row_that_is_no_event_can_be_given_up_on<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let events = [event("a", "1"), event("a", "2")];
        store.enqueue_all(&events).await;
        for event in &events {
            if !store.factory.spoil(&store.database, event.event_id).await {
                return store.passed_over("the factory spoils no row");
            }
        }
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        let settled = store.settle(&lease, &first_dead_rest_parked(&rows)).await;
        same("both are moved", &settled, &Settled::new(0, 1, 1));
        let letters = ok("listing", store.store.dead_letters(&DeadLetterQuery::all()).await);
        let ids: Vec<_> = letters.iter().map(|letter| letter.event_id).collect();
        same("both keep their identity", &ids[..], &events.map(|event| event.event_id));
        let events = letters.iter().filter(|letter| letter.envelope.is_ok()).count();
        same("those of them that are events", &events, &0);

        ok("redriving", store.store.redrive(&DeadLetterQuery::all()).await);
        let again = store.all().await;
        let promised = ["no event", "no event"].map(str::to_owned);
        same("they go the same way again", &names(&again)[..], &promised);
    })
    .await;
}
