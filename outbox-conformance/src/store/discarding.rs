//! Discarding: what a person says shall never be published.

use relaybox_core::{DeadLetterQuery, DeadLetterState, Successors};

use super::{Fixture, on_store};
use crate::{
    DeadLetterStore, StoreFactory,
    events::{dead, names, parked, published, refs},
    run::same,
    store::fixture::ok,
};

/// Its successors go on, in order, before anything new.
pub async fn discarding_a_dead_letter_may_release_its_successors<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        let rows = store.one_dead_rest_parked(&lease, "a", &["1", "2", "3"]).await;
        store.enqueue("a", &["4"]).await;
        let head = DeadLetterQuery::event(rows[0].event.event_id);
        let discarded = ok("discarding", store.store.discard(&head, Successors::Release).await);
        same("the head alone is discarded", &discarded, &1);
        let rows = store.all().await;
        let promised = ["2", "3", "4 parked"].map(str::to_owned);
        same("its successors are released, in order", &names(&rows)[..], &promised);
        store.settle(&lease, &published(&refs(&rows)[..2])).await;
        same("and then 4", &names(&store.all().await)[..], &["4".to_owned()]);
    })
    .await;
}

/// Its successors go with it, up to the next dead letter; other aggregates' stay.
pub async fn discarding_a_dead_letter_may_take_its_successors_along<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3", "4", "5"]).await;
        let lease = store.acquire().await;
        let rows = refs(&store.all().await);
        let mut settlement = dead(&[rows[0], rows[3]]);
        settlement.append(parked(&[rows[1], rows[2], rows[4]]));
        store.settle(&lease, &settlement).await;
        store.one_dead_rest_parked(&lease, "b", &["x", "y"]).await;

        let head = DeadLetterQuery::event(rows[0].event_id);
        let discarded = ok("discarding", store.store.discard(&head, Successors::Discard).await);
        same("the head, and the two parked behind it", &discarded, &3);
        let promised = [
            ("4".to_owned(), DeadLetterState::Dead),
            ("5".to_owned(), DeadLetterState::Parked),
            ("x".to_owned(), DeadLetterState::Dead),
            ("y".to_owned(), DeadLetterState::Parked),
        ];
        same("what is behind another dead letter stays", &store.states().await[..], &promised);
        same("nothing is given", &names(&store.all().await)[..], &[]);
    })
    .await;
}

/// What was discarded is gone; what doesn't match stays.
pub async fn a_discarded_event_is_gone_and_no_other<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        let rows = store.one_dead_rest_parked(&lease, "a", &["1", "2"]).await;
        store.enqueue("b", &["3"]).await;
        let waiting = DeadLetterQuery::event(refs(&store.all().await)[0].event_id);
        let none = ok("discarding", store.store.discard(&waiting, Successors::Discard).await);
        same("what waits for the first time is no dead letter", &none, &0);
        let second = DeadLetterQuery::event(rows[1].event.event_id);
        let one = ok("discarding", store.store.discard(&second, Successors::Release).await);
        same("a parked one may be discarded", &one, &1);
        let promised = [("1".to_owned(), DeadLetterState::Dead)];
        same("the others stay", &store.states().await[..], &promised);
        let all = DeadLetterQuery::all();
        let rest = ok("discarding", store.store.discard(&all, Successors::Release).await);
        same("the rest", &rest, &1);
        same("backlog, dead letters, parked", &store.counts().await, &(1, 0, 0));
        same("the aggregate is free", &names(&store.all().await)[..], &["3".to_owned()]);
        store.enqueue("a", &["4"]).await;
        let seen = names(&store.all().await);
        same("the aggregate is free", &seen[..], &["3", "4"].map(str::to_owned));
    })
    .await;
}
